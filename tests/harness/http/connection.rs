//! One TCP connection, and the reading of answers from it.

use super::{Answer, BodyEnd};
use crate::harness::BOUND;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// The most header bytes that are read of an answer.
const HEAD_LIMIT: usize = 1 << 20;

/// How much is read at once.
const READ_SIZE: usize = 16 << 10;

/// One TCP connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read and not yet consumed.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads one answer to a request with `method`. Interim answers (1xx) are
    /// passed over.
    pub(crate) fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let (status, headers) = self.head()?;
            if (100..200).contains(&status) {
                continue;
            }
            let mut answer = Answer {
                status,
                headers,
                body: Vec::new(),
                end: BodyEnd::Clean,
            };
            if method != "HEAD" && status != 204 && status != 304 {
                self.body(&mut answer)?;
            }
            return Ok(answer);
        }
    }

    /// Reads the head of an answer and nothing of its body.
    pub(crate) fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(invalid("the head does not end"));
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        parse_head(&head)
    }

    /// Reads some bytes as they come, without regard to framing; none when
    /// the other side has closed.
    pub(crate) fn some_bytes(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the other side closes without sending anything more.
    pub(crate) fn is_closed_silently(&mut self) -> bool {
        match self.some_bytes() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn body(&mut self, answer: &mut Answer) -> io::Result<()> {
        let chunked = answer
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = match answer.header("content-length") {
            Some(_) if chunked => return Err(invalid("both framings at once")),
            Some(text) => Some(text.parse().map_err(|_| invalid("content-length"))?),
            None => None,
        };
        let read = match length {
            Some(length) => self.exactly(length, &mut answer.body),
            None if chunked => self.chunks(&mut answer.body),
            None => self.until_closed(&mut answer.body),
        };
        match read {
            Err(error) if is_cut(&error) => {
                answer.end = BodyEnd::Cut;
                Ok(())
            }
            other => other,
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.exactly(size, body)?;
            if !self.line()?.is_empty() {
                return Err(invalid("a chunk is longer than it says"));
            }
        }
    }

    fn exactly(&mut self, mut length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let take = length.min(self.buffer.len());
            body.extend(self.buffer.drain(..take));
            length -= take;
        }
        Ok(())
    }

    fn until_closed(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            body.append(&mut self.buffer);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_SIZE];
        let count = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

fn parse_head(head: &str) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid(status))?;
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(line))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok((status, headers))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

pub(super) fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    //! The tests of everything else rely on these.

    use super::*;
    use std::net::TcpListener;

    /// What a client reads of an answer that is these bytes and then nothing.
    fn read(bytes: &'static [u8]) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client comes");
            stream.write_all(bytes).expect("the client reads");
        });
        let answer = Connection::open(address)?.answer_to("GET");
        server.join().expect("it wrote");
        answer
    }

    #[test]
    fn a_whole_body_is_whole() {
        for bytes in [
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc",
        ] {
            let answer = read(bytes).expect("it is an answer");
            assert_eq!((answer.text().as_str(), answer.end), ("abc", BodyEnd::Clean));
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_cut() {
        for bytes in [
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabc",
        ] {
            let answer = read(bytes).expect("it is an answer");
            assert_eq!((answer.text().as_str(), answer.end), ("abc", BodyEnd::Cut));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [
            b"".as_slice(),
            b"HTTP/1.1 200",
            b"hello\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
