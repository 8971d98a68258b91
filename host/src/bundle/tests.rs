//! Tests of reading components from disk.

use super::*;
use tempfile::TempDir;
use wasm_encoder::Component;

/// A directory with this manifest and, if `built`, an empty component.
fn directory(manifest: &str, built: bool) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(manifest::FILE), manifest).unwrap();
    if built {
        let wasm = Component::new().finish();
        std::fs::write(directory.path().join("a.wasm"), wasm).unwrap();
    }
    directory
}

const MANIFEST: &str = "manifest = 1\nname = \"a\"\nwasm = \"a.wasm\"\nbuild = \"make it\"\n";

#[test]
fn a_directory_and_the_file_packed_from_it_are_the_same_component() {
    let directory = directory(MANIFEST, true);
    let bundle = Bundle::read(directory.path()).unwrap();
    assert_eq!(bundle.manifest.name, "a");
    let packed = directory.path().join("packed.wasm");
    let bytes = section::write(&bundle.wasm, &bundle.manifest_text).unwrap();
    std::fs::write(&packed, &bytes).unwrap();
    let again = Bundle::read(&packed).unwrap();
    assert_eq!(again.manifest.name, "a");
    assert_eq!(again.manifest_text, MANIFEST);
    assert_eq!(again.wasm, bytes);
}

#[test]
fn a_component_that_was_not_built_is_refused_with_the_command_that_builds_it() {
    let directory = directory(MANIFEST, false);
    let error = Bundle::read(directory.path()).unwrap_err();
    assert!(matches!(error, BundleError::NotBuilt { .. }), "{error}");
    let hint = error.hint().unwrap();
    assert_eq!(
        hint,
        format!("in `{}`, run `make it`", directory.path().display())
    );
}

#[test]
fn what_is_no_component_is_refused_with_the_reason() {
    let empty = tempfile::tempdir().unwrap();
    let nothing = empty.path().join("nothing");
    let error = Bundle::read(&nothing).unwrap_err();
    assert!(matches!(error, BundleError::Nothing { .. }), "{error}");

    let error = Bundle::read(empty.path()).unwrap_err();
    let expected = empty.path().join(manifest::FILE);
    assert_eq!(
        error.to_string(),
        format!("cannot read `{}`", expected.display())
    );

    let unpacked = empty.path().join("a.wasm");
    std::fs::write(&unpacked, Component::new().finish()).unwrap();
    let error = Bundle::read(&unpacked).unwrap_err();
    assert!(error.hint().unwrap().contains("wasm-tools strip"));

    let without_code = directory("manifest = 1\nname = \"a\"", true);
    let error = Bundle::read(without_code.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("component.toml:1: `wasm` is missing")
    );
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("huge.wasm");
    // A hole: it takes no room, and reading it would take a while.
    let huge = std::fs::File::create(&file).unwrap();
    huge.set_len(WASM_BYTES_MAX + 1).unwrap();
    let error = Bundle::read(&file).unwrap_err();
    assert!(matches!(error, BundleError::TooLarge { .. }), "{error}");
}
