//! Where a node's configuration comes from: a file, the environment, flags.

use super::document::{ConfigError, Document, Entry, Origin};
use super::environment;
use super::node::NodeConfig;
use super::value::Value;
use std::io;
use std::path::{Path, PathBuf};

/// The file that is read from the working directory if none is named.
pub const DEFAULT_FILE: &str = "lockport.toml";

/// What a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was named. Without one, [`DEFAULT_FILE`] in `directory`
    /// is read if it is there.
    pub file: Option<PathBuf>,
    /// Where to look for [`DEFAULT_FILE`].
    pub directory: PathBuf,
    /// The environment's variables.
    pub variables: Vec<(String, String)>,
    /// Values given by flags.
    pub flags: Vec<Flag>,
}

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, for messages: `--store`.
    pub name: &'static str,
    /// The section of the key it sets.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// The value or, for a list, its entries.
    pub values: Vec<String>,
}

impl NodeConfig {
    /// Reads and checks everything that `sources` name.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let default = sources.directory.join(DEFAULT_FILE);
        let file = match &sources.file {
            Some(file) => Some(file.clone()),
            None => is_there(&default).then_some(default),
        };
        let mut document = match &file {
            Some(file) => Document::read(file)?,
            None => Document::empty(Origin::Flag("defaults")),
        };
        environment::apply(&mut document, &sources.variables, &Self::keys())?;
        for flag in &sources.flags {
            document.set(flag.section, flag.key, flag.entry());
        }
        let mut config = Self::of(&document)?;
        config.file = file;
        Ok(config)
    }
}

/// Whether there is anything of this name. What cannot be looked at counts: to
/// read it says why not, and to go without it would be a silent mistake.
fn is_there(file: &Path) -> bool {
    match file.symlink_metadata() {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

impl Flag {
    /// A flag with one value.
    pub fn one(
        name: &'static str,
        section: &'static str,
        key: &'static str,
        value: impl Into<String>,
    ) -> Self {
        Self {
            name,
            section,
            key,
            values: vec![value.into()],
        }
    }

    fn entry(&self) -> Entry {
        let origin = Origin::Flag(self.name);
        let untyped = |text: &String| Entry {
            origin: origin.clone(),
            value: Value::Untyped(text.clone()),
        };
        match (self.key, self.values.as_slice()) {
            // A path may contain a comma, so a list is not joined.
            ("load", values) => Entry {
                value: Value::Array(values.iter().map(untyped).collect()),
                origin,
            },
            (_, [value]) => untyped(value),
            (_, values) => untyped(&values.join(",")),
        }
    }
}
