//! Generates the echo service and the part of etcd's messages that a lock
//! needs, without `protoc`.

use std::error::Error;

/// In `proto/`.
const FILES: [&str; 2] = ["echo.proto", "etcd.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(files)?;
    Ok(())
}
