//! When something last came over a connection: a slow server is told from a
//! silent network by it.
//!
//! Every byte counts, not only whole answers: a long answer that is still
//! coming, another request's, the protocol's own acknowledgements.

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::error::Error as StdError;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::{Service, service_fn};

/// When something last came.
#[derive(Debug)]
pub(super) struct Heard {
    since: Instant,
    /// Nanoseconds after `since`; those of six centuries fit.
    last: AtomicU64,
}

/// A TCP connection that says when something came.
pub(super) struct Wire {
    stream: TcpStream,
    heard: Arc<Heard>,
}

type Connecting =
    Pin<Box<dyn Future<Output = Result<TokioIo<Wire>, Box<dyn StdError + Send + Sync>>> + Send>>;

/// Makes TCP connections that tell `heard` when something came. All addresses
/// of a server have `connect_timeout` together.
pub(super) fn connector(
    heard: &Arc<Heard>,
    connect_timeout: Duration,
) -> impl Service<
    Uri,
    Response = TokioIo<Wire>,
    Error = Box<dyn StdError + Send + Sync>,
    Future = Connecting,
> + Send
+ use<> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect_timeout));
    let heard = Arc::clone(heard);
    service_fn(move |uri: Uri| -> Connecting {
        // It is always ready for another.
        let connecting = http.call(uri);
        let heard = Arc::clone(&heard);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Wire { stream, heard }))
        })
    })
}

// === impl Heard ===

impl Heard {
    /// Nothing has come yet.
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// When something last came; when this was made if nothing has.
    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    fn something_came(&self) {
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.fetch_max(nanos, Ordering::Relaxed);
    }
}

// === impl Wire ===

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.something_came();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
