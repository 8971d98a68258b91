//! The signals that are passed on to the command.

use rustix::process::Signal;
use std::io;
use tokio::select;
use tokio::signal::unix::{self, SignalKind};

/// What signals add to their number to make an exit code.
const EXIT_CODE_BASE: i32 = 128;

/// The signals this process gets, instead of what they do by default.
pub(super) struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

/// The exit code of what was ended by a signal.
pub(super) fn exit_code(signal: Signal) -> u8 {
    code_of(signal.as_raw())
}

/// The exit code of what was ended by the signal of this number.
pub(super) fn code_of(signal: i32) -> u8 {
    u8::try_from(EXIT_CODE_BASE + signal).unwrap_or(u8::MAX)
}

impl Signals {
    /// From now on nothing is done but to tell of them.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            quit: unix::signal(SignalKind::quit())?,
            terminate: unix::signal(SignalKind::terminate())?,
            user_1: unix::signal(SignalKind::user_defined1())?,
            user_2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal. May be dropped: none is missed.
    pub(super) async fn next(&mut self) -> Signal {
        select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.user_1.recv() => Signal::USR1,
            _ = self.user_2.recv() => Signal::USR2,
        }
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
