//! `[store]`: which store, where it is, and how it is used.

use super::name_in;
use crate::config::document::ConfigError;
use crate::config::section::Section;
use crate::config::value::{self, Show, Value};
use lockport_store::embedded::Durability;
use lockport_store::redis::{self, Identity, InvalidUrl, Tls, Url};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Which store, and where.
    pub url: StoreUrl,
    /// What the embedded store promises of a commit that was acknowledged.
    pub durability: Durability,
    /// How long a node lives in Redis that is not heard of.
    pub lease: Duration,
    /// How long an answer of Redis may take.
    pub timeout: Duration,
    /// How long the nodes may say what they had, if the server was replaced or
    /// has forgotten it.
    pub reclaim: Duration,
    /// The files that a connection over TLS needs.
    pub tls: Tls,
    /// How many replicas of Redis have to have a grant or a commit before it is
    /// answered.
    pub sync: u32,
}

/// A store's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: gone when the node ends.
    Memory,
    /// `embedded:DIR`: a directory that one node at a time has open.
    Embedded(PathBuf),
    /// `redis://HOST`: a space in a server, shared by any number of nodes.
    Redis(RedisUrl),
}

/// The URL of a space in a server, which may have a password in it. Neither of
/// its forms for people shows that.
#[derive(Clone)]
pub struct RedisUrl {
    text: String,
    url: Box<Url>,
}

// Less than the shortest lease, and a pause of the machine would be the node's
// end; more than the longest, and a node's locks would be held long after it.
const LEASE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3600);
// Less than two beats, and a node that is not asked anything could hear too late.
const RECLAIM: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
// There is a mistake in it if there were more.
const SYNC: RangeInclusive<u32> = 0..=16;
const ANSWER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

const DURABILITIES: [(&str, Durability); 2] =
    [("sync", Durability::Sync), ("relaxed", Durability::Relaxed)];

/// What stands for a password where people look.
const HIDDEN: &str = "***";

/// The query's parameters that are passwords: in the URL of a socket, and of
/// sentinels.
const PASSWORDS: [&str; 2] = ["pass=", "sentinel_pass="];

impl StoreConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let default = StoreUrl::Embedded("data".into());
        let url = section.or("url", StoreUrl::parse, default)?;
        let url = match (url, section.origin_of("url")) {
            (StoreUrl::Embedded(path), Some(origin)) => StoreUrl::Embedded(origin.resolve(path)),
            (url, _) => url,
        };
        let store = Self {
            url,
            durability: section.or("durability", value::choice(&DURABILITIES), Durability::Sync)?,
            lease: section.or("lease", value::duration(LEASE), redis::LEASE_DEFAULT)?,
            timeout: section.or(
                "timeout",
                value::duration(ANSWER_TIMEOUT),
                redis::PATIENCE_DEFAULT,
            )?,
            reclaim: section.or("reclaim", value::duration(RECLAIM), redis::RECLAIM_DEFAULT)?,
            tls: tls(&section)?,
            sync: section.or("sync", value::integer(SYNC), 0)?,
        };
        // A file that is not used would be a promise that is not kept.
        if store.tls != Tls::default() && !store.url.is_secure() {
            let why = "does not begin with `rediss://`: without TLS there is no use for \
                       `tls_ca`, `tls_certificate` and `tls_key`";
            return Err(section.wrong("url", why, None));
        }
        section.finish()?;
        Ok(store)
    }
}

impl StoreUrl {
    /// Whether it is a server that is reached over TLS.
    fn is_secure(&self) -> bool {
        matches!(self, Self::Redis(it) if it.url.is_secure())
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let text = value::nonempty(value)?;
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("embedded", directory)) if !directory.is_empty() => {
                Ok(Self::Embedded(directory.into()))
            }
            _ => RedisUrl::parse(text).map(Self::Redis),
        }
    }
}

impl RedisUrl {
    fn parse(text: String) -> Result<Self, String> {
        // Whatever it is, there may be a password in it.
        let shown = hidden(&text);
        match text.parse().map(Box::new) {
            Ok(url) => Ok(Self { text, url }),
            Err(InvalidUrl::Scheme) => Err(format!(
                "must be \"memory:\", \"embedded:DIR\" or \"redis://HOST:PORT/DB?space=NAME\", \
                 not `{shown}`"
            )),
            Err(InvalidUrl::Server { form, .. }) => {
                Err(format!("is `{shown}`, which is no \"{form}\""))
            }
            Err(error) => Err(format!("is `{shown}`: {error}")),
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self::parse("redis://there".to_owned()).unwrap()
    }

    /// The URL as the store reads it.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// Of the same text all else is the same.
impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RedisUrl {}

// === impl Show ===

/// Without a password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hidden(&self.text))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl Show for StoreUrl {
    fn show(&self) -> String {
        match self {
            Self::Memory => "memory:".to_owned().show(),
            Self::Embedded(path) => format!("embedded:{}", path.display()).show(),
            Self::Redis(url) => url.to_string().show(),
        }
    }
}

impl Show for Durability {
    fn show(&self) -> String {
        name_in(&DURABILITIES, |it| {
            matches!(
                (it, self),
                (Self::Sync, Self::Sync) | (Self::Relaxed, Self::Relaxed)
            )
        })
    }
}

/// The files of TLS: none is an empty text. A path is relative to the file that it stands in.
fn tls(section: &Section<'_>) -> Result<Tls, ConfigError> {
    let file = |key: &'static str| -> Result<Option<PathBuf>, ConfigError> {
        let path = section.or(key, value::text, String::new())?;
        let resolved = match section.origin_of(key) {
            Some(origin) => origin.resolve(path.clone().into()),
            None => path.clone().into(),
        };
        Ok((!path.is_empty()).then_some(resolved))
    };
    let ca = file("tls_ca")?;
    let identity = match (file("tls_certificate")?, file("tls_key")?) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (Some(_), None) => return Err(section.wrong("tls_certificate", "needs `tls_key`", None)),
        (None, Some(_)) => return Err(section.wrong("tls_key", "needs `tls_certificate`", None)),
    };
    Ok(Tls { ca, identity })
}

/// The text of a URL, whether it is a good one or not, without the passwords in
/// it: what is before an `@`, up to the user's name, and that of a query.
fn hidden(text: &str) -> String {
    // One that was not encoded may have any character in it, an `@` too.
    let (user, rest) = match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 3 <= end => {
            let (scheme, user) = text[..end].split_at(start + 3);
            let name = user.split_once(':').map(|(name, _)| format!("{name}:"));
            (
                format!("{scheme}{}{HIDDEN}", name.unwrap_or_default()),
                &text[end..],
            )
        }
        _ => (String::new(), text),
    };
    let parts = rest.split_inclusive(['?', '&']).map(|it| {
        match PASSWORDS.iter().find(|name| it.starts_with(**name)) {
            Some(name) => {
                let end = if it.ends_with('&') { "&" } else { "" };
                format!("{name}{HIDDEN}{end}")
            }
            None => it.to_owned(),
        }
    });
    user + &parts.collect::<String>()
}
