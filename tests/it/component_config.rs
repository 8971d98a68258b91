//! `wasi:config`: what an operator gives to a component, and only to that one.

use crate::harness::{Builder, Node, guest_dir, lockport};

/// The guests, and the names under which each asks for the interface.
const GUESTS: [(&str, &[&str]); 2] = [
    ("keyvalue-draft", &["rc.1", "draft", "runtime"]),
    ("keyvalue-draft2", &["dated"]),
];

const SECRET: &str = "hunter2-0123456789";

/// A configuration is wrong.
const CONFIG: i32 = 3;

/// With the guest, which is granted the keys `greeting` and `absent`, and these
/// secrets. It calls nobody.
fn with(builder: Builder, guest: &str, secrets: &[&str]) -> Builder {
    builder.changed(&guest_dir(guest), |manifest| {
        let grants = manifest["grants"].as_table_mut().expect("it is a table");
        grants.remove("calls");
        grants.insert("secrets".to_owned(), secrets.to_vec().into());
    })
}

/// A node whose guests are granted the secret `api-key`.
fn granted() -> Builder {
    let guests = GUESTS.iter();
    guests.fold(Node::builder(), |builder, (guest, _)| {
        with(builder, guest, &["api-key"])
    })
}

/// The same, with all that it needs: `secret` says where the secret is.
fn given(secret: &str) -> Builder {
    let mut builder = granted();
    for (guest, _) in GUESTS {
        let greeting = format!("greeting = \"hello {guest}\"");
        builder = builder
            .set(&format!("config.{guest}"), table(&greeting))
            .set(
                &format!("secrets.{guest}"),
                table(&format!("api-key = {secret}")),
            );
    }
    builder
}

fn table(text: &str) -> toml::Table {
    text.parse().expect("it is TOML")
}

/// What the guest is told under each name of the interface.
#[track_caller]
fn expect(node: &Node, guest: &str, step: &str, told: &str) {
    let (_, names) = GUESTS.iter().find(|it| it.0 == guest).expect("it is one");
    let expected: Vec<_> = names.iter().map(|name| format!("{name}={told}")).collect();
    let name = step.split(' ').next().unwrap_or_default();
    let answer = node.run(guest, [step]).expect(200);
    assert_eq!(answer.step(name), expected.join(" "), "{guest} {step}");
}

/// A file beside the node's configuration.
fn beside(builder: &Builder, name: &str, text: &str) {
    let file = builder.write_config().with_file_name(name);
    std::fs::write(&file, text).expect("the directory is ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("it is ours");
}

#[test]
fn c10_a_component_reads_what_it_is_granted_and_nothing_else() {
    let builder = given("{ file = \"api.key\" }");
    beside(&builder, "api.key", &format!("{SECRET}\n"));
    let node = builder.start();
    for (guest, _) in GUESTS {
        expect(&node, guest, "config greeting", &format!("hello {guest}"));
        expect(&node, guest, "config api-key", SECRET);
        for key in ["absent", "other", "Greeting", "keyvalue-draft.greeting"] {
            expect(&node, guest, &format!("config {key}"), "none");
        }
        // Secrets are told by name only.
        expect(
            &node,
            guest,
            "config-all",
            &format!("[greeting:hello {guest}]"),
        );
    }
    let logs = node.logs().text();
    assert!(!logs.contains(SECRET), "{logs}");
}

#[test]
fn a_secret_may_be_in_the_environment_and_configuration_too() {
    let node = given("{ env = \"OF_THE_TEST\" }")
        .env("OF_THE_TEST", SECRET)
        .env("LOCKPORT_CONFIG__KEYVALUE_DRAFT2__GREETING", "good evening")
        .env("LOCKPORT_CONFIG__KEYVALUE_DRAFT2__ABSENT", "there")
        .start();
    for (guest, _) in GUESTS {
        expect(&node, guest, "config api-key", SECRET);
    }
    expect(
        &node,
        GUESTS[0].0,
        "config greeting",
        "hello keyvalue-draft",
    );
    expect(&node, GUESTS[1].0, "config greeting", "good evening");
    expect(&node, GUESTS[1].0, "config absent", "there");
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let builder = given("{ env = \"OF_THE_TEST\" }");
    let config = builder.write_config().display().to_string();
    for format in ["text", "json"] {
        let arguments = [
            "check",
            "--print-config",
            "--format",
            format,
            "--config",
            &config,
        ];
        let shown = lockport(arguments)
            .env("OF_THE_TEST", SECRET)
            .run()
            .expect_code(0);
        assert!(
            shown.stdout.contains("hello keyvalue-draft2"),
            "{}",
            shown.stdout
        );
        assert!(shown.stdout.contains("OF_THE_TEST"), "{}", shown.stdout);
        for said in [&shown.stdout, &shown.stderr] {
            assert!(!said.contains(SECRET), "{said}");
        }
    }
}

/// Starts what cannot start, by `check` and by `serve`; neither may show the
/// secret.
#[track_caller]
fn refused(builder: &Builder, variables: &[(&str, &str)], parts: &[&str]) {
    let config = builder.write_config().display().to_string();
    for command in ["check", "serve"] {
        let run = lockport([command, "--config", &config]);
        let run = variables
            .iter()
            .fold(run, |run, (name, value)| run.env(name, value));
        let finished = run.run().expect_code(CONFIG).expect_stderr(parts);
        assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
    }
}

#[test]
fn a_node_without_a_secret_does_not_start_and_says_what_to_do() {
    let hint = "[secrets.keyvalue-draft]: api-key = { env = \"KEYVALUE_DRAFT_API_KEY\" }";
    refused(
        &granted(),
        &[],
        &["`keyvalue-draft`", "`api-key`", "hint: ", hint],
    );
    let variable = given("{ env = \"OF_THE_TEST\" }");
    refused(
        &variable,
        &[],
        &["`api-key`", "variable OF_THE_TEST is not set", "hint: "],
    );
    refused(
        &variable,
        &[("OF_THE_TEST", "")],
        &["`api-key`", "it is empty"],
    );
    let file = given("{ file = \"api.key\" }");
    refused(
        &file,
        &[],
        &["`api-key`", "api.key` cannot be read", "hint: "],
    );
}

#[test]
fn a_secret_that_is_given_itself_is_refused_and_not_repeated() {
    refused(
        &given(&format!("\"{SECRET}\"")),
        &[],
        &["`secrets.keyvalue-draft.api-key` must say where the secret is"],
    );
    refused(
        &given("{ env = \"OF_THE_TEST\" }"),
        &[("LOCKPORT_SECRETS__KEYVALUE_DRAFT__API_KEY", SECRET)],
        &["LOCKPORT_SECRETS__KEYVALUE_DRAFT__API_KEY", "hint: "],
    );
}

#[test]
fn what_a_component_is_given_and_not_granted_is_refused() {
    let builder = with(Node::builder(), "keyvalue-draft", &[])
        .set("config.keyvalue-draft", table("greting = \"hello\""));
    refused(
        &builder,
        &[],
        &[
            "`config.keyvalue-draft.greting`",
            "did you mean `greeting`?",
        ],
    );
}

#[test]
fn what_is_given_to_a_component_that_is_not_loaded_is_warned_of() {
    let node = with(Node::builder(), "keyvalue-draft", &[])
        .set("config.other", table("greeting = \"hello\""))
        .start();
    let line = node.logs().wait_for("a component that is not loaded");
    assert!(line.contains("other"), "{line}");
}
