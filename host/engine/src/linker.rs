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
use wasmtime::component::{Component as Code, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Interfaces of one package that are linked.
struct Offer {
    package: &'static str,
    version: Version,
    interfaces: &'static [&'static str],
}

/// Which versions of a package one that is linked stands for.
#[derive(Clone, Copy)]
enum Version {
    /// Every release of the track `0.2`, say.
    Track(&'static str),
    /// This one alone: of a pre-release, the next may be anything.
    Exactly(&'static str),
}

use Version::{Exactly, Track};

/// Every interface that is linked.
const OFFERED: &[Offer] = &[
    Offer::of(
        "lockport:host",
        Track("0.1"),
        &["locks", "state", "request"],
    ),
    Offer::of("wasi:http", WASI, &["types", "outgoing-handler"]),
    Offer::of("wasi:io", WASI, &["error", "poll", "streams"]),
    Offer::of("wasi:clocks", WASI, &["monotonic-clock", "wall-clock"]),
    Offer::of(
        "wasi:random",
        WASI,
        &["random", "insecure", "insecure-seed"],
    ),
    Offer::of(
        "wasi:cli",
        WASI,
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
    Offer::of("wasi:filesystem", WASI, &["types", "preopens"]),
    Offer::of(
        "wasi:sockets",
        WASI,
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
    Offer::of("wasi:keyvalue", Exactly("0.2.0-draft"), KEYVALUE),
    Offer::of("wasi:keyvalue", Exactly("0.2.0-draft2"), KEYVALUE),
    Offer::of("wasi:config", Exactly("0.2.0-rc.1"), &["store"]),
    // Before and after its interface was given another name.
    Offer::of("wasi:config", Exactly("0.2.0-draft"), &["runtime", "store"]),
    Offer::of("wasi:config", Exactly("0.2.0-draft-2024-09-27"), &["store"]),
];

/// WASI 0.2.
const WASI: Version = Track("0.2");

const KEYVALUE: &[&str] = &["store", "atomics", "batch"];

/// Everything that is offered, ready to be linked.
pub(crate) struct Linkers {
    usual: Linker<State>,
    /// Where an interface has two forms under one name: the other one.
    other: Linker<State>,
}

impl Linkers {
    /// Links everything that is offered.
    pub(crate) fn new(engine: &wasmtime::Engine) -> Result<Self> {
        let mut usual = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut usual)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut usual)?;
        imports::add_to_linker(&mut usual)?;
        let mut other = usual.clone();
        imports::add_others_to_linker(&mut other)?;
        Ok(Self { usual, other })
    }

    /// Resolves the component's imports, once for all of its instances.
    pub(crate) fn link(&self, code: &Code) -> Result<ProxyPre<State>, LoadError> {
        self.resolve(code)
            .and_then(ProxyPre::new)
            .map_err(|error| LoadError::compile(&error))
    }

    fn resolve(&self, code: &Code) -> Result<InstancePre<State>> {
        let usual = self.usual.instantiate_pre(code);
        usual.or_else(|error| self.other.instantiate_pre(code).map_err(|_| error))
    }
}

/// Whether an import of this name can be satisfied: `wasi:io/poll@0.2.6`.
pub(crate) fn offers(import: &str) -> bool {
    let parse = || {
        let (path, version) = import.split_once('@')?;
        let (package, interface) = path.split_once('/')?;
        Some((package, interface, version))
    };
    parse().is_some_and(|(package, interface, version)| {
        OFFERED.iter().any(|offer| {
            offer.package == package
                && offer.version.covers(version)
                && offer.interfaces.contains(&interface)
        })
    })
}

impl Offer {
    const fn of(
        package: &'static str,
        version: Version,
        interfaces: &'static [&'static str],
    ) -> Self {
        Self {
            package,
            version,
            interfaces,
        }
    }
}

impl Version {
    fn covers(self, version: &str) -> bool {
        match self {
            Track(track) => on_track(version, track),
            Exactly(exact) => version == exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_as_offered_is_linked_and_nothing_else_is() {
        let engine = wasmtime::Engine::default();
        let linker = Linkers::new(&engine).unwrap().usual;
        // The linker refuses to define again what it has.
        let has = |name: &str| {
            let mut linker = linker.clone();
            let defined = linker.root().func_wrap(name, |_, (): ()| Ok(()));
            defined.is_err()
        };
        for offer in OFFERED {
            let version = match offer.version {
                Track("0.2") => "0.2.12".to_owned(),
                Track(track) => format!("{track}.0"),
                Exactly(version) => version.to_owned(),
            };
            for interface in offer.interfaces {
                let name = format!("{}/{interface}@{version}", offer.package);
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

    #[test]
    fn of_a_pre_release_exactly_this_one_will_do() {
        for name in [
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:config/runtime@0.2.0-draft",
            "wasi:config/store@0.2.0-draft-2024-09-27",
        ] {
            assert!(offers(name), "{name}");
        }
        for name in [
            "wasi:keyvalue/store@0.2.0-draft3",
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/watcher@0.2.0-draft2",
            "wasi:config/store@0.2.0-rc.2",
            "wasi:config/runtime@0.2.0-rc.1",
            "wasi:config/store@0.2.0-draft-2024-09-28",
        ] {
            assert!(!offers(name), "{name}");
        }
    }

    #[test]
    fn an_interface_that_has_two_forms_is_linked_in_both() {
        let engine = wasmtime::Engine::default();
        let linkers = Linkers::new(&engine).unwrap();
        let link = |entry: &str| {
            let wat = format!(
                r#"(component
                    (import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
                        (export "bucket" (type (sub resource)))
                        (type $error (variant
                            (case "no-such-store") (case "access-denied") (case "other" string)))
                        (export "error" (type (eq $error)))))
                    (alias export $store "bucket" (type $bucket))
                    (alias export $store "error" (type $error))
                    (import "wasi:keyvalue/batch@0.2.0-draft2" (instance
                        (export "bucket" (type $its-bucket (eq $bucket)))
                        (export "error" (type $its-error (eq $error)))
                        (export "get-many" (func
                            (param "bucket" (borrow $its-bucket)) (param "keys" (list string))
                            (result (result (list {entry}) (error $its-error))))))))"#
            );
            let code = Code::new(&engine, wat::parse_str(wat).unwrap()).unwrap();
            linkers.resolve(&code).map(|_| ())
        };
        link("(option (tuple string (list u8)))").unwrap();
        link("(tuple string (option (list u8)))").unwrap();
        // What fits neither is told by the usual one.
        let error = format!("{:#}", link("(tuple string string)").unwrap_err());
        assert!(error.contains("get-many"), "{error}");
    }
}
