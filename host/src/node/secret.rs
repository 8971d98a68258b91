//! Files with secrets.
//!
//! They should be readable by nobody but the node's user; one that is not is
//! used all the same, with a warning, because some systems hand secrets to a
//! process that way.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permissions of others than a file's owner.
const OTHERS: u32 = 0o077;

/// The secret in a file, without the end of its line. One that is longer than
/// `bytes_max` is cut, but not to that: it is still too long. Blocks.
pub(super) fn read(path: &Path, bytes_max: usize) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & OTHERS != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:o}", mode & 0o777),
            "others can read a secret; `chmod 600` its file"
        );
    }
    let mut secret = String::new();
    // Room for the end of a line, and for one byte too many.
    file.take(bytes_max as u64 + 3)
        .read_to_string(&mut secret)?;
    Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
}
