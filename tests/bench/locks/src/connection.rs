//! gRPC over one HTTP/2 connection, with as little as will do.
//!
//! The load has one core, as what it measures has: a whole client's layers
//! would make it the slower of the two, and then every server would look alike.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use std::fmt;
use tokio::net::TcpStream;

/// How much the server may send ahead of what was read: never the limit here.
const WINDOW: u32 = 4 << 20;

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// One connection; cheap to clone.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    authority: String,
    headers: HeaderMap,
}

/// A method of one server; cheap to clone.
#[derive(Clone)]
pub struct Path(Uri);

/// What a call that reached the server came to.
#[derive(Debug)]
pub struct Status {
    /// As gRPC numbers them; never 0.
    pub code: i32,
    message: String,
}

/// A stream in both directions.
pub struct Duplex<A> {
    out: SendStream<Bytes>,
    waiting: BytesMut,
    into: RecvStream,
    received: BytesMut,
    answer: std::marker::PhantomData<A>,
}

impl Connection {
    /// Connects to `address`, which is `host:port`.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .enable_push(false)
            .handshake(stream)
            .await?;
        // Ends with the connection; whoever uses that is told.
        tokio::spawn(connection);
        let mut headers = HeaderMap::new();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("lockport-bench"),
        );
        Ok(Self {
            requests,
            authority: address.to_owned(),
            headers,
        })
    }

    /// The method `path`, such as `/package.Service/Method`.
    pub fn path(&self, path: &str) -> Result<Path> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()?;
        Ok(Path(uri))
    }

    /// Calls a method. The outer error says that the connection failed.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &Path,
        question: &Q,
    ) -> Result<Result<A, Status>> {
        let (answer, mut out) = self.begin(path).await?;
        let mut frame = BytesMut::with_capacity(PREFIX + question.encoded_len());
        put(&mut frame, question);
        out.send_data(frame.freeze(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            bytes = if bytes.is_empty() {
                chunk
            } else {
                [bytes, chunk].concat().into()
            };
        }
        let trailers = body.trailers().await?;
        if let Some(status) = Status::of(trailers.as_ref().unwrap_or(&head.headers))? {
            return Ok(Err(status));
        }
        if bytes.len() < PREFIX {
            bail!("an answer without a message");
        }
        bytes.advance(PREFIX);
        Ok(Ok(A::decode(bytes)?))
    }

    /// Begins a stream with its first message, and waits until it is taken.
    pub async fn stream<Q: Message, A: Message + Default>(
        &self,
        path: &Path,
        first: &Q,
    ) -> Result<Duplex<A>> {
        let (answer, out) = self.begin(path).await?;
        let mut frame = BytesMut::new();
        put(&mut frame, first);
        let mut out = out;
        out.send_data(frame.freeze(), false)?;
        let (head, into) = answer.await?.into_parts();
        if let Some(status) = Status::of(&head.headers)? {
            bail!("the stream was refused: {status}");
        }
        Ok(Duplex {
            out,
            waiting: BytesMut::new(),
            into,
            received: BytesMut::new(),
            answer: std::marker::PhantomData,
        })
    }

    async fn begin(&self, path: &Path) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let mut requests = self.requests.clone().ready().await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.0.clone();
        *request.headers_mut() = self.headers.clone();
        Ok(requests.send_request(request, false)?)
    }
}

impl<A: Message + Default> Duplex<A> {
    /// Puts a message in line; [`Duplex::flush`] sends what is in line.
    pub fn put<Q: Message>(&mut self, question: &Q) {
        put(&mut self.waiting, question);
    }

    /// Sends what is in line.
    pub fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.out.send_data(self.waiting.split().freeze(), false)?;
        }
        Ok(())
    }

    /// Waits for messages and puts all that have arrived behind `answers`.
    pub async fn receive(&mut self, answers: &mut Vec<A>) -> Result<()> {
        loop {
            let before = answers.len();
            while let Some(message) = take(&mut self.received) {
                answers.push(A::decode(message)?);
            }
            if answers.len() > before {
                return Ok(());
            }
            match self.into.data().await {
                Some(chunk) => {
                    let chunk = chunk?;
                    self.into.flow_control().release_capacity(chunk.len())?;
                    self.received.extend_from_slice(&chunk);
                }
                None => {
                    let trailers = self.into.trailers().await?.unwrap_or_default();
                    let status = Status::of(&trailers)?;
                    let status = status.map_or_else(String::new, |it| format!(": {it}"));
                    bail!("the server ended the stream{status}");
                }
            }
        }
    }
}

/// Puts a message and its prefix behind `out`.
fn put(out: &mut BytesMut, message: &impl Message) {
    let length = message.encoded_len();
    out.reserve(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("the load's messages are short"));
    message
        .encode(out)
        .expect("there is room, and a buffer grows");
}

/// Takes the first message off `bytes`, if all of it is there.
fn take(bytes: &mut BytesMut) -> Option<BytesMut> {
    let length = bytes.get(1..PREFIX)?.get_u32() as usize;
    if bytes.len() < PREFIX + length {
        return None;
    }
    bytes.advance(PREFIX);
    Some(bytes.split_to(length))
}

impl Status {
    /// What trailers say, unless it is that all went well.
    fn of(trailers: &HeaderMap) -> Result<Option<Self>> {
        let text = |name: &str| {
            let value = trailers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let Some(code) = text("grpc-status") else {
            return Ok(None);
        };
        let code = code.parse().context("a status that is no number")?;
        Ok((code != 0).then(|| Self {
            code,
            message: text("grpc-message").unwrap_or_default(),
        }))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}
