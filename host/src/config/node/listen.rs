//! `[listen]`, `[[tokens]]` and `[compat]`: where a node listens, and who may
//! come in where.
//!
//! The lock API and the administrators' listener ask for a token as soon as
//! there is one. Where others than this machine's own programs could reach
//! them, there has to be one, or the configuration is refused: what is open by
//! mistake is noticed too late.

use crate::config::document::ConfigError;
use crate::config::section::Section;
use crate::config::value::{self, Show, Value};
use lockport_locks::PRINCIPAL_BYTES_MAX;
use lockport_store::LockPattern;
use lockport_store::store::LEASE_MAX;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Requests to components. Port 0 picks a free one.
    pub http: SocketAddr,
    /// The lock API, if it is served.
    pub lock: Option<SocketAddr>,
    /// Health and metrics, if they are served.
    pub admin: Option<SocketAddr>,
}

/// `[[tokens]]`: a bearer token for the lock API and the administrators'
/// listener.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// Who has it.
    pub principal: String,
    /// The file that its secret is in.
    pub file: PathBuf,
    /// Whether its holder may administrate: take locks away from others, and
    /// read metrics.
    pub operator: bool,
    /// The locks it opens.
    pub locks: Vec<LockPattern>,
}

/// `[compat]`: the older lock-manager contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompatConfig {
    /// Whether it is served, beside the lock API.
    pub enabled: bool,
    /// Whether it is served to clients without a token even where the lock API
    /// asks for one.
    pub anonymous: bool,
    /// How long a lock lasts that is never given back.
    pub lease: Duration,
}

/// How long a lock of the older contract may last: below a second hardly
/// anybody would find it still held.
const COMPAT_LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=LEASE_MAX;

/// An address, or `off`.
struct Door(Option<SocketAddr>);

impl Listen {
    pub(super) fn read(section: Section<'_>, has_tokens: bool) -> Result<Self, ConfigError> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let door = |key, port| section.or(key, Door::parse, Door(Some(local(port))));
        let listen = Self {
            http: section.or("http", value::address, local(3000))?,
            lock: door("lock", 50051)?.0,
            admin: door("admin", 9000)?.0,
        };
        for (key, address) in [("lock", listen.lock), ("admin", listen.admin)] {
            if let Some(address) = address.filter(|it| !has_tokens && !is_loopback(*it)) {
                return Err(section.wrong(
                    key,
                    format!("is {address}, which others can reach, but there is no token"),
                    Some(format!(
                        "add [[tokens]] with a `principal` and a `file`, or listen on 127.0.0.1:{}",
                        address.port()
                    )),
                ));
            }
        }
        section.finish()?;
        Ok(listen)
    }
}

impl TokenConfig {
    pub(super) fn read_all(sections: Vec<Section<'_>>) -> Result<Vec<Self>, ConfigError> {
        sections.into_iter().map(Self::read).collect()
    }

    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let everything = || LockPattern::parse("**").into_iter().collect();
        let file = section.required("file", value::path)?;
        let token = Self {
            principal: section.required("principal", principal)?,
            file: match section.origin_of("file") {
                Some(origin) => origin.resolve(file),
                None => file,
            },
            operator: section.or("operator", value::boolean, false)?,
            locks: section.or("locks", value::list(value::lock_pattern), everything())?,
        };
        section.finish()?;
        Ok(token)
    }
}

impl CompatConfig {
    pub(super) fn read(section: Section<'_>, listen: &Listen) -> Result<Self, ConfigError> {
        let local = listen.lock.is_some_and(is_loopback);
        let compat = Self {
            enabled: section.or("enabled", value::boolean, true)?,
            anonymous: section.or("anonymous", value::boolean, local)?,
            lease: section.or("lease", value::duration(COMPAT_LEASE), LEASE_MAX)?,
        };
        section.finish()?;
        Ok(compat)
    }
}

/// Whether only programs of this machine can reach the address.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn principal(value: &Value) -> Result<String, String> {
    let name = value::nonempty(value)?;
    match name.len() {
        ..=PRINCIPAL_BYTES_MAX => Ok(name),
        length => Err(format!(
            "has {length} bytes; at most {PRINCIPAL_BYTES_MAX} are allowed"
        )),
    }
}

impl Door {
    fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(word) | Value::Untyped(word) if word == "off" => Ok(Self(None)),
            _ => value::address(value)
                .map(|it| Self(Some(it)))
                .map_err(|why| format!("{why}; \"off\" turns it off")),
        }
    }
}

impl Show for Door {
    fn show(&self) -> String {
        match self.0 {
            Some(address) => address.show(),
            None => "off".to_owned().show(),
        }
    }
}
