//! Those who know where the server is, over TLS: a cluster, and sentinels. One that
//! says nothing, or is not whom it should be, keeps no node from asking the others.

use super::*;
use crate::redis::server::cluster::Cluster;
use crate::redis::{Lost, Silence};
use std::net::{Ipv4Addr, TcpListener};

/// The name of the service that the sentinel watches over.
const SERVICE: &str = "shop";

/// Who is of no use: one that takes connections and says nothing on them, and one
/// with a certificate of somebody else.
struct Useless {
    silent: TcpListener,
    stranger: Server,
}

impl Useless {
    fn new(files: &Files) -> Self {
        Self {
            silent: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            stranger: files.server("theirs-here", &ANYBODY),
        }
    }

    fn silent(&self) -> u16 {
        self.silent.local_addr().unwrap().port()
    }
}

/// How those at these ports are asked: the second is the first that is.
fn url(kind: &str, ports: &[u16], tail: &str) -> String {
    let hosts: Vec<String> = ports.iter().map(|it| format!("127.0.0.1:{it}")).collect();
    format!("rediss+{kind}://{}{tail}", hosts.join(","))
}

/// Opens with none but the useless.
async fn refused(kind: &str, useless: &Useless, files: &Files) -> [Lost; 2] {
    let tail = format!("/{}", if kind == "sentinel" { SERVICE } else { "" });
    let both = [useless.stranger.port(), useless.silent()];
    let mut refused = Vec::new();
    for ports in [&both[1..], &both] {
        let opened = open_at(&url(kind, ports, &tail), files.trusting("ours")).await;
        match opened.err() {
            Some(OpenError::Lost(lost)) => refused.push(lost),
            other => panic!("{other:?}"),
        }
    }
    // What is wrong with the node itself is said without asking anybody else.
    let opened = open_at(&url(kind, &both, &tail), files.trusting("nothing")).await;
    let error = opened.err();
    assert!(
        matches!(error, Some(OpenError::Tls(TlsError::Unreadable { .. }))),
        "{error:?}"
    );
    refused.try_into().unwrap()
}

#[test]
fn a_cluster_is_used_over_tls_whoever_of_those_named_says_nothing() {
    let files = Files::new();
    let useless = Useless::new(&files);
    let cluster = Cluster::start_with(|port| {
        let more = [ANYBODY, ["--tls-cluster", "yes"]];
        files.listening("ours-here", port, more.as_flattened())
    });
    let master = cluster.masters[0].port();
    block_on(async {
        let ports = [master, useless.silent(), useless.stranger.port()];
        let open = async |ports: &[u16]| {
            let url = url("cluster", ports, "");
            open_at(&url, files.trusting("ours")).await.unwrap()
        };
        hand_over(&open(&ports).await, &open(&[master]).await).await;
        let [silent, stranger] = refused("cluster", &useless, &files).await;
        assert!(
            matches!(silent, Lost::Cluster(Some(Silence::Tls(TlsError::Silent)))),
            "{silent:?}"
        );
        assert!(
            matches!(
                stranger,
                Lost::Cluster(Some(Silence::Tls(TlsError::Issuer)))
            ),
            "{stranger:?}"
        );
    });
}

/// A sentinel that needs no other.
fn sentinel(files: &Files, of: &Server) -> Server {
    Server::start_with(|port, directory| {
        let file = directory.join("sentinel.conf");
        let text = format!("sentinel monitor {SERVICE} 127.0.0.1 {} 1\n", of.port());
        std::fs::write(&file, text).unwrap();
        // It looks at the server over TLS, too.
        let more = [ANYBODY, ["--tls-replication", "yes"]];
        let tls = files.listening("ours-here", &port.to_string(), more.as_flattened());
        [strings(&[file.to_str().unwrap(), "--sentinel"]), tls].concat()
    })
}

#[test]
fn sentinels_name_the_master_over_tls_whoever_of_them_says_nothing() {
    let files = Files::new();
    let useless = Useless::new(&files);
    let server = files.server("ours-here", &ANYBODY);
    let sentinel = sentinel(&files, &server);
    block_on(async {
        let ports = [sentinel.port(), useless.silent(), useless.stranger.port()];
        let open = async |ports: &[u16]| {
            let url = url("sentinel", ports, &format!("/{SERVICE}"));
            open_at(&url, files.trusting("ours")).await.unwrap()
        };
        hand_over(&open(&ports).await, &open(&ports[..1]).await).await;
        let [silent, stranger] = refused("sentinel", &useless, &files).await;
        assert!(
            matches!(
                silent,
                Lost::Sentinels(Some(Silence::Tls(TlsError::Silent)))
            ),
            "{silent:?}"
        );
        assert!(
            matches!(
                stranger,
                Lost::Sentinels(Some(Silence::Tls(TlsError::Issuer)))
            ),
            "{stranger:?}"
        );
    });
}
