//! What a process wrote to standard error, line by line, while it runs.

use super::BOUND;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// The lines so far. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Logs {
    /// Collects from `source` until it ends.
    pub(crate) fn of(source: impl Read + Send + 'static) -> Self {
        let logs = Self::default();
        let ours = logs.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                ours.push(String::from_utf8_lossy(&line).into_owned());
            }
            ours.end();
        });
        logs
    }

    /// A copy of the lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The lines so far as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Those of the lines so far that are errors of the host's. No client and
    /// no guest may bring one about.
    pub(crate) fn errors(&self) -> Vec<String> {
        let mut lines = self.lines();
        // A guest may write what it likes; its lines are marked as its own.
        lines.retain(|line| {
            let panicked = line.contains("panicked at") && !line.contains(" guest: ");
            panicked || line.contains(" ERROR ")
        });
        lines
    }

    /// Fails if there is a warning among the lines so far, but of what a server
    /// of [`super::RedisServer::start`] does not write down.
    #[track_caller]
    pub(crate) fn assert_no_warnings(&self) {
        let text = self.text();
        let mut lines = text.lines();
        let warned = lines.any(|it| it.contains(" WARN ") && !it.contains("append-only file"));
        assert!(!warned, "the node warned of something:\n{text}");
    }

    /// Waits for a line that contains `part`, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) -> String {
        let end = Instant::now() + BOUND;
        let mut guard = self.lock();
        loop {
            if let Some(line) = guard.lines.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || guard.ended {
                let lines = guard.lines.join("\n");
                drop(guard);
                panic!("no line contains `{part}`; the lines are:\n{lines}");
            }
            guard = self
                .shared
                .1
                .wait_timeout(guard, left)
                .expect("no holder of this mutex panics")
                .0;
        }
    }

    /// Waits until the source has ended, so that the lines are complete.
    #[track_caller]
    pub(crate) fn wait_for_end(&self) -> Vec<String> {
        let (guard, timeout) = self
            .shared
            .1
            .wait_timeout_while(self.lock(), BOUND, |lines| !lines.ended)
            .expect("no holder of this mutex panics");
        assert!(!timeout.timed_out(), "the output did not end in {BOUND:?}");
        guard.lines.clone()
    }

    fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.shared.1.notify_all();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.shared.1.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.shared
            .0
            .lock()
            .expect("no holder of this mutex panics")
    }
}
