//! What a component may import.
//!
//! All of WASI 0.2 is linked, so that standard components run unchanged, but
//! file system and sockets have nothing behind them: see
//! [`State`](crate::instance::State). [`OFFERED`] names the interfaces once
//! more, in words, so that a component that imports something else can be told
//! all that is missing before it is compiled.

use crate::imports;
use crate::instance::State;
use crate::load::{LoadError, on_track};
use wasmtime::Result;
use wasmtime::component::{Component as Code, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Every interface that is linked: package, the track of its versions, names.
const OFFERED: &[(&str, &str, &[&str])] = &[
    ("lockport:host", "0.1", &["locks", "state", "request"]),
    ("wasi:http", "0.2", &["types", "outgoing-handler"]),
    ("wasi:io", "0.2", &["error", "poll", "streams"]),
    ("wasi:clocks", "0.2", &["monotonic-clock", "wall-clock"]),
    (
        "wasi:random",
        "0.2",
        &["random", "insecure", "insecure-seed"],
    ),
    (
        "wasi:cli",
        "0.2",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:filesystem", "0.2", &["types", "preopens"]),
    (
        "wasi:sockets",
        "0.2",
        &[
            "network",
            "instance-network",
            "ip-name-lookup",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// Links everything that is offered.
pub(crate) fn new(engine: &wasmtime::Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    imports::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Whether an import of this name can be satisfied: `wasi:io/poll@0.2.6`.
pub(crate) fn offers(import: &str) -> bool {
    let parse = || {
        let (path, version) = import.split_once('@')?;
        let (package, interface) = path.split_once('/')?;
        Some((package, interface, version))
    };
    parse().is_some_and(|(package, interface, version)| {
        OFFERED.iter().any(|(offered, track, interfaces)| {
            *offered == package && on_track(version, track) && interfaces.contains(&interface)
        })
    })
}

/// Resolves the component's imports, once for all of its instances.
pub(crate) fn link(linker: &Linker<State>, code: &Code) -> Result<ProxyPre<State>, LoadError> {
    linker
        .instantiate_pre(code)
        .and_then(ProxyPre::new)
        .map_err(|error| LoadError::compile(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_as_offered_is_linked_and_nothing_else_is() {
        let engine = wasmtime::Engine::default();
        let linker = new(&engine).unwrap();
        // The linker refuses to define again what it has.
        let has = |name: &str| {
            let mut linker = linker.clone();
            let defined = linker.root().func_wrap(name, |_, (): ()| Ok(()));
            defined.is_err()
        };
        for (package, track, interfaces) in OFFERED {
            let patch = if *track == "0.2" { "12" } else { "0" };
            for interface in *interfaces {
                let name = format!("{package}/{interface}@{track}.{patch}");
                assert!(has(&name), "{name} is not linked");
                assert!(offers(&name));
            }
        }
        assert!(!has("lockport:host/events@0.1.0"));
    }

    #[test]
    fn a_version_of_the_same_track_will_do_and_no_other() {
        for name in ["wasi:io/poll@0.2.0", "wasi:io/poll@0.2.99"] {
            assert!(offers(name), "{name}");
        }
        for name in [
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.2.0-rc-2023-11-10",
            "wasi:io/poll@0.2",
            "wasi:io/poll@0.2.",
            "wasi:io/poll@0.20.1",
            "wasi:io/poll",
            "wasi:io/pol@0.2.0",
            "lockport:host/events@0.1.0",
            "poll",
        ] {
            assert!(!offers(name), "{name}");
        }
    }
}
