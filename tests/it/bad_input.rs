//! What is wrong is refused before anything listens: with what is wrong, where,
//! a hint, and an exit code of its own.

use crate::harness::{Builder, Finished, Node, Storage, component_dir, guest_dir, lockport, root};
use std::net::TcpListener;
use toml::Value as Toml;

/// A manifest or a configuration is wrong.
const CONFIG: i32 = 3;
/// A component cannot be loaded.
const COMPONENT: i32 = 4;
/// An address cannot be bound.
const ADDRESS: i32 = 5;
/// A store cannot be opened.
const STORE: i32 = 6;
/// A data directory is in use by another process.
const IN_USE: i32 = 7;

/// Starts what cannot start, and `check`s it as well: both have to refuse it in
/// the same way. Gives what `serve` left.
#[track_caller]
fn refused(builder: &Builder, code: i32) -> Finished {
    let config = builder.write_config().display().to_string();
    let serve = lockport(["serve", "--format", "json", "--config", &config]).run();
    assert_eq!(serve.stdout, "", "it said that it was ready");
    let serve = serve.expect_code(code);
    let check = lockport(["check", "--config", &config])
        .run()
        .expect_code(code);
    assert!(check.stderr.contains("error: "), "{}", check.stderr);
    Finished {
        stderr: format!("{}\n{}", serve.stderr, check.stderr),
        ..serve
    }
}

/// As [`refused`], and it is said what to do about it.
#[track_caller]
fn refused_with_hint(builder: &Builder, code: i32) -> Finished {
    refused(builder, code).expect_stderr(&["\nhint: ", "\"hint\":\""])
}

/// A node whose `invoice` has a changed manifest.
fn with_invoice(change: impl FnOnce(&mut toml::Table)) -> Builder {
    Node::builder().changed(&component_dir("invoice"), change)
}

fn table(text: &str) -> toml::Table {
    text.parse().expect("it is TOML")
}

#[test]
fn an_unknown_key_of_a_manifest_is_named_with_the_nearest_known_one() {
    let builder = with_invoice(|manifest| {
        manifest.insert("rouse".to_owned(), Toml::from(1000));
    });
    refused_with_hint(&builder, CONFIG).expect_stderr(&["rouse", "`reuse`", "component.toml"]);
}

#[test]
fn an_unknown_key_deep_in_a_manifest_is_named_with_its_place() {
    let builder = with_invoice(|manifest| {
        manifest.insert("limits".to_owned(), Toml::Table(table("memroy = \"1MiB\"")));
    });
    refused_with_hint(&builder, CONFIG).expect_stderr(&["memroy", "`memory`", "limits"]);
}

#[test]
fn an_unknown_key_of_the_node_is_named_with_the_nearest_known_one() {
    let builder = Node::builder().shop().set("store.durabilty", "sync");
    refused_with_hint(&builder, CONFIG).expect_stderr(&[
        "durabilty",
        "`durability`",
        "lockport.toml",
    ]);
}

#[test]
fn an_unknown_variable_of_the_environment_is_refused_by_name() {
    let builder = Node::builder().shop();
    let config = builder.write_config().display().to_string();
    let finished = lockport(["serve", "--config", &config])
        .env("LOCKPORT_STORE__ULR", "memory:")
        .run();
    finished
        .expect_code(CONFIG)
        .expect_stderr(&["LOCKPORT_STORE__ULR", "hint: "]);
}

#[test]
fn values_that_make_no_sense_are_refused_by_field_and_reason() {
    for (field, text) in [
        ("deadline", "[limits]\ndeadline = \"soon\""),
        ("deadline", "[limits]\ndeadline = \"0s\""),
        ("memory", "[limits]\nmemory = \"lots\""),
        ("memory", "[limits]\nmemory = \"0B\""),
        ("memory", "[limits]\nmemory = \"900GiB\""),
        ("instances", "[limits]\ninstances = 0"),
        ("instances", "[limits]\ninstances = -1"),
        ("name", "name = \"Invoice\""),
        ("name", "name = \"../invoice\""),
        ("manifest", "manifest = 2"),
        ("path", "[[http]]\npath = \"invoices\""),
        ("path", "[[http]]\npath = \"/invoices/{id\""),
        ("path", "[[http]]\npath = \"/invoices/{id}/{id}\""),
        (
            "methods",
            "[[http]]\npath = \"/invoices\"\nmethods = [\"FETCH ME\"]",
        ),
        (
            "names",
            "[[http]]\npath = \"/x\"\nlock = { names = [\"order/{id}\"] }",
        ),
        ("guard", "[collections.invoices]\nguard = \"invoice/{id}\""),
        ("locks", "[grants]\nlocks = [\"a**\"]"),
    ] {
        let builder = with_invoice(|manifest| manifest.extend(table(text)));
        let finished = refused(&builder, CONFIG);
        assert!(
            finished.stderr.contains(field),
            "{text}\nis refused without naming `{field}`:\n{}",
            finished.stderr,
        );
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let builder = Node::builder().manifest("broken", "manifest = 1\nname = \n");
    refused(&builder, CONFIG).expect_stderr(&["component.toml", "2"]);
}

#[test]
fn two_components_that_claim_one_route_are_both_named() {
    let builder = Node::builder()
        .shop()
        .changed(&component_dir("invoice"), |manifest| {
            manifest.insert("name".to_owned(), Toml::from("accounts"));
        });
    refused_with_hint(&builder, CONFIG).expect_stderr(&["invoice", "accounts", "/invoices"]);
}

#[test]
fn routes_that_differ_only_in_the_names_of_parameters_clash() {
    let builder = Node::builder()
        .component("invoice")
        .changed(&guest_dir("hello12"), |manifest| {
            manifest.extend(table("[[http]]\npath = \"/invoices/{number}\""));
        });
    refused(&builder, CONFIG).expect_stderr(&["invoice", "hello12", "/invoices/{number}"]);
}

#[test]
fn two_components_of_one_name_are_refused() {
    let builder = Node::builder()
        .component("invoice")
        .changed(&component_dir("invoice"), |_| {});
    refused(&builder, CONFIG).expect_stderr(&["invoice"]);
}

#[test]
fn a_guarded_collection_without_the_grant_for_its_locks_is_refused_with_hint() {
    let builder = with_invoice(|manifest| {
        manifest.insert(
            "grants".to_owned(),
            Toml::Table(table("locks = [\"other/*\"]")),
        );
    });
    refused(&builder, CONFIG).expect_stderr(&["invoices", "invoice/", "grants"]);
}

#[test]
fn a_locked_route_without_the_grant_for_its_locks_is_refused_with_hint() {
    let builder = Node::builder().changed(&guest_dir("hello12"), |manifest| {
        manifest.extend(table(
            "[[http]]\npath = \"/seats/{id}\"\nlock = { names = [\"seat/{id}\"] }",
        ));
    });
    refused(&builder, CONFIG).expect_stderr(&["seat/{id}", "grants"]);
}

#[test]
fn a_call_that_could_never_succeed_is_refused_with_hint() {
    let builder = Node::builder().component("order");
    refused(&builder, CONFIG).expect_stderr(&["order", "invoice"]);
}

#[test]
fn a_component_that_imports_what_the_host_lacks_is_refused_with_its_name() {
    let builder = Node::builder().guest("unknown");
    refused_with_hint(&builder, COMPONENT).expect_stderr(&["unknown", "test:unknown/oracle@1.0.0"]);
}

#[test]
fn a_missing_wasm_is_refused_with_the_command_that_builds_it() {
    let builder = with_invoice(|manifest| {
        manifest.insert("wasm".to_owned(), Toml::from("nowhere.wasm"));
        manifest.insert("build".to_owned(), Toml::from("make the-invoice"));
    });
    refused_with_hint(&builder, COMPONENT).expect_stderr(&["nowhere.wasm", "make the-invoice"]);
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    let core_module: &[u8] = b"\0asm\x01\0\0\0";
    for (bytes, what) in [
        (core_module, "a core module"),
        (b"", "an empty file"),
        (b"#!/bin/sh\n", "a script"),
        (b"\0asm\x0d\0\x01\0\xff", "a truncated component"),
    ] {
        let builder = with_invoice(|manifest| {
            manifest.insert("wasm".to_owned(), Toml::from("odd.wasm"));
        });
        let dir = builder.write_config();
        let dir = dir.parent().expect("a file is in a folder");
        std::fs::write(dir.join("invoice/odd.wasm"), bytes).expect("the directory is ours");
        let finished = refused(&builder, COMPONENT);
        assert!(
            finished.stderr.contains("odd.wasm") || finished.stderr.contains("invoice"),
            "{what}"
        );
    }
}

#[test]
fn a_directory_without_a_manifest_is_refused() {
    let builder = Node::builder().directory(root().join("wit"));
    let finished = refused(&builder, CONFIG);
    finished.expect_stderr(&["component.toml"]);
}

#[test]
fn a_wasm_without_its_manifest_is_refused_with_what_may_have_removed_it() {
    let wasm = crate::harness::built_wasm(&component_dir("invoice"));
    let builder = Node::builder().directory(wasm);
    let finished = refused_with_hint(&builder, COMPONENT);
    finished.expect_stderr(&["lockport:component", "strip"]);
}

#[test]
fn an_address_in_use_is_refused_with_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let builder = Node::builder().shop().set("listen.http", address.as_str());
    let config = builder.write_config().display().to_string();
    let finished = lockport(["serve", "--config", &config])
        .run()
        .expect_code(ADDRESS);
    finished.expect_stderr(&["error: ", &address, "hint: "]);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for address in ["localhost", "127.0.0.1", "127.0.0.1:99999", ""] {
        let builder = Node::builder().shop().set("listen.http", address);
        refused(&builder, CONFIG).expect_stderr(&["http"]);
    }
}

#[test]
fn a_data_directory_in_use_is_refused_and_its_owner_goes_on() {
    let builder = Node::builder().shop().storage(Storage::Embedded);
    let node = builder.start();
    let order = node.create_order();
    let config = builder.write_config().display().to_string();
    let second = lockport(["serve", "--config", &config])
        .run()
        .expect_code(IN_USE);
    second.expect_stderr(&["error: ", "hint: "]);
    node.assert_invoice_fits(&order);
    node.create_order();
}

#[test]
fn a_store_that_cannot_be_opened_is_refused() {
    let builder = Node::builder().shop();
    let file = builder.write_config();
    // A file where the directory should be.
    refused(&builder.embedded(&file), STORE);

    let builder = Node::builder().shop().storage(Storage::Embedded);
    // Ended in good order, so that no journal is left to restore it from.
    assert_eq!(builder.start().terminate().code(), Some(0));
    let database = builder.data_dir().join("lockport.db");
    std::fs::write(database, b"this is not a database, whatever its name says")
        .expect("it is ours");
    refused(&builder, STORE);
}

#[test]
fn a_store_url_that_is_none_is_refused_with_those_there_are() {
    for url in [
        "",
        "memory",
        "embedded:",
        "file:data",
        "redis://",
        "rediss://",
        "redis+sentinel://there",
    ] {
        let builder = Node::builder().shop().set("store.url", url);
        refused(&builder, CONFIG).expect_stderr(&["url"]);
    }
}

#[test]
fn a_configuration_that_is_not_there_is_refused_by_name() {
    let finished = lockport(["serve", "--config", "no-such.toml"])
        .run()
        .expect_code(CONFIG);
    finished.expect_stderr(&["error: ", "no-such.toml"]);
}
