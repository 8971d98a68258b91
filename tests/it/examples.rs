//! Every folder of `examples/` is run, twice on one node, and has to print what
//! it says each time.
//!
//! An example is a README, a `lockport.toml`, a `run.sh` that talks to
//! `$LOCKPORT_URL` and `$LOCKPORT_LOCK_URL` by `curl`, and an `expected.txt`.
//! What differs each time is written there as what it is: see [`VARYING`].

use crate::harness::{Finished, Node, address_of, lockport, root};
use std::path::Path;
use std::process::Command;

/// How long the one is that a text begins with, if it begins with one.
type LengthOf = fn(&str) -> Option<usize>;

/// What differs each time: its name, and how to find it.
const VARYING: &[(&str, LengthOf)] = &[
    ("<id>", id),
    ("<grant>", grant),
    ("<request>", request),
    ("<time>", time),
    ("<seconds>", seconds),
    ("<number>", number),
];

#[test]
fn every_example_prints_what_it_says() {
    let examples = std::fs::read_dir(root().join("examples")).expect("it is in the repository");
    let mut folders: Vec<_> = examples
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "there is no example");
    for folder in folders {
        let expected = std::fs::read_to_string(folder.join("expected.txt")).expect("it is there");
        let node = Node::serve_config(&folder.join("lockport.toml"));
        // The second run finds what the first has left.
        for run_number in 1..=2 {
            let printed = normalised(&run(&folder, &node));
            assert_eq!(
                printed.trim_end(),
                expected.trim_end(),
                "{}, run {run_number}",
                folder.display()
            );
        }
    }
}

#[test]
fn every_example_s_configuration_passes_its_check() {
    let examples = std::fs::read_dir(root().join("examples")).expect("it is in the repository");
    for entry in examples {
        let config = entry.expect("it can be read").path().join("lockport.toml");
        if config.is_file() {
            let config = config.display().to_string();
            let _: Finished = lockport(["check", "--config", &config])
                .run()
                .expect_code(0);
        }
    }
}

/// Runs an example against a node with its configuration; what it printed.
fn run(folder: &Path, node: &Node) -> String {
    let output = Command::new("sh")
        .arg("run.sh")
        .current_dir(folder)
        .env("LOCKPORT_URL", node.url())
        .env("LOCKPORT_LOCK_URL", format!("http://{}", address_of(node)))
        .output()
        .expect("a shell and curl are there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", folder.display());
    String::from_utf8(output.stdout).expect("it prints text")
}

/// `text` with everything replaced that is [`VARYING`].
fn normalised(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = VARYING
            .iter()
            .find_map(|(name, length)| Some((*name, length(rest)?)));
        let (name, length) = found.unwrap_or_else(|| {
            let length = next.len_utf8();
            (&rest[..length], length)
        });
        normal.push_str(name);
        rest = &rest[length..];
    }
    normal
}

/// How long the UUID is that `text` begins with.
fn id(text: &str) -> Option<usize> {
    let is_id = shape(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")?;
    is_id.then_some(36)
}

/// The same for the secret of a grant: 48 hexadecimal digits.
fn grant(text: &str) -> Option<usize> {
    let is_grant = shape(text, &"x".repeat(48))?;
    is_grant.then_some(48)
}

/// The same for the id of a request: 32 of them.
fn request(text: &str) -> Option<usize> {
    let is_request = shape(text, &"x".repeat(32))?;
    is_request.then_some(32)
}

/// The same for a time. One that the example gives itself, in the 2040s, is
/// left as it is.
fn time(text: &str) -> Option<usize> {
    if !shape(text, "dddd-dd-ddTdd:dd:dd")? || text.starts_with("204") {
        return None;
    }
    let end = |utc: &str| Some(text.find(utc)? + utc.len());
    [end("Z"), end("+00:00")].into_iter().flatten().min()
}

/// The same for a duration, in quotation marks: the first of them is part of
/// it, so that it does not begin in the middle of a word.
fn seconds(text: &str) -> Option<usize> {
    let quoted = text.strip_prefix('"')?;
    let end = quoted.find("s\"")?;
    let number = &quoted[..end];
    let is_number = number.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    (is_number && end > 0).then_some(end + 3)
}

/// The same for a fencing token or a revision: 13 digits or more.
fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits >= 13).then_some(digits)
}

fn shape(text: &str, shape: &str) -> Option<bool> {
    let text = text.as_bytes().get(..shape.len())?;
    Some(
        text.iter()
            .zip(shape.bytes())
            .all(|(byte, shape)| match shape {
                b'x' => byte.is_ascii_hexdigit(),
                b'd' => byte.is_ascii_digit(),
                other => *byte == other,
            }),
    )
}
