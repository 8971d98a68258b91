//! Names that are valid by construction: locks, keys, collections.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest lock name, in bytes.
pub const LOCK_NAME_BYTES_MAX: usize = 512;

/// The longest key of a value, in bytes. Shorter than a lock's name, so that a
/// guard made from a key by a short prefix is still a name.
pub const KEY_BYTES_MAX: usize = 400;

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// It is longer than allowed.
    #[error("has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// How long it is, in bytes.
        bytes: usize,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// It has a control character (U+0000 to U+001F, U+007F to U+009F).
    #[error("has a control character at byte {at}")]
    Control {
        /// Where the character begins.
        at: usize,
    },
}

fn check(text: &str, max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > max {
        return Err(InvalidName::TooLong {
            bytes: text.len(),
            max,
        });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(InvalidName::Control { at }),
        None => Ok(()),
    }
}

/// The name of a lock: 1 to 512 bytes of UTF-8 without control characters,
/// compared byte by byte. No character means anything but itself; `/`
/// separates segments for grants and listings only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName(Arc<str>);

/// The key of a value in a collection: 1 to 400 bytes of UTF-8 without control
/// characters, ordered byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// What the name of a lock of our own begins with, and what separates its
/// parts: no name that comes from outside has a control character, so nobody
/// outside can name one.
const INTERNAL: char = '\u{1}';

impl LockName {
    /// Checks and takes a name.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
        let text = text.as_ref();
        check(text, LOCK_NAME_BYTES_MAX)?;
        Ok(Self(text.into()))
    }

    /// A lock of the host's own: of one kind of them, the one that `text` says.
    /// Nobody outside can name it or see it.
    pub fn internal(kind: &str, text: &str) -> Self {
        let mut name = String::new();
        write_internal(&mut name, [kind, text]);
        Self(name.into())
    }

    /// The lock by which requests that conflicted over a key take turns; over
    /// what was listed of a collection, without one.
    pub(crate) fn turn(collection: &str, key: Option<&str>) -> Self {
        let mut text = String::new();
        Self::write_turn(&mut text, collection, key);
        Self(text.into())
    }

    /// Writes such a name's text over `text`.
    pub(crate) fn write_turn(text: &mut String, collection: &str, key: Option<&str>) {
        text.clear();
        write_internal(text, ["turn", collection].into_iter().chain(key));
    }

    /// Takes what was a name before, an internal one, too.
    pub(crate) fn known(text: impl AsRef<str>) -> Result<Self, InvalidName> {
        let text = text.as_ref();
        match text.starts_with(INTERNAL) {
            true => Ok(Self(text.into())),
            false => Self::new(text),
        }
    }

    /// Whether it is one of the host's own. Nobody outside may see it.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with(INTERNAL)
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn write_internal<'a>(name: &mut String, parts: impl IntoIterator<Item = &'a str>) {
    for part in parts {
        name.push(INTERNAL);
        name.push_str(part);
    }
}

impl Key {
    /// Checks and takes a key.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
        let text = text.as_ref();
        check(text, KEY_BYTES_MAX)?;
        Ok(Self(text.into()))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for LockName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// === impl fmt ===

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A collection of values, and the lock that guards each of them.
///
/// Cheap to clone. Two collections are the same if their names are; the guard
/// is what the owner's manifest declares *now* and travels with each write.
#[derive(Clone, Debug)]
pub struct Collection(Arc<CollectionInner>);

#[derive(Debug)]
struct CollectionInner {
    name: String,
    guard: Option<GuardTemplate>,
}

/// A guard such as `order/{key}`: the text before and after `{key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GuardTemplate {
    before: String,
    after: String,
}

/// Why a collection cannot be declared so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCollection {
    /// The owner's or the collection's own name is not allowed.
    #[error("its name {0}")]
    Name(InvalidName),
    /// The owner's or the collection's own name has a `/`.
    #[error("its name has a `/`, which separates owner and collection")]
    Slash,
    /// The guard does not have exactly one `{key}`.
    #[error("its guard `{0}` must contain `{{key}}` exactly once")]
    Guard(String),
}

impl Collection {
    /// Declares the collection `name` of the component `owner`, guarded by the
    /// lock that `guard` names once `{key}` is replaced by a value's key.
    pub fn new(owner: &str, name: &str, guard: Option<&str>) -> Result<Self, InvalidCollection> {
        for part in [owner, name] {
            check(part, KEY_BYTES_MAX).map_err(InvalidCollection::Name)?;
            if part.contains('/') {
                return Err(InvalidCollection::Slash);
            }
        }
        let guard = guard.map(GuardTemplate::parse).transpose()?;
        Ok(Self(Arc::new(CollectionInner {
            name: format!("{owner}/{name}"),
            guard,
        })))
    }

    /// Owner and name, `order/orders`: what identifies it in a store.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The lock a write of `key` needs, if the collection is guarded. An error
    /// if the lock's name would be too long.
    pub fn guard(&self, key: &Key) -> Result<Option<LockName>, InvalidName> {
        self.0.guard.as_ref().map(|it| it.fill(key)).transpose()
    }
}

impl PartialEq for Collection {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Collection {}

impl PartialOrd for Collection {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Collection {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}

impl GuardTemplate {
    fn parse(text: &str) -> Result<Self, InvalidCollection> {
        match text.split_once("{key}") {
            Some((before, after)) if !after.contains("{key}") => Ok(Self {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
            _ => Err(InvalidCollection::Guard(text.to_owned())),
        }
    }

    fn fill(&self, key: &Key) -> Result<LockName, InvalidName> {
        LockName::new(format!("{}{key}{}", self.before, self.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_text_without_control_characters_up_to_its_limit() {
        assert!(LockName::new("order/{*}/../\u{fc}").is_ok());
        assert!(LockName::new("x".repeat(512)).is_ok());
        assert_eq!(
            LockName::new("x".repeat(513)),
            Err(InvalidName::TooLong {
                bytes: 513,
                max: 512
            })
        );
        assert_eq!(LockName::new(""), Err(InvalidName::Empty));
        assert_eq!(LockName::new("a\0b"), Err(InvalidName::Control { at: 1 }));
        assert_eq!(
            Key::new("x".repeat(401)),
            Err(InvalidName::TooLong {
                bytes: 401,
                max: 400
            })
        );
    }

    #[test]
    fn a_guard_names_one_lock_per_key() {
        let orders = Collection::new("order", "orders", Some("order/{key}")).unwrap();
        let key = Key::new("42").unwrap();
        assert_eq!(
            orders.guard(&key),
            Ok(Some(LockName::new("order/42").unwrap()))
        );
        for wrong in ["order", "{key}/{key}"] {
            assert_eq!(
                Collection::new("order", "orders", Some(wrong)),
                Err(InvalidCollection::Guard(wrong.to_owned()))
            );
        }
        assert_eq!(
            Collection::new("a/b", "orders", None),
            Err(InvalidCollection::Slash)
        );
    }
}
