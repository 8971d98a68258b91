//! Every folder of `examples/` is run, and has to print what it says.
//!
//! An example is a README, a `lockport.toml`, a `run.sh` that talks to
//! `$LOCKPORT_URL` by `curl`, and an `expected.txt`. Ids and times, which
//! differ each time, are written `<id>` and `<time>` there.

use crate::harness::{Finished, Node, lockport, root};
use std::path::Path;
use std::process::Command;

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
        let printed = normalised(&run(&folder));
        assert_eq!(
            printed.trim_end(),
            expected.trim_end(),
            "{}",
            folder.display()
        );
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
fn run(folder: &Path) -> String {
    let node = Node::serve_config(&folder.join("lockport.toml"));
    let output = Command::new("sh")
        .arg("run.sh")
        .current_dir(folder)
        .env("LOCKPORT_URL", node.url())
        .output()
        .expect("a shell and curl are there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", folder.display());
    String::from_utf8(output.stdout).expect("it prints text")
}

/// `text` with ids and times replaced.
fn normalised(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (length, name) = match (id(rest), time(rest)) {
            (Some(length), _) => (length, Some("<id>")),
            (None, Some(length)) => (length, Some("<time>")),
            (None, None) => (next.len_utf8(), None),
        };
        normal.push_str(name.unwrap_or(&rest[..length]));
        rest = &rest[length..];
    }
    normal
}

/// How long the UUID is that `text` begins with.
fn id(text: &str) -> Option<usize> {
    let is_id = shape(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")?;
    is_id.then_some(36)
}

/// How long the time is that `text` begins with. A time that the example gives
/// itself, in the 2040s, is left as it is.
fn time(text: &str) -> Option<usize> {
    if !shape(text, "dddd-dd-ddTdd:dd:dd")? || text.starts_with("204") {
        return None;
    }
    Some(text.find('Z')? + 1)
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
