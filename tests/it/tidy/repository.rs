//! The files of the repository, as git sees them: what is committed and what
//! would be, so that a rule fails before the commit and not after it.

use crate::harness::root;
use std::path::PathBuf;
use std::process::Command;

/// A file with text in it.
pub(super) struct File {
    /// Its path from the root, with `/`.
    pub(super) path: String,
    /// What is in it.
    pub(super) text: String,
}

/// Every text file, in the order of their paths. Files that are not UTF-8 are
/// left out: rules are about text.
pub(super) fn files() -> Vec<File> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("the rules are checked over `git ls-files`; install git");
    assert!(
        output.status.success(),
        "the rules are checked over `git ls-files`; run the tests in a clone: {}",
        String::from_utf8_lossy(&output.stderr),
    );
    let listing = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let mut paths: Vec<&str> = listing.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    let files: Vec<File> = paths
        .into_iter()
        .filter_map(|path| {
            // One that was deleted and not yet committed is gone already.
            let text = std::fs::read_to_string(root().join(path)).ok()?;
            Some(File {
                path: path.to_owned(),
                text,
            })
        })
        .collect();
    assert!(files.len() > 50, "git lists only {} files", files.len());
    files
}

/// Those of [`files`] whose path ends so.
pub(super) fn files_ending(end: &str) -> Vec<File> {
    let mut files = files();
    files.retain(|file| file.path.ends_with(end));
    files
}

/// The names of the folders in `path` that hold a file called `marker`.
pub(super) fn folders_with(path: &str, marker: &str) -> Vec<String> {
    let prefix = format!("{path}/");
    files()
        .iter()
        .filter_map(|file| {
            let (folder, name) = file.path.strip_prefix(&prefix)?.split_once('/')?;
            (name == marker).then(|| folder.to_owned())
        })
        .collect()
}

// === impl File ===

impl File {
    /// Where it is.
    pub(super) fn location(&self) -> PathBuf {
        root().join(&self.path)
    }

    /// Whether it is in one of these folders, or is one of these files.
    pub(super) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}
