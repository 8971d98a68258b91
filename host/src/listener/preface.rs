//! Which protocol a connection speaks.
//!
//! A client that knows HTTP/2 begins with 24 bytes that are no request of
//! HTTP/1 (RFC 9113, 3.4). Only so many bytes are read as are needed to tell
//! the two apart, so a request of HTTP/1 costs one comparison per connection
//! and nothing per request. How long a client may take for them is decided by
//! whoever drives the connection.

use super::progress::Progress;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What a client of HTTP/2 begins with.
const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_BYTES: usize = 24;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// The bytes that were read to tell, which belong to what is read next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    bytes: [u8; PREFACE_BYTES],
    from: usize,
    to: usize,
}

/// Reads until it is known what `stream` speaks; `None` if it ended before.
/// Dropping the future loses what was read.
pub(super) async fn recognise(
    stream: &mut TcpStream,
    progress: &Progress,
) -> io::Result<Option<(Protocol, Begun)>> {
    let mut begun = Begun::default();
    loop {
        let read = stream.read(&mut begun.bytes[begun.to..]).await?;
        if read == 0 {
            return Ok(None);
        }
        progress.has_read();
        begun.to += read;
        if !PREFACE.starts_with(begun.rest()) {
            return Ok(Some((Protocol::Http1, begun)));
        }
        if begun.to == PREFACE_BYTES {
            return Ok(Some((Protocol::Http2, begun)));
        }
    }
}

impl Begun {
    /// What is left of it.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Takes at most `count` bytes of the rest away.
    pub(super) fn advance(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn recognised(parts: &[&[u8]]) -> Option<(Protocol, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let progress = Progress::unwatched();
        let reading = recognise(&mut server, &progress);
        let writing = async {
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (found, ()) = tokio::join!(reading, writing);
        found
            .unwrap()
            .map(|(protocol, begun)| (protocol, begun.rest().to_vec()))
    }

    #[tokio::test]
    async fn the_first_byte_that_differs_decides_and_none_is_lost() {
        let (protocol, begun) = recognised(&[b"POST / HTTP/1.1\r\n"]).await.unwrap();
        assert_eq!(protocol, Protocol::Http1);
        assert!(b"POST / HTTP/1.1\r\n".starts_with(begun.as_slice()));
        let (protocol, begun) = recognised(&[b"PR", b"I / HTTP/1.1"]).await.unwrap();
        assert_eq!(protocol, Protocol::Http1);
        assert!(b"PRI / HTTP/1.1".starts_with(begun.as_slice()));
    }

    #[tokio::test]
    async fn a_preface_is_recognised_in_whatever_pieces_it_comes() {
        for at in 1..PREFACE_BYTES {
            let (begin, end) = PREFACE.split_at(at);
            let (protocol, begun) = recognised(&[begin, end, b"more"]).await.unwrap();
            assert_eq!(protocol, Protocol::Http2);
            assert_eq!(begun, PREFACE, "what follows it is left alone");
        }
    }

    #[tokio::test]
    async fn half_a_preface_is_nothing() {
        assert_eq!(recognised(&[b"PRI * HT"]).await, None);
        assert_eq!(recognised(&[]).await, None);
    }
}
