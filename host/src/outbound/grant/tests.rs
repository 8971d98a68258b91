//! Tests of what is granted, and of how hosts are spelled.

use super::*;

fn to(text: &str) -> Option<Destination> {
    Destination::of(&text.parse().ok()?)
}

fn granted(grants: &[(&str, bool)], text: &str) -> Option<Permission> {
    let grants: Vec<_> = grants
        .iter()
        .map(|(grant, private)| OutboundGrant::parse(grant, *private).unwrap())
        .collect();
    permission(&grants, &to(text)?)
}

#[test]
fn scheme_host_and_port_have_to_be_the_grant_s() {
    let grants = [
        ("https://api.example.com", false),
        ("http://a.example:8080", false),
    ];
    for (text, expected) in [
        ("https://api.example.com/", true),
        ("https://API.Example.com:443/x?y", true),
        ("http://a.example:8080/", true),
        ("http://api.example.com/", false),
        ("https://api.example.com:8443/", false),
        ("https://api.example.com:0/", false),
        ("https://api.example.com:00443/", false),
        ("https://api.example.com./", false),
        ("https://example.com/", false),
        ("https://x.api.example.com/", false),
        ("http://a.example/", false),
        ("https://user@api.example.com/", false),
        ("https://api.example.com@a.example/", false),
        ("https://api.example.com:443@a.example:8080/", false),
        ("ftp://api.example.com/", false),
        ("/only/a/path", false),
    ] {
        assert_eq!(granted(&grants, text).is_some(), expected, "{text}");
    }
}

#[test]
fn a_star_stands_for_one_label() {
    let grants = [("https://*.example.com", false)];
    for (text, expected) in [
        ("https://a.example.com/", true),
        ("https://example.com/", false),
        ("https://a.b.example.com/", false),
        ("https://aexample.com/", false),
        ("https://*.example.com/", false),
        ("https://a.example.com.evil.com/", false),
    ] {
        assert_eq!(granted(&grants, text).is_some(), expected, "{text}");
    }
}

#[test]
fn an_address_grants_itself_and_a_name_only_what_it_says() {
    let admits = |grants: &[(&str, bool)], text: &str, address: &str| {
        granted(grants, text).is_some_and(|it| it.admits(address.parse().unwrap()))
    };
    let name = [("http://a.example", false)];
    let private = [("http://a.example", true)];
    for (address, by_name, by_private) in [
        ("8.8.8.8", true, true),
        ("127.0.0.1", false, true),
        ("10.1.2.3", false, true),
        ("fd00::1", false, true),
        ("169.254.169.254", false, false),
        ("fe80::1", false, false),
        ("::ffff:127.0.0.1", false, false),
        ("64:ff9b::a00:1", false, false),
        ("0.0.0.0", false, false),
    ] {
        let said = |grants| admits(grants, "http://a.example/", address);
        assert_eq!(said(&name), by_name, "{address}");
        assert_eq!(said(&private), by_private, "{address}");
    }
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254"] {
        let grant = format!("http://{address}:8080");
        let url = format!("{grant}/");
        assert!(admits(&[(&grant, false)], &url, address));
        assert!(granted(&name, &url).is_none());
    }
    assert!(granted(&[("http://127.0.0.1", false)], "http://127.0.0.2/").is_none());
    assert!(granted(&[("http://127.0.0.1", false)], "http://localhost/").is_none());
    assert!(granted(&[("http://[::1]:80", false)], "http://[::1]/").is_some());
    assert!(granted(&[("http://[::1]", false)], "http://[0:0:0:0:0:0:0:1]/").is_some());
}

#[test]
fn a_host_has_one_spelling() {
    for text in [
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://0177.0.0.1/",
        "http://[::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://localhost./",
        "http://a..b/",
        "http://-a.example/",
        "http://a.example:80:80/",
        "http://order.internal/",
    ] {
        assert_eq!(to(text), None, "{text}");
    }
    assert_eq!(to("http://A.example:80/").unwrap().authority(), "a.example");
    assert_eq!(
        to("https://a.example:80/").unwrap().authority(),
        "a.example:80"
    );
    assert_eq!(to("http://[0::1]:81/").unwrap().authority(), "[::1]:81");
}

#[test]
fn what_is_no_grant_is_refused_in_words() {
    for (text, expected) in [
        ("api.example.com", "which has no `://`"),
        ("ftp://a.example", "whose scheme `ftp` is not http or https"),
        (
            "HTTP://a.example",
            "whose scheme `HTTP` is not http or https",
        ),
        (
            "http://a.example/",
            "which has more than a scheme, a host and a port",
        ),
        ("http://a.example:0", "whose port is none"),
        ("http://a.example:65536", "whose port is none"),
        ("http://a.example:", "whose port is none"),
        ("http://A.example", "whose host is no name in lower case"),
        ("http://u@a.example", "whose host is no name in lower case"),
        ("http://", "whose host is no name in lower case"),
        ("http://127.1", "neither a name nor an address"),
        (
            "http://[::ffff:127.0.0.1]",
            "an address that is never connected",
        ),
        ("http://0.0.0.0", "an address that is never connected"),
        ("https://*", "whose host is no name in lower case"),
        ("https://*.com", "whose `*` stands for too much"),
        ("https://*.1.1.1.1", "whose `*` stands for too much"),
        ("https://a.*.com", "whose host is no name in lower case"),
        (
            "http://order.internal",
            "which is a component; `grants.calls` grants those",
        ),
    ] {
        let why = OutboundGrant::parse(text, false).unwrap_err();
        assert!(why.contains(expected), "{text}: {why}");
    }
    let needless = OutboundGrant::parse("http://127.0.0.1", true).unwrap_err();
    assert!(needless.contains("needs no `private`"), "{needless}");
}
