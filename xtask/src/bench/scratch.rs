//! Directories for what servers write, on the disk the repository is on.

use crate::process::{output, root};
use crate::steps::{Failure, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own; removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Outcome<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("target/bench/scratch-{}-{number}", std::process::id());
        let path = root().join(name);
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::new(format!("creating {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies below `target`; what stays there harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Refuses to measure what is to be on a disk in memory.
pub(super) fn is_on_disk() -> Outcome {
    let scratch = Scratch::new()?;
    let kind = output(
        Command::new("stat")
            .args(["--file-system", "--format", "%T"])
            .arg(scratch.path()),
        "stat",
    )?;
    if ["tmpfs", "ramfs"].contains(&kind.trim()) {
        return Err(Failure::new(
            "the repository is not on a disk, so durable stores cannot be compared",
        )
        .hint("clone it to a disk, or choose contenders with `--only memory`"));
    }
    Ok(())
}
