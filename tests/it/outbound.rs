//! Requests of components to the world outside: what the manifest grants is
//! reached, and nothing else (C7).

use crate::harness::{Builder, Node, Server, TlsServer, guest_dir, request_of};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// A node whose probe is granted this of the world outside.
fn granted(grants: &[&str]) -> Builder {
    let list: Vec<_> = grants.iter().map(|it| format!("\"{it}\"")).collect();
    granted_as(&format!("[{}]", list.join(", ")))
}

/// The same for what stands in a manifest.
fn granted_as(outbound: &str) -> Builder {
    let table: toml::Table = format!("outbound = {outbound}")
        .parse()
        .expect("it is TOML");
    Node::builder().changed(&guest_dir("probe"), |manifest| {
        manifest["grants"]["locks"] = toml::Value::Array(vec!["item/*".into(), "many/*".into()]);
        let grants = manifest["grants"].as_table_mut().expect("it is a table");
        grants.extend(table);
    })
}

#[test]
fn what_is_granted_is_reached_by_one_connection() {
    let server = Server::greeting("hello");
    let node = granted(&[&server.url()]).start();
    let fetch = format!("fetch GET {}/path?query", server.url());
    let answer = node.run("probe", vec![fetch; 20]).expect(200);
    assert_eq!(answer.steps("fetch"), ["200 hello"; 20]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_request_goes_out_without_what_is_ours_and_comes_back_so() {
    let seen = Arc::new(Mutex::new(String::new()));
    let head = Arc::clone(&seen);
    let server = Server::start(move |mut stream| {
        *head.lock().expect("nobody panics") = request_of(&mut stream).unwrap_or_default();
        let answer = "HTTP/1.1 418 No\r\nlockport-grant: x\r\nconnection: x-a\r\nx-a: 1\r\n\
                      keep-alive: 1\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes());
    });
    let node = granted(&[&server.url()]).start();
    let answer = node.run(
        "probe",
        [
            "with lockport-transaction none".to_owned(),
            "with te trailers".to_owned(),
            "with x-mine yes".to_owned(),
            format!("fetch POST {}/a body", server.url()),
            "with lockport-grant secret".to_owned(),
            format!("try fetch GET {}/b", server.url()),
        ],
    );
    let answer = answer.expect(200);
    assert_eq!(answer.steps("fetch"), ["418 ", "error HttpRequestDenied"]);
    let head = seen.lock().expect("nobody panics").clone();
    assert!(head.starts_with("post /a http/1.1\r\n"), "{head}");
    assert!(head.contains("x-mine: yes\r\n"), "{head}");
    assert!(
        !head.contains("lockport") && !head.contains("\r\nte:"),
        "{head}"
    );
    assert_eq!(server.accepted(), 1, "a guard never leaves");
}

// C7.
#[test]
fn what_is_not_granted_looks_like_a_component_that_is_not() {
    let server = Server::greeting("secret");
    let port = server.port();
    let node = granted(&["https://api.example.com", "http://*.example.com"]).start();
    let urls = [
        server.url(),
        format!("http://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
        format!("http://[64:ff9b::7f00:1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://api.example.com@127.0.0.1:{port}/"),
        format!("http://10.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fe80::1]/".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "https://user:password@api.example.com/".to_owned(),
        "https://api.example.com:8443/".to_owned(),
        "http://a.b.example.com/".to_owned(),
        "http://example.com/".to_owned(),
    ];
    let mut steps: Vec<_> = urls
        .iter()
        .map(|it| format!("try fetch GET {it}"))
        .collect();
    steps.push("try call GET no-such /".to_owned());
    let answer = node.run("probe", steps).expect(200);
    let denied = "error HttpRequestDenied";
    assert_eq!(answer.steps("call"), [denied]);
    for (outcome, url) in answer.steps("fetch").iter().zip(&urls) {
        assert_eq!(outcome, denied, "{url}");
    }
    assert_eq!(answer.steps("fetch").len(), urls.len());
    assert_eq!(server.accepted(), 0);
}

// C7.
#[test]
fn a_name_that_leads_here_is_denied_unless_the_manifest_says_so() {
    let server = Server::greeting("hello");
    let url = format!("http://localhost:{}", server.port());
    let fetch = || [format!("try fetch GET {url}/")];
    let node = granted(&[&url]).start();
    let answer = node.run("probe", fetch()).expect(200);
    assert_eq!(answer.step("fetch"), "error HttpRequestDenied");
    assert_eq!(server.accepted(), 0);
    let node = granted_as(&format!("[{{ to = \"{url}\", private = true }}]")).start();
    let answer = node.run("probe", fetch()).expect(200);
    assert_eq!(answer.step("fetch"), "200 hello");
}

// C7.
#[test]
fn a_redirect_is_not_followed() {
    let secret = Server::greeting("secret");
    let location = secret.url();
    let server = Server::saying(format!(
        "HTTP/1.1 307 x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ));
    let node = granted(&[&server.url()]).start();
    let fetch = format!("fetch GET {}", server.url());
    let answer = node.run("probe", [fetch]).expect(200);
    assert_eq!(answer.step("fetch").trim_end(), "307");
    assert_eq!(secret.accepted(), 0);
}

#[test]
fn what_one_component_is_granted_no_other_has() {
    let server = Server::greeting("hello");
    let node = granted(&[&server.url()]).guest("other").start();
    let fetch = format!("try fetch GET {}", server.url());
    let answer = node.run("other", [&fetch]).expect(200);
    assert_eq!(answer.step("fetch"), "error HttpRequestDenied");
    assert_eq!(node.run("probe", [&fetch]).step("fetch"), "200 hello");
}

#[test]
fn a_server_over_tls_is_believed_if_its_authority_is() {
    let server = TlsServer::start("IP:127.0.0.1");
    let other = TlsServer::start("IP:127.0.0.2");
    let fetch = |it: &TlsServer| [format!("try fetch GET {}/", it.url())];
    let grants = granted(&[&server.url(), &other.url()]);
    let node = grants.clone().set("outbound.ca", server.ca()).start();
    let outcome = node.run("probe", fetch(&server)).step("fetch");
    assert!(outcome.starts_with("200 "), "{outcome}");
    let refused = "error TlsCertificateError";
    assert_eq!(node.run("probe", fetch(&other)).step("fetch"), refused);
    // The machine does not know it.
    let node = grants.start();
    assert_eq!(node.run("probe", fetch(&server)).step("fetch"), refused);
    let node = granted(&[&other.url()])
        .set("outbound.ca", other.ca())
        .start();
    // It is somebody else's.
    assert_eq!(node.run("probe", fetch(&other)).step("fetch"), refused);
}

#[test]
fn what_components_ask_of_the_world_is_counted() {
    let server = Server::greeting("hello");
    let node = granted(&[&server.url()]).start();
    let fetch = format!("fetch GET {}", server.url());
    let denied = "try fetch GET http://127.0.0.2/".to_owned();
    node.run("probe", [fetch.clone(), fetch, denied])
        .expect(200);
    let metrics = node
        .admin()
        .send(&crate::harness::request("GET", "/metrics"));
    let metrics = metrics.expect(200).text();
    for line in [
        "lockport_outbound_requests_total{component=\"probe\",outcome=\"answered\"} 2",
        "lockport_outbound_requests_total{component=\"probe\",outcome=\"denied\"} 1",
        "lockport_outbound_connections{component=\"probe\"} 1",
        "lockport_outbound_connections_limit{component=\"probe\"} 64",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}
