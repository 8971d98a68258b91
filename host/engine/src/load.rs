//! What is checked before a component may serve.
//!
//! The checks that need no compiler come first, so that a wrong file is
//! refused at once, and with everything that is wrong about its imports.

use crate::limits::TABLE_ELEMENTS_MAX;
use crate::linker;
use crate::spec::Limits;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::Component as Code;

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not WebAssembly, a core module, or broken.
    #[error("it is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// It imports what this host does not have; each with its full name.
    #[error("it imports {}, which this host does not offer", .0.join(", "))]
    MissingImports(Vec<String>),
    /// It exports no handler this host can serve.
    #[error("it exports no `wasi:http/incoming-handler`")]
    NoHandler,
    /// Its limits are more than the node allows, or less than it needs to
    /// start.
    #[error("its limits cannot be kept: {0}")]
    Limits(String),
    /// Anything else that the compiler or linker says.
    #[error("it cannot be compiled: {0}")]
    Compile(String),
}

/// The handler that this host can serve, and its versions.
const HANDLER: &str = "wasi:http/incoming-handler";
const HANDLER_TRACK: &str = "0.2";

/// One page of linear memory, in bytes.
const PAGE: u64 = 64 << 10;

impl LoadError {
    pub(crate) fn compile(error: &wasmtime::Error) -> Self {
        Self::Compile(format!("{error:#}"))
    }
}

/// Checks that `wasm` is a component that this host can link and serve.
pub(crate) fn check(wasm: &[u8]) -> Result<(), LoadError> {
    let names = names(wasm)?;
    let missing: Vec<_> = names
        .imports
        .into_iter()
        .filter(|name| !linker::offers(name))
        .map(|name| format!("`{name}`"))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::MissingImports(missing));
    }
    if !names.exports.into_iter().any(is_handler) {
        return Err(LoadError::NoHandler);
    }
    Ok(())
}

/// Checks limits that are the manifest's alone.
pub(crate) fn check_limits(limits: &Limits, memory_max: u64) -> Result<(), LoadError> {
    if limits.memory > memory_max {
        return Err(LoadError::Limits(format!(
            "it asks for {} bytes of memory; the node allows {memory_max}",
            limits.memory
        )));
    }
    if limits.instances == 0 {
        return Err(LoadError::Limits(
            "it allows no instances; at least 1 is needed".to_owned(),
        ));
    }
    Ok(())
}

/// Checks that an instance can start within the limits.
pub(crate) fn check_needs(code: &Code, limits: &Limits) -> Result<(), LoadError> {
    let Some(needs) = code.resources_required() else {
        return Ok(());
    };
    let pages = needs.max_initial_memory_size.unwrap_or(0);
    let memory = pages.saturating_mul(PAGE);
    if memory > limits.memory {
        return Err(LoadError::Limits(format!(
            "it needs {memory} bytes of memory to start; its limit is {}",
            limits.memory
        )));
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    let elements_max = limits.table_elements.min(TABLE_ELEMENTS_MAX) as u64;
    if elements > elements_max {
        return Err(LoadError::Limits(format!(
            "it needs a table of {elements} elements to start; its limit is {elements_max}"
        )));
    }
    Ok(())
}

/// What a component imports and exports, by name.
struct Names<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

/// Reads the outermost level of a component. Does not validate: the compiler
/// does.
fn names(wasm: &[u8]) -> Result<Names<'_>, LoadError> {
    let broken = |error: wasmparser::BinaryReaderError| LoadError::NotAComponent(error.to_string());
    let mut names = Names {
        imports: Vec::new(),
        exports: Vec::new(),
    };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(broken)? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err(LoadError::NotAComponent("it is a core module".to_owned()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import.map_err(broken)?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.exports.push(export.map_err(broken)?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn is_handler(export: &str) -> bool {
    export
        .split_once('@')
        .is_some_and(|(name, version)| name == HANDLER && on_track(version, HANDLER_TRACK))
}

/// Whether `version` is a release of the track `0.2`, say: `0.2.` and a
/// number. Pre-releases are nobody's track.
pub(crate) fn on_track(version: &str, track: &str) -> bool {
    version
        .strip_prefix(track)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Engine, Options, Reuse, Spec};
    use std::collections::HashMap;

    /// What is wrong with a component that is given as text.
    fn refusal(wat: &str) -> LoadError {
        refusal_with(wat, Limits::default())
    }

    fn refusal_with(wat: &str, limits: Limits) -> LoadError {
        let options = Options {
            instances: 2,
            ..Options::default()
        };
        let spec = Spec {
            name: "test".to_owned(),
            collections: HashMap::new(),
            locks: Vec::new(),
            configuration: Configuration::default(),
            reuse: Reuse::Never,
            limits,
        };
        let engine = Engine::new(options).unwrap();
        engine
            .load(&wat::parse_str(wat).unwrap(), spec)
            .unwrap_err()
    }

    #[test]
    fn what_is_no_component_is_refused() {
        for (wasm, why) in [
            (&b"not wasm"[..], "magic"),
            (b"", "unexpected end"),
            (b"\0asm\x0d\0\x01\0\x0a", "unexpected end"),
            (b"\0asm\x01\0\0\0", "it is a core module"),
        ] {
            let error = check(wasm).unwrap_err();
            assert!(
                matches!(&error, LoadError::NotAComponent(text) if text.contains(why)),
                "{error}"
            );
        }
    }

    #[test]
    fn every_import_that_is_missing_is_named() {
        let error = refusal(
            r#"(component
                (import "lockport:host/events@0.1.0" (instance))
                (import "wasi:io/poll@0.2.6" (instance))
                (import "wasi:http/types@0.3.0" (instance))
                (import "wasi:keyvalue/store@0.2.0-draft3" (instance)))"#,
        );
        assert_eq!(
            error.to_string(),
            "it imports `lockport:host/events@0.1.0`, `wasi:http/types@0.3.0`, \
             `wasi:keyvalue/store@0.2.0-draft3`, which this host does not offer"
        );
    }

    #[test]
    fn a_function_that_an_interface_does_not_have_is_named() {
        let error = refusal(&format!(
            r#"(component
                (import "wasi:cli/environment@0.2.0" (instance
                    (export "set-environment" (func))))
                {HANDLES_NOTHING})"#,
        ));
        let LoadError::Compile(text) = error else {
            panic!("{error}");
        };
        assert!(text.contains("`wasi:cli/environment@0.2.0`"), "{text}");
        assert!(text.contains("`set-environment`"), "{text}");
    }

    #[test]
    fn a_component_without_a_handler_is_refused() {
        assert!(matches!(refusal("(component)"), LoadError::NoHandler));
        let newer = HANDLES_NOTHING.replace("@0.2.3", "@0.3.0");
        assert!(matches!(
            refusal(&format!("(component {newer})")),
            LoadError::NoHandler
        ));
    }

    #[test]
    fn imports_and_exports_of_what_is_inside_do_not_count() {
        let error = refusal(&format!(
            r#"(component
                (component (import "not:offered/at-all@1.0.0" (instance)))
                (component (core module) {HANDLES_NOTHING})
                (core module))"#
        ));
        assert!(matches!(error, LoadError::NoHandler), "{error}");
    }

    #[test]
    fn a_component_that_needs_more_than_its_limits_to_start_is_refused() {
        let component = |inside: &str| {
            format!(
                "(component (core module $m {inside}) (core instance (instantiate $m)) {HANDLES_NOTHING})"
            )
        };
        let limits = Limits {
            memory: 2 << 16,
            table_elements: 10,
            ..Limits::default()
        };
        for (inside, why) in [
            (
                "(memory 3)",
                "it needs 196608 bytes of memory to start; its limit is 131072",
            ),
            (
                "(table 11 funcref)",
                "it needs a table of 11 elements to start; its limit is 10",
            ),
        ] {
            let error = refusal_with(&component(inside), limits.clone());
            assert!(
                matches!(&error, LoadError::Limits(text) if text == why),
                "{error}"
            );
        }
    }

    #[test]
    fn limits_that_the_node_does_not_allow_are_refused() {
        let component = format!("(component {HANDLES_NOTHING})");
        let much = Limits {
            memory: Options::default().memory + 1,
            ..Limits::default()
        };
        let none = Limits {
            instances: 0,
            ..Limits::default()
        };
        for limits in [much, none] {
            let error = refusal_with(&component, limits);
            assert!(matches!(error, LoadError::Limits(_)), "{error}");
        }
    }

    /// An export that has the name of a handler, but no functions.
    const HANDLES_NOTHING: &str =
        r#"(instance $none) (export "wasi:http/incoming-handler@0.2.3" (instance $none))"#;
}
