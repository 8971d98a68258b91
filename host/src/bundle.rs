//! A component as it is brought: its manifest and its code, not yet compiled.
//!
//! There are two shapes. A *directory* has a `component.toml` that says where
//! the `.wasm` lies; it is what an author works in. A *packed file* is a
//! `.wasm` that carries its manifest ([`section`]); it is what is passed on.

pub mod section;

use crate::config::ConfigError;
use crate::config::manifest::{self, Manifest};
use std::io;
use std::path::{Path, PathBuf};

/// A component's manifest and code.
#[derive(Debug)]
pub struct Bundle {
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest as it was written.
    pub manifest_text: String,
    /// Its code, as it was read; nothing is known of it yet.
    pub wasm: Vec<u8>,
    /// Where the code was read from.
    pub file: PathBuf,
}

/// Why a component could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Its manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ConfigError),
    /// There is nothing under the name that was given.
    #[error("there is no component at `{}`", path.display())]
    Nothing {
        /// What was named.
        path: PathBuf,
        /// Why it cannot be looked at.
        source: io::Error,
    },
    /// The manifest's code is not there: it was not built.
    #[error("the component `{name}` is not built: there is no `{}`", file.display())]
    NotBuilt {
        /// The component.
        name: String,
        /// Where its code should be.
        file: PathBuf,
        /// The manifest's command that builds it.
        build: Option<String>,
        /// The directory to run the command in.
        directory: PathBuf,
    },
    /// The code is there but cannot be read.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The code is larger than any component should be.
    #[error("`{}` has {bytes} bytes; at most {WASM_BYTES_MAX} are allowed", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
    },
    /// What is inside the file is not a component with a manifest.
    #[error("`{}` cannot be loaded", file.display())]
    Section {
        /// The file.
        file: PathBuf,
        /// Why.
        source: section::SectionError,
    },
}

/// The largest `.wasm` that is read, in bytes. Compiling takes many times as
/// much memory.
pub const WASM_BYTES_MAX: u64 = 128 << 20;

impl Bundle {
    /// Reads a component from a directory or a packed file.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let metadata = std::fs::metadata(path).map_err(|source| BundleError::Nothing {
            path: path.to_owned(),
            source,
        })?;
        if metadata.is_dir() {
            Self::read_directory(path)
        } else {
            Self::read_packed(path)
        }
    }

    /// Reads a directory with a `component.toml`.
    pub fn read_directory(directory: &Path) -> Result<Self, BundleError> {
        let manifest_file = directory.join(manifest::FILE);
        let text =
            std::fs::read_to_string(&manifest_file).map_err(|source| ConfigError::Unreadable {
                file: manifest_file.clone(),
                source,
            })?;
        let manifest = Manifest::parse(&manifest_file, &text)?;
        let Some(wasm) = &manifest.wasm else {
            return Err(ConfigError::Wrong {
                origin: crate::config::Origin::File {
                    file: manifest_file.into(),
                    line: 1,
                },
                message: "`wasm` is missing".to_owned(),
                hint: Some("say where the build puts the component's `.wasm`".to_owned()),
            }
            .into());
        };
        let file = directory.join(wasm);
        if !file.exists() {
            return Err(BundleError::NotBuilt {
                name: manifest.name,
                file,
                build: manifest.build,
                directory: directory.to_owned(),
            });
        }
        Ok(Self {
            wasm: read_wasm(&file)?,
            manifest,
            manifest_text: text,
            file,
        })
    }

    /// Reads a `.wasm` that carries its manifest.
    pub fn read_packed(file: &Path) -> Result<Self, BundleError> {
        let wasm = read_wasm(file)?;
        let text = section::read(&wasm).map_err(|source| BundleError::Section {
            file: file.to_owned(),
            source,
        })?;
        // Lines of the manifest are counted from its own beginning.
        let inside = file.join(manifest::FILE);
        Ok(Self {
            manifest: Manifest::parse(&inside, text)?,
            manifest_text: text.to_owned(),
            file: file.to_owned(),
            wasm,
        })
    }
}

impl BundleError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint().map(str::to_owned),
            Self::Nothing { .. } => {
                Some("name a directory with a `component.toml`, or a packed `.wasm`".to_owned())
            }
            Self::NotBuilt {
                build, directory, ..
            } => Some(match build {
                Some(build) => format!("in `{}`, run `{build}`", directory.display()),
                None => "build it first; `build` in its manifest can say how".to_owned(),
            }),
            Self::Section { source, .. } => source.hint(),
            Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }
}

fn read_wasm(file: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |source| BundleError::Unreadable {
        file: file.to_owned(),
        source,
    };
    // Looked at before it is read, so that a huge file costs nothing.
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if bytes > WASM_BYTES_MAX {
        return Err(BundleError::TooLarge {
            file: file.to_owned(),
            bytes,
        });
    }
    std::fs::read(file).map_err(unreadable)
}

#[cfg(test)]
mod tests;
