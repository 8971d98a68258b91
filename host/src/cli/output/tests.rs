//! Tests of what is printed.

use super::*;
use crate::config::Origin;

fn report() -> Report {
    Report {
        exit: Exit::Component,
        error: "the component `a` cannot be loaded".to_owned(),
        causes: vec!["it is broken".to_owned(), "badly".to_owned()],
        hint: Some("build it".to_owned()),
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn an_error_says_what_why_and_what_to_do() {
    assert_eq!(
        plain(&explain(&report())),
        "error: the component `a` cannot be loaded\n  caused by: it is broken\n  caused by: badly\n\
         \nhint: build it\n"
    );
    let short = Report {
        causes: vec![],
        hint: None,
        ..report()
    };
    assert_eq!(
        plain(&explain(&short)),
        "error: the component `a` cannot be loaded\n"
    );
}

#[test]
fn an_error_for_programs_is_one_line_with_the_code() {
    let report = report();
    let line = json(&Event::Error {
        error: &report.error,
        causes: &report.causes,
        hint: report.hint.as_deref(),
        exit_code: report.exit.code(),
    });
    assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["event"], "error");
    assert_eq!(value["exit_code"], 4);
    assert_eq!(value["causes"][1], "badly");
    assert_eq!(value["hint"], "build it");
}

#[test]
fn the_ready_line_has_the_listeners_that_exist() {
    let ready = Ready {
        version: "1.2.3",
        listeners: [("http", ([127, 0, 0, 1], 3000).into())].into(),
        components: vec![crate::node::ReadyComponent {
            name: "a".to_owned(),
            version: 1,
            routes: vec!["GET, HEAD /a".to_owned()],
            locks: vec![],
            calls: vec![],
        }],
        store: "memory".to_owned(),
        access: "1 token".to_owned(),
        compat: "off".to_owned(),
    };
    let value: serde_json::Value = serde_json::from_str(&json(&Event::Ready(&ready))).unwrap();
    let expected = serde_json::json!({
        "event": "ready",
        "version": "1.2.3",
        "http": "127.0.0.1:3000",
        "components": [{"name": "a", "version": 1, "routes": ["GET, HEAD /a"], "locks": [], "calls": []}],
        "store": "memory",
        "access": "1 token",
        "compat": "off",
    });
    assert_eq!(value, expected);
}

#[test]
fn what_is_in_force_is_toml_with_the_origin_of_each_value() {
    let setting = |key: &str, value: &str, origin| Setting {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        origin,
    };
    let text = settings(&[
        setting("store.url", "\"memory:\"", Some(Origin::Flag("--store"))),
        setting("store.durability", "\"sync\"", None),
        setting("log.level", "\"info\"", None),
    ]);
    assert_eq!(
        text,
        "[store]\nurl = \"memory:\"                          # command line, --store\n\
         durability = \"sync\"                      # default\n\n[log]\n\
         level = \"info\"                           # default\n"
    );
    assert!(text.parse::<toml::Table>().is_ok());
}
