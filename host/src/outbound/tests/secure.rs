//! Servers that are reached over TLS. Their certificates are made by `openssl`,
//! anew for each test.

use super::*;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tokio_rustls::TlsAcceptor;

/// An authority, and what it has signed.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let ca = ["-addext", "basicConstraints=critical,CA:TRUE"];
        authority.make("ca", &ca);
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    /// Makes a key and a certificate.
    fn make(&self, name: &str, more: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-subj", &format!("/CN={name}")]);
        openssl
            .arg("-keyout")
            .arg(self.file(&format!("{name}.key")));
        openssl.arg("-out").arg(self.file(&format!("{name}.pem")));
        let made = openssl.args(more).stderr(Stdio::null()).status().unwrap();
        assert!(made.success(), "openssl made no certificate");
    }

    /// What a server needs that is called so and speaks these protocols.
    fn server(&self, called: &str, protocols: &[&str]) -> Arc<ServerConfig> {
        let [ca, key] = ["ca.pem", "ca.key"].map(|it| self.file(it).display().to_string());
        let names = format!("subjectAltName={called}");
        let end = "basicConstraints=critical,CA:FALSE";
        self.make(
            "server",
            &[
                "-CA", &ca, "-CAkey", &key, "-addext", &names, "-addext", end,
            ],
        );
        let certificate = CertificateDer::from_pem_slice(&self.text("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&self.text("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Where the authority is trusted, and `a.example` leads here.
    fn world(&self) -> World {
        World {
            trust: Some(trusting(Some(&self.file("ca.pem"))).unwrap()),
            ..World::of(vec![("a.example", vec!["127.0.0.1".parse().unwrap()])])
        }
    }
}

/// A server that says by which protocol it was asked, and for whom.
async fn serve(config: Arc<ServerConfig>) -> Server {
    Server::start(move |stream| {
        let acceptor = TlsAcceptor::from(config.clone());
        async move {
            let Ok(tls) = acceptor.accept(stream).await else {
                return;
            };
            let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            let answer = service_fn(|request: Request<Incoming>| async move {
                let host = request.headers().get(HOST).map(|it| it.to_str().unwrap());
                let host = host.or(request.uri().authority().map(|it| it.as_str()));
                let said = format!("{:?} {}", request.version(), host.unwrap_or("nobody"));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
            });
            let io = TokioIo::new(tls);
            // It ends when the client goes.
            let _ = if is_h2 {
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                http2.serve_connection(io, answer).await
            } else {
                let http1 = hyper::server::conn::http1::Builder::new();
                http1.serve_connection(io, answer).await
            };
        }
    })
    .await
}

#[tokio::test]
async fn a_server_of_a_trusted_authority_is_reached_by_the_best_protocol_of_both() {
    let authority = Authority::new();
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let server = serve(authority.server("DNS:a.example", protocols)).await;
        let host = format!("a.example:{}", server.address.port());
        let url = format!("https://{host}");
        let private = format!("private {url}");
        let bench = Bench::with(&[&private], |_| {}, authority.world());
        let expected = format!("{version} {host}");
        for _ in 0..3 {
            assert_eq!(bench.get(&url).await, Ok((200, expected.clone())));
        }
        assert_eq!(server.accepted(), 1, "{version}");
        drop(bench.door);
    }
}

#[tokio::test]
async fn an_address_can_have_a_certificate_of_its_own() {
    let authority = Authority::new();
    let server = serve(authority.server("IP:127.0.0.1", &["h2"])).await;
    let url = format!("https://{}", server.address);
    let bench = Bench::with(&[&url], |_| {}, authority.world());
    assert_eq!(bench.get(&url).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_is_not_asked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for config in [
        ours.server("DNS:b.example", &[]),
        theirs.server("DNS:a.example", &[]),
    ] {
        let server = serve(config).await;
        let url = format!("https://a.example:{}", server.address.port());
        let private = format!("private {url}");
        let bench = Bench::with(&[&private], |_| {}, ours.world());
        assert_eq!(bench.fault(&url).await, Fault::Certificate);
        assert_eq!(bench.metrics.count(OutboundOutcome::Tls), 1);
        bench.closed().await;
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_that() {
    let silent =
        Server::start(|mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let authority = Authority::new();
    let plain = Server::start(|mut stream| async move {
        // What a server of plain HTTP says to a greeting of TLS.
        let _ = stream.read_u8().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let url = |it: &Server| format!("https://{}", it.address);
    let grants = [&*url(&plain), &*url(&silent)];
    let soon = |it: &mut Limits| it.connect = Duration::from_millis(200);
    let bench = Bench::with(&grants, soon, authority.world());
    assert_eq!(bench.fault(&url(&plain)).await, Fault::Tls);
    assert_eq!(bench.fault(&url(&silent)).await, Fault::ConnectTimeout);
    bench.closed().await;
}
