//! Where a space is: the URL of a server, or of those who know where it is, with
//! the name of a space in it.
//!
//! ```text
//!   redis://user:password@host:port/db?space=NAME
//!   redis+unix:///path/of/the/socket?db=0&space=NAME
//!   redis+sentinel://user:password@host:port,host:port/service/db?space=NAME
//!   redis+cluster://user:password@host:port,host:port?space=NAME
//! ```
//!
//! `valkey` is the same as `redis`; `rediss` and `valkeys` are over TLS.

use super::tls;
use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError,
};
use std::fmt;
use std::str::FromStr;

/// The space of a URL that names none.
pub const SPACE_DEFAULT: &str = "default";

/// The longest name of a space, in bytes.
pub const SPACE_BYTES_MAX: usize = 64;

/// Where sentinels listen that no port is given of.
const SENTINEL_PORT: u16 = 26379;

/// What is before the `+` of a scheme.
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// What is behind it, if sentinels know where the server is.
const SENTINEL: &str = "sentinel";
/// If the nodes of a cluster do.
const CLUSTER: &str = "cluster";

/// How a URL looks, by what is behind the `+` of its scheme.
const FORMS: [(&str, &str); 4] = [
    ("", "redis://USER:PASSWORD@HOST:PORT/DB?space=NAME"),
    ("unix", "redis+unix:///SOCKET?db=DB&space=NAME"),
    (
        SENTINEL,
        "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB?space=NAME",
    ),
    (CLUSTER, "redis+cluster://HOST:PORT,HOST:PORT?space=NAME"),
];

/// Servers, and a space in one of them.
#[derive(Clone)]
pub struct Url {
    pub(super) servers: Servers,
    pub(super) space: String,
}

/// What is known of where the server is.
#[derive(Clone)]
pub(super) enum Servers {
    /// It is always there.
    One(ConnectionInfo),
    /// Sentinels know where the master of a service is.
    Sentinels(Sentinels),
    /// Some nodes of a cluster, each of which knows where the master of a slot is.
    Cluster(Vec<ConnectionInfo>),
}

/// See [`Servers::Sentinels`].
#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) sentinels: Vec<ConnectionInfo>,
    pub(super) service: String,
    /// How to use the master, wherever it is.
    pub(super) server: ConnectionInfo,
}

/// What is wrong with a URL.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It does not begin as the URL of a server does.
    #[error(
        "a URL of a server begins with `redis://`, `rediss://`, `redis+unix://`, \
         `redis+sentinel://` or `redis+cluster://`"
    )]
    Scheme,
    /// The space's name is not allowed.
    #[error(
        "`{0}` is no name of a space: that is 1 to {SPACE_BYTES_MAX} of a-z, 0-9, `-`, `_`, `.`"
    )]
    Space(String),
    /// Sentinels are to be asked for nothing.
    #[error("the URL of sentinels names the service behind them: `redis+sentinel://HOST/SERVICE`")]
    Service,
    /// A cluster has one database only.
    #[error("a cluster has no database but 0")]
    Database,
    /// Something is behind a `#`: there is nothing to be said there.
    #[error("nothing may be behind a `#`: a server's certificate is always checked")]
    Fragment,
    /// The rest of it.
    #[error("the URL of the server is no `{form}`")]
    Server {
        /// How such a URL looks.
        form: &'static str,
        /// What is wrong.
        source: RedisError,
    },
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let (scheme, found_by) = scheme.split_once('+').unwrap_or((scheme, ""));
        let form = FORMS.iter().find(|it| it.0 == found_by);
        let (_, form) = form.ok_or(InvalidUrl::Scheme)?;
        if !SCHEMES.contains(&scheme) {
            return Err(InvalidUrl::Scheme);
        }
        let scheme = Scheme { scheme, form };
        let (servers, space) = match found_by {
            SENTINEL => sentinels(scheme, rest)?,
            CLUSTER => cluster(scheme, rest)?,
            _ => {
                let one = Parsed::of(text, form)?;
                (Servers::One(one.server), one.space)
            }
        };
        Ok(Self { servers, space })
    }
}

impl Url {
    /// Whether servers are reached over TLS.
    pub fn is_secure(&self) -> bool {
        match &self.servers {
            Servers::One(server) => tls::is_secure(server),
            Servers::Sentinels(it) => tls::is_secure(&it.server),
            Servers::Cluster(seeds) => seeds.iter().any(tls::is_secure),
        }
    }
}

/// Without what is secret in it.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, space } = self;
        match servers {
            Servers::One(server) => write!(f, "redis at {}", server.addr())?,
            Servers::Sentinels(it) => {
                write!(f, "redis `{}` by sentinels at ", it.service)?;
                write_all(f, &it.sentinels)?;
            }
            Servers::Cluster(seeds) => {
                f.write_str("redis cluster at ")?;
                write_all(f, seeds)?;
            }
        }
        write!(f, ", space {space}")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// What the URLs of each of several hosts begin with, and how the whole one looks.
#[derive(Clone, Copy)]
struct Scheme<'a> {
    scheme: &'a str,
    form: &'static str,
}

/// A URL with one host in it, and what of it is ours.
struct Parsed {
    server: ConnectionInfo,
    space: String,
    has_port: bool,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

impl Parsed {
    fn of(text: &str, form: &'static str) -> Result<Self, InvalidUrl> {
        let not = |source| InvalidUrl::Server { form, source };
        let invalid = || not((ErrorKind::InvalidClientConfig, "it is no URL").into());
        let url = redis::parse_redis_url(text).ok_or_else(invalid)?;
        if url.fragment().is_some() {
            return Err(InvalidUrl::Fragment);
        }
        let value = |key: &str| {
            let mut pairs = url.query_pairs();
            let pair = pairs.find(|(name, _)| name == key);
            pair.map(|(_, value)| value.into_owned())
        };
        let space = value("space").unwrap_or_else(|| SPACE_DEFAULT.to_owned());
        if !is_space(&space) {
            return Err(InvalidUrl::Space(space));
        }
        let (sentinel_user, sentinel_password) = (value("sentinel_user"), value("sentinel_pass"));
        let has_port = url.port().is_some();
        let server = url.into_connection_info().map_err(not)?;
        // Answers have to come at once, and messages of channels between them.
        let tcp = server.tcp_settings().clone().set_nodelay(true);
        let settings = server.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            server: server.set_tcp_settings(tcp).set_redis_settings(settings),
            space,
            has_port,
            sentinel_user,
            sentinel_password,
        })
    }

    /// The sentinel at its address, with what it knows this node by.
    fn into_sentinel(self) -> ConnectionInfo {
        let mut settings = redis::RedisConnectionInfo::default();
        if let Some(user) = &self.sentinel_user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.sentinel_password {
            settings = settings.set_password(password);
        }
        let server = self.server.set_redis_settings(settings);
        match server.addr().clone() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }
                if !self.has_port =>
            {
                at(server, host, SENTINEL_PORT)
            }
            _ => server,
        }
    }
}

/// A server that is to be used in the same way, elsewhere.
pub(super) fn at(server: ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match server.addr() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    server.set_addr(address)
}

fn sentinels(scheme: Scheme<'_>, rest: &str) -> Result<(Servers, String), InvalidUrl> {
    let (authority, tail) = split(rest);
    let path = tail.strip_prefix('/').ok_or(InvalidUrl::Service)?;
    let end = path.find(['/', '?', '#']).unwrap_or(path.len());
    let (service, tail) = path.split_at(end);
    if service.is_empty() {
        return Err(InvalidUrl::Service);
    }
    let all = parse_all(scheme, authority, tail)?;
    let (server, space) = (all[0].server.clone(), all[0].space.clone());
    let sentinels = Sentinels {
        sentinels: all.into_iter().map(Parsed::into_sentinel).collect(),
        service: service.to_owned(),
        server,
    };
    Ok((Servers::Sentinels(sentinels), space))
}

fn cluster(scheme: Scheme<'_>, rest: &str) -> Result<(Servers, String), InvalidUrl> {
    let (authority, tail) = split(rest);
    let all = parse_all(scheme, authority, tail)?;
    if all[0].server.redis_settings().db() != 0 {
        return Err(InvalidUrl::Database);
    }
    let space = all[0].space.clone();
    let seeds = all.into_iter().map(|it| it.server).collect();
    Ok((Servers::Cluster(seeds), space))
}

/// What is before the path, the query and the fragment, and these.
fn split(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// Each of several hosts, of which there is one at least, with all the rest.
fn parse_all(scheme: Scheme<'_>, authority: &str, tail: &str) -> Result<Vec<Parsed>, InvalidUrl> {
    let Scheme { scheme, form } = scheme;
    let (user, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let parse = |host| Parsed::of(&format!("{scheme}://{user}{host}{tail}"), form);
    hosts.split(',').map(parse).collect()
}

fn write_all(f: &mut fmt::Formatter<'_>, servers: &[ConnectionInfo]) -> fmt::Result {
    for (at, server) in servers.iter().enumerate() {
        let separator = if at > 0 { "," } else { "" };
        write!(f, "{separator}{}", server.addr())?;
    }
    Ok(())
}

fn is_space(name: &str) -> bool {
    let is_allowed = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=SPACE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> ConnectionInfo {
        let url: Url = text.parse().unwrap();
        match url.servers {
            Servers::One(server) => server,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn a_url_names_a_server_and_a_space_and_hides_the_password() {
        let text = "redis://me:secret@there:7000/3?space=shop-1";
        let url: Url = text.parse().unwrap();
        assert_eq!(url.to_string(), "redis at there:7000, space shop-1");
        assert_eq!(format!("{url:?}"), "Url(redis at there:7000, space shop-1)");
        let server = one(text);
        let settings = server.redis_settings();
        assert_eq!((settings.db(), settings.username()), (3, Some("me")));
        assert!(server.tcp_settings().nodelay());
        let url: Url = "redis://there".parse().unwrap();
        assert_eq!(url.to_string(), "redis at there:6379, space default");
        let url: Url = "redis+unix:///a/socket?space=b".parse().unwrap();
        assert_eq!(url.to_string(), "redis at /a/socket, space b");
    }

    #[test]
    fn a_server_is_reached_over_tls_if_its_scheme_says_so() {
        for (text, is_secure) in [
            ("redis://there", false),
            ("valkey://there", false),
            ("rediss://there", true),
            ("valkeys://there", true),
        ] {
            let is = matches!(one(text).addr(), ConnectionAddr::TcpTls { .. });
            assert_eq!(is, is_secure, "{text}");
            let (scheme, rest) = text.split_once(':').unwrap();
            for url in [
                text.to_owned(),
                format!("{scheme}+sentinel:{rest}/shop"),
                format!("{scheme}+cluster:{rest},here"),
            ] {
                assert_eq!(url.parse::<Url>().unwrap().is_secure(), is_secure, "{url}");
            }
        }
        let url: Result<Url, _> = "rediss://there#insecure".parse();
        assert!(matches!(url, Err(InvalidUrl::Fragment)));
    }

    #[test]
    fn the_url_of_sentinels_names_them_and_a_service() {
        let text = "rediss+sentinel://me:a@b:7000,c/shop/2?space=s&sentinel_user=u&sentinel_pass=p";
        let url: Url = text.parse().unwrap();
        let shown = "redis `shop` by sentinels at b:7000,c:26379, space s";
        assert_eq!(url.to_string(), shown);
        let Servers::Sentinels(it) = url.servers else {
            panic!("{url}");
        };
        let settings = it.server.redis_settings();
        assert_eq!((settings.db(), settings.username()), (2, Some("me")));
        assert!(matches!(it.server.addr(), ConnectionAddr::TcpTls { .. }));
        for sentinel in &it.sentinels {
            let settings = sentinel.redis_settings();
            assert_eq!((settings.db(), settings.username()), (0, Some("u")));
            assert_eq!(settings.password(), Some("p"));
            assert!(matches!(sentinel.addr(), ConnectionAddr::TcpTls { .. }));
        }
        for text in [
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a?space=b",
        ] {
            let url: Result<Url, _> = text.parse();
            assert!(matches!(url, Err(InvalidUrl::Service)), "{text}");
        }
    }

    #[test]
    fn the_url_of_a_cluster_names_some_of_its_nodes() {
        let text = "redis+cluster://me:secret@a:7000,b?space=s";
        let url: Url = text.parse().unwrap();
        assert_eq!(url.to_string(), "redis cluster at a:7000,b:6379, space s");
        let Servers::Cluster(seeds) = url.servers else {
            panic!("{url}");
        };
        let users = seeds.iter().map(|it| it.redis_settings().username());
        assert!(users.eq([Some("me"), Some("me")]));
        let url: Result<Url, _> = "redis+cluster://a,b/1".parse();
        assert!(matches!(url, Err(InvalidUrl::Database)));
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
        for url in [
            "there",
            "redis:there",
            "http://there",
            "memory:",
            "http+cluster://there",
            "redis+http://there",
            "redis+unix+cluster://there",
            // The client takes it; one way to say it is enough.
            "unix:///there",
        ] {
            assert!(
                matches!(url.parse::<Url>(), Err(InvalidUrl::Scheme)),
                "{url}"
            );
        }
        for url in [
            "redis://there/x",
            "redis://",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "rediss+unix:///there",
        ] {
            let Err(InvalidUrl::Server { form, .. }) = url.parse::<Url>() else {
                panic!("{url}");
            };
            let scheme = |it: &str| it.split_once("://").unwrap().0.replace("rediss", "redis");
            assert_eq!(scheme(form), scheme(url), "{url}");
        }
    }
}
