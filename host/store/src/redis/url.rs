//! Where a space is: the URL of a server, with the name of a space in it.
//!
//! ```text
//!   redis://user:password@host:port/db?space=NAME
//!   redis+unix:///path/of/the/socket?db=0&space=NAME
//! ```

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError};
use std::fmt;
use std::str::FromStr;

/// The space of a URL that names none.
pub const SPACE_DEFAULT: &str = "default";

/// The longest name of a space, in bytes.
pub const SPACE_BYTES_MAX: usize = 64;

/// A server, and a space in it.
#[derive(Clone)]
pub struct Url {
    pub(super) server: ConnectionInfo,
    pub(super) space: String,
}

/// What is wrong with a URL.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It does not begin as the URL of a server does.
    #[error("a URL of a server begins with `redis://` or `redis+unix://`")]
    Scheme,
    /// The space's name is not allowed.
    #[error(
        "`{0}` is no name of a space: that is 1 to {SPACE_BYTES_MAX} of a-z, 0-9, `-`, `_`, `.`"
    )]
    Space(String),
    /// The rest of it.
    #[error("the URL of the server is not understood")]
    Server(#[source] RedisError),
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = redis::parse_redis_url(text).ok_or(InvalidUrl::Scheme)?;
        let named = url.query_pairs().find(|(name, _)| name == "space");
        let space = named.map_or_else(|| SPACE_DEFAULT.to_owned(), |(_, it)| it.into_owned());
        if !is_space(&space) {
            return Err(InvalidUrl::Space(space));
        }
        let server = url.into_connection_info().map_err(InvalidUrl::Server)?;
        // Answers have to come at once, and messages of channels between them.
        let tcp = server.tcp_settings().clone().set_nodelay(true);
        let settings = server.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            server: server.set_tcp_settings(tcp).set_redis_settings(settings),
            space,
        })
    }
}

/// Without what is secret in it.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, space } = self;
        write!(f, "redis at {}, space {space}", server.addr())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

fn is_space(name: &str) -> bool {
    let is_allowed = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=SPACE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_and_a_space_and_hides_the_password() {
        let url: Url = "redis://me:secret@there:7000/3?space=shop-1"
            .parse()
            .unwrap();
        assert_eq!(url.to_string(), "redis at there:7000, space shop-1");
        assert_eq!(format!("{url:?}"), "Url(redis at there:7000, space shop-1)");
        let settings = url.server.redis_settings();
        assert_eq!((settings.db(), settings.username()), (3, Some("me")));
        assert!(url.server.tcp_settings().nodelay());
        let url: Url = "redis://there".parse().unwrap();
        assert_eq!(url.to_string(), "redis at there:6379, space default");
        let url: Url = "redis+unix:///a/socket?space=b".parse().unwrap();
        assert_eq!(url.to_string(), "redis at /a/socket, space b");
    }

    #[test]
    fn a_name_of_a_space_that_could_be_mistaken_is_refused() {
        let long = "a".repeat(SPACE_BYTES_MAX + 1);
        for space in ["", "A", "a%7D", "a:b", "a/b", &long] {
            let url: Result<Url, _> = format!("redis://there?space={space}").parse();
            assert!(matches!(url, Err(InvalidUrl::Space(_))), "{space}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in ["there", "http://there", "memory:"] {
            assert!(
                matches!(url.parse::<Url>(), Err(InvalidUrl::Scheme)),
                "{url}"
            );
        }
        for url in ["redis://there/x", "redis://"] {
            assert!(url.parse::<Url>().is_err(), "{url}");
        }
    }
}
