//! The environment: the only file that reads it.
//!
//! Every key of the node's configuration can be given by a variable:
//! `store.url` by `LOCKPORT_STORE__URL`. The two underscores are what makes a
//! variable a key; other variables that begin with `LOCKPORT_` are for clients
//! and tests, and are left alone, unless they look like a key whose second
//! underscore was forgotten: to ignore that one would be to run with another
//! configuration than was meant.
//!
//! The configuration of a component has a level more: `config.my-shop.greeting`
//! is `LOCKPORT_CONFIG__MY_SHOP__GREETING`. Its secrets are in variables of
//! their own, which the configuration names.

use super::document::{ConfigError, Document, Entry, Origin};
use super::value::Value;
use std::ffi::OsString;

/// What every variable of ours begins with.
const PREFIX: &str = "LOCKPORT_";

/// The variable that overrides `log.level`, for those who look for it first.
const LOG: &str = "LOCKPORT_LOG";

/// Every variable of this process that may concern us, sorted.
pub fn variables() -> Vec<(String, String)> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let value = value.to_string_lossy().into_owned();
        name.starts_with(PREFIX).then_some((name, value))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    ours
}

/// Puts `variables` over what `document` says. `keys` are the keys there are,
/// as `section.key`.
pub fn apply(
    document: &mut Document,
    variables: &[(String, String)],
    keys: &[String],
) -> Result<(), ConfigError> {
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let entry = Entry {
            origin: Origin::Variable(name.clone()),
            value: Value::Untyped(value.clone()),
        };
        match rest.split_once("__") {
            Some((section, key)) => {
                apply_to_section(document, &lower(section), &lower(key), entry)?;
            }
            None if name == LOG => document.set("log", "level", entry),
            None => {
                if let Some(meant) = keys
                    .iter()
                    .map(|key| variable(key))
                    .find(|meant| meant.replace("__", "_") == *name)
                {
                    return Err(ConfigError::Wrong {
                        origin: entry.origin,
                        message: "no key of the configuration has this name".to_owned(),
                        hint: Some(format!("did you mean {meant}?")),
                    });
                }
            }
        }
    }
    Ok(())
}

fn apply_to_section(
    document: &mut Document,
    section: &str,
    key: &str,
    entry: Entry,
) -> Result<(), ConfigError> {
    match (section, key.split_once("__")) {
        // No component has an underscore in its name, and no variable a `-`.
        ("config", Some((component, key))) => {
            document.set_within(&[section, &component.replace('_', "-")], key, entry);
        }
        // What it says may be the secret itself, so nobody may look at it.
        ("secrets", _) => {
            return Err(ConfigError::Wrong {
                origin: entry.origin,
                message: "no secret is given this way".to_owned(),
                hint: Some(
                    "name a variable of your own in the file, under [secrets.COMPONENT]: \
                     KEY = { env = \"NAME\" }"
                        .to_owned(),
                ),
            });
        }
        _ => document.set(section, key, entry),
    }
    Ok(())
}

/// The secret in the variable `name`, if that is set.
pub fn secret(name: &str) -> Option<Result<String, OsString>> {
    std::env::var_os(name).map(OsString::into_string)
}

/// The variable for a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}
