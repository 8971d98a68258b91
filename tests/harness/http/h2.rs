//! A client of HTTP/2 without TLS, with the words of the other one: the same
//! requests, the same answers.

use super::{Answer, BodyEnd, Request};
use crate::harness::{runtime, wait_for};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// One connection, on which requests go at once.
pub(crate) struct H2(SendRequest<Bytes>);

impl H2 {
    /// Connects.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let (sender, connection) = wait_for("a connection of HTTP/2", async {
            let stream = TcpStream::connect(address).await?;
            let connected = h2::client::handshake(stream).await;
            connected.map_err(std::io::Error::other)
        })
        .expect("the node listens");
        // Its end is seen by those who send.
        drop(runtime().spawn(connection));
        Self(sender)
    }

    /// Sends `request` and waits for the whole answer; an answer has to come.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.send_all(std::slice::from_ref(request)).remove(0)
    }

    /// Sends all requests before it waits for any answer.
    #[track_caller]
    pub(crate) fn send_all(&self, requests: &[Request]) -> Vec<Answer> {
        let answered = wait_for("answers over HTTP/2", async {
            let mut answers = Vec::new();
            for request in requests {
                let response = self.begin(request).await?;
                // All are read at once: one that nobody reads would take the
                // connection's window from the others.
                answers.push(runtime().spawn(read(response)));
            }
            let mut read = Vec::new();
            for answer in answers {
                read.push(answer.await.expect("reading does not panic")?);
            }
            Ok::<_, h2::Error>(read)
        });
        answered.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    async fn begin(&self, request: &Request) -> Result<ResponseFuture, h2::Error> {
        let has_host = |(name, _): &&(String, String)| name == "host";
        let host = request.headers.iter().find(has_host);
        let host = host.map_or("shop.test", |(_, value)| value);
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("http://{host}{}", request.target));
        for (name, value) in request.headers.iter().filter(|it| !has_host(it)) {
            head = head.header(name, value);
        }
        let head = head.body(()).expect("the test's request is one");
        let mut sender = self.0.clone().ready().await?;
        let (response, mut body) = sender.send_request(head, request.body.is_none())?;
        if let Some(bytes) = &request.body {
            // It may have been answered already, and need no body any more.
            let _ = body.send_data(bytes.clone().into(), true);
        }
        Ok(response)
    }
}

async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    let mut end = BodyEnd::Clean;
    while let Some(data) = stream.data().await {
        let Ok(data) = data else {
            end = BodyEnd::Cut;
            break;
        };
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body,
        end,
    })
}
