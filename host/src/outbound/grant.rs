//! What a manifest grants of the world outside: scheme, host and port.
//!
//! ```toml
//! outbound = [
//!     "https://api.example.com",                        # port 443
//!     "https://*.example.com:8443",                     # one label for the star
//!     "http://127.0.0.1:8080",                          # an address of this machine
//!     { to = "http://db.lan:9000", private = true },    # a name of this network
//! ]
//! ```
//!
//! An address is granted by itself: `127.0.0.1` means just that one. A name is
//! granted with the addresses of the internet that it has, and with those of
//! this machine and its network only if `private = true` says so: whoever owns a
//! name decides where it leads, and that need not be whoever wrote the manifest.
//!
//! A host has one spelling. What a resolver would also take for an address
//! (`127.1`, `0x7f000001`, `2130706433`) is no host at all.

use super::address::{Reach, reach};
use http::Uri;
use std::fmt;
use std::net::IpAddr;

/// One entry of `[grants] outbound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundGrant {
    scheme: Scheme,
    host: Pattern,
    port: u16,
    /// Whether a name may lead to this machine and its network.
    private: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// By which protocol.
    pub scheme: Scheme,
    /// To whom.
    pub host: Host,
    /// To which port; never zero.
    pub port: u16,
}

/// Whether a connection is secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// It is not.
    Http,
    /// It is, by TLS.
    Https,
}

/// A host, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(Box<str>),
}

/// Which addresses a destination may have. What is connected is held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission(Reach);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// Just this host.
    One(Host),
    /// Every name that is one label in front of this.
    Below(Box<str>),
}

/// The longest name of a host, and the longest of its labels, in bytes.
const NAME_BYTES_MAX: usize = 253;
/// See [`NAME_BYTES_MAX`].
const LABEL_BYTES_MAX: usize = 63;

/// What the hosts of components end with: they are called, not connected.
const OURS: &str = "internal";

impl OutboundGrant {
    /// What `text` grants: a scheme, a host, and a port if it is not the
    /// scheme's own.
    pub fn parse(text: &str, private: bool) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("which has no `://`")?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(format!("whose scheme `{other}` is not http or https")),
        };
        if rest.contains(['/', '?', '#']) {
            return Err("which has more than a scheme, a host and a port".to_owned());
        }
        let (host, port) = split_port(rest).ok_or("whose port is none")?;
        let host = Pattern::parse(host)?;
        match &host {
            Pattern::One(Host::Address(address)) if reach(*address) == Reach::Never => {
                return Err("whose host is an address that is never connected".to_owned());
            }
            Pattern::One(Host::Address(_)) if private => {
                return Err("which is an address, and that needs no `private`".to_owned());
            }
            _ => {}
        }
        Ok(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme.port()),
            private,
        })
    }

    /// Whether it needs TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether a name may lead to this machine and its network.
    pub fn is_private(&self) -> bool {
        self.private
    }

    fn covers(&self, to: &Destination) -> bool {
        self.scheme == to.scheme
            && self.port == to.port
            && match (&self.host, &to.host) {
                (Pattern::One(host), other) => host == other,
                (Pattern::Below(parent), Host::Name(name)) => name
                    .split_once('.')
                    .is_some_and(|(_, behind)| behind == &**parent),
                (Pattern::Below(_), Host::Address(_)) => false,
            }
    }
}

/// What `grants` say of a destination: nothing, if it is not granted.
pub fn permission(grants: &[OutboundGrant], to: &Destination) -> Option<Permission> {
    let covering = grants.iter().filter(|it| it.covers(to));
    let reaches = covering.map(|it| match (&to.host, it.private) {
        (Host::Address(_), _) => Reach::Special,
        (Host::Name(_), true) => Reach::Private,
        (Host::Name(_), false) => Reach::Global,
    });
    reaches.max().map(Permission)
}

impl Permission {
    /// Whether `address` may be connected.
    pub fn admits(self, address: IpAddr) -> bool {
        reach(address) <= self.0
    }
}

impl Destination {
    /// Where a request goes; nothing, if that is not spelled as it has to be.
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?.as_str().to_ascii_lowercase();
        // A user and a password have no place in it, nor has an `@` for others
        // to take for the end of one.
        let (host, port) = split_port(&authority)?;
        Some(Self {
            scheme,
            host: Host::parse(host).ok()?,
            port: port.unwrap_or(scheme.port()),
        })
    }

    /// Its host and port as a `Host` header has them: without the port if it is
    /// the scheme's own.
    pub fn authority(&self) -> String {
        let port = (self.port != self.scheme.port()).then_some(self.port);
        with_port(&self.host, port)
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    /// Reads a host in its one spelling, an IPv6 address in brackets.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').unwrap_or_default();
            return match inner.parse() {
                Ok(address) => Ok(Self::Address(IpAddr::V6(address))),
                Err(_) => Err("whose host is no IPv6 address".to_owned()),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        check_name(text)?;
        Ok(Self::Name(text.into()))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(parent) = text.strip_prefix("*.") else {
            return Host::parse(text).map(Self::One);
        };
        match Host::parse(parent)? {
            Host::Name(name) if name.contains('.') => Ok(Self::Below(name)),
            _ => Err(
                "whose `*` stands for too much; a domain such as `example.com` \
                      must be behind it"
                    .to_owned(),
            ),
        }
    }
}

/// Whether `name` is a name of DNS, and cannot be taken for an address.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it);
    let is_label = |it: &str| {
        (1..=LABEL_BYTES_MAX).contains(&it.len())
            && it.bytes().all(allowed)
            && !it.starts_with('-')
            && !it.ends_with('-')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        return Err("whose host is no name in lower case".to_owned());
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|it: char| it.is_ascii_digit()) {
        return Err("whose host is neither a name nor an address as it is usually written".into());
    }
    if last == OURS {
        return Err("which is a component; `grants.calls` grants those".to_owned());
    }
    Ok(())
}

/// Splits the port off a host; `None` if it is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let behind = text.rfind(']').map_or(0, |it| it + 1);
    let Some(colon) = text[behind..].find(':').map(|it| behind + it) else {
        return Some((text, None));
    };
    let digits = &text[colon + 1..];
    // `+80` and `080` are other spellings.
    if digits.starts_with('0') || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    Some((&text[..colon], Some(digits.parse().ok()?)))
}

fn with_port(host: impl fmt::Display, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    }
}

// === impl Display ===

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(host) => write!(f, "{host}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for OutboundGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = (self.port != self.scheme.port()).then_some(self.port);
        write!(f, "{}://{}", self.scheme, with_port(&self.host, port))
    }
}

#[cfg(test)]
mod tests;
