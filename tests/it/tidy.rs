//! The rules of this repository, as tests.
//!
//! They are checked over `git ls-files`, uncommitted files included. Each
//! failure says what to do. When a review repeats itself, add a rule here.

mod documents;
mod repository;
mod scan;

use crate::harness::root;
use repository::{File, files, files_ending};
use scan::{code, functions, names};

/// The most lines of a file, without exception.
const LINES: usize = 800;

/// The lines that a file aims at.
const LINES_AIM: usize = 400;

/// How many percent of the files may be longer than [`LINES_AIM`]. May only
/// shrink.
const LONGER_PERCENT: usize = 10;

/// The most lines of a function.
const FUNCTION_LINES: usize = 70;

/// Functions that are longer than [`FUNCTION_LINES`]: path and name. May only
/// shrink.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Something that only some places may name.
struct Only {
    /// What, as whole words.
    words: &'static [&'static str],
    /// Where the rule holds.
    within: &'static [&'static str],
    /// Who may.
    allowed: &'static [&'static str],
    /// What to do instead.
    remedy: &'static str,
}

/// Who may depend on what (style.md of the design, 3.3), and the things that
/// have one home each.
const ONLY: &[Only] = &[
    Only {
        words: &["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"],
        within: &["host/"],
        allowed: &["host/engine/"],
        remedy: "give `host/engine` what you need and call it there",
    },
    Only {
        words: &["rusqlite"],
        within: &["host/", "xtask/"],
        allowed: &["host/store/"],
        remedy: "give the `Store` trait what you need",
    },
    Only {
        words: &["hyper", "hyper_util", "clap", "toml", "wasmparser"],
        within: &["host/store/"],
        allowed: &[],
        remedy: "the store knows nothing of HTTP, of files and of components; hand it values",
    },
    Only {
        words: &["prometheus"],
        within: &["host/"],
        allowed: &["host/src/metrics.rs", "host/src/metrics/"],
        remedy: "name the metric in `metrics.rs` and count by a handle of it",
    },
    Only {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        within: &[
            "host/src/",
            "host/client/src/",
            "host/engine/src/",
            "host/locks/src/",
            "host/proto/src/",
            "host/store/src/",
        ],
        allowed: &["host/src/cli/output.rs"],
        remedy: "print through `cli/output.rs`; log with `tracing`",
    },
    Only {
        words: &["async", "await", "tokio", "Instant", "SystemTime", "random"],
        within: &["host/store/src/core.rs", "host/store/src/core/"],
        allowed: &[],
        remedy: "the core is pure: what it decides on is handed in",
    },
    Only {
        words: &["async", "await", "hyper"],
        within: &[
            "host/src/gateway/route.rs",
            "host/src/gateway/pattern.rs",
            "host/src/gateway/target.rs",
        ],
        allowed: &[],
        remedy: "routing is pure: it takes values and gives values",
    },
    Only {
        words: &[
            "from_u16",
            "BAD_REQUEST",
            "UNAUTHORIZED",
            "FORBIDDEN",
            "NOT_FOUND",
            "METHOD_NOT_ALLOWED",
            "CONFLICT",
            "PAYLOAD_TOO_LARGE",
            "LOCKED",
            "INTERNAL_SERVER_ERROR",
            "BAD_GATEWAY",
            "SERVICE_UNAVAILABLE",
            "GATEWAY_TIMEOUT",
        ],
        within: &["host/src/"],
        allowed: &["host/src/gateway/rescue.rs", "host/src/admin/refusal.rs"],
        remedy: "say why in a `Refusal`; `rescue.rs` and `admin/refusal.rs` pick the status",
    },
    Only {
        words: &["SystemTime", "Instant::now"],
        within: &["host/store/src/"],
        allowed: &["host/store/src/clock.rs"],
        remedy: "time is handed in; `clock.rs` is the only file of the store that reads it",
    },
    Only {
        words: &["env::var", "env::vars", "env::var_os", "env::vars_os"],
        within: &["host/src/", "host/engine/src/", "host/store/src/"],
        allowed: &["host/src/config.rs", "host/src/config/"],
        remedy: "read the environment in `config` and hand the value on",
    },
    Only {
        words: &["sleep", "retries"],
        within: &["tests/it/", "tests/harness/"],
        allowed: &[],
        remedy: "wait for a condition with `eventually`",
    },
    Only {
        words: &["unsafe", "unsafe_code"],
        within: &["host/", "xtask/", "tests/it/", "tests/harness/"],
        allowed: &["host/engine/src/cache.rs"],
        remedy: "the one exception loads code that this node compiled and authenticated",
    },
];

/// Marks of unfinished work. Put together here, so that this file has none.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
    concat!("dbg", "!("),
];

/// Places that exist on one machine only. Put together for the same reason.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tm", "p/"),
    concat!("/ho", "me/"),
];

/// Files that are not ours to word.
const NOT_OURS: &[&str] = &["wit/deps/", "LICENSE"];

#[test]
fn every_rust_file_begins_with_what_it_is_and_why() {
    let offenders = offenders(files_ending(".rs"), |file| {
        (!file.text.starts_with("//! ")).then(String::new)
    });
    assert_none(
        offenders,
        "begin the file with `//!`: what is in it, and why",
    );
}

#[test]
fn no_file_is_long_and_few_are_longer_than_they_should_be() {
    let files = files_ending(".rs");
    let count = files.len();
    let length = |file: &File| file.text.lines().count();
    let longer = files.iter().filter(|file| length(file) > LINES_AIM).count();
    let offenders = offenders(files, |file| {
        (length(file) > LINES).then(|| format!("{} lines", length(file)))
    });
    assert_none(
        offenders,
        "split the file by the jobs it does; 800 lines are the most",
    );
    assert!(
        longer * 100 <= count * LONGER_PERCENT,
        "{longer} of {count} files have more than {LINES_AIM} lines; split some",
    );
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let offenders = offenders(files_ending(".rs"), |file| {
        let long: Vec<String> = functions(&code(&file.text))
            .into_iter()
            .filter(|function| function.lines > FUNCTION_LINES)
            .filter(|function| !LONG_FUNCTIONS.contains(&(file.path.as_str(), &function.name)))
            .map(|f| format!("line {}: `{}` has {} lines", f.line, f.name, f.lines))
            .collect();
        (!long.is_empty()).then(|| long.join("; "))
    });
    assert_none(
        offenders,
        "give the parts of the function names of their own",
    );
}

#[test]
fn what_has_one_home_is_named_nowhere_else() {
    let files = files_ending(".rs");
    let codes: Vec<String> = files.iter().map(|file| code(&file.text)).collect();
    let mut offenders = Vec::new();
    for only in ONLY {
        for (file, code) in files.iter().zip(&codes) {
            if !file.is_in(only.within) || file.is_in(only.allowed) || is_inner_test(&file.path) {
                continue;
            }
            let code = without_tests(code);
            let named: Vec<&str> = only
                .words
                .iter()
                .copied()
                .filter(|word| names(code, word))
                .collect();
            if !named.is_empty() {
                let (path, named) = (&file.path, named.join("`, `"));
                offenders.push(format!("{path} names `{named}`: {}", only.remedy));
            }
        }
    }
    assert_none(offenders, "some things have one home");
}

#[test]
fn the_store_depends_on_nothing_above_it() {
    let manifest = read("host/store/Cargo.toml");
    for name in [
        "wasmtime",
        "hyper",
        "tonic",
        "clap",
        "toml",
        "lockport-engine",
    ] {
        assert!(
            !manifest.lines().any(|line| line.starts_with(name)),
            "host/store/Cargo.toml: the store must build without `{name}`",
        );
    }
}

#[test]
fn wasmtime_is_a_version_without_known_advisories() {
    let lock: toml::Table = read("Cargo.lock").parse().expect("it is TOML");
    let packages = lock["package"].as_array().expect("it lists packages");
    let version = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("wasmtime"))
        .expect("the engine needs it")["version"]
        .as_str()
        .expect("a version is text");
    let patch = version
        .strip_prefix("48.0.")
        .and_then(|patch| patch.parse().ok());
    assert!(
        patch.is_some_and(|patch: u32| patch >= 8),
        "Cargo.lock has wasmtime {version}; it has to be 48.0.8 or a later 48.0",
    );
}

#[test]
fn nothing_is_left_unfinished() {
    let offenders = offenders(ours(), |file| found(&file.text, UNFINISHED));
    assert_none(
        offenders,
        "finish it, or write an issue and leave no mark here",
    );
}

#[test]
fn nothing_names_a_place_on_somebody_s_machine() {
    let offenders = offenders(ours(), |file| found(&file.text, MACHINE_PATHS));
    assert_none(
        offenders,
        "take the path from the repository, a flag or the configuration",
    );
}

#[test]
fn text_is_plain_ascii() {
    let offenders = offenders(ours(), |file| {
        let number = file.text.lines().position(|line| !line.is_ascii())?;
        Some(format!("line {}", number + 1))
    });
    assert_none(
        offenders,
        "write it in ASCII; in Rust, `\\u{..}` says what is meant",
    );
}

/// What a rule has against files: path and what.
fn offenders(files: Vec<File>, fault: impl Fn(&File) -> Option<String>) -> Vec<String> {
    files
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.path, fault(file)?)))
        .collect()
}

#[track_caller]
fn assert_none(offenders: Vec<String>, remedy: &str) {
    assert!(
        offenders.is_empty(),
        "{remedy}:\n  {}",
        offenders.join("\n  ")
    );
}

/// The files that we word.
fn ours() -> Vec<File> {
    let mut files = files();
    files.retain(|file| !file.is_in(NOT_OURS) && !file.path.ends_with(".lock"));
    files
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a file has nothing but the tests of a package's inside.
fn is_inner_test(path: &str) -> bool {
    !path.starts_with("tests/") && (path.contains("/tests/") || path.ends_with("/tests.rs"))
}

/// `code` up to its tests, which stand last in a file. A declaration of tests
/// that are in a file of their own ends nothing.
fn without_tests(code: &str) -> &str {
    let inline = code.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
        let module = code[*at..].lines().nth(1).unwrap_or_default();
        module.ends_with('{')
    });
    inline.map_or(code, |(at, _)| &code[..at])
}

/// The first line that contains one of `parts`.
fn found(text: &str, parts: &[&str]) -> Option<String> {
    let (number, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| parts.iter().any(|part| line.contains(part)))?;
    Some(format!("line {}: {}", number + 1, line.trim()))
}
