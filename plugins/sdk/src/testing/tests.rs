//! The rules of the host in memory, by way of the SDK itself.

use super::*;
use crate::state::{self, Query};
use crate::{Collection, Error, call, locks};

const ITEMS: Collection<u32> = Collection::new("items");
const NOTES: Collection<String> = Collection::new("notes");

fn host() -> Host {
    Host::new()
        .guarded("items", "item/{key}")
        .collection("notes")
}

fn run<T>(host: &Host, handler: impl FnOnce(&Request) -> Result<T, Error>) -> (u16, Option<T>) {
    let mut result = None;
    let response = host.request(Method::Post, "/", "/").send(|request| {
        result = Some(handler(request)?);
        Ok::<_, Error>(Response::empty(204))
    });
    (response.status(), result)
}

#[test]
fn an_answer_below_400_commits_and_another_does_not() {
    let host = host();
    for (status, stored) in [(422, None), (204, Some(7)), (500, Some(7))] {
        let response = host.request(Method::Post, "/", "/").send(|_| {
            locks::acquire(["item/a"])?;
            let value = if status == 500 { 8 } else { 7 };
            ITEMS.put("a", &value)?;
            Ok::<_, Error>(Response::empty(status))
        });
        assert_eq!(response.status(), status);
        assert_eq!(host.value::<u32>("items", "a"), stored, "after {status}");
    }
}

#[test]
fn what_is_kept_is_committed_with_an_error_answer() {
    let host = host();
    let response = host.request(Method::Post, "/", "/").send(|_| {
        NOTES.put("a", &"failed".to_owned())?;
        state::keep();
        Ok::<_, Error>(Response::empty(409))
    });
    assert_eq!(response.status(), 409);
    assert_eq!(host.keys("notes"), ["a"]);
}

#[test]
fn a_guarded_write_needs_its_own_lock() {
    let host = host();
    host.store("items", "a", &1);
    assert_eq!(run(&host, |_| Ok(ITEMS.put("a", &2)?)).0, 409);
    let (status, _) = run(&host, |_| {
        locks::acquire(["item/b"])?;
        Ok(ITEMS.put("a", &2)?)
    });
    assert_eq!(status, 409);
    assert_eq!(host.value::<u32>("items", "a"), Some(1));

    let lent = host
        .request(Method::Post, "/", "/")
        .lent("item/a")
        .send(|_| {
            assert!(locks::inherits("item/a"));
            ITEMS.put("a", &2)?;
            Ok::<_, Error>(Response::empty(204))
        });
    assert_eq!(lent.status(), 204);
    assert_eq!(host.value::<u32>("items", "a"), Some(2));
}

#[test]
fn a_new_key_is_inserted_without_a_lock_unless_somebody_holds_it() {
    let host = host();
    assert_eq!(run(&host, |_| Ok(ITEMS.insert("a", &1)?)).0, 204);
    assert_eq!(run(&host, |_| Ok(ITEMS.insert("a", &2)?)).0, 409);
    host.hold("item/b");
    assert_eq!(run(&host, |_| Ok(ITEMS.insert("b", &1)?)).0, 409);
    assert_eq!(host.keys("items"), ["a"]);
}

#[test]
fn a_lock_is_held_by_one_and_given_back_at_the_end() {
    let host = host();
    host.hold("item/a");
    let (status, _) = run(&host, |_| Ok(locks::acquire(["item/b", "item/a"])?.names()));
    assert_eq!(status, 423);
    host.give_back("item/a");

    let mut kept = None;
    let (_, tokens) = run(&host, |_| {
        let first = locks::acquire(["item/a"])?;
        let again = locks::acquire(["item/a", "item/b"])?;
        assert_eq!(
            first.token("item/a"),
            again.token("item/a"),
            "a view has the same token"
        );
        assert_eq!(first.token("item/b"), 0);
        let tokens = (first.token("item/a"), again.token("item/b"));
        kept = Some(first);
        Ok(tokens)
    });
    let (a, b) = tokens.unwrap();
    assert!(0 < a && a < b);
    assert_eq!(kept.unwrap().token("item/a"), 0, "the request is over");
}

#[test]
fn a_guard_is_released_only_while_nothing_is_staged() {
    let host = host();
    let (_, result) = run(&host, |_| {
        let guard = locks::acquire(["item/a"])?;
        ITEMS.put("a", &1)?;
        Ok(guard.release())
    });
    assert_eq!(result, Some(Err(locks::Error::InUse)));
    let (_, result) = run(&host, |_| Ok(locks::acquire(["item/a"])?.release()));
    assert_eq!(result, Some(Ok(())));
}

#[test]
fn reads_see_what_is_staged() {
    let host = host();
    host.store("notes", "a", "old");
    host.store("notes", "b", "old");
    let (_, pages) = run(&host, |_| {
        NOTES.put("c", &"new".to_owned())?;
        NOTES.delete("b")?;
        let all = Query {
            prefix: "",
            after: None,
            descending: false,
            limit: 1,
        };
        let first = NOTES.list(all)?;
        let rest = NOTES.list(Query {
            after: Some("a"),
            ..all
        })?;
        let back = NOTES.list(Query {
            descending: true,
            limit: 10,
            ..all
        })?;
        Ok((first, rest, back, NOTES.get("b")?))
    });
    let (first, rest, back, gone) = pages.unwrap();
    assert!(first.more && !rest.more && gone.is_none());
    assert_eq!(first.entries[0].key, "a");
    assert!(first.entries[0].version > 0);
    assert_eq!(
        (rest.entries[0].key.as_str(), rest.entries[0].version),
        ("c", 0)
    );
    assert_eq!(
        back.entries
            .iter()
            .map(|entry| &entry.key)
            .collect::<Vec<_>>(),
        ["c", "a"]
    );
    assert_eq!(host.keys("notes"), ["a", "c"]);
}

#[test]
fn a_collection_that_is_not_declared_is_denied() {
    let (status, _) = run(&host(), |_| Ok(Collection::<u8>::new("others").get("a")?));
    assert_eq!(status, 500);
}

#[test]
fn what_is_stored_and_no_longer_understood_is_an_error() {
    let host = host();
    host.store("items", "a", "text");
    let (status, _) = run(&host, |_| Ok(ITEMS.get("a")?));
    assert_eq!(status, 500);
    assert!(host.log()[0].contains("`a` in `items`"), "{:?}", host.log());
}

#[test]
fn a_call_is_answered_by_the_component_and_sees_the_locks() {
    let host = host().component("echo", |called| {
        assert_eq!(called.locks, ["item/a"]);
        let path = format!("{:?} {}", called.method, called.path);
        Response::json(200, &(path, called.json::<u8>())).unwrap()
    });
    let (_, answer) = run(&host, |_| {
        locks::acquire(["item/a"])?;
        Ok(call::put("echo", "/x?y", &5)?
            .success()?
            .json::<(String, u8)>()?)
    });
    assert_eq!(answer, Some(("Put /x?y".to_owned(), 5)));
    let (status, _) = run(&host, |_| Ok(call::get("nobody", "/")?));
    assert_eq!(status, 502);
}

#[test]
fn a_problem_names_the_request_and_hides_what_is_internal() {
    let host = host();
    let response = host
        .request(Method::Post, "/", "/")
        .body("{")
        .send(|request| Response::json(200, &request.json::<u8>()?));
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["request_id"], "test");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("the document is not valid: ")
    );

    let response = host.request(Method::Get, "/", "/").send(|request| {
        request.param("id")?;
        Ok::<_, Error>(Response::empty(200))
    });
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["detail"], "the handler failed");
    assert_eq!(host.log(), ["the route has no parameter `id`"]);
}

#[test]
fn a_body_is_read_once_and_within_its_limit() {
    let host = host();
    let response = host
        .request(Method::Post, "/", "/")
        .body("12345")
        .send(|request| {
            request.body(4)?;
            Ok::<_, Error>(Response::empty(200))
        });
    assert_eq!(response.status(), 413);
    let response = host
        .request(Method::Post, "/", "/")
        .body("12345")
        .send(|request| {
            assert_eq!(request.body(5)?, b"12345");
            request.body(5)?;
            Ok::<_, Error>(Response::empty(200))
        });
    assert_eq!(response.status(), 400);
}

#[test]
fn parameters_headers_and_query_reach_the_handler() {
    let host = host();
    let response = host
        .request(Method::Get, "/a/{id}/b/{other}", "/a/1/b/2?q=3")
        .header("X-Who", "Ada")
        .send(|request| {
            let all = (
                request.param("id")?,
                request.param("other")?,
                request.query("q"),
            );
            Response::json(200, &(all, request.header("x-who"), request.route()))
        });
    assert_eq!(
        response.body(),
        br#"[["1","2","3"],"Ada","/a/{id}/b/{other}"]"#
    );
}
