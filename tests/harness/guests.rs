//! Where the repository and its built components are.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.parent().expect("`host` is in the root").to_path_buf()
}

/// The directory of a component that we ship: `plugins/<name>`.
#[track_caller]
pub(crate) fn component_dir(name: &str) -> PathBuf {
    built(root().join("plugins").join(name))
}

/// The directory of a hostile or odd component: `tests/guests/<name>`.
#[track_caller]
pub(crate) fn guest_dir(name: &str) -> PathBuf {
    built(root().join("tests/guests").join(name))
}

/// The `.wasm` that the component in `dir` was built to.
#[track_caller]
pub(crate) fn built_wasm(dir: &Path) -> PathBuf {
    let manifest = dir.join("component.toml");
    let text = std::fs::read_to_string(&manifest)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", manifest.display()));
    let table: toml::Table = text
        .parse()
        .unwrap_or_else(|error| panic!("{} is not TOML: {error}", manifest.display()));
    let wasm = table["wasm"].as_str().expect("`wasm` is a string");
    dir.join(wasm)
}

/// `dir`, once it is certain that its component was built.
#[track_caller]
fn built(dir: PathBuf) -> PathBuf {
    let wasm = built_wasm(&dir);
    assert!(
        wasm.is_file(),
        "{} is missing; run `cargo xtask test`, which builds the components first",
        wasm.display(),
    );
    dir
}
