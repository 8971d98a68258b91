//! A server that is reached over TLS: whom the node believes, and whether it is
//! believed. The certificates are made by `openssl`, anew for each test.

mod seeds;

use super::*;
use crate::redis::{Identity, Tls, TlsError};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// For whom servers have certificates: where they are, and where they are not.
const NAMES: [(&str, &str); 2] = [("here", "IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere")];

/// What `openssl` goes by, so that nothing is in a certificate but what is asked
/// for.
const CONFIG: &str = "
[req]
distinguished_name = n
[n]
[ca]
default_ca = c
[c]
database = $ENV::DATABASE
new_certs_dir = $ENV::ISSUED
rand_serial = yes
default_md = sha256
policy = p
copy_extensions = copy
[p]
commonName = supplied
";

/// Files of certificates and keys.
struct Files(tempfile::TempDir);

impl Files {
    /// Those of two authorities, and of servers and clients of each.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.file("config"), CONFIG).unwrap();
        std::fs::write(files.file("database"), "").unwrap();
        for authority in ["ours", "theirs"] {
            files.make(authority, &["-addext", "basicConstraints=critical,CA:TRUE"]);
            let (ca, key) = (files.certificate(authority), files.key(authority));
            let issued = ["-CA", ca.to_str().unwrap(), "-CAkey", key.to_str().unwrap()];
            for (name, address) in NAMES {
                let address = format!("subjectAltName={address}");
                let more = [&issued[..], &["-addext", &address]].concat();
                files.make(&format!("{authority}-{name}"), &more);
            }
        }
        files
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.key"))
    }

    /// Makes a key and a certificate.
    fn make(&self, name: &str, more: &[&str]) {
        let mut openssl = self.request(name);
        openssl.args(["-x509", "-days", "2"]).args(more);
        openssl.arg("-out").arg(self.certificate(name));
        run(openssl, name);
    }

    /// Makes a key and a certificate of ours for here, that has run out.
    fn make_expired(&self, name: &str) {
        let request = self.file("request");
        let mut openssl = self.request(name);
        openssl.args(["-addext", &format!("subjectAltName={}", NAMES[0].1)]);
        openssl.arg("-out").arg(&request);
        run(openssl, name);
        let mut openssl = Command::new("openssl");
        openssl.env("DATABASE", self.file("database"));
        openssl.env("ISSUED", self.0.path());
        openssl.args(["ca", "-batch", "-notext"]);
        openssl.args(["-startdate", "20200101000000Z"]);
        openssl.args(["-enddate", "20200103000000Z"]);
        openssl.arg("-config").arg(self.file("config"));
        openssl.arg("-cert").arg(self.certificate("ours"));
        openssl.arg("-keyfile").arg(self.key("ours"));
        openssl.arg("-in").arg(request);
        openssl.arg("-out").arg(self.certificate(name));
        run(openssl, name);
    }

    /// Makes a key, and what is to be put into a certificate.
    fn request(&self, name: &str) -> Command {
        let mut openssl = Command::new("openssl");
        openssl.env("DATABASE", "").env("ISSUED", "");
        openssl.args(["req", "-nodes", "-newkey", "ec"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.arg("-subj").arg(format!("/CN={name}"));
        openssl.arg("-config").arg(self.file("config"));
        openssl.arg("-keyout").arg(self.key(name));
        openssl
    }

    /// A server with a certificate, that knows our authority.
    fn server(&self, name: &str, more: &[&str]) -> Server {
        Server::start_with(|port, _| self.listening(name, &port.to_string(), more))
    }

    /// What such a server is told.
    fn listening(&self, name: &str, port: &str, more: &[&str]) -> Vec<String> {
        let path = |it: PathBuf| it.to_str().unwrap().to_owned();
        let (certificate, key) = (path(self.certificate(name)), path(self.key(name)));
        let ca = path(self.certificate("ours"));
        let tls = [
            ["--port", "0"],
            ["--tls-port", port],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &ca],
        ];
        strings(&[tls.as_flattened(), more].concat())
    }

    fn trusting(&self, authority: &str) -> Tls {
        Tls {
            ca: Some(self.certificate(authority)),
            identity: None,
        }
    }

    /// Trusts ours, and shows a certificate.
    fn showing(&self, name: &str) -> Tls {
        Tls {
            identity: Some(Identity {
                certificate: self.certificate(name),
                key: self.key(name),
            }),
            ..self.trusting("ours")
        }
    }
}

fn run(mut openssl: Command, name: &str) {
    let made = openssl.stderr(Stdio::null()).status();
    assert!(made.expect("openssl is installed").success(), "{name}");
}

/// What a server without mutual TLS is told.
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

fn url_of(server: &Server) -> String {
    format!("rediss://127.0.0.1:{}", server.port())
}

async fn open_by(server: &Server, tls: Tls) -> Result<Redis, OpenError> {
    open_at(&url_of(server), tls).await
}

async fn open_at(url: &str, tls: Tls) -> Result<Redis, OpenError> {
    let options = Options {
        tls,
        reclaim: Duration::from_millis(1_500),
        ..Options::default()
    };
    Redis::open_with(url, options).await
}

/// Why there is no connection.
async fn refusal(server: &Server, tls: Tls) -> TlsError {
    match open_by(server, tls).await.err() {
        Some(OpenError::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Whether a lock goes from one node to another: on both connections of each.
async fn hand_over(one: &Redis, other: &Redis) {
    let holder = of_caller(&["a"]);
    acquire_again(one, &holder).await;
    let request = patient("a");
    let queued = queue(other, &request).await;
    let principal = caller().principal;
    let held = one.lock(name("a")).await.unwrap();
    let forced = one.force_release(name("a"), principal, Permission::all(), "a test".to_owned());
    assert_eq!((held.holding, forced.await.unwrap().len()), (1, 1));
    queued.await.unwrap();
    other.end(transaction_of(&request));
    until_free(one, "a").await;
}

#[test]
fn a_server_with_a_certificate_of_a_trusted_authority_is_used_over_tls() {
    let files = Files::new();
    let server = files.server("ours-here", &ANYBODY);
    block_on(async {
        let one = open_by(&server, files.trusting("ours")).await.unwrap();
        let other = open_by(&server, files.trusting("ours")).await.unwrap();
        hand_over(&one, &other).await;
    });
}

#[test]
fn a_server_that_could_be_anybody_is_refused() {
    let files = Files::new();
    let server = files.server("ours-here", &ANYBODY);
    let misnamed = files.server("ours-elsewhere", &ANYBODY);
    let plain = Server::listening(&[]);
    block_on(async {
        let refused = refusal(&server, files.trusting("theirs")).await;
        assert_eq!(refused, TlsError::Issuer);
        let refused = refusal(&server, Tls::default()).await;
        assert_eq!(refused, TlsError::Issuer, "the machine does not know it");
        let refused = refusal(&misnamed, files.trusting("ours")).await;
        assert_eq!(refused, TlsError::Name("127.0.0.1".to_owned()));
        let refused = refusal(&plain, files.trusting("ours")).await;
        assert_eq!(refused, TlsError::Silent);
    });
}

#[test]
fn a_server_that_asks_who_the_node_is_is_shown_its_certificate() {
    let files = Files::new();
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let server = files.server("ours-here", &["--tls-protocols", protocols]);
        block_on(async {
            let one = open_by(&server, files.showing("ours-elsewhere"))
                .await
                .unwrap();
            let other = open_by(&server, files.showing("ours-here")).await.unwrap();
            hand_over(&one, &other).await;
            let refused = refusal(&server, files.trusting("ours")).await;
            assert_eq!(refused, TlsError::IdentityWanted, "{protocols}");
            let refused = refusal(&server, files.showing("theirs-here")).await;
            assert_eq!(refused, TlsError::IdentityRefused, "{protocols}");
        });
    }
}

#[test]
fn a_certificate_that_has_run_out_is_said_to_have() {
    let files = Files::new();
    files.make_expired("expired");
    let over = files.server("expired", &ANYBODY);
    block_on(async {
        let refused = refusal(&over, files.trusting("ours")).await;
        assert_eq!(refused, TlsError::Time);
        assert!(refused.to_string().contains("has run out"), "{refused}");
    });
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let server = files.server("ours-here", &["--tls-protocols", protocols]);
        block_on(async {
            let refused = refusal(&server, files.showing("expired")).await;
            assert_eq!(refused, TlsError::IdentityExpired, "{protocols}");
        });
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let files = Files::new();
    let server = files.server("ours-here", &ANYBODY);
    let of = |file: &str| Tls {
        ca: Some(files.file(file)),
        identity: None,
    };
    block_on(async {
        let refused = refusal(&server, of("nothing")).await;
        assert!(refused.to_string().contains("nothing` cannot be read"));
        let refused = refusal(&server, of("config")).await;
        let expected = format!(
            "there is no certificate in PEM form in `{}`",
            files.file("config").display()
        );
        assert_eq!(refused.to_string(), expected);
        let mut tls = files.showing("ours-here");
        let identity = tls.identity.as_mut().unwrap();
        identity.key = files.certificate("ours-here");
        let refused = refusal(&server, tls).await.to_string();
        assert!(refused.starts_with("there is no private key"), "{refused}");
        let mut tls = files.showing("ours-here");
        let identity = tls.identity.as_mut().unwrap();
        identity.key = files.key("ours-elsewhere");
        let refused = refusal(&server, tls).await;
        assert!(matches!(refused, TlsError::Unusable(_)), "{refused:?}");
    });
}

#[test]
fn certificates_can_be_replaced_while_a_node_runs() {
    let files = Files::new();
    let mut server = files.server("ours-here", &["--tls-auth-clients", "optional"]);
    block_on(async {
        let one = open_by(&server, files.showing("ours-here")).await.unwrap();
        let other = open_by(&server, files.showing("ours-here")).await.unwrap();
        hand_over(&one, &other).await;
        let copies = [
            (files.certificate("theirs"), files.certificate("ours")),
            (
                files.certificate("theirs-here"),
                files.certificate("ours-here"),
            ),
            (files.key("theirs-here"), files.key("ours-here")),
        ];
        for (from, to) in copies {
            std::fs::copy(from, to).unwrap();
        }
        server.replace();
        hand_over(&one, &other).await;
    });
}
