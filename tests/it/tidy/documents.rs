//! Rules about what is not Rust: documents, interfaces, components, examples.

use super::repository::{File, files_ending, folders_with};
use super::{assert_none, offenders, read};
use crate::harness::root;
use std::collections::BTreeSet;

#[test]
fn every_shipped_component_has_a_readme_and_tests() {
    let components = folders_with("plugins", "component.toml");
    assert!(!components.is_empty(), "plugins/ has no component");
    for name in components {
        assert!(
            root().join(format!("plugins/{name}/README.md")).is_file(),
            "write plugins/{name}/README.md: what it does, its routes, its locks",
        );
        let own = format!("plugins/{name}/");
        let files = files_ending(".rs");
        let tested = |file: &File| file.is_in(&[&own]) && file.text.contains("#[test]");
        assert!(
            files.iter().any(tested),
            "test the logic of plugins/{name} in its own crate"
        );
        let contract = format!("tests/it/contract_{}.rs", name.replace('-', "_"));
        assert!(
            root().join(&contract).is_file(),
            "test plugins/{name} from outside: {contract}"
        );
    }
}

#[test]
fn every_step_of_the_probe_is_documented_and_tested() {
    let readme = read("tests/guests/README.md");
    let tests = tests();
    let steps: Vec<String> = files_ending(".rs")
        .iter()
        .filter(|file| file.is_in(&["tests/guests/probe/src/steps/"]))
        .flat_map(|file| declared_steps(&file.text))
        .collect();
    assert!(steps.len() > 10, "the probe has only the steps {steps:?}");
    for step in steps {
        assert!(
            readme.contains(&format!("`{step}")),
            "tests/guests/README.md does not list `{step}`; say there what it does",
        );
        let begun = ["\"", "try ", ";", "=", "\\n"].map(|before| format!("{before}{step}"));
        assert!(
            tests
                .iter()
                .any(|file| begun.iter().any(|text| file.text.contains(text))),
            "no test runs the step `{step}`; test what the host must do about it",
        );
    }
}

#[test]
fn every_guest_has_a_test_that_loads_it() {
    let guests = folders_with("tests/guests", "component.toml");
    assert!(!guests.is_empty(), "tests/guests has no guest");
    let tests = tests();
    for guest in guests {
        let named = format!("\"{guest}\"");
        assert!(
            tests.iter().any(|file| file.text.contains(&named)),
            "no test loads tests/guests/{guest}; test what the host must do about it",
        );
    }
}

#[test]
fn every_example_can_be_run_and_compared() {
    let examples = folders_with("examples", "README.md");
    assert!(!examples.is_empty(), "examples/ has no example");
    for name in examples {
        for file in ["run.sh", "expected.txt"] {
            assert!(
                root().join(format!("examples/{name}/{file}")).is_file(),
                "examples/{name} needs {file}: a test runs it",
            );
        }
    }
}

#[test]
fn our_interfaces_use_only_packages_that_are_vendored() {
    let packages: BTreeSet<String> = files_ending(".wit")
        .iter()
        .filter(|file| file.is_in(&["wit/deps/"]))
        .flat_map(|file| declared_packages(&file.text))
        .collect();
    for file in files_ending(".wit") {
        if file.is_in(&["wit/deps/"]) || !file.is_in(&["wit/"]) {
            continue;
        }
        for package in used_packages(&file.text) {
            assert!(
                packages.contains(&package),
                "{} uses {package}; put that version into wit/deps",
                file.path,
            );
        }
    }
}

#[test]
fn relative_links_of_documents_lead_somewhere() {
    let offenders = offenders(files_ending(".md"), |file| {
        let location = file.location();
        let folder = location.parent().expect("a file is in a folder");
        let broken: Vec<&str> = links(&file.text)
            .into_iter()
            .map(|link| link.split('#').next().unwrap_or_default())
            .filter(|link| !link.is_empty() && !folder.join(link).exists())
            .collect();
        (!broken.is_empty()).then(|| broken.join(", "))
    });
    assert_none(offenders, "mend the link, or take it out");
}

/// The tests from outside, and the language they are written in.
fn tests() -> Vec<File> {
    let mut tests = files_ending(".rs");
    tests.retain(|file| file.is_in(&["tests/it/", "tests/harness/"]));
    tests
}

/// The names in a table of steps: `("acquire", acquire),`.
fn declared_steps(text: &str) -> Vec<String> {
    let table = text.split("STEPS: ").nth(1).unwrap_or_default();
    let table = table.split("];").next().unwrap_or_default();
    table
        .split("(\"")
        .skip(1)
        .filter_map(|entry| entry.split('"').next())
        .map(str::to_owned)
        .collect()
}

fn declared_packages(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("package "))
        .map(|package| package.trim_end_matches([';', '{', ' ']).to_owned())
        .collect()
}

/// `wasi:io@0.2.12` for each `wasi:io/streams@0.2.12`.
fn used_packages(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == ';')
        .filter_map(|word| {
            let (package, rest) = word.strip_prefix("wasi:")?.split_once('/')?;
            let (_, version) = rest.split_once('@')?;
            let version = version.split(".{").next()?;
            Some(format!("wasi:{package}@{version}"))
        })
        .collect()
}

/// The targets of Markdown links that are not addresses.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        .collect()
}
