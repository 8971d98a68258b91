//! Tests of the component's manifest.

use super::*;

/// A manifest of the component `seats` with `text` in it.
fn parse(text: &str) -> Result<Manifest, ConfigError> {
    let text = format!("manifest = 1\nname = \"seats\"\n{text}");
    Manifest::parse(Path::new("component.toml"), &text)
}

fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    let hint = error.hint().map(|it| format!(" ({it})"));
    error.to_string() + &hint.unwrap_or_default()
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = parse(
        r#"
        build = "cargo build"
        wasm  = "seats.wasm"
        watch = ["src"]
        reuse = 1000
        [[http]]
        path = "/seats"
        stream = true
        [[http]]
        path    = "/seats/{id}"
        methods = ["PATCH", "DELETE"]
        lock    = { names = ["seat/{id}", "hall"], wait = "250ms" }
        [collections.seats]
        guard = "seat/{key}"
        [collections.seat_index]
        [grants]
        locks = ["seat/*", "hall"]
        calls = ["invoice"]
        config = ["greeting", "http.port"]
        secrets = ["api-key"]
        [limits]
        memory = "32MiB"
        table_elements = 1000
        deadline = "5s"
        instances = 4
        queue = 0
        handles = 64
        request_body = "1MiB"
        response_held = "64KiB"
        "#,
    )
    .unwrap();
    assert_eq!(manifest.reuse, Reuse::Requests(1000));
    assert_eq!(manifest.routes.len(), 2);
    assert_eq!(manifest.routes[0].methods, Methods::ANY);
    let lock = manifest.routes[1].lock.as_ref().unwrap();
    assert_eq!(
        (lock.names.len(), lock.wait),
        (2, Duration::from_millis(250))
    );
    assert_eq!(manifest.collections["seats"].name(), "seats/seats");
    assert_eq!(manifest.collections.len(), 2);
    assert_eq!(manifest.limits.engine.memory, 32 << 20);
    assert_eq!(manifest.limits.engine.queue, 0);
    assert_eq!(manifest.limits.request_body, Some(1 << 20));
    assert_eq!(manifest.limits.response_held, 64 << 10);
    assert_eq!(manifest.grants.config, ["greeting", "http.port"]);
    assert_eq!(manifest.grants.secrets, ["api-key"]);
}

#[test]
fn a_key_of_configuration_is_a_word_and_either_open_or_secret() {
    for key in [
        "",
        "a b",
        "a/b",
        "a=b",
        "\u{e4}",
        &"x".repeat(KEY_BYTES_MAX + 1),
    ] {
        for kind in ["config", "secrets"] {
            let refused = refused(&format!("[grants]\n{kind} = [\"a\", \"{key}\"]"));
            let expected = "a key has letters, digits, `_`, `-` and `.`, 1 to 128 (entry 2)";
            assert!(refused.ends_with(expected), "{refused}");
        }
    }
    let longest = "x".repeat(KEY_BYTES_MAX);
    assert!(parse(&format!("grants.config = [\"{longest}\"]")).is_ok());
    assert_eq!(
        refused("[grants]\nconfig = [\"a\"]\nsecrets = [\"b\", \"a\"]"),
        "component.toml:5: `grants.secrets` has `a`, which `grants.config` has too"
    );
}

#[test]
fn what_is_left_out_has_a_default_and_nothing_is_granted() {
    let manifest = parse("").unwrap();
    assert_eq!(manifest.reuse, Reuse::Never);
    assert_eq!(manifest.limits.deadline, DEADLINE_DEFAULT);
    assert_eq!(manifest.limits.request_body, None);
    assert!(manifest.grants.locks.is_empty() && manifest.grants.calls.is_empty());
    assert!(!manifest.grants_lock(&LockName::new("a").unwrap()));
    assert_eq!(parse("reuse = \"never\"").unwrap().reuse, Reuse::Never);
    assert_eq!(parse("reuse = 1").unwrap().reuse, Reuse::Never);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    for (text, expected) in [
        (
            "biuld = \"x\"",
            "component.toml:3: unknown key `biuld` (did you mean `build`?)",
        ),
        (
            "[limits]\nmemroy = \"1MiB\"",
            "component.toml:4: unknown key `limits.memroy` (did you mean `memory`?)",
        ),
        (
            "[[http]]\npath = \"/a\"\nmethod = [\"GET\"]",
            "component.toml:5: unknown key `http[0].method` (did you mean `methods`?)",
        ),
        (
            "[collections.a]\ngaurd = \"x\"",
            "component.toml:4: unknown key `collections.a.gaurd` (did you mean `guard`?)",
        ),
        (
            "[[http]]\npath = \"/a\"\nlock = { names = [\"a\"], weight = 1 }\n[grants]\nlocks = [\"a\"]",
            "component.toml:5: unknown key `http[0].lock.weight` (known here: names, wait)",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn what_a_later_version_serves_is_refused_and_not_ignored() {
    for (text, key) in [
        ("[[grpc]]\nservice = \"a.B\"", "grpc"),
        ("[grants]\nemits = [\"a\"]", "grants.emits"),
        ("[collections.a]\nkind = \"cache\"", "collections.a.kind"),
        ("[[http]]\npath = \"/a\"\nhost = \"b\"", "http[0].host"),
    ] {
        let refused = refused(text);
        let expected = format!("`{key}` is not served by this version yet");
        assert!(refused.ends_with(&expected), "{refused}");
    }
}

#[test]
fn a_route_s_lock_must_be_covered_by_the_grants() {
    let route = "[[http]]\npath = \"/seats/{id}\"\nlock = { names = [\"seat/{id}\"] }\n";
    assert_eq!(
        refused(route),
        "component.toml:5: `http[0].lock.names` needs locks named `seat/{id}`, which \
         `grants.locks` does not cover (add \"seat/*\" to `grants.locks`)"
    );
    for (grant, covered) in [
        ("seat/*", true),
        ("seat/**", true),
        ("**", true),
        ("seat/1", false),
        ("*", false),
        ("seats/*", false),
    ] {
        let text = format!("{route}[grants]\nlocks = [\"{grant}\"]");
        assert_eq!(parse(&text).is_ok(), covered, "{grant}");
    }
}

#[test]
fn a_guard_must_be_covered_by_the_grants_and_have_one_key() {
    assert_eq!(
        refused("[collections.seats]\nguard = \"seat/{key}\""),
        "component.toml:4: `collections.seats.guard` needs locks named `seat/{key}`, which \
         `grants.locks` does not cover (add \"seat/*\" to `grants.locks`)"
    );
    let granted = "\n[grants]\nlocks = [\"**\"]";
    assert_eq!(
        refused(&format!("[collections.seats]\nguard = \"seat\"{granted}")),
        "component.toml:4: `collections.seats.guard` is refused: its guard `seat` must contain \
         `{key}` exactly once"
    );
}

#[test]
fn every_field_is_checked_and_named() {
    let long = "x".repeat(64);
    for (text, expected) in [
        (
            "reuse = 0",
            "component.toml:3: `reuse` is 0; it must be 1 to 1000000000, or \"never\"",
        ),
        (
            "[limits]\ndeadline = \"0s\"",
            "component.toml:4: `limits.deadline` is 0s; it must be 1ms to 1h",
        ),
        (
            "[limits]\nmemory = \"1KiB\"",
            "component.toml:4: `limits.memory` is 1KiB; it must be 64KiB to 4GiB",
        ),
        (
            "[limits]\ninstances = 0",
            "component.toml:4: `limits.instances` is 0; it must be 1 to 10000",
        ),
        (
            "[grants]\nlocks = [\"a*\"]",
            "component.toml:4: `grants.locks` has `a*`, which has a `*` inside the segment `a*`; \
             it can only be a whole one (entry 1)",
        ),
        (
            "[grants]\ncalls = [\"A\"]",
            "component.toml:4: `grants.calls` is `A`; it must be a letter, then letters, digits \
             and `-`, all in lower case, at most 63 (entry 1)",
        ),
        (
            "[[http]]\npath = \"/a\"\nmethods = [\"get\"]",
            "component.toml:5: `http[0].methods` has `get`; it can have GET, HEAD, POST, PUT, \
             PATCH, DELETE, OPTIONS",
        ),
        (
            "[[http]]\nmethods = [\"GET\"]",
            "component.toml:3: `http[0].path` is missing",
        ),
        (
            "[[http]]\npath = \"/a\"\nlock = { names = [] }",
            "component.toml:5: `http[0].lock.names` has 0 names; it must have 1 to 64",
        ),
        (
            "[[http]]\npath = \"/a/{id}\"\nlock = { names = [\"a/{key}\"] }",
            "component.toml:5: `http[0].lock.names` has `a/{key}`, but `/a/{id}` has no parameter \
             `key` (entry 1)",
        ),
        (
            "[[http]]\npath = \"/a\"\nlock = { names = [\"a\"], wait = \"10s\" }\n[grants]\nlocks = [\"a\"]",
            "component.toml:5: `http[0].lock.wait` is not shorter than the component's \
             `limits.deadline`: the wait could never end",
        ),
        (
            "[collections.A]",
            "component.toml:3: the collection `A` must be a letter, then letters, digits and `-`, \
             all in lower case, at most 63",
        ),
        (
            &format!("[collections.{long}]"),
            &format!(
                "component.toml:3: the collection `{long}` must be a letter, then letters, digits \
                 and `-`, all in lower case, at most 63"
            ),
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}

#[test]
fn a_manifest_says_its_version_and_a_name() {
    let parse = |text: &str| Manifest::parse(Path::new("c.toml"), text);
    let refused = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(refused("name = \"a\""), "c.toml:1: `manifest` is missing");
    assert_eq!(
        refused("manifest = 2\nname = \"a\""),
        "c.toml:1: `manifest` is 2; it must be 1 to 1"
    );
    assert_eq!(refused("manifest = 1"), "c.toml:1: `name` is missing");
    for name in [
        "",
        "A",
        "1a",
        "a_b",
        "a/b",
        "-a",
        "../a",
        "\u{430}",
        &"a".repeat(64),
    ] {
        let text = format!("manifest = 1\nname = \"{name}\"");
        let error = parse(&text).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("c.toml:2: `name` is `{name}`; ")),
            "{error}"
        );
    }
    let longest = "a".repeat(63);
    assert!(parse(&format!("manifest = 1\nname = \"{longest}\"")).is_ok());
}
