//! What guests print, as lines of the log.
//!
//! The standard streams of a guest are fixed when its instance is made, but
//! what is printed belongs to the request of the moment. So both streams of an
//! instance share an [`Output`], which knows the request, and all instances of
//! a component share a [`Printer`], which counts its lines.

use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// The longest line, in bytes. What is longer is cut into several.
pub(crate) const LINE_BYTES_MAX: usize = 8 << 10;

/// How many lines a component may print in one second; the rest is dropped and
/// counted.
pub(crate) const LINES_PER_SECOND: u32 = 1_000;

/// How many bytes a guest may write at once before it has to ask again.
const WRITE_BYTES_MAX: usize = 64 << 10;

const SECOND: Duration = Duration::from_secs(1);

/// Prints the lines of one component, so many a second.
pub(crate) struct Printer {
    component: String,
    window: Mutex<Window>,
}

/// The lines of one second.
struct Window {
    began: Instant,
    printed: u32,
    dropped: u64,
}

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
enum Stream {
    Stdout,
    Stderr,
}

/// One of the two streams of an instance.
pub(crate) struct Standard {
    output: Arc<Output>,
    stream: Stream,
}

/// Whether a line may be printed.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It may; so many were dropped before.
    Print { dropped: u64 },
    /// It may not.
    Drop,
}

impl Printer {
    pub(crate) fn new(component: String) -> Self {
        Self {
            component,
            window: Mutex::new(Window {
                began: Instant::now(),
                printed: 0,
                dropped: 0,
            }),
        }
    }

    fn print(&self, request: Option<&str>, stream: Stream, line: &[u8]) {
        let mut window = lock(&self.window);
        let verdict = window.admit(Instant::now());
        drop(window);
        let Verdict::Print { dropped } = verdict else {
            return;
        };
        if dropped > 0 {
            tracing::warn!(
                target: "guest",
                component = self.component,
                dropped,
                "lines were dropped: at most {LINES_PER_SECOND} a second are kept"
            );
        }
        tracing::info!(
            target: "guest",
            component = self.component,
            request_id = request,
            stream = stream.name(),
            "{}",
            printable(line)
        );
    }
}

impl Window {
    /// Counts a line that is printed at `now`.
    fn admit(&mut self, now: Instant) -> Verdict {
        let mut dropped = 0;
        if now.saturating_duration_since(self.began) >= SECOND {
            dropped = self.dropped;
            *self = Self {
                began: now,
                printed: 0,
                dropped: 0,
            };
        }
        if self.printed == LINES_PER_SECOND {
            self.dropped += 1;
            return Verdict::Drop;
        }
        self.printed += 1;
        Verdict::Print { dropped }
    }
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
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(lines.of(stream));
            if !line.is_empty() {
                self.printer.print(lines.request.as_deref(), stream, &line);
            }
        }
        lines.request = None;
    }

    fn standard(self: &Arc<Self>, stream: Stream) -> Standard {
        Standard {
            output: self.clone(),
            stream,
        }
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut lines = lock(&self.lines);
        let request = lines.request.clone();
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
                self.printer.print(request.as_deref(), stream, line);
                line.clear();
                rest = more;
            }
            line.extend_from_slice(rest);
            if ended {
                self.printer.print(request.as_deref(), stream, line);
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
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line as text, with nothing in it that a terminal would obey.
fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let mut text = String::with_capacity(line.len());
    for char in line.chars() {
        if char.is_control() && char != '\t' {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
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
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable(b"\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable(b"a\tb\xff"), "a\tb\u{fffd}");
        assert_eq!(printable("\u{9b}1m".as_bytes()), "\\u{9b}1m");
    }

    #[test]
    fn lines_beyond_so_many_a_second_are_dropped_and_counted() {
        let began = Instant::now();
        let mut window = Window {
            began,
            printed: 0,
            dropped: 0,
        };
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(window.admit(began), Verdict::Print { dropped: 0 });
        }
        assert_eq!(window.admit(began), Verdict::Drop);
        assert_eq!(window.admit(began + SECOND / 2), Verdict::Drop);
        let later = began + SECOND;
        assert_eq!(window.admit(later), Verdict::Print { dropped: 2 });
        assert_eq!(window.admit(later), Verdict::Print { dropped: 0 });
    }
}
