//! Servers of the world outside that do not answer, or not as they should (C8):
//! the guest is told, the deadline holds, and the host keeps nothing.

use crate::harness::{Builder, Footprint, Node, Server, guest_dir, request_of};
use std::io::Write;

/// A node whose probe may reach these servers, with these limits.
fn reaching(servers: &[&Server], limits: &[(&str, &str)]) -> Builder {
    reaching_from("probe", servers, limits)
}

/// The same for the probe under another name.
fn reaching_from(guest: &str, servers: &[&Server], limits: &[(&str, &str)]) -> Builder {
    Node::builder().changed(&guest_dir(guest), |manifest| {
        let urls = servers.iter().map(|it| it.url().into()).collect();
        let grants = manifest["grants"].as_table_mut().expect("it is a table");
        grants.insert("outbound".to_owned(), toml::Value::Array(urls));
        let all = manifest["limits"].as_table_mut().expect("it is a table");
        for (key, value) in limits {
            let value = value
                .parse()
                .map_or_else(|_| (*value).into(), toml::Value::Integer);
            all.insert((*key).to_owned(), value);
        }
    })
}

/// A server whose answer has no end.
fn endless() -> Server {
    Server::start(|mut stream| {
        request_of(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    })
}

// C8.
#[test]
fn a_server_that_does_not_go_on_ends_with_the_request_s_deadline() {
    // A part of a head, and a part of a body.
    for answer in [
        "HTTP/1.1 200 OK\r\nx-a: ",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
    ] {
        let server = Server::stopping_after(answer);
        let node = reaching_from("tight", &[&server], &[])
            .guest("probe")
            .start();
        let fetch = format!("fetch GET {}", server.url());
        let asked = node.run("tight", ["acquire item/a", "put items a 1", &fetch]);
        asked.expect_problem(504, "DEADLINE");
        node.wait_until_free("item/a");
        let next = node.run("tight", ["get items a"]).expect(200);
        assert_eq!(next.step("get"), "none");
    }
}

// C8.
#[test]
fn timeouts_of_the_guest_hold_and_zero_is_one() {
    let silent = Server::stopping_after("");
    let half = Server::stopping_after("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let node = reaching(&[&silent, &half], &[]).start();
    for (timeouts, server, expected) in [
        (
            "0 0 0",
            &silent,
            &["ConnectionReadTimeout", "ConnectionTimeout"][..],
        ),
        ("5000 50 5000", &silent, &["ConnectionReadTimeout"]),
        ("5000 5000 50", &half, &["connection read timeout"]),
        ("5000 5000 0", &half, &["connection read timeout"]),
    ] {
        let within = format!("within {timeouts}");
        let fetch = format!("try fetch GET {}", server.url());
        let answer = node.run("probe", [within, fetch]).expect(200);
        let outcome = answer.step("fetch");
        let code = outcome.strip_prefix("error ").unwrap_or(&outcome);
        assert!(expected.contains(&code), "{timeouts}: {outcome}");
    }
}

// C8.
#[test]
fn an_answer_without_an_end_is_cut_at_its_limit_and_nothing_is_kept() {
    let server = endless();
    let node = reaching(&[&server], &[("outbound_body", "4MiB")]).start();
    let fetch = format!("try fetch GET {}", server.url());
    let fetch_once = || {
        let answer = node.run("probe", [&fetch]).expect(200);
        let outcome = answer.step("fetch");
        // The words of the host: of an error behind the head, a guest of WASI 0.2
        // gets no code.
        assert!(
            outcome.contains("response body size exceeds limit"),
            "{outcome}"
        );
    };
    (0..3).for_each(|_| fetch_once());
    let before = Footprint::of(&node);
    (0..20).for_each(|_| fetch_once());
    let after = Footprint::of(&node);
    println!("{before:?}, and after 80 MiB: {after:?}");
    assert!(after.resident < before.resident + (32 << 20));
    assert!(after.files <= before.files + 4);
    assert!(
        node.admin()
            .send(&crate::harness::request("GET", "/metrics"))
            .text()
            .contains("lockport_outbound_answers_cut_total{component=\"probe\"} 23")
    );
}

// C8.
#[test]
fn what_is_no_answer_is_told_as_what_it_is() {
    let big = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(100_000));
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n";
    for (answer, expected) in [
        ("garbage\r\n\r\n", "HttpProtocolError"),
        (
            "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "HttpProtocolError",
        ),
        (&*big, "HttpResponseHeaderSectionSize"),
        (huge, "HttpResponseBodySize"),
    ] {
        let server = Server::saying(answer);
        let node = reaching(&[&server], &[]).start();
        let fetch = format!("try fetch GET {}", server.url());
        let answer = node.run("probe", [fetch]).expect(200);
        assert_eq!(answer.step("fetch"), format!("error {expected}"));
    }
}

// C8.
#[test]
fn a_server_that_goes_in_the_middle_never_looks_like_an_end() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let server = Server::start(move |mut stream| {
            request_of(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
        });
        let node = reaching(&[&server], &[]).start();
        let fetch = format!("try fetch GET {}", server.url());
        let outcome = node.run("probe", [fetch]).expect(200).step("fetch");
        let outcome = outcome.to_ascii_lowercase();
        assert!(outcome.contains("incomplete"), "{answer}: {outcome}");
    }
}

#[test]
fn nobody_there_is_told_as_that() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let node = Node::builder()
        .changed(&guest_dir("probe"), |manifest| {
            let grants = manifest["grants"].as_table_mut().expect("it is a table");
            let urls = vec![url.clone().into(), "http://nobody.invalid".into()];
            grants.insert("outbound".to_owned(), toml::Value::Array(urls));
        })
        .start();
    let list = [
        format!("try fetch GET {url}"),
        "try fetch GET http://nobody.invalid/".to_owned(),
    ];
    let answer = node.run("probe", list).expect(200);
    assert_eq!(
        answer.steps("fetch"),
        ["error ConnectionRefused", "error DnsError"]
    );
}

#[test]
fn a_component_has_so_many_connections_and_no_more() {
    let server = Server::stopping_after("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let limits = [("outbound_connections", "2")];
    let node = reaching(&[&server], &limits).start();
    let list = [format!("hoard-outside 5 {}", server.url())];
    let answer = node.run("probe", list).expect(200);
    assert_eq!(answer.step("hoard-outside"), "2 ConnectionLimitReached");
    assert_eq!(server.accepted(), 2);
    // Their request is over, and so are they.
    let again = [format!("hoard-outside 1 {}", server.url())];
    crate::harness::eventually("connections are free", || {
        let answer = node.run("probe", &again).expect(200);
        (answer.step("hoard-outside") == "1").then_some(())
    });
}
