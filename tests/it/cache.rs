//! The cache of compiled code, seen from outside: it saves compiling, and
//! whatever happens to it, nothing but what this node compiled is ever run.

use crate::harness::{Builder, Node};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn builder(name: &str) -> (Builder, PathBuf) {
    let builder = Node::builder().guest("hello12");
    let cache = builder.data_dir().with_file_name(name);
    let builder = builder.set("engine.cache", cache.display().to_string());
    (builder, cache)
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).expect("the node has made it");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn the_cache_belongs_to_the_node_s_user_alone() {
    let (builder, cache) = builder("cache");
    builder.start().get("/hello").expect(200);
    let mode = fs::metadata(&cache)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!entries(&cache).is_empty(), "nothing was cached");
}

#[test]
fn a_cache_that_was_tampered_with_is_not_run_but_made_anew() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2),
        |bytes: &mut Vec<u8>| bytes.clear(),
        |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
        |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"more"),
    ] {
        let (builder, cache) = builder("cache");
        builder.start().get("/hello").expect(200);
        for entry in entries(&cache) {
            let mut bytes = fs::read(&entry).expect("it can be read");
            damage(&mut bytes);
            fs::write(&entry, bytes).expect("it can be written");
        }
        let answer = builder.start().get("/hello").expect(200);
        assert_eq!(answer.text(), "Hello World!");
        // And once more, from what was made anew.
        builder.start().get("/hello").expect(200);
    }
}

#[test]
fn a_node_starts_without_a_cache_and_with_one_it_cannot_write() {
    let node = Node::builder()
        .guest("hello12")
        .set("engine.cache", "off")
        .start();
    node.get("/hello").expect(200);

    let (builder, cache) = builder("not-a-directory");
    fs::write(&cache, b"a file").expect("the directory is ours");
    builder.start().get("/hello").expect(200);
}
