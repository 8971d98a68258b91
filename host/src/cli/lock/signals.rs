//! The signals that are passed on to the command.

use rustix::process::Signal;
use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::task::Poll;
use tokio::signal::unix::{self, SignalKind};

/// What signals add to their number to make an exit code.
const EXIT_CODE_BASE: i32 = 128;

/// The signals that are passed on.
const PASSED_ON: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// The signals this process gets, instead of what they do by default.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

/// How this process ends that was ended by a signal.
pub(super) fn exit_code(signal: Signal) -> ExitCode {
    code_of(signal.as_raw()).into()
}

/// The exit code of what was ended by the signal of this number.
pub(super) fn code_of(signal: i32) -> u8 {
    u8::try_from(EXIT_CODE_BASE + signal).unwrap_or(u8::MAX)
}

impl Signals {
    /// From now on nothing is done but to tell of them. What was ignored when
    /// this process was started still is, by the command too: so says `nohup`.
    pub(super) fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let signals = PASSED_ON.into_iter();
        let signals = signals.filter(|it| ignored >> (it.as_raw() - 1) & 1 == 0);
        let listened = signals.map(|it| {
            let kind = SignalKind::from_raw(it.as_raw());
            Ok((it, unix::signal(kind)?))
        });
        listened.collect::<io::Result<_>>().map(Self)
    }

    /// The next signal. May be dropped: none is missed.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            let mut came = self.0.iter_mut();
            match came.find_map(|(it, signals)| signals.poll_recv(cx).is_ready().then_some(*it)) {
                Some(signal) => Poll::Ready(signal),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The next signal that means an end. The others mean something to the
    /// command only, which does not run yet.
    pub(super) async fn next_ending(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::USR1 | Signal::USR2 => {}
                ending => return ending,
            }
        }
    }
}

/// A bit for each signal that is ignored, the lowest for number 1. None where it
/// cannot be told.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"));
    mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok())
        .unwrap_or(0)
}
