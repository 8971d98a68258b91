//! keyvalue-draft: runs steps on `wasi:keyvalue` as it was first drafted, and
//! on `wasi:config` under three of its names.
//!
//! It imports nothing of Lockport's, as a component that was written for
//! another host. The steps are in `run.rs` and `values.rs`.

#[path = "../../probe/src/http.rs"]
mod http;
mod run;
mod values;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:keyvalue-draft;

        world guest {
            include wasi:http/proxy@0.2.12;

            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:config/store@0.2.0-draft;
            import wasi:config/runtime@0.2.0-draft;
        }
    ",
    world: "test:keyvalue-draft/guest",
    generate_all,
});

use run::{Named, Outcome, Pair, Run, Words};
use wasi::config0_2_0_draft::{runtime, store as draft};
use wasi::config0_2_0_rc_1::store as rc;
use wasi::http::types::{IncomingRequest, ResponseOutparam};
pub(crate) use wasi::keyvalue0_2_0_draft::{atomics, batch, store};

/// What a page goes on from.
pub(crate) type Cursor = u64;

/// What is added to a number.
pub(crate) type Delta = u64;

struct Guest;

export!(Guest);

impl exports::wasi::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        Run::new(out).serve(&request);
    }
}

/// A step that only this guest has.
pub(crate) fn own_step(_name: &str, _words: &mut Words<'_>) -> Option<Outcome> {
    None
}

/// The page of keys behind a cursor.
pub(crate) fn list_keys(
    bucket: &store::Bucket,
    cursor: Option<Cursor>,
) -> Result<store::KeyResponse, store::Error> {
    bucket.list_keys(cursor)
}

/// The keys that are there, each in its place, and their values.
pub(crate) fn get_many(
    bucket: &store::Bucket,
    keys: &[String],
) -> Result<Vec<Option<Pair>>, store::Error> {
    batch::get_many(bucket, keys)
}

/// The value of a key, under each name of the interface.
pub(crate) fn config(key: &str) -> Named<Option<String>> {
    vec![
        ("rc.1", rc::get(key).map_err(|it| it.to_string())),
        ("draft", draft::get(key).map_err(|it| it.to_string())),
        ("runtime", runtime::get(key).map_err(|it| it.to_string())),
    ]
}

/// Every value, under each name of the interface.
pub(crate) fn config_all() -> Named<Vec<(String, String)>> {
    vec![
        ("rc.1", rc::get_all().map_err(|it| it.to_string())),
        ("draft", draft::get_all().map_err(|it| it.to_string())),
        ("runtime", runtime::get_all().map_err(|it| it.to_string())),
    ]
}
