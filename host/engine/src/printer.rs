//! Prints the lines of guests, so many a second and component.
//!
//! All instances of a component share a [`Printer`], which counts its lines.
//! What one write of a guest brings is a [`Burst`]: it reads the clock once,
//! and once a line of it was dropped the rest only has to be counted. A guest
//! that floods the log costs little more than the bytes it writes.

use crate::output::Stream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many lines a component may print in one second; the rest is dropped and
/// counted.
const LINES_PER_SECOND: u32 = 1_000;

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

/// The lines of one write. Dropping it reports those that were dropped.
pub(crate) struct Burst<'a> {
    printer: &'a Printer,
    request: Option<&'a str>,
    stream: Stream,
    /// When it was written, all of it.
    at: Instant,
    /// How many lines were dropped and are not counted yet.
    dropped: u64,
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

    /// What was written `at` some time.
    pub(crate) fn burst<'a>(
        &'a self,
        request: Option<&'a str>,
        stream: Stream,
        at: Instant,
    ) -> Burst<'a> {
        Burst {
            printer: self,
            request,
            stream,
            at,
            dropped: 0,
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // The numbers are whole at every point where something could panic.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst<'_> {
    /// Prints a line, or drops it.
    pub(crate) fn print(&mut self, line: &[u8]) {
        // At the time of this burst there is no room left.
        if self.dropped > 0 {
            self.dropped += 1;
            return;
        }
        let verdict = self.printer.window().admit(self.at);
        let Verdict::Print { dropped } = verdict else {
            self.dropped = 1;
            return;
        };
        let component = &self.printer.component;
        if dropped > 0 {
            tracing::warn!(
                target: "guest",
                component,
                dropped,
                "lines were dropped: at most {LINES_PER_SECOND} a second are kept"
            );
        }
        tracing::info!(
            target: "guest",
            component,
            request_id = self.request,
            stream = self.stream.name(),
            "{}",
            printable(line)
        );
    }
}

impl Drop for Burst<'_> {
    fn drop(&mut self) {
        if self.dropped > 0 {
            self.printer.window().dropped += self.dropped;
        }
    }
}

impl Window {
    /// Counts a line that is printed at `now`; who is refused counts it.
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
            return Verdict::Drop;
        }
        self.printed += 1;
        Verdict::Print { dropped }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Log;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable(b"\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(printable(b"a\tb\xff"), "a\tb\u{fffd}");
        assert_eq!(printable("\u{9b}1m".as_bytes()), "\\u{9b}1m");
    }

    #[test]
    fn lines_beyond_so_many_a_second_are_dropped_and_counted() {
        let log = Log::begin();
        let printer = Printer::new("order".to_owned());
        let began = printer.window().began;
        let lines = |count: u32, at: Instant| {
            let mut burst = printer.burst(None, Stream::Stdout, at);
            (0..count).for_each(|_| burst.print(b"text"));
        };
        lines(LINES_PER_SECOND - 1, began);
        lines(3, began);
        lines(5, began + SECOND / 2);
        assert_eq!(printer.window().dropped, 7);
        lines(2, began + SECOND);
        assert_eq!(printer.window().dropped, 0);

        let log = log.lines();
        assert_eq!(log.len(), LINES_PER_SECOND as usize + 3);
        let reports: Vec<_> = log.iter().filter(|line| line.contains("WARN")).collect();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("dropped=7"), "{reports:?}");
    }
}
