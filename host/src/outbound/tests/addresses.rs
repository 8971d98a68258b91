//! Where a request may go, and that the address is what counts.

use super::*;

fn here() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|it| it.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_is_not_granted_is_denied_without_a_trace() {
    let server = Server::saying(HELLO).await;
    let port = server.address.port();
    let bench = Bench::new(&["https://api.example.com"]);
    for url in [
        server.url(),
        format!("http://localhost:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://[::127.0.0.1]:{port}"),
        format!("http://[64:ff9b::7f00:1]:{port}"),
        format!("http://0.0.0.0:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://127.1:{port}"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "https://user:secret@api.example.com/".to_owned(),
        "https://api.example.com:444/".to_owned(),
        "http://api.example.com/".to_owned(),
        "https://api.example.com.:443/".to_owned(),
    ] {
        let denied = bench.send(get(&url)).await.unwrap_err();
        assert_eq!(denied, CallRefused::Denied, "{url}");
    }
    assert_eq!(server.accepted(), 0);
    assert!(!bench.left.load(Ordering::SeqCst));
    assert_eq!(bench.metrics.count(OutboundOutcome::Denied), 15);
}

#[tokio::test]
async fn a_name_that_leads_here_is_denied_unless_the_grant_says_so() {
    let server = Server::saying(HELLO).await;
    let port = server.address.port();
    let url = format!("http://a.example:{port}");
    let here = || World::of(vec![("a.example", vec![here()])]);
    let public = Bench::with(&[&url], |_| {}, here());
    let denied = public.send(get(&url)).await.unwrap_err();
    assert_eq!(denied, CallRefused::Denied);
    assert_eq!(server.accepted(), 0);
    let star = format!("http://*.example.com:{port}");
    let starred = Bench::with(
        &[&star],
        |_| {},
        World::of(vec![("x.example.com", ips(&["10.0.0.1", "::1"]))]),
    );
    let url_of_star = format!("http://x.example.com:{port}");
    let denied = starred.send(get(&url_of_star)).await.unwrap_err();
    assert_eq!(denied, CallRefused::Denied);

    let private = format!("private {url}");
    let private = Bench::with(&[&private], |_| {}, here());
    assert_eq!(private.get(&url).await.unwrap().0, 200);
}

#[tokio::test]
async fn of_several_addresses_only_those_admitted_are_tried() {
    let server = Server::saying(HELLO).await;
    let url = format!("http://a.example:{}", server.address.port());
    let private = format!("private {url}");
    let mixed = ips(&[
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "127.0.0.1",
    ]);
    let bench = Bench::with(&[&private], |_| {}, World::of(vec![("a.example", mixed)]));
    assert_eq!(bench.get(&url).await.unwrap().0, 200);
    let special = ips(&["169.254.169.254", "fe80::1", "fd00:ec2::254"]);
    let bench = Bench::with(&[&private], |_| {}, World::of(vec![("a.example", special)]));
    let denied = bench.send(get(&url)).await.unwrap_err();
    assert_eq!(denied, CallRefused::Denied);
}

#[tokio::test]
async fn one_address_that_does_not_listen_leaves_the_others() {
    let server = Server::saying(HELLO).await;
    let url = format!("http://a.example:{}", server.address.port());
    let private = format!("private {url}");
    let several = ips(&["127.0.0.2", "127.0.0.1"]);
    let bench = Bench::with(&[&private], |_| {}, World::of(vec![("a.example", several)]));
    assert_eq!(bench.get(&url).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_only_if_it_is_granted() {
    let world = || World::of(vec![("empty.example", Vec::new())]);
    let grants = ["http://a.example", "http://empty.example"];
    let bench = Bench::with(&grants, |_| {}, world());
    assert_eq!(bench.fault("http://a.example").await, Fault::Name);
    assert_eq!(bench.fault("http://empty.example").await, Fault::Name);
    let denied = bench.send(get("http://b.example")).await.unwrap_err();
    assert_eq!(denied, CallRefused::Denied);
}

#[tokio::test]
async fn a_name_that_is_not_resolved_ends_with_the_connect_timeout() {
    struct Never;
    impl Resolve for Never {
        fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            Box::pin(std::future::pending())
        }
    }
    let world = World {
        resolver: Arc::new(Never),
        trust: None,
    };
    let soon = |it: &mut Limits| it.connect = Duration::from_millis(10);
    let bench = Bench::with(&["http://a.example"], soon, world);
    assert_eq!(bench.fault("http://a.example").await, Fault::NameTimeout);
}

#[tokio::test]
async fn tunnels_and_targets_that_are_none_are_refused() {
    let server = Server::saying(HELLO).await;
    let bench = Bench::new(&[&server.url()]);
    let mut request = get(&server.url());
    *request.method_mut() = Method::CONNECT;
    let refused = bench.send(request).await.unwrap_err();
    assert_eq!(refused, CallRefused::Fault(Fault::Method));
    let mut request = get(&server.url());
    let authority = server.address.to_string();
    *request.uri_mut() = http::Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query("*")
        .build()
        .unwrap();
    let refused = bench.send(request).await.unwrap_err();
    assert_eq!(refused, CallRefused::Fault(Fault::Target));
    assert_eq!(server.accepted(), 0);
}
