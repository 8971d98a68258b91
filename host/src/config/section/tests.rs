//! Tests of strict reading.

use super::*;
use crate::config::value;
use std::path::Path;

fn parse(text: &str) -> Result<Document, ConfigError> {
    Document::parse(Path::new("dir/test.toml"), text)
}

/// Reads `[server] name, size` and `[[user]] id`.
fn read(text: &str) -> Result<Vec<Setting>, ConfigError> {
    let document = parse(text)?;
    let root = document.root();
    let server = root.section("server")?;
    server.or("name", value::text, "here".to_owned())?;
    server.optional("size", value::integer(1..=9))?;
    server.not_yet("later")?;
    server.finish()?;
    for user in root.sections("user")? {
        user.required("id", value::text)?;
        user.finish()?;
    }
    root.finish()?;
    Ok(document.settings())
}

fn refused(text: &str) -> (String, Option<String>) {
    let error = read(text).unwrap_err();
    (error.to_string(), error.hint().map(str::to_owned))
}

#[test]
fn an_unknown_key_is_refused_with_its_line_path_and_the_nearest_known_one() {
    assert_eq!(
        refused("[server]\n\nnmae = 1\n"),
        (
            "dir/test.toml:3: unknown key `server.nmae`".to_owned(),
            Some("did you mean `name`?".to_owned())
        )
    );
    assert_eq!(
        refused("[server]\ncompletely = 1\n").1.unwrap(),
        "known here: name, size"
    );
    assert_eq!(
        refused("[[user]]\nid = \"a\"\n[[user]]\nid = \"b\"\nage = 3").0,
        "dir/test.toml:5: unknown key `user[1].age`"
    );
    assert_eq!(
        refused("\n[sever]\nname = \"a\"").0,
        "dir/test.toml:2: unknown key `sever`"
    );
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_path() {
    for (text, expected) in [
        (
            "[server]\nname = 5",
            "dir/test.toml:2: `server.name` must be text in quotes, not 5",
        ),
        (
            "server.size = 10",
            "dir/test.toml:1: `server.size` is 10; it must be 1 to 9",
        ),
        (
            "server = 5",
            "dir/test.toml:1: `server` must be a table, not 5",
        ),
        (
            "[user]\nid = \"a\"",
            "dir/test.toml:1: `user` must be written `[[user]]`",
        ),
        ("[[user]]", "dir/test.toml:1: `user[0].id` is missing"),
        (
            "[server]\nlater = 1",
            "dir/test.toml:2: `server.later` is not served by this version yet",
        ),
        (
            "[server]\nsize = 99999999999999999999",
            "dir/test.toml:2: the number 99999999999999999999 is too large",
        ),
    ] {
        assert_eq!(refused(text).0, expected);
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let (error, _) = refused("[server]\nname = \"a\"\nname = \"b\"");
    assert!(error.starts_with("dir/test.toml:3: "), "{error}");
    let (error, _) = refused("[server");
    assert!(error.starts_with("dir/test.toml:1: "), "{error}");
}

#[test]
fn every_key_that_was_asked_for_is_reported_with_its_origin() {
    let settings = read("[server]\nsize = 3").unwrap();
    assert_eq!(settings[0].key, "server.name");
    assert_eq!(settings[0].value.as_deref(), Some("\"here\""));
    assert_eq!(settings[0].origin, None);
    assert_eq!(settings[1].value.as_deref(), Some("3"));
    let origin = settings[1].origin.as_ref().unwrap();
    assert_eq!(origin.to_string(), "dir/test.toml:2");
}

#[test]
fn a_relative_path_is_relative_to_the_file_that_says_it() {
    let file = Origin::File {
        file: Path::new("dir/test.toml").into(),
        line: 1,
    };
    assert_eq!(file.resolve("a".into()), Path::new("dir/a"));
    assert_eq!(file.resolve("/a".into()), Path::new("/a"));
    assert_eq!(Origin::Flag("--x").resolve("a".into()), Path::new("a"));
}
