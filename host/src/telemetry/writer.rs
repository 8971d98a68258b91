//! A buffer between whoever logs and standard error.
//!
//! A line is copied into one shared buffer; a thread writes the buffer out.
//! When the buffer is full, lines are dropped and counted, and the count is
//! written as soon as there is room: whoever logs never waits. After a write
//! the thread lingers before it looks again, so that a busy node wakes it a few
//! hundred times a second and not for every line.

use super::LogFormat;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// How much is buffered, in bytes. About 10 000 lines.
pub const BUFFER_BYTES: usize = 2 << 20;

/// How long lines may lie in the buffer.
const LINGER: Duration = Duration::from_millis(5);

/// Buffers lines for standard error. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BufferedStderr(Arc<Shared>);

/// How long the end of a process waits for its last lines to be written.
pub const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Ends the thread when it is dropped, once it has written the rest. Standard
/// error may be a pipe that is full and that nobody reads, so it is waited for
/// [`FLUSH_MAX`] and no longer.
#[derive(Debug)]
pub struct Flush {
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
}

#[derive(Debug)]
struct Shared {
    format: LogFormat,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that found no room since the last write.
    dropped: u64,
    /// Whether the thread waits to be told of the first line.
    waiting: bool,
    /// Whether the thread is to end once everything is written.
    ended: bool,
}

impl BufferedStderr {
    /// Starts the thread that writes. If it cannot be started, nothing is
    /// logged.
    pub fn start(format: LogFormat) -> (Self, Flush) {
        Self::start_on(io::stderr(), format)
    }

    fn start_on(mut output: impl Write + Send + 'static, format: LogFormat) -> (Self, Flush) {
        let shared = Arc::new(Shared::new(format));
        let writing = shared.clone();
        let (running, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log".to_owned());
        // If it cannot be started, it has ended.
        let _ = thread.spawn(move || {
            let _running = running;
            writing.write_all(&mut output);
        });
        let flush = Flush {
            shared: shared.clone(),
            ended,
        };
        (Self(shared), flush)
    }
}

impl Write for BufferedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for BufferedStderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        // A panic of the thread has been reported by itself, and lines that
        // nobody reads are nobody's loss.
        let _ = self.ended.recv_timeout(FLUSH_MAX);
    }
}

impl Shared {
    fn new(format: LogFormat) -> Self {
        Self {
            format,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.ended || state.lines.len() + line.len() > BUFFER_BYTES {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        if waiting {
            self.changed.notify_one();
        }
    }

    /// Writes until it is ended and everything is written.
    fn write_all(&self, output: &mut dyn Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.next();
            let (dropped, ended) = (std::mem::take(&mut state.dropped), state.ended);
            std::mem::swap(&mut state.lines, &mut lines);
            drop(state);
            // Nobody reads any more if this fails; there is nobody to tell.
            let _ = output.write_all(&lines);
            if dropped > 0 {
                let _ = output.write_all(self.about(dropped).as_bytes());
            }
            if ended && lines.is_empty() {
                return;
            }
            lines.clear();
            self.linger();
        }
    }

    /// Waits until there is something to write, or nothing ever will be.
    fn next(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.lines.is_empty() && state.dropped == 0 && !state.ended {
            state.waiting = true;
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
        state
    }

    /// Lets lines gather, unless this is the end.
    fn linger(&self) {
        let state = self.lock();
        // What woke it does not matter: it looks again either way.
        drop(
            self.changed
                .wait_timeout_while(state, LINGER, |it| !it.ended),
        );
    }

    /// A line that says how many were dropped, like the others.
    fn about(&self, dropped: u64) -> String {
        match self.format {
            LogFormat::Text => format!("{dropped} log lines were dropped\n"),
            LogFormat::Json => format!(
                "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"dropped\":{dropped}}}\n"
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves whole bytes, at worst half a line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_order_and_the_rest_when_it_ends() {
        let shared = Shared::new(LogFormat::Text);
        shared.push(b"one\n");
        shared.push(b"two\n");
        shared.lock().ended = true;
        let mut output = Vec::new();
        shared.write_all(&mut output);
        assert_eq!(output, b"one\ntwo\n");
    }

    /// An output whose reader has stopped: a write ends when the sender does.
    struct Stuck(Receiver<Infallible>);

    impl Write for Stuck {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_nobody_reads_does_not_keep_the_process() {
        let (_reader, stuck) = mpsc::channel();
        let (mut lines, flush) = BufferedStderr::start_on(Stuck(stuck), LogFormat::Text);
        lines.write_all(b"one\n").unwrap();
        // Without a bound this would not return.
        drop(flush);
    }

    #[test]
    fn the_end_waits_for_the_last_lines() {
        let (written, mut lines) = io::pipe().unwrap();
        let (mut log, flush) =
            BufferedStderr::start_on(lines.try_clone().unwrap(), LogFormat::Text);
        log.write_all(b"one\n").unwrap();
        drop(flush);
        lines.write_all(b"end").unwrap();
        drop(lines);
        assert_eq!(io::read_to_string(written).unwrap(), "one\nend");
    }

    #[test]
    fn a_full_buffer_drops_lines_and_says_how_many() {
        let shared = Shared::new(LogFormat::Text);
        let line = vec![b'x'; BUFFER_BYTES];
        shared.push(&line);
        shared.push(b"lost\n");
        shared.push(b"lost\n");
        shared.lock().ended = true;
        let mut output = Vec::new();
        shared.write_all(&mut output);
        assert!(output.starts_with(&line));
        assert_eq!(&output[line.len()..], b"2 log lines were dropped\n");
    }
}
