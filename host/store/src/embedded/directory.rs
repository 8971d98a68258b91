//! The directory of a store, which one process has at a time.

use super::OpenError;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The file whose lock says that the directory is in use. It is never removed:
/// a lock on a file that is gone keeps nobody out.
const LOCK: &str = "LOCK";

/// A directory that is this process's own until this is dropped.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates the directory if it is not there, and takes it.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory {
            path: path.to_owned(),
            source,
        };
        create(path).map_err(failed)?;
        warn_if_open(path);
        let lock = open(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file in it if it is not there, that only its owner can read.
    pub(super) fn create(&self, name: &str) -> Result<PathBuf, OpenError> {
        let path = self.path.join(name);
        match open(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(OpenError::Directory {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

/// Opens a file, and creates it first if it is not there: its owner's alone, for
/// whoever reads the key of a space can make all of its secrets.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A directory that was there before may let others in.
fn warn_if_open(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = path.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            let (path, mode) = (path.display(), format!("{:o}", mode & 0o777));
            tracing::warn!(%path, mode, "others may look into the store's directory");
        }
    }
}

/// Creates a directory that only its owner can look into, and has its name
/// written down before anything relies on it.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
