//! `lockport:host/state`: values in the component's own collections.

use super::wit;
use crate::component::Context;
use crate::instance::State;
use bytes::Bytes;
use lockport_store::store::{self, StoreError, Versioned};
use lockport_store::transaction::StateError;
use lockport_store::{Collection, Key};
use wasmtime::Result;
use wit::state::{Entry, Error, Host, Order, Page, Query};

impl Host for State {
    async fn get(
        &mut self,
        collection: String,
        key: String,
    ) -> Result<Result<Option<Entry>, Error>> {
        let granted = self.grant(&collection);
        let got = async {
            let (context, collection) = granted?;
            let key = parse(&key)?;
            let value = context.scope.get(collection, &key).await?;
            Ok(value.map(|value| entry(&key, value)))
        };
        Ok(got.await)
    }

    async fn list(&mut self, collection: String, query: Query) -> Result<Result<Page, Error>> {
        let granted = self.grant(&collection);
        let listed = async {
            let (context, collection) = granted?;
            let page = context.scope.list(collection, query.into()).await?;
            Ok(Page::from(page))
        };
        Ok(listed.await)
    }

    async fn put(
        &mut self,
        collection: String,
        key: String,
        value: Vec<u8>,
    ) -> Result<Result<(), Error>> {
        let granted = self.grant(&collection);
        let put = async {
            let (context, collection) = granted?;
            let (key, value) = (parse(&key)?, Bytes::from(value));
            Ok(context.scope.put(collection, key, value).await?)
        };
        Ok(put.await)
    }

    async fn delete(&mut self, collection: String, key: String) -> Result<Result<(), Error>> {
        let granted = self.grant(&collection);
        let deleted = async {
            let (context, collection) = granted?;
            Ok(context.scope.delete(collection, parse(&key)?).await?)
        };
        Ok(deleted.await)
    }

    async fn keep(&mut self) -> Result<()> {
        if let Some(context) = self.context() {
            context.scope.keep();
        }
        Ok(())
    }
}

impl State {
    /// The request, and the collection that the component calls `name`.
    fn grant(&self, name: &str) -> Result<(&Context, &Collection), Error> {
        let collection = self.spec.collections.get(name).ok_or(Error::AccessDenied)?;
        let context = self.context().ok_or(Error::Closed)?;
        Ok((context, collection))
    }
}

fn parse(key: &str) -> Result<Key, Error> {
    Key::new(key).map_err(|error| Error::InvalidArgument(format!("the key {error}")))
}

fn entry(key: &Key, Versioned { value, version }: Versioned) -> Entry {
    Entry {
        key: key.as_str().to_owned(),
        value: value.into(),
        version,
    }
}

impl From<Query> for store::Query {
    fn from(query: Query) -> Self {
        Self {
            prefix: query.prefix,
            after: query.after,
            order: match query.order {
                Order::Ascending => store::Order::Ascending,
                Order::Descending => store::Order::Descending,
            },
            limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
        }
    }
}

impl From<store::Page> for Page {
    fn from(page: store::Page) -> Self {
        let entries = page.entries.into_iter();
        Self {
            entries: entries.map(|(key, value)| entry(&key, value)).collect(),
            more: page.more,
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Invalid(text) => Self::InvalidArgument(text),
            StateError::Conflict => Self::Conflict,
            StateError::Quota(text) => Self::Quota(text),
            StateError::Closed => Self::Closed,
            StateError::Store(StoreError::Unavailable(text)) => Self::Unavailable(text),
            StateError::Store(StoreError::Recovering) => Self::Recovering,
        }
    }
}
