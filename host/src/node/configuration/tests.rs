//! Tests of what components are given.

use super::*;
use crate::config::NodeConfig;
use crate::config::sources::{DEFAULT_FILE, Sources};
use std::path::Path;

/// What the component `order` with these grants may read, under a node's
/// configuration that lies in `directory`.
fn read_in(
    directory: &Path,
    grants: &str,
    node: &str,
) -> Result<Configuration, ConfigurationError> {
    std::fs::write(directory.join(DEFAULT_FILE), node).unwrap();
    let config = NodeConfig::load(&Sources {
        directory: directory.to_owned(),
        ..Sources::default()
    })
    .unwrap();
    let text = format!("manifest = 1\nname = \"order\"\n[grants]\n{grants}");
    let manifest = Manifest::parse(Path::new("component.toml"), &text).unwrap();
    let mut configurations = read(&[&manifest], &config.given)?;
    assert_eq!(configurations.len(), 1);
    Ok(configurations.remove(0))
}

fn read_with(grants: &str, node: &str) -> Result<Configuration, ConfigurationError> {
    read_in(tempfile::tempdir().unwrap().path(), grants, node)
}

/// Why it is refused: the error without its place, its causes, and the hint.
fn refused(grants: &str, node: &str) -> String {
    let error = read_with(grants, node).unwrap_err();
    let text = error.to_string();
    let mut text = match text.split_once(DEFAULT_FILE) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    };
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(" <- {cause}");
        source = cause.source();
    }
    let hint = error.hint().map(|it| format!(" ({it})"));
    text + &hint.unwrap_or_default()
}

#[test]
fn a_component_has_what_it_is_granted_and_given() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "hunter2\r\n").unwrap();
    let configuration = read_in(
        directory.path(),
        "config = [\"greeting\", \"absent\"]\nsecrets = [\"key\", \"path\"]",
        "[config.order]\ngreeting = \"hello\"\n[config.other]\nx = \"theirs\"\n\
         [secrets.order]\nkey = { file = \"key\" }\npath = { env = \"PATH\" }",
    )
    .unwrap();
    let config: Vec<_> = configuration.config.into_iter().collect();
    assert_eq!(config, [("greeting".to_owned(), "hello".to_owned())]);
    assert_eq!(configuration.secrets["key"], "hunter2");
    assert_eq!(
        Ok(&configuration.secrets["path"]),
        std::env::var("PATH").as_ref()
    );
}

#[test]
fn what_is_given_and_not_granted_is_refused() {
    assert_eq!(
        refused(
            "config = [\"greeting\"]",
            "[config.order]\ngreting = \"hello\""
        ),
        ":2: `config.order.greting` is not in `grants.config` of `order` \
         (did you mean `greeting`?)"
    );
    assert_eq!(
        refused(
            "config = [\"key\"]",
            "secrets.order.key = { env = \"PATH\" }"
        ),
        ":1: `secrets.order.key` is not in `grants.secrets` of `order` \
         (take it out, or add it to `grants.secrets` in the component.toml)"
    );
}

#[test]
fn a_secret_that_is_not_there_is_refused_with_a_hint() {
    let granted = "secrets = [\"api-key\"]";
    assert_eq!(
        refused(granted, ""),
        "the component `order` needs the secret `api-key`, which the node does not have \
         (say where it is in lockport.toml, under [secrets.order]: \
         api-key = { env = \"ORDER_API_KEY\" })"
    );
    assert_eq!(
        refused(
            granted,
            "secrets.order.api-key = { env = \"NOBODY_SETS_THIS\" }"
        ),
        ":1: the secret `api-key` of `order` cannot be used <- \
         the variable NOBODY_SETS_THIS is not set (set NOBODY_SETS_THIS for the node)"
    );
    let missing = refused(granted, "secrets.order.api-key = { file = \"nowhere\" }");
    assert!(missing.contains("nowhere` cannot be read <- "), "{missing}");
    assert!(
        missing.contains("(put the secret into that file"),
        "{missing}"
    );
}

#[test]
fn a_secret_has_one_byte_at_least_and_not_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let read = |bytes: usize| {
        std::fs::write(directory.path().join("key"), "x".repeat(bytes) + "\n").unwrap();
        let node = "secrets.order.key = { file = \"key\" }";
        read_in(directory.path(), "secrets = [\"key\"]", node)
    };
    let source = |error| match error {
        ConfigurationError::Secret { source, .. } => source,
        other => panic!("{other}"),
    };
    assert!(matches!(source(read(0).unwrap_err()), SecretError::Empty));
    assert_eq!(
        read(VALUE_BYTES_MAX).unwrap().secrets["key"].len(),
        VALUE_BYTES_MAX
    );
    let long = source(read(VALUE_BYTES_MAX + 1).unwrap_err());
    assert!(matches!(long, SecretError::TooLong));
}
