//! The key that the entries of a cache are authenticated with.
//!
//! Whoever chose it, or can read it, can make this process run any machine
//! code. So it is only taken from a directory and a file that belong to this
//! user and that nobody else could open, and a directory that was open to
//! others gets a new key: what they may have put there is foreign then, and
//! what this user had there is compiled anew.

use super::{temporary_name, write_private};
use rustix::fs::OFlags;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Its file in the directory of the cache.
pub(super) const FILE: &str = "key";

const BYTES: usize = 32;

/// A secret, random key.
pub(super) type Key = [u8; BYTES];

/// The mode of a directory that nobody else can have changed.
const PRIVATE: u32 = 0o700;

/// The mode of a directory that nobody else can change any more, but whose key
/// is still to be removed. Another process that sees it removes the key too.
const CLOSING: u32 = 0o1700;

/// All the bits that make a mode.
const MODE_BITS: u32 = 0o7777;

/// The bits of a mode that let others in.
const OTHERS: u32 = 0o077;

/// Opens the directory, which is created if need be, and its key, which is
/// made if there is none to be trusted.
pub(super) fn open(directory: &Path) -> io::Result<Key> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(directory)?;
    close(directory)?;
    read_or_create(directory)
}

/// Keeps others out of the directory from now on. If they were not kept out
/// before, its key goes.
fn close(directory: &Path) -> io::Result<()> {
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(directory)?;
    let metadata = handle.metadata()?;
    if !is_ours(&metadata) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user",
        ));
    }
    if metadata.mode() & MODE_BITS == PRIVATE {
        return Ok(());
    }
    handle.set_permissions(Permissions::from_mode(CLOSING))?;
    match fs::remove_file(directory.join(FILE)) {
        Ok(()) => tracing::warn!(
            directory = %directory.display(),
            "the cache of compiled code was open to other users; its key is replaced"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    handle.set_permissions(Permissions::from_mode(PRIVATE))
}

/// The directory's key. Two processes that start at once agree on one: a key
/// is linked into place, which fails if there is one already.
fn read_or_create(directory: &Path) -> io::Result<Key> {
    let path = directory.join(FILE);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    let key: Key = rand::random();
    let temporary = directory.join(temporary_name());
    write_private(&temporary, &key)?;
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(&path)?.ok_or_else(|| io::Error::other("its key is broken"))
        }
        Err(error) => Err(error),
    }
}

/// The key in the file, `None` if there is none. A file that is no key, or
/// that others may have had a hand in, is removed: what was written with it is
/// compiled anew.
fn read(path: &Path) -> io::Result<Option<Key>> {
    // Neither follows a link to another file, nor waits for a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let key = match file {
        Ok(file) => trusted(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => None,
        Err(error) => return Err(error),
    };
    if key.is_none() {
        tracing::warn!(file = %path.display(), "the key of the cache cannot be trusted and is replaced");
        fs::remove_file(path)?;
    }
    Ok(key)
}

/// What is in the file, if it is a key that is ours alone.
fn trusted(file: File) -> io::Result<Option<Key>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_ours(&metadata) || metadata.mode() & OTHERS != 0 {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(BYTES + 1);
    file.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    /// What somebody else chose.
    const PLANTED: Key = [7; BYTES];

    /// A directory with this mode, and a planted key in it with that one.
    fn planted(directory: u32, key: u32) -> tempfile::TempDir {
        let planted = tempfile::tempdir().unwrap();
        let file = planted.path().join(FILE);
        fs::write(&file, PLANTED).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(key)).unwrap();
        fs::set_permissions(planted.path(), Permissions::from_mode(directory)).unwrap();
        planted
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & MODE_BITS
    }

    #[test]
    fn a_key_that_is_ours_alone_is_kept() {
        let directory = planted(0o700, 0o600);
        assert_eq!(open(directory.path()).unwrap(), PLANTED);
    }

    #[test]
    fn a_key_that_others_may_have_planted_or_read_is_replaced() {
        for (directory, key) in [
            (0o777, 0o600),
            (0o755, 0o600),
            (CLOSING, 0o600),
            (0o700, 0o644),
            (0o700, 0o620),
        ] {
            let planted = planted(directory, key);
            let new = open(planted.path()).unwrap();
            assert_ne!(new, PLANTED, "{directory:o} {key:o}");
            assert_eq!(mode(planted.path()), 0o700);
            assert_eq!(mode(&planted.path().join(FILE)), 0o600);
            assert_eq!(open(planted.path()).unwrap(), new);
        }
    }

    #[test]
    fn a_link_to_a_key_is_replaced_and_not_followed() {
        let elsewhere = planted(0o700, 0o600);
        let directory = planted(0o700, 0o600);
        fs::remove_file(directory.path().join(FILE)).unwrap();
        let target = elsewhere.path().join(FILE);
        symlink(&target, directory.path().join(FILE)).unwrap();
        assert_ne!(open(directory.path()).unwrap(), PLANTED);
        assert_eq!(fs::read(target).unwrap(), PLANTED);
    }

    #[test]
    fn a_key_that_is_too_short_or_too_long_is_replaced() {
        for length in [0, BYTES - 1, BYTES + 1] {
            let directory = planted(0o700, 0o600);
            fs::write(directory.path().join(FILE), vec![7; length]).unwrap();
            let new = open(directory.path()).unwrap();
            assert_eq!(open(directory.path()).unwrap(), new);
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let directory = planted(0o700, 0o600);
        let theirs = if rustix::process::geteuid().is_root() {
            chown(directory.path(), Some(1), None).unwrap();
            directory.path()
        } else {
            Path::new("/")
        };
        let error = open(theirs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
