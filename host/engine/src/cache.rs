//! Compiled code on disk.
//!
//! Machine code that is loaded runs with the rights of the host, so an entry
//! is only trusted if this cache wrote it: each one is authenticated with a
//! random [`key`] that nobody else can have read or put there. What does not prove to be ours (tampered with, cut short, copied
//! from elsewhere, renamed) is compiled anew and replaced, never run. An entry
//! is named by what it was made from and for: the digest of the WebAssembly
//! and the engine's compatibility hash.
//!
//! The cache is a convenience: its failures are warnings.

mod key;

use hmac::{Hmac, KeyInit, Mac};
use key::Key;
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wasmtime::component::Component as Code;

/// A directory of compiled code.
pub(crate) struct Cache {
    directory: PathBuf,
    key: Key,
    /// What code must have been compiled for to run in this engine.
    compatibility: [u8; TAG_BYTES],
}

const TAG_BYTES: usize = 32;
/// What every entry begins with: what it is, and the version of its format.
const MAGIC: &[u8; 8] = b"lockprt1";

/// Why an entry is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Distrust {
    #[error("it is not an entry of this cache")]
    NotAnEntry,
    #[error("it was not written by this cache, or changed since")]
    Forged,
}

impl Cache {
    /// Opens the cache in `directory`, which is created if need be. `None`,
    /// with a warning, if that is not possible.
    pub(crate) fn open(directory: PathBuf, engine: &wasmtime::Engine) -> Option<Self> {
        match key::open(&directory) {
            Ok(key) => Some(Self {
                compatibility: compatibility(engine),
                directory,
                key,
            }),
            Err(error) => {
                tracing::warn!(
                    directory = %directory.display(),
                    %error,
                    "the cache of compiled code cannot be used; components are compiled at each start"
                );
                None
            }
        }
    }

    /// The compiled code of `wasm`: from the cache, or compiled and cached.
    pub(crate) fn compile(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> wasmtime::Result<Code> {
        let name = self.name(wasm);
        if let Some(code) = self.load(engine, &name) {
            return Ok(code);
        }
        let code = Code::from_binary(engine, wasm)?;
        match code.serialize() {
            Ok(serialized) => self.store(&name, &serialized),
            Err(error) => warn(&name, &error),
        }
        Ok(code)
    }

    /// The entry `name`, if there is one and it is ours.
    fn load(&self, engine: &wasmtime::Engine, name: &str) -> Option<Code> {
        let entry = match fs::read(self.directory.join(name)) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn(name, &error);
                return None;
            }
        };
        let serialized = match self.verify(name, &entry) {
            Ok(serialized) => serialized,
            Err(error) => {
                warn(name, &error);
                return None;
            }
        };
        match deserialize(engine, serialized) {
            Ok(code) => Some(code),
            Err(error) => {
                warn(name, &error);
                None
            }
        }
    }

    fn store(&self, name: &str, serialized: &[u8]) {
        let mut entry = Vec::with_capacity(MAGIC.len() + TAG_BYTES + serialized.len());
        entry.extend_from_slice(MAGIC);
        entry.extend_from_slice(&self.mac(name, serialized).finalize().into_bytes());
        entry.extend_from_slice(serialized);
        let temporary = self.directory.join(temporary_name());
        let written = write_private(&temporary, &entry)
            .and_then(|()| fs::rename(&temporary, self.directory.join(name)));
        if let Err(error) = written {
            warn(name, &error);
            // Whatever is left of it is of no use; there is nothing to do if
            // it cannot be removed either.
            _ = fs::remove_file(&temporary);
        }
    }

    /// The machine code in `entry`, if this cache wrote it under `name`.
    fn verify<'a>(&self, name: &str, entry: &'a [u8]) -> Result<&'a [u8], Distrust> {
        let rest = entry.strip_prefix(MAGIC).ok_or(Distrust::NotAnEntry)?;
        let (tag, serialized) = rest
            .split_at_checked(TAG_BYTES)
            .ok_or(Distrust::NotAnEntry)?;
        self.mac(name, serialized)
            .verify_slice(tag)
            .map_err(|_| Distrust::Forged)?;
        Ok(serialized)
    }

    /// Authenticates the name too, or one entry could be passed for another.
    fn mac(&self, name: &str, serialized: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(MAGIC);
        mac.update(name.as_bytes());
        mac.update(serialized);
        mac
    }

    /// The name of an entry. All names have the same length.
    fn name(&self, wasm: &[u8]) -> String {
        let mut digest = Sha256::new();
        digest.update(self.compatibility);
        digest.update(Sha256::digest(wasm));
        hex(&digest.finalize())
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot check machine code; the callers have authenticated it"
)]
fn deserialize(engine: &wasmtime::Engine, serialized: &[u8]) -> wasmtime::Result<Code> {
    // SAFETY: `serialized` came out of `Cache::verify`, so it is, byte for
    // byte, what `Code::serialize` returned to a process that had the key of
    // this directory. The bytes are copied, so nobody can change them now.
    unsafe { Code::deserialize(engine, serialized) }
}

/// Writes a file that is new and its owner's alone.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

fn temporary_name() -> String {
    format!("new-{:016x}", rand::random::<u64>())
}

fn warn(entry: &str, error: &dyn std::fmt::Display) {
    tracing::warn!(
        entry,
        error = format!("{error:#}"),
        "an entry of the cache of compiled code cannot be used"
    );
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digests what the engine says two engines must agree on.
fn compatibility(engine: &wasmtime::Engine) -> [u8; TAG_BYTES] {
    struct Digesting(Sha256);

    impl Hasher for Digesting {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    let mut digest = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use key::FILE as KEY_FILE;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Fixture {
        directory: tempfile::TempDir,
        engine: wasmtime::Engine,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                directory: tempfile::tempdir().unwrap(),
                engine: wasmtime::Engine::default(),
            }
        }

        fn open(&self) -> Cache {
            Cache::open(self.directory.path().join("code"), &self.engine).unwrap()
        }

        fn entry(&self, cache: &Cache) -> PathBuf {
            cache.directory.join(cache.name(WASM))
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn code_that_was_compiled_once_is_taken_from_the_cache() {
        let fixture = Fixture::new();
        let cache = fixture.open();
        assert!(cache.load(&fixture.engine, &cache.name(WASM)).is_none());
        cache.compile(&fixture.engine, WASM).unwrap();
        let again = fixture.open();
        assert!(again.load(&fixture.engine, &again.name(WASM)).is_some());
    }

    #[test]
    fn only_the_owner_can_read_the_cache() {
        let fixture = Fixture::new();
        let directory = fixture.directory.path().join("code");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let cache = fixture.open();
        cache.compile(&fixture.engine, WASM).unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&fixture.entry(&cache)), 0o600);
    }

    #[test]
    fn nothing_temporary_is_left_behind() {
        let fixture = Fixture::new();
        let cache = fixture.open();
        cache.compile(&fixture.engine, WASM).unwrap();
        let mut files: Vec<_> = fs::read_dir(&cache.directory)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, [cache.name(WASM), KEY_FILE.to_owned()]);
    }

    /// Changes the entry, and expects that it is not run, but replaced.
    fn refused(change: impl FnOnce(&mut Vec<u8>), why: Distrust) {
        let fixture = Fixture::new();
        let cache = fixture.open();
        cache.compile(&fixture.engine, WASM).unwrap();
        let path = fixture.entry(&cache);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        fs::write(&path, &bad).unwrap();

        let name = cache.name(WASM);
        assert_eq!(cache.verify(&name, &bad), Err(why));
        assert!(cache.load(&fixture.engine, &name).is_none());
        cache.compile(&fixture.engine, WASM).unwrap();
        let replaced = fs::read(&path).unwrap();
        assert!(cache.verify(&name, &replaced).is_ok());
        assert!(cache.load(&fixture.engine, &name).is_some());
    }

    #[test]
    fn an_entry_that_was_tampered_with_is_replaced() {
        refused(|entry| *entry.last_mut().unwrap() ^= 1, Distrust::Forged);
        refused(|entry| entry[MAGIC.len()] ^= 1, Distrust::Forged);
        refused(|entry| entry[0] ^= 1, Distrust::NotAnEntry);
    }

    #[test]
    fn an_entry_that_was_cut_short_is_replaced() {
        refused(|entry| entry.truncate(entry.len() - 1), Distrust::Forged);
        refused(
            |entry| entry.truncate(MAGIC.len() + TAG_BYTES - 1),
            Distrust::NotAnEntry,
        );
        refused(Vec::clear, Distrust::NotAnEntry);
    }

    #[test]
    fn an_entry_of_another_cache_is_replaced() {
        let other = Fixture::new();
        let theirs = other.open();
        theirs.compile(&other.engine, WASM).unwrap();
        let foreign = fs::read(other.entry(&theirs)).unwrap();
        refused(|entry| *entry = foreign, Distrust::Forged);
    }

    #[test]
    fn an_entry_cannot_be_passed_for_another() {
        let fixture = Fixture::new();
        let cache = fixture.open();
        cache.compile(&fixture.engine, WASM).unwrap();
        let entry = fs::read(fixture.entry(&cache)).unwrap();
        assert_eq!(
            cache.verify(&cache.name(b"another"), &entry),
            Err(Distrust::Forged)
        );
    }

    #[test]
    fn code_for_an_engine_that_is_set_up_otherwise_is_another_entry() {
        let fixture = Fixture::new();
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = wasmtime::Engine::new(&config).unwrap();
        let here = fixture.open();
        let there = Cache::open(here.directory.clone(), &other).unwrap();
        assert_eq!(here.key, there.key);
        assert_ne!(here.name(WASM), there.name(WASM));
    }

    #[test]
    fn what_was_signed_with_a_key_that_was_replaced_is_not_trusted() {
        let fixture = Fixture::new();
        let cache = fixture.open();
        cache.compile(&fixture.engine, WASM).unwrap();
        fs::set_permissions(&cache.directory, Permissions::from_mode(0o755)).unwrap();
        let again = fixture.open();
        assert_ne!(again.key, cache.key);
        assert!(again.load(&fixture.engine, &again.name(WASM)).is_none());
        again.compile(&fixture.engine, WASM).unwrap();
        assert!(again.load(&fixture.engine, &again.name(WASM)).is_some());
    }

    #[test]
    fn a_cache_that_cannot_be_opened_is_done_without() {
        let fixture = Fixture::new();
        let file = fixture.directory.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Cache::open(file.join("code"), &fixture.engine).is_none());
    }
}
