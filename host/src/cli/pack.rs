//! `pack`: a component and its manifest in one file.

use super::Pack;
use super::exit::{Exit, Report};
use super::output::Output;
use crate::bundle::{Bundle, BundleError, section};
use std::path::{Path, PathBuf};

/// Writes a packed component. Nothing is written if anything is wrong with the
/// manifest, and the file is whole or not there: it is written beside its
/// place and moved there.
pub(super) fn run(pack: &Pack, output: &Output) -> Result<(), Report> {
    let bundle = Bundle::read_directory(&pack.directory)?;
    let packed = section::write(&bundle.wasm, &bundle.manifest_text).map_err(|source| {
        BundleError::Section {
            file: bundle.file.clone(),
            source,
        }
    })?;
    let file = match &pack.output {
        Some(file) => file.clone(),
        None => PathBuf::from(format!("{}.wasm", bundle.manifest.name)),
    };
    write_whole(&file, &packed).map_err(|source| Report {
        exit: Exit::Fault,
        error: format!("cannot write `{}`", file.display()),
        causes: vec![source.to_string()],
        hint: None,
    })?;
    output.packed(&bundle.manifest.name, &file, packed.len());
    Ok(())
}

fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, file)
}
