//! What a component is told of its configuration.

use std::collections::BTreeMap;
use std::fmt;

/// The configuration and the secrets that a component may read: what its
/// manifest grants and its node has. What is not in here does not exist for it.
#[derive(Clone, Default)]
pub struct Configuration {
    /// Values that anybody may see.
    pub config: BTreeMap<String, String>,
    /// Values that nobody else may see: they are told to whoever asks for one
    /// by its name, and are no part of a list.
    pub secrets: BTreeMap<String, String>,
}

impl Configuration {
    /// The value of `key`, be it configuration or a secret.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let value = self.config.get(key).or_else(|| self.secrets.get(key));
        value.map(String::as_str)
    }
}

/// Without the secrets themselves.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("config", &self.config)
            .field("secrets", &self.secrets.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Configuration {
            config: one("greeting", "hello"),
            secrets: one("api-key", "hunter2"),
        }
    }

    #[test]
    fn a_key_is_configuration_or_a_secret_or_absent() {
        let configuration = configuration();
        assert_eq!(configuration.get("greeting"), Some("hello"));
        assert_eq!(configuration.get("api-key"), Some("hunter2"));
        assert_eq!(configuration.get("other"), None);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", configuration());
        assert!(
            shown.contains("hello") && shown.contains("api-key"),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
