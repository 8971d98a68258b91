//! The command line: what it offers, what it prints where, and what it leaves
//! in its exit code.

use crate::harness::{
    Node, Storage, built_wasm, component_dir, eventually, guest_dir, lockport, request, root,
};
use serde_json::Value;

#[test]
fn the_version_is_the_package_s() {
    let finished = lockport(["--version"]).run().expect_code(0);
    assert_eq!(
        finished.stdout,
        format!("lockport {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(finished.stderr, "");
}

#[test]
fn help_lists_the_commands_that_exist_and_no_other() {
    let help = lockport(["--help"]).run().expect_code(0).stdout;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        commands,
        ["serve", "check", "pack", "lock", "locks", "help"]
    );
}

#[test]
fn the_help_of_each_command_says_what_its_flags_do() {
    for (command, flags) in [
        (
            "serve",
            [
                "--config", "--store", "--http", "--lock", "--admin", "--format",
            ]
            .as_slice(),
        ),
        ("check", &["--config", "--format", "--print-config"]),
        ("pack", &["--output", "--format"]),
    ] {
        let help = lockport([command, "--help"]).run().expect_code(0).stdout;
        for flag in flags {
            assert!(
                help.contains(flag),
                "`{command} --help` does not list {flag}:\n{help}"
            );
        }
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        ["--no-such-flag"].as_slice(),
        &["no-such-command"],
        &["serve", "--format", "yaml"],
        &["pack"],
        &[],
    ] {
        let finished = lockport(arguments).run().expect_code(2);
        assert_eq!(finished.stdout, "", "what is wrong goes to standard error");
    }
}

#[test]
fn check_of_a_good_configuration_says_so_and_listens_nowhere() {
    let builder = Node::builder().shop();
    let config = builder.write_config().display().to_string();
    let finished = lockport(["check", "--config", &config])
        .run()
        .expect_code(0);
    for part in ["order", "invoice"] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    let json = lockport(["check", "--config", &config, "--format", "json"]).run();
    let json = json.expect_code(0).json();
    assert!(json.is_object(), "{json}");
}

#[test]
fn check_prints_the_configuration_that_is_in_force() {
    let builder = Node::builder().shop();
    let config = builder.write_config().display().to_string();
    let finished = lockport(["check", "--print-config", "--config", &config])
        .env("LOCKPORT_LIMITS__REQUEST_BODY", "123KiB")
        .run()
        .expect_code(0);
    assert!(
        finished.stdout.contains("request_body"),
        "{}",
        finished.stdout
    );
    assert!(finished.stdout.contains("123KiB"), "{}", finished.stdout);
}

#[test]
fn the_ready_line_lists_what_listens_and_what_is_served() {
    let node = Node::builder().shop().start();
    let ready = node.ready();
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    for name in ["http", "lock", "admin"] {
        assert!(node.listener(name).port() > 0, "{name}");
    }
    let names: Vec<&Value> = ready["components"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|component| &component["name"])
        .collect();
    assert_eq!(names, ["order", "invoice"]);
}

#[test]
fn serve_tells_people_its_addresses_components_and_store() {
    let builder = Node::builder().shop();
    let config = builder.write_config().display().to_string();
    let running = lockport(["serve", "--config", &config]).start();
    for part in ["127.0.0.1:", "order", "invoice", "/orders/{id}", "memory:"] {
        eventually(part, || running.stdout.text().contains(part).then_some(()));
    }
    assert!(
        !running.stdout.text().contains('\u{1b}'),
        "colours without a terminal"
    );
}

#[test]
fn flags_and_the_environment_go_over_the_file() {
    let builder = Node::builder().shop().set("listen.http", "127.0.0.1:1");
    let config = builder.write_config().display().to_string();
    let running = lockport(["serve", "--config", &config, "--http", "127.0.0.1:0"])
        .env(
            "LOCKPORT_STORE__URL",
            &format!("embedded:{}", builder.data_dir().display()),
        )
        .start();
    eventually("it serves", || {
        running.stdout.text().contains("/orders").then_some(())
    });
    assert!(
        builder.data_dir().join("LOCK").is_file(),
        "the store is where the variable says"
    );
}

#[test]
fn an_error_is_json_where_json_was_asked_for() {
    let builder = Node::builder().set("store.durabilty", "sync");
    let config = builder.write_config().display().to_string();
    let finished = lockport(["serve", "--format", "json", "--config", &config]).run();
    let finished = finished.expect_code(3);
    let line = finished.stderr.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(line).expect("the last line is JSON");
    assert_eq!(error["exit_code"], 3, "{error}");
    assert!(
        error["error"].is_string() && error["hint"].is_string(),
        "{error}"
    );
    assert!(error["causes"].is_array(), "{error}");
}

#[test]
fn an_error_is_a_sentence_its_causes_and_a_hint() {
    let builder = Node::builder().set("store.durabilty", "sync");
    let config = builder.write_config().display().to_string();
    let finished = lockport(["serve", "--config", &config])
        .run()
        .expect_code(3);
    let mut lines = finished.stderr.lines();
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with("error: ") && !first.ends_with('.'),
        "{first}"
    );
    assert!(
        finished.stderr.contains("\n\nhint: "),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn a_packed_component_is_one_file_that_serves() {
    let builder = Node::builder();
    let home = builder.write_config();
    let home = home.parent().expect("a file is in a folder");
    let packed = home.join("invoice.wasm").display().to_string();
    let source = component_dir("invoice").display().to_string();
    lockport(["pack", &source, "--output", &packed])
        .run()
        .expect_code(0);

    let plain = std::fs::metadata(built_wasm(&component_dir("invoice"))).expect("it was built");
    let size = std::fs::metadata(&packed).expect("it was packed").len();
    assert!(size > plain.len(), "the manifest is inside");

    let node = builder.directory(packed.into()).start();
    let path = node.create_invoice(5);
    node.get(&path).expect(200);
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let builder = Node::builder();
    let home = builder.write_config();
    let home = home.parent().expect("a file is in a folder");
    let source = guest_dir("hello12").display().to_string();
    let bytes = ["a.wasm", "b.wasm"].map(|name| {
        let packed = home.join(name).display().to_string();
        lockport(["pack", &source, "--output", &packed])
            .run()
            .expect_code(0);
        std::fs::read(packed).expect("it was packed")
    });
    assert!(bytes[0] == bytes[1], "the bytes differ");
}

#[test]
fn packing_what_is_already_packed_leaves_one_manifest() {
    let builder = Node::builder();
    let home = builder.write_config();
    let home = home.parent().expect("a file is in a folder");
    let once = home.join("once.wasm");
    let source = component_dir("invoice").display().to_string();
    let once_path = once.display().to_string();
    lockport(["pack", &source, "--output", &once_path])
        .run()
        .expect_code(0);

    // A folder whose `.wasm` is a packed one.
    let manifest = std::fs::read_to_string(component_dir("invoice").join("component.toml"));
    let mut manifest: toml::Table = manifest.expect("it is there").parse().expect("it is TOML");
    manifest.insert("wasm".to_owned(), once_path.into());
    let _builder = builder.manifest("again", &manifest.to_string());
    let twice = home.join("twice.wasm").display().to_string();
    let folder = home.join("again").display().to_string();
    lockport(["pack", &folder, "--output", &twice])
        .run()
        .expect_code(0);

    let bytes = std::fs::read(&twice).expect("it was packed");
    let name = b"lockport:component";
    let count = bytes
        .windows(name.len())
        .filter(|window| window == name)
        .count();
    assert_eq!(count, 1, "exactly one section holds the manifest");
    Node::builder().directory(twice.into()).start();
}

#[test]
fn serve_keeps_what_it_was_told_over_a_restart_of_the_embedded_store() {
    let builder = Node::builder().shop().storage(Storage::Embedded);
    let node = builder.start();
    let order = node.create_order();
    let before = node.order(&order);
    assert_eq!(node.terminate().code(), Some(0));
    let node = builder.start();
    assert_eq!(node.assert_invoice_fits(&order), before);
}

#[test]
fn the_production_configuration_is_one_that_check_understands() {
    let config = root().join("deploy/lockport.toml").display().to_string();
    let finished = lockport(["check", "--print-config", "--config", &config]).run();
    // Its components are not here; its keys and values have to be right.
    assert_ne!(finished.code, Some(2), "{}", finished.stderr);
    assert!(!finished.stderr.contains("unknown"), "{}", finished.stderr);
}

#[test]
fn a_kept_connection_outlives_many_requests() {
    let node = Node::builder().shop().start();
    let mut client = node.client();
    for _ in 0..200 {
        client.send(&request("GET", "/ping")).expect(200);
    }
}
