//! `lockport:host/state`.

use crate::bindings::lockport::host::state as wit;
use crate::state::{Entry, Error, Page, Query};

pub(crate) fn get(collection: &str, key: &str) -> Result<Option<Entry<Vec<u8>>>, Error> {
    Ok(wit::get(collection, key)?.map(Entry::from))
}

pub(crate) fn list(collection: &str, query: Query<'_>) -> Result<Page<Vec<u8>>, Error> {
    let page = wit::list(
        collection,
        &wit::Query {
            prefix: query.prefix.to_owned(),
            after: query.after.map(str::to_owned),
            order: if query.descending {
                wit::Order::Descending
            } else {
                wit::Order::Ascending
            },
            limit: query.limit,
        },
    )?;
    Ok(Page {
        entries: page.entries.into_iter().map(Entry::from).collect(),
        more: page.more,
    })
}

pub(crate) fn put(collection: &str, key: &str, value: Vec<u8>) -> Result<(), Error> {
    Ok(wit::put(collection, key, &value)?)
}

pub(crate) fn delete(collection: &str, key: &str) -> Result<(), Error> {
    Ok(wit::delete(collection, key)?)
}

pub(crate) fn keep() {
    wit::keep();
}

// === impl Entry ===

impl From<wit::Entry> for Entry<Vec<u8>> {
    fn from(entry: wit::Entry) -> Self {
        Self {
            key: entry.key,
            value: entry.value,
            version: entry.version,
        }
    }
}

// === impl Error ===

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::AccessDenied => Self::AccessDenied,
            wit::Error::InvalidArgument(text) => Self::InvalidArgument(text),
            wit::Error::Conflict => Self::Conflict,
            wit::Error::Quota(text) => Self::Quota(text),
            wit::Error::Recovering => Self::Recovering,
            wit::Error::Unavailable(text) => Self::Unavailable(text),
            wit::Error::Closed => Self::Closed,
        }
    }
}
