//! Generates the types of `proto/` and their JSON form, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

/// What other programs see, below `proto/`.
const FILES: [&str; 2] = [
    "lockport/lock/v1/lock.proto",
    "lock_manager/lock_manager.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut compiler = protox::Compiler::new([root.clone(), root.join("deps")])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    // Encoded by the compiler: the types have no room for `google.api.http`.
    let encoded = compiler.encode_file_descriptor_set();
    let files = compiler.file_descriptor_set();
    std::fs::write(out.join("descriptors.binpb"), &encoded)?;

    tonic_prost_build::configure()
        // Taken from elsewhere all the same: from where they have a JSON form.
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(".google.protobuf.Duration", "crate::Duration")
        .extern_path(".google.protobuf.Timestamp", "crate::Timestamp")
        .codec_path("crate::codec::SmallCodec")
        .compile_fds(files)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .build(&[".lockport.lock.v1"])?;
    Ok(())
}
