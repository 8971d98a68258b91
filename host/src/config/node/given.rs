//! `[config.COMPONENT]` and `[secrets.COMPONENT]`: what an operator gives to
//! components.
//!
//! A manifest says which keys its component may read; what they are is said
//! here. Of a secret only the place is: so a configuration can be shown and
//! kept with the rest. Which keys are granted to whom is known once the
//! manifests are read (`node/configuration.rs`).

use crate::config::document::{ConfigError, Origin};
use crate::config::section::Section;
use crate::config::value::{self, Show, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What an operator gives to components.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `[config.COMPONENT]`
    pub config: ByComponent<String>,
    /// `[secrets.COMPONENT]`
    pub secrets: ByComponent<Secret>,
}

/// Values by the name of a component and by their key.
pub type ByComponent<T> = BTreeMap<String, BTreeMap<String, Placed<T>>>;

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub origin: Origin,
}

/// Where a secret is. The secret itself is in no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In this variable of the environment.
    Variable(String),
    /// In this file, without the end of its line.
    File(PathBuf),
}

/// The most bytes of a value, be it a secret or not.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// How a secret is given.
const FORMS: &str = "{ env = \"NAME\" } or { file = \"PATH\" }";

impl Given {
    pub(super) fn read(root: &Section<'_>) -> Result<Self, ConfigError> {
        let mut secrets = by_component(root, "secrets", Secret::parse)?;
        for Placed { value, origin } in secrets.values_mut().flat_map(BTreeMap::values_mut) {
            if let Secret::File(path) = value {
                *path = origin.resolve(std::mem::take(path));
            }
        }
        Ok(Self {
            config: by_component(root, "config", text)?,
            secrets,
        })
    }
}

fn by_component<T: Show>(
    root: &Section<'_>,
    key: &'static str,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Result<ByComponent<T>, ConfigError> {
    let sections = root.named_sections(key)?.into_iter();
    sections
        .map(|(component, section)| {
            let values = section.values(&read)?.into_iter();
            let values = values.map(|(key, value, origin)| {
                let origin = origin.clone();
                (key.to_owned(), Placed { value, origin })
            });
            Ok((component.to_owned(), values.collect()))
        })
        .collect()
}

fn text(value: &Value) -> Result<String, String> {
    match value::text(value)? {
        it if it.len() <= VALUE_BYTES_MAX => Ok(it),
        it => Err(format!(
            "has {} bytes; at most {VALUE_BYTES_MAX} are allowed",
            it.len()
        )),
    }
}

impl Secret {
    /// What is wrong is not repeated: it may be a secret.
    fn parse(value: &Value) -> Result<Self, String> {
        let refuse = || format!("must say where the secret is: {FORMS}");
        let Value::Table(table) = value else {
            return Err(refuse());
        };
        let mut entries = table.iter();
        let (Some((key, entry)), None) = (entries.next(), entries.next()) else {
            return Err(refuse());
        };
        let place = value::nonempty(&entry.value).map_err(|_| refuse())?;
        match key.as_str() {
            "env" if place.contains(['=', '\0']) => Err("names no variable".to_owned()),
            "env" => Ok(Self::Variable(place)),
            "file" => Ok(Self::File(place.into())),
            _ => Err(refuse()),
        }
    }
}

impl Show for Secret {
    fn show(&self) -> String {
        match self {
            Self::Variable(name) => format!("{{ env = {} }}", name.show()),
            Self::File(path) => format!("{{ file = {} }}", path.show()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use std::path::Path;

    fn read(text: &str) -> Result<(Given, Vec<String>), ConfigError> {
        let document = Document::parse(Path::new("dir/lockport.toml"), text)?;
        let root = document.root();
        let given = Given::read(&root)?;
        root.finish()?;
        let shown = document.settings().into_iter();
        let shown = shown.map(|it| format!("{} = {}", it.key, it.value.unwrap_or_default()));
        Ok((given, shown.collect()))
    }

    fn refused(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn values_and_the_places_of_secrets_are_read_and_shown() {
        let (given, shown) = read(
            "[config.order]\ngreeting = \"hello\"\n\"http.port\" = \"1\"\n\
             [secrets.order]\na = { env = \"A\" }\nb = { file = \"b.key\" }",
        )
        .unwrap();
        assert_eq!(given.config["order"]["greeting"].value, "hello");
        let secrets = &given.secrets["order"];
        assert_eq!(secrets["a"].value, Secret::Variable("A".to_owned()));
        // Relative to the file that names it.
        assert_eq!(secrets["b"].value, Secret::File("dir/b.key".into()));
        assert_eq!(secrets["b"].origin.to_string(), "dir/lockport.toml:6");
        assert_eq!(
            shown,
            [
                "secrets.order.a = { env = \"A\" }",
                "secrets.order.b = { file = \"b.key\" }",
                "config.order.greeting = \"hello\"",
                "config.order.\"http.port\" = \"1\"",
            ]
        );
    }

    #[test]
    fn a_secret_that_is_given_itself_is_refused_and_not_repeated() {
        for text in [
            "[secrets.order]\nkey = \"hunter2\"",
            "[secrets.order]\nkey = [\"hunter2\"]",
            "[secrets.order]\nkey = { value = \"hunter2\" }",
            "[secrets.order]\nkey = { env = \"A\", file = \"hunter2\" }",
            "[secrets.order]\nkey = { env = [\"hunter2\"] }",
            "[secrets.order]\nkey = { env = \"\" }",
            "[secrets.order]\nkey = {}",
        ] {
            assert_eq!(
                refused(text),
                "dir/lockport.toml:2: `secrets.order.key` must say where the secret is: \
                 { env = \"NAME\" } or { file = \"PATH\" }"
            );
        }
        for text in ["secrets = \"hunter2\"", "secrets.order = \"hunter2\""] {
            let refused = refused(text);
            assert!(refused.ends_with("must be a table, not text"), "{refused}");
        }
        let odd = refused("[secrets.order]\nkey = { env = \"hunter=2\" }");
        assert!(odd.ends_with("names no variable"), "{odd}");
    }

    #[test]
    fn a_value_is_text_of_some_length() {
        assert_eq!(
            refused("config.order.a = 1"),
            "dir/lockport.toml:1: `config.order.a` must be text in quotes, not 1"
        );
        let of = |bytes: usize| format!("config.order.a = \"{}\"", "x".repeat(bytes));
        assert!(read(&of(VALUE_BYTES_MAX)).is_ok());
        let long = refused(&of(VALUE_BYTES_MAX + 1));
        assert!(
            long.ends_with("has 65537 bytes; at most 65536 are allowed"),
            "{long}"
        );
    }
}
