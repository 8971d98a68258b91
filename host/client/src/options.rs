//! How to reach a server, and how long to try.

use crate::error::Error;
use std::fmt;
use std::time::Duration;

/// Where the lock API is listened for unless told otherwise.
const SERVER: &str = "127.0.0.1:50051";

/// The variables that [`Options::from_env`] reads.
const SERVER_VARIABLE: &str = "LOCKPORT_LOCK_ADDR";
/// See [`SERVER_VARIABLE`].
const TOKEN_VARIABLE: &str = "LOCKPORT_API_TOKEN";

/// How to reach a server, and how long to try.
#[derive(Clone)]
pub struct Options {
    /// `host:port` or `http://host:port`. Default: `127.0.0.1:50051`.
    pub server: String,
    /// The bearer token, if the server asks for one.
    pub token: Option<String>,
    /// How long to try to connect. A silent connection that was given up is
    /// not given up again within it: for leases shorter than 15 s choose a
    /// sixth of them, or two such in a row cost the lock. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long to wait for an answer before the request is sent again, over
    /// another connection if this one was silent meanwhile; for an acquire, on
    /// top of its wait. Default: 10 s.
    pub request_timeout: Duration,
    /// For how long an operation is asked again while it fails in a way that
    /// may pass. Renewals are asked again until their deadline. Default: 30 s.
    pub patience: Duration,
}

/// What session to open. All times are between 1 s and 1 h.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// How long it lives after each beat. Without it: 30 s.
    pub ttl: Option<Duration>,
    /// How long it lives after its stream broke, to be attached again. Without
    /// it: as `ttl`.
    pub grace: Option<Duration>,
    /// Whose it is, in words for an operator; at most 256 bytes. It is the
    /// holder of those of its grants that name none.
    pub holder: Option<String>,
}

// === impl Options ===

impl Options {
    /// The options with which a server is reached that asks for no token.
    pub fn server(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            ..Self::default()
        }
    }

    /// The options that the environment gives: the server is
    /// `LOCKPORT_LOCK_ADDR`, the token `LOCKPORT_API_TOKEN`. What is not set or
    /// empty is as by default.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
        let default = Self::default();
        Self {
            server: variable(SERVER_VARIABLE).unwrap_or(default.server),
            token: variable(TOKEN_VARIABLE),
            ..default
        }
    }

    /// The server as a URI.
    pub(crate) fn uri(&self) -> Result<http::Uri, Error> {
        let refuse = |why: &str| {
            let server = &self.server;
            Error::local(format!(
                "`{server}` is no server: {why}; say `host:port` or `http://host:port`"
            ))
        };
        let authority = match self.server.split_once("://") {
            Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some((scheme, _)) => return Err(refuse(&format!("`{scheme}` is not spoken"))),
            None => &self.server,
        };
        let authority: http::uri::Authority =
            authority.parse().map_err(|_| refuse("it has no address"))?;
        if authority.port_u16().is_none() || authority.host().is_empty() {
            return Err(refuse("it has no host or no port"));
        }
        let uri = http::Uri::builder().scheme("http").authority(authority);
        uri.path_and_query("/")
            .build()
            .map_err(|_| refuse("it has no address"))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            server: SERVER.to_owned(),
            token: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All but the token's text, and none forgotten.
        let Self {
            server,
            token,
            connect_timeout,
            request_timeout,
            patience,
        } = self;
        f.debug_struct("Options")
            .field("server", server)
            .field("token", &token.as_ref().map(|_| ".."))
            .field("connect_timeout", connect_timeout)
            .field("request_timeout", request_timeout)
            .field("patience", patience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(server: &str) -> Result<String, Error> {
        Options::server(server).uri().map(|it| it.to_string())
    }

    #[test]
    fn a_server_is_a_host_and_a_port_with_or_without_its_scheme() {
        for server in ["a:1", "http://a:1", "http://a:1/"] {
            assert_eq!(uri(server).unwrap(), "http://a:1/");
        }
        assert_eq!(uri("[::1]:50051").unwrap(), "http://[::1]:50051/");
    }

    #[test]
    fn what_is_no_server_is_refused_with_what_one_looks_like() {
        for server in [
            "",
            "a",
            ":1",
            "https://a:1",
            "a:1/path",
            "a:b",
            "a:99999",
            "a b:1",
        ] {
            let error = uri(server).unwrap_err().to_string();
            assert!(error.contains("say `host:port`"), "{server}: {error}");
        }
    }

    #[test]
    fn the_token_is_not_printed() {
        let options = Options {
            token: Some("hush".to_owned()),
            ..Options::default()
        };
        let printed = format!("{options:?}");
        assert!(!printed.contains("hush"), "{printed}");
    }
}
