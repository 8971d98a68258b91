//! `lockport:host/locks`.

use std::time::Duration;

use super::nanoseconds;
use crate::bindings::lockport::host::locks as wit;
use crate::locks::{Error, Options};

#[derive(Debug)]
pub(crate) struct Guard(wit::Guard);

pub(crate) fn acquire(names: &[String], options: Options) -> Result<Guard, Error> {
    let options = wit::Options {
        wait: nanoseconds(options.wait),
        lease: options.lease.map(nanoseconds),
    };
    Ok(Guard(wit::acquire(names, options)?))
}

pub(crate) fn inherited() -> Vec<Guard> {
    wit::inherited().into_iter().map(Guard).collect()
}

// === impl Guard ===

impl Guard {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.names()
    }

    pub(crate) fn token(&self, name: &str) -> u64 {
        self.0.token(name)
    }

    pub(crate) fn remaining(&self) -> Duration {
        Duration::from_nanos(self.0.remaining())
    }

    pub(crate) fn renew(&self, lease: Duration) -> Result<(), Error> {
        Ok(self.0.renew(nanoseconds(lease))?)
    }

    pub(crate) fn release(self) -> Result<(), Error> {
        Ok(wit::Guard::release(self.0)?)
    }
}

// === impl Error ===

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::AccessDenied => Self::AccessDenied,
            wit::Error::InvalidArgument(text) => Self::InvalidArgument(text),
            wit::Error::Held => Self::Held,
            wit::Error::TimedOut => Self::TimedOut,
            wit::Error::Deadlock => Self::Deadlock,
            wit::Error::Lost => Self::Lost,
            wit::Error::InUse => Self::InUse,
            wit::Error::Quota(text) => Self::Quota(text),
            wit::Error::Recovering => Self::Recovering,
            wit::Error::Unavailable(text) => Self::Unavailable(text),
            wit::Error::Closed => Self::Closed,
        }
    }
}
