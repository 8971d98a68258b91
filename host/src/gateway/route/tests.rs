//! Tests of the router: a table of cases, and a plain search beside it.

use super::*;
use http::Uri;

fn methods(names: &[&str]) -> Methods {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    Methods::parse(&names).unwrap()
}

fn router(routes: &[(&'static str, Methods)]) -> Router<&'static str> {
    let mut router = Router::new();
    for (path, methods) in routes {
        let pattern = PathPattern::parse(path).unwrap();
        router.add(pattern, *methods, *path).unwrap();
    }
    router
}

/// Which route `path` finds, and the values of its parameters.
fn find(
    router: &Router<&'static str>,
    method: Method,
    path: &str,
) -> Option<(&'static str, Vec<String>)> {
    let uri: Uri = path.parse().unwrap();
    match router.find(&Target::read(&uri).unwrap(), &method) {
        Found::Route(route, params) => {
            Some((route, params.into_iter().map(|(_, value)| value).collect()))
        }
        Found::WrongMethod(_) | Found::Nobody => None,
    }
}

#[test]
fn the_most_specific_path_wins() {
    let router = router(
        &[
            "/",
            "/orders",
            "/orders/{id}",
            "/orders/new",
            "/orders/{id}/lines/{line}",
            "/orders/{path...}",
            "/{any}/special",
            "/{all...}",
        ]
        .map(|path| (path, Methods::ANY)),
    );
    for (path, route, values) in [
        ("/", "/", &[] as &[&str]),
        ("/orders", "/orders", &[]),
        ("/orders/new", "/orders/new", &[]),
        ("/orders/42", "/orders/{id}", &["42"]),
        ("/orders/a%2Fb", "/orders/{id}", &["a/b"]),
        (
            "/orders/new/lines/1",
            "/orders/{id}/lines/{line}",
            &["new", "1"],
        ),
        ("/orders/42/lines", "/orders/{path...}", &["42/lines"]),
        ("/orders/42/", "/orders/{path...}", &["42/"]),
        ("/orders/special", "/orders/{id}", &["special"]),
        ("/carts/special", "/{any}/special", &["carts"]),
        ("/carts/other", "/{all...}", &["carts/other"]),
        ("/orders/", "/{all...}", &["orders/"]),
    ] {
        let found = find(&router, Method::GET, path).unwrap();
        assert_eq!(
            (found.0, found.1.as_slice()),
            (
                route,
                &*values.iter().map(ToString::to_string).collect::<Vec<_>>()
            ),
            "{path}"
        );
    }
}

#[test]
fn a_parameter_is_never_empty_and_a_path_is_matched_whole() {
    let router = router(&[
        ("/orders/{id}", Methods::ANY),
        ("/files/{path...}", Methods::ANY),
    ]);
    for path in [
        "/",
        "/orders",
        "/orders/",
        "/orders/1/",
        "/orders/1/x",
        "/Orders/1",
        "/files",
        "/files/",
    ] {
        assert_eq!(find(&router, Method::GET, path), None, "{path}");
    }
}

#[test]
fn a_route_that_names_head_comes_before_one_for_get() {
    let (get, head) = (("/a", methods(&["GET"])), ("/a", methods(&["HEAD"])));
    for routes in [[get, head], [head, get]] {
        let mut router = Router::new();
        for (path, methods) in routes {
            let pattern = PathPattern::parse(path).unwrap();
            router.add(pattern, methods, methods).unwrap();
        }
        let uri: Uri = "/a".parse().unwrap();
        for (method, expected) in [(Method::HEAD, head.1), (Method::GET, get.1)] {
            match router.find(&Target::read(&uri).unwrap(), &method) {
                Found::Route(found, _) => assert_eq!(*found, expected, "{method}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn the_method_chooses_among_equal_paths_only() {
    let router = router(&[
        ("/orders/{id}", methods(&["GET"])),
        ("/orders/{key}", methods(&["PATCH", "DELETE"])),
        ("/orders/new", methods(&["POST"])),
    ]);
    assert_eq!(
        find(&router, Method::GET, "/orders/1").unwrap().0,
        "/orders/{id}"
    );
    assert_eq!(
        find(&router, Method::HEAD, "/orders/1").unwrap().0,
        "/orders/{id}"
    );
    assert_eq!(
        find(&router, Method::PATCH, "/orders/1").unwrap().0,
        "/orders/{key}"
    );

    let uri: Uri = "/orders/1".parse().unwrap();
    let found = router.find(&Target::read(&uri).unwrap(), &Method::PUT);
    assert_eq!(
        found,
        Found::WrongMethod(methods(&["GET", "PATCH", "DELETE"]))
    );
    // Not `/orders/{id}`, although it serves GET.
    assert_eq!(find(&router, Method::GET, "/orders/new"), None);
}

#[test]
fn two_routes_for_the_same_requests_clash() {
    let mut router = router(&[
        ("/orders/{id}", methods(&["GET", "PATCH"])),
        ("/f/{a...}", Methods::ANY),
    ]);
    let mut add = |path, methods| router.add(PathPattern::parse(path).unwrap(), methods, path);
    let clash = add("/orders/{key}", methods(&["PATCH", "PUT"])).unwrap_err();
    assert_eq!(&*clash.path, "/orders/{id}");
    assert_eq!(clash.held_by, "/orders/{id}");
    assert_eq!(clash.methods, methods(&["PATCH"]));
    assert!(add("/f/{b...}", methods(&["GET"])).is_err());
    assert!(add("/orders/{key}", methods(&["PUT"])).is_ok());
    assert!(add("/f/{b}", Methods::ANY).is_ok());
    assert!(add("/orders/id", Methods::ANY).is_ok());
}

/// Whether a path matches, and how specifically: one digit per segment, 0 for
/// a literal, 1 for a parameter, 2 for the rest. The least wins.
fn rank(pattern: &str, path: &[&str]) -> Option<Vec<u8>> {
    let mut rank = Vec::new();
    let segments: Vec<_> = pattern
        .split('/')
        .skip(1)
        .filter(|it| !it.is_empty())
        .collect();
    for (at, segment) in segments.iter().enumerate() {
        if segment.ends_with("...}") {
            rank.push(2);
            return (at < path.len()).then_some(rank);
        }
        let there = path.get(at)?;
        match segment.starts_with('{') {
            true => rank.push(1),
            false if segment == there => rank.push(0),
            false => return None,
        }
    }
    (segments.len() == path.len()).then_some(rank)
}

#[test]
fn the_tree_finds_what_a_plain_search_over_all_routes_finds() {
    // Every path of up to three segments over a small alphabet, so that every
    // kind of backtracking occurs.
    let words = ["a", "b", "{p}", "{r...}"];
    let mut patterns = vec![];
    for first in words {
        patterns.push(format!("/{first}"));
        for second in words.iter().filter(|_| first != "{r...}") {
            let second = second.replace('p', "q");
            patterns.push(format!("/{first}/{second}"));
            for third in words.iter().filter(|_| second != "{r...}") {
                patterns.push(format!("/{first}/{second}/{}", third.replace('p', "s")));
            }
        }
    }
    let patterns: Vec<&'static str> = patterns.into_iter().map(|it| &*it.leak()).collect();
    // Subsets of them, chosen by a fixed generator.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut compared = 0;
    for _ in 0..300 {
        let chosen: Vec<_> = patterns
            .iter()
            .filter(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random.is_multiple_of(4)
            })
            .map(|it| (*it, Methods::ANY))
            .collect();
        let router = router(&chosen);
        for length in 1..=4 {
            for bits in 0..3_usize.pow(length) {
                let path: Vec<_> = (0..length)
                    .map(|at| ["a", "b", "c"][bits / 3_usize.pow(at) % 3])
                    .collect();
                let ranks = chosen
                    .iter()
                    .filter_map(|(it, _)| Some((rank(it, &path)?, *it)));
                let expected = ranks.min().map(|(_, it)| it);
                let found = find(&router, Method::GET, &format!("/{}", path.join("/")));
                assert_eq!(found.map(|it| it.0), expected, "{path:?} in {chosen:?}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 300 * (3 + 9 + 27 + 81));
}
