//! What guests print, as lines of the log.
//!
//! The standard streams of a guest are fixed when its instance is made, but
//! what is printed belongs to the request of the moment. So both streams of an
//! instance share an [`Output`], which knows the request and cuts what is
//! written into lines.

use crate::printer::{Burst, Printer};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// The longest line, in bytes. What is longer is cut into several.
pub(crate) const LINE_BYTES_MAX: usize = 8 << 10;

/// How many bytes a guest may write at once before it has to ask again. More
/// traps.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What one instance prints.
pub(crate) struct Output {
    printer: Arc<Printer>,
    lines: Mutex<Lines>,
}

/// What was written and is not a whole line yet.
#[derive(Default)]
struct Lines {
    /// The request that is being handled.
    request: Option<Arc<str>>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// One of the two streams of an instance.
pub(crate) struct Standard {
    output: Arc<Output>,
    stream: Stream,
}

impl Output {
    pub(crate) fn new(printer: Arc<Printer>) -> Self {
        Self {
            printer,
            lines: Mutex::default(),
        }
    }

    pub(crate) fn stdout(self: &Arc<Self>) -> Standard {
        self.standard(Stream::Stdout)
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> Standard {
        self.standard(Stream::Stderr)
    }

    /// From now on, lines are of `request`.
    pub(crate) fn begin(&self, request: Arc<str>) {
        lock(&self.lines).request = Some(request);
    }

    /// Ends the lines that were begun: the request is over.
    pub(crate) fn end(&self) {
        let mut lines = lock(&self.lines);
        let request = lines.request.take();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(lines.of(stream));
            if !line.is_empty() {
                self.burst(request.as_deref(), stream).print(&line);
            }
        }
    }

    fn standard(self: &Arc<Self>, stream: Stream) -> Standard {
        Standard {
            output: self.clone(),
            stream,
        }
    }

    fn burst<'a>(&'a self, request: Option<&'a str>, stream: Stream) -> Burst<'a> {
        self.printer.burst(request, stream, Instant::now())
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut lines = lock(&self.lines);
        let request = lines.request.clone();
        let mut burst = self.burst(request.as_deref(), stream);
        let line = lines.of(stream);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let mut rest = text;
            while line.len() + rest.len() > LINE_BYTES_MAX {
                let (fits, more) = rest.split_at(LINE_BYTES_MAX - line.len());
                line.extend_from_slice(fits);
                burst.print(line);
                line.clear();
                rest = more;
            }
            line.extend_from_slice(rest);
            if ended {
                burst.print(line);
                line.clear();
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The last words of a guest that trapped are the ones that matter.
        self.end();
    }
}

impl Lines {
    fn of(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic between leaves a line half written at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Standard ===

impl Standard {
    fn again(&self) -> Self {
        self.output.standard(self.stream)
    }
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Standard {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.again())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.again())
    }
}

impl OutputStream for Standard {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap(
                "more was written at once than `check-write` allows",
            ));
        }
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl Pollable for Standard {
    /// Always ready: what is too much is dropped, so nobody waits for the log.
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for Standard {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        self.output.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Log;

    /// The log of what `write` makes an instance print.
    fn log(write: impl FnOnce(&Arc<Output>)) -> Vec<String> {
        let log = Log::begin();
        let printer = Arc::new(Printer::new("order".to_owned()));
        write(&Arc::new(Output::new(printer)));
        log.lines()
    }

    fn line(request: &str, stream: &str, text: &str) -> String {
        format!(
            " INFO guest: {text} component=\"order\" request_id=\"{request}\" stream=\"{stream}\""
        )
    }

    #[test]
    fn a_line_is_printed_when_it_is_whole_and_names_its_request() {
        let log = log(|output| {
            output.begin("r1".into());
            output.write(Stream::Stdout, b"one\r\ntw");
            output.write(Stream::Stderr, b"three\n");
            output.write(Stream::Stdout, b"o\n\n");
        });
        assert_eq!(
            log,
            [
                line("r1", "stdout", "one"),
                line("r1", "stderr", "three"),
                line("r1", "stdout", "two"),
                line("r1", "stdout", ""),
            ]
        );
    }

    #[test]
    fn what_is_left_when_the_request_ends_is_its_own_last_line() {
        let log = log(|output| {
            output.begin("r1".into());
            output.write(Stream::Stderr, b"last words");
            output.end();
            output.begin("r2".into());
            output.write(Stream::Stderr, b"first words");
        });
        assert_eq!(
            log,
            [
                line("r1", "stderr", "last words"),
                line("r2", "stderr", "first words"),
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_into_several() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let exact = "y".repeat(LINE_BYTES_MAX);
        let log = log(|output| {
            output.begin("r1".into());
            output.write(Stream::Stdout, format!("{long}\n{exact}\n").as_bytes());
        });
        assert_eq!(
            log,
            [
                line("r1", "stdout", &long[1..]),
                line("r1", "stdout", "x"),
                line("r1", "stdout", &exact),
            ]
        );
    }

    #[test]
    fn so_much_may_be_written_at_once_and_no_more() {
        let output = Arc::new(Output::new(Arc::new(Printer::new("order".to_owned()))));
        let mut stream = output.stdout();
        let permit = stream.check_write().unwrap();
        assert!(stream.write(vec![b'x'; permit].into()).is_ok());
        let more = stream.write(vec![b'x'; permit + 1].into());
        assert!(matches!(more, Err(StreamError::Trap(_))));
    }
}
