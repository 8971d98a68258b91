//! Where a listing begins and ends: the same for every store, and for the
//! overlay of a transaction.

use crate::name::Key;
use crate::store::{LIST_BYTES_MAX, LIST_LIMIT_MAX, Order, Page, Query, Versioned};

/// The keys a [`Query`] is about: from `from`, up to but without `to`.
///
/// Both are texts and not keys: they only have to compare like the bytes of
/// one. Text in UTF-8 compares byte by byte as it does character by character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) from: String,
    /// `None`: to the end.
    pub(crate) to: Option<String>,
}

impl Bounds {
    pub(crate) fn of(query: &Query) -> Self {
        let mut bounds = Self {
            from: query.prefix.clone(),
            to: behind(&query.prefix),
        };
        match (&query.after, query.order) {
            (None, _) => {}
            (Some(after), Order::Ascending) => {
                // Nothing is between a text and the same with a NUL behind it.
                bounds.from = bounds.from.max(format!("{after}\0"));
            }
            (Some(after), Order::Descending) => {
                let to = bounds.to.get_or_insert_with(|| after.clone());
                if *after < *to {
                    to.clone_from(after);
                }
            }
        }
        bounds
    }

    /// Whether no key can be within.
    pub(crate) fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, key: &str) -> bool {
        *key >= *self.from && self.to.as_ref().is_none_or(|to| *key < **to)
    }
}

/// The least text that is greater than every text beginning with `prefix`;
/// `None` if there is none.
fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// A page that is being filled, up to its limits.
pub(crate) struct Filling {
    page: Page,
    limit: usize,
    bytes: usize,
}

impl Filling {
    pub(crate) fn new(limit: usize, change: u64) -> Self {
        Self {
            page: Page {
                entries: Vec::new(),
                more: false,
                change,
            },
            limit: limit.clamp(1, LIST_LIMIT_MAX),
            bytes: 0,
        }
    }

    /// Adds an entry. `false`, and the page has more behind it, if it is full.
    pub(crate) fn add(&mut self, key: Key, value: Versioned) -> bool {
        self.bytes += key.as_str().len() + value.value.len();
        let entries = &mut self.page.entries;
        let over = !entries.is_empty() && self.bytes > LIST_BYTES_MAX;
        if entries.len() >= self.limit || over {
            self.page.more = true;
            return false;
        }
        entries.push((key, value));
        true
    }

    /// Whether it has as many entries as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.page.entries.len() >= self.limit
    }

    /// Says that there is more behind what it has.
    pub(crate) fn has_more(&mut self) {
        self.page.more = true;
    }

    pub(crate) fn finish(self) -> Page {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn query(prefix: &str, after: Option<&str>, order: Order) -> Query {
        Query {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            order,
            limit: 10,
        }
    }

    #[test]
    fn a_prefix_bounds_what_begins_with_it_and_nothing_else() {
        for prefix in ["", "a", "a/", "\u{d7ff}", "a\u{10ffff}", "\u{10ffff}"] {
            let bounds = Bounds::of(&query(prefix, None, Order::Ascending));
            for key in [
                "a",
                "a/",
                "a/b",
                "a0",
                "b",
                "\u{d7ff}x",
                "\u{e000}",
                "a\u{10ffff}z",
                "\u{10ffff}\u{10ffff}",
            ] {
                assert_eq!(
                    bounds.contains(key),
                    key.starts_with(prefix),
                    "{prefix:?} {key:?}"
                );
            }
        }
    }

    #[test]
    fn after_is_behind_in_the_order_asked_for_and_within_the_prefix() {
        let up = Bounds::of(&query("a", Some("ab"), Order::Ascending));
        assert!(!up.contains("ab") && up.contains("ab!") && !up.contains("b"));
        let down = Bounds::of(&query("a", Some("ab"), Order::Descending));
        assert!(!down.contains("ab") && down.contains("aa") && !down.contains("A"));
        let all = Bounds::of(&query("", Some("b"), Order::Descending));
        assert!(all.contains("a") && !all.contains("b"));
        assert!(Bounds::of(&query("a", Some("b"), Order::Ascending)).is_empty());
        let behind = Bounds::of(&query("a", Some("b"), Order::Descending));
        assert!(behind.contains("az"));
    }

    #[test]
    fn a_page_ends_at_its_entries_or_its_bytes_but_never_empty() {
        let key = Key::new("k").unwrap();
        let value = |bytes: usize| Versioned {
            value: Bytes::from(vec![0; bytes]),
            version: 1,
        };
        let mut page = Filling::new(2, 0);
        assert!(page.add(key.clone(), value(1)) && page.add(key.clone(), value(1)));
        assert!(!page.add(key.clone(), value(1)));
        assert!(page.finish().more);

        let mut page = Filling::new(10, 0);
        assert!(page.add(key.clone(), value(LIST_BYTES_MAX + 1)));
        assert!(!page.add(key.clone(), value(1)));

        let mut page = Filling::new(usize::MAX, 0);
        let added = (0..)
            .take_while(|_| page.add(key.clone(), value(0)))
            .count();
        assert_eq!(added, LIST_LIMIT_MAX);
    }
}
