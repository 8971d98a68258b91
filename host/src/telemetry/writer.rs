//! A buffer between whoever logs and standard error.
//!
//! A line is copied into one shared buffer; a thread writes the buffer out.
//! When the buffer is full, lines are dropped and counted, and the count is
//! written as soon as there is room: whoever logs never waits.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tracing_subscriber::fmt::MakeWriter;

/// How much is buffered, in bytes. About 10 000 lines.
pub const BUFFER_BYTES: usize = 2 << 20;

/// Buffers lines for standard error. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BufferedStderr(Arc<Shared>);

/// Writes the rest and ends the thread when it is dropped.
#[derive(Debug)]
pub struct Flush {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that found no room since the last write.
    dropped: u64,
    /// Whether the thread is to end once everything is written.
    ended: bool,
}

impl BufferedStderr {
    /// Starts the thread that writes. If it cannot be started, nothing is
    /// logged.
    pub fn start() -> (Self, Flush) {
        let shared = Arc::<Shared>::default();
        let writing = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writing.write_all(&mut io::stderr()));
        let flush = Flush {
            shared: shared.clone(),
            thread: thread.ok(),
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
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.ended || state.lines.len() + line.len() > BUFFER_BYTES {
            state.dropped += 1;
            return;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Writes until it is ended and everything is written.
    fn write_all(&self, output: &mut dyn Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            while state.lines.is_empty() && state.dropped == 0 && !state.ended {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let (dropped, ended) = (std::mem::take(&mut state.dropped), state.ended);
            std::mem::swap(&mut state.lines, &mut lines);
            drop(state);
            // Nobody reads any more if this fails; there is nobody to tell.
            let _ = output.write_all(&lines);
            if dropped > 0 {
                let _ = writeln!(output, "{dropped} log lines were dropped");
            }
            if ended && lines.is_empty() {
                return;
            }
            lines.clear();
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
        let shared = Shared::default();
        shared.push(b"one\n");
        shared.push(b"two\n");
        shared.lock().ended = true;
        let mut output = Vec::new();
        shared.write_all(&mut output);
        assert_eq!(output, b"one\ntwo\n");
    }

    #[test]
    fn a_full_buffer_drops_lines_and_says_how_many() {
        let shared = Shared::default();
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
