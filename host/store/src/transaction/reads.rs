//! What a transaction has read of the store, and whether it still fits
//! together.

use crate::listing::Bounds;
use crate::name::{Collection, Key};
use crate::store::{CommitError, Order, Page, Query};
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Bound;

/// The versions that were read: what the commit validates.
#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<Collection, Seen>);

/// What was read of one collection.
#[derive(Debug, Default)]
struct Seen {
    keys: BTreeMap<Key, u64>,
    /// The change number, if the collection was listed.
    change: Option<u64>,
}

/// Something that has changed between two reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) collection: String,
    /// `*` for a range.
    pub(super) key: String,
}

impl From<Stale> for CommitError {
    fn from(Stale { collection, key }: Stale) -> Self {
        Self::Conflict { collection, key }
    }
}

impl Reads {
    /// Takes in the version of a key; 0 for absent.
    pub(super) fn see_key(
        &mut self,
        collection: &Collection,
        key: &Key,
        version: u64,
    ) -> Result<(), Stale> {
        let seen = self.0.entry(collection.clone()).or_default();
        // Written since the collection was listed. (A removal since then shows
        // at the commit only.)
        let is_newer = seen.change.is_some_and(|it| version > it);
        let known = *seen.keys.entry(key.clone()).or_insert(version);
        if known != version || is_newer {
            return Err(Stale {
                collection: collection.name().to_owned(),
                key: key.as_str().to_owned(),
            });
        }
        Ok(())
    }

    /// Takes in a page that the store answered to `query`.
    pub(super) fn see_page(
        &mut self,
        collection: &Collection,
        query: &Query,
        page: &Page,
    ) -> Result<(), Stale> {
        let seen = self.0.entry(collection.clone()).or_default();
        let stale = |key: &str| Stale {
            collection: collection.name().to_owned(),
            key: key.to_owned(),
        };
        if *seen.change.get_or_insert(page.change) != page.change {
            return Err(stale("*"));
        }
        if seen.keys.is_empty() {
            return Ok(());
        }
        // Whatever was read alone and lies within the page is there as it was.
        let listed: HashMap<&str, u64> = page
            .entries
            .iter()
            .map(|(key, it)| (key.as_str(), it.version))
            .collect();
        let bounds = covered(query, page);
        if bounds.is_empty() {
            return Ok(());
        }
        let from = Bound::Included(bounds.from.as_str());
        let to = bounds
            .to
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        for (key, version) in seen.keys.range::<str, _>((from, to)) {
            if listed.get(key.as_str()).copied().unwrap_or(0) != *version {
                return Err(stale(key.as_str()));
            }
        }
        Ok(())
    }

    /// Whether nothing was read, or one key alone: then it was all read at one
    /// moment, whatever has changed since.
    pub(super) fn are_of_one_moment(&self) -> bool {
        let is_listed = self.0.values().any(|it| it.change.is_some());
        let keys: usize = self.0.values().map(|it| it.keys.len()).sum();
        !is_listed && keys <= 1
    }

    /// The version a key was read with.
    pub(super) fn version(&self, collection: &Collection, key: &Key) -> Option<u64> {
        self.0.get(collection)?.keys.get(key).copied()
    }

    /// Every key that was read alone.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Collection, Key, u64)> {
        self.0.iter().flat_map(|(collection, seen)| {
            let keys = seen.keys.iter();
            keys.map(|(key, version)| (collection.clone(), key.clone(), *version))
        })
    }

    /// Every collection that was listed.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (Collection, u64)> {
        let listed = |(collection, seen): (&Collection, &Seen)| {
            seen.change.map(|change| (collection.clone(), change))
        };
        self.0.iter().filter_map(listed)
    }
}

/// The part of what `query` asks for that `page` answers.
fn covered(query: &Query, page: &Page) -> Bounds {
    let mut bounds = Bounds::of(query);
    if let (true, Some((last, _))) = (page.more, page.entries.last()) {
        match query.order {
            Order::Ascending => bounds.to = Some(format!("{last}\0")),
            Order::Descending => bounds.from = last.as_str().to_owned(),
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Versioned;
    use bytes::Bytes;

    fn collection() -> Collection {
        Collection::new("shop", "orders", None).unwrap()
    }

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn page(entries: &[(&str, u64)], more: bool, change: u64) -> Page {
        let entries = entries.iter().map(|(text, version)| {
            let value = Bytes::new();
            let version = *version;
            (key(text), Versioned { value, version })
        });
        Page {
            entries: entries.collect(),
            more,
            change,
        }
    }

    fn query(order: Order) -> Query {
        Query {
            prefix: String::new(),
            after: None,
            order,
            limit: 10,
        }
    }

    #[test]
    fn the_same_key_at_another_version_is_stale() {
        let mut reads = Reads::default();
        assert_eq!(reads.see_key(&collection(), &key("a"), 3), Ok(()));
        assert_eq!(reads.see_key(&collection(), &key("a"), 3), Ok(()));
        let stale = reads.see_key(&collection(), &key("a"), 4).unwrap_err();
        assert_eq!((&*stale.collection, &*stale.key), ("shop/orders", "a"));
        assert_eq!(reads.version(&collection(), &key("a")), Some(3));
    }

    #[test]
    fn a_collection_that_changed_between_two_pages_is_stale() {
        let mut reads = Reads::default();
        let up = query(Order::Ascending);
        assert_eq!(
            reads.see_page(&collection(), &up, &page(&[], false, 3)),
            Ok(())
        );
        let stale = reads.see_page(&collection(), &up, &page(&[], false, 4));
        assert_eq!(stale.unwrap_err().key, "*");
        assert_eq!(reads.ranges().collect::<Vec<_>>(), [(collection(), 3)]);
    }

    #[test]
    fn a_key_that_was_written_after_the_listing_is_stale() {
        let mut reads = Reads::default();
        let up = query(Order::Ascending);
        reads
            .see_page(&collection(), &up, &page(&[("a", 2)], false, 3))
            .unwrap();
        assert_eq!(reads.see_key(&collection(), &key("a"), 2), Ok(()));
        assert!(reads.see_key(&collection(), &key("b"), 4).is_err());
    }

    #[test]
    fn a_page_must_agree_with_the_keys_read_alone_that_it_covers() {
        let known = || {
            let mut reads = Reads::default();
            reads.see_key(&collection(), &key("b"), 2).unwrap();
            reads.see_key(&collection(), &key("d"), 0).unwrap();
            reads
        };
        let (up, down) = (query(Order::Ascending), query(Order::Descending));
        for (query, page, agrees) in [
            (&up, page(&[("b", 2), ("c", 1)], false, 3), true),
            (&up, page(&[("b", 3)], false, 3), false),
            (&up, page(&[("a", 1), ("c", 1)], false, 3), false),
            (&up, page(&[("b", 2), ("d", 3)], false, 3), false),
            (&up, page(&[("a", 1)], true, 3), true),
            (&up, page(&[("a", 1), ("b", 3)], true, 3), false),
            (&down, page(&[("f", 1), ("c", 1)], true, 3), true),
            (&down, page(&[("f", 1), ("a", 1)], true, 3), false),
        ] {
            let seen = known().see_page(&collection(), query, &page);
            assert_eq!(seen.is_ok(), agrees, "{page:?}");
        }
    }
}
