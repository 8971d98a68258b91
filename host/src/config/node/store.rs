//! `[store]`: which store, where it is, and how it is used.

use super::name_in;
use crate::config::document::ConfigError;
use crate::config::section::Section;
use crate::config::value::{self, Show, Value};
use lockport_store::embedded::Durability;
use lockport_store::redis::{self, InvalidUrl, Url};
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
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: String,
}

// Less than the shortest lease, and a pause of the machine would be the node's
// end; more than the longest, and a node's locks would be held long after it.
const LEASE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3600);
// Less than two beats, and a node that is not asked anything could hear too late.
const RECLAIM: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const ANSWER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

const DURABILITIES: [(&str, Durability); 2] =
    [("sync", Durability::Sync), ("relaxed", Durability::Relaxed)];

/// What stands for a password where people look.
const HIDDEN: &str = "***";

/// The query's parameter that is a password, in the URL of a socket.
const PASSWORD_PARAMETER: &str = "pass=";

/// What a URL of a server begins with, of those that are served.
const SERVERS: [&str; 4] = ["redis", "redis+unix", "valkey", "valkey+unix"];

/// Those that are not served yet.
const LATER: [&str; 4] = ["rediss", "valkeys", "redis+sentinel", "redis+cluster"];

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
        };
        section.finish()?;
        Ok(store)
    }
}

impl StoreUrl {
    fn parse(value: &Value) -> Result<Self, String> {
        let text = value::nonempty(value)?;
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("embedded", directory)) if !directory.is_empty() => {
                Ok(Self::Embedded(directory.into()))
            }
            Some((it, _)) if SERVERS.contains(&it) => RedisUrl::parse(&text).map(Self::Redis),
            Some((scheme, _)) if LATER.contains(&scheme) => {
                Err(format!("begins with `{scheme}:`, which is not served yet"))
            }
            // What follows may be a password.
            _ => Err(format!(
                "must be \"memory:\", \"embedded:DIR\" or \"redis://HOST:PORT/DB?space=NAME\", \
                 not `{}`",
                hidden(&text)
            )),
        }
    }
}

impl RedisUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed: Result<Url, InvalidUrl> = text.parse();
        match parsed {
            Ok(_) => Ok(Self {
                text: text.to_owned(),
            }),
            Err(InvalidUrl::Server(_)) => Err(format!(
                "is `{}`, which is no \"redis://USER:PASSWORD@HOST:PORT/DB?space=NAME\" and no \
                 \"redis+unix:///SOCKET?db=DB&space=NAME\"",
                hidden(text)
            )),
            Err(error) => Err(format!("is `{}`: {error}", hidden(text))),
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            text: "redis://there".to_owned(),
        }
    }

    /// The URL with all that is in it, for the store.
    pub(crate) fn secret(&self) -> &str {
        &self.text
    }
}

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
    let is_password = |it: &str| it.starts_with(PASSWORD_PARAMETER);
    let parts = rest
        .split_inclusive(['?', '&'])
        .map(|it| match is_password(it) {
            true => {
                let end = if it.ends_with('&') { "&" } else { "" };
                format!("{PASSWORD_PARAMETER}{HIDDEN}{end}")
            }
            false => it.to_owned(),
        });
    user + &parts.collect::<String>()
}
