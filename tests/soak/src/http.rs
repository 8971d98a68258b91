//! A client of a node's components: one request after the other over one
//! connection. It asks once: what is not answered stays unknown.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer is waited for: longer than a component may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Has the probe run these steps. None if no whole answer came.
    pub(crate) async fn run(&mut self, steps: &[String]) -> Option<Answer> {
        let body = steps.join("\n");
        let asked = timeout(PATIENCE, self.ask(body)).await;
        let answer = asked.ok().flatten();
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    async fn ask(&mut self, body: String) -> Option<Answer> {
        let mut connection = match self.connection.take().filter(|it| !it.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.ok()?;
        let request = Request::post("/probe").header("host", "soak.test");
        let request = request.body(Full::from(body)).ok()?;
        let answer = connection.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        self.connection = Some(connection);
        Some(Answer {
            status,
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        // It ends with the sender, or when the other side does.
        tokio::spawn(connection);
        Some(sender)
    }
}
