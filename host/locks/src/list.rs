//! Pages of locks, of those that a caller may see.
//!
//! The store looks only among names that begin as the caller's patterns do, and
//! shows none that they do not permit. A page may end earlier than the store's,
//! by its bytes. The token of the next one is the name of the last lock shown,
//! so it tells nothing about locks that were left out.

use crate::access::Caller;
use crate::convert;
use crate::failure::Failure;
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_store::name::LOCK_NAME_BYTES_MAX;
use lockport_store::store::{LIST_LIMIT_MAX, LockQuery};
use lockport_store::{LockName, Store};
use prost::Message;

/// How many locks a page has unless the request says.
const PAGE_SIZE_DEFAULT: usize = 100;

/// How many locks a page has at most.
const PAGE_SIZE_MAX: usize = LIST_LIMIT_MAX;

/// When a page is full however few locks it has, in bytes: whoever shows many
/// holders and waiters must not make messages that no client takes.
const PAGE_BYTES: usize = 1024 * 1024;

/// `LockService.List`.
pub(crate) async fn list(
    store: &dyn Store,
    caller: &Caller,
    request: proto::ListRequest,
) -> Result<proto::ListResponse, Failure> {
    let size = page_size(request.page_size)?;
    check_prefix(&request.prefix)?;
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(LockName::new(token).map_err(|_| {
            let why = "is not one that a page ended with";
            Failure::field(Reason::InvalidPage, "pageToken", why)
        })?),
    };
    let query = LockQuery {
        permission: caller.locks().clone(),
        prefix: request.prefix,
        after,
        limit: size,
    };
    let page = store.locks(query).await?;
    let mut locks: Vec<proto::Lock> = Vec::with_capacity(page.locks.len());
    let (mut bytes, mut more) = (0, page.more);
    for lock in page.locks {
        if bytes >= PAGE_BYTES {
            more = true;
            break;
        }
        let lock = convert::of_lock(lock);
        bytes += lock.encoded_len();
        locks.push(lock);
    }
    let last = locks.last().filter(|_| more);
    let next_page_token = last.map(|it| it.name.clone()).unwrap_or_default();
    Ok(proto::ListResponse {
        locks,
        next_page_token,
    })
}

/// Refuses a prefix that no name can have.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Failure> {
    if prefix.len() > LOCK_NAME_BYTES_MAX {
        let why = format!(
            "has {} bytes; at most {LOCK_NAME_BYTES_MAX} are allowed",
            prefix.len()
        );
        return Err(Failure::field(Reason::InvalidName, "prefix", why));
    }
    Ok(())
}

fn page_size(given: u32) -> Result<usize, Failure> {
    match given as usize {
        0 => Ok(PAGE_SIZE_DEFAULT),
        size @ 1..=PAGE_SIZE_MAX => Ok(size),
        size => {
            let why = format!("is {size}; at most {PAGE_SIZE_MAX} are allowed");
            Err(Failure::field(Reason::InvalidPage, "pageSize", why))
        }
    }
}
