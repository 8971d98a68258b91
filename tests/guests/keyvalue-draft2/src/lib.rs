//! keyvalue-draft2: runs steps on the second draft of `wasi:keyvalue`, and on
//! `wasi:config` under the name it has with it.
//!
//! It imports nothing of Lockport's, as a component that was written for
//! another host. The steps are in `run.rs` and `values.rs` of `keyvalue-draft`;
//! those with `cas`, which only this draft has, are in `cas.rs`.

mod cas;
#[path = "../../probe/src/http.rs"]
mod http;
#[path = "../../keyvalue-draft/src/run.rs"]
mod run;
#[path = "../../keyvalue-draft/src/values.rs"]
mod values;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:keyvalue-draft2;

        world guest {
            include wasi:http/proxy@0.2.12;

            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            import wasi:config/store@0.2.0-draft-2024-09-27;
        }
    ",
    world: "test:keyvalue-draft2/guest",
    generate_all,
});

pub(crate) use cas::own_step;
use run::{Named, Pair, Run};
use wasi::config0_2_0_draft_2024_09_27::store as dated;
use wasi::http::types::{IncomingRequest, ResponseOutparam};
pub(crate) use wasi::keyvalue0_2_0_draft2::{atomics, batch, store};

/// What a page goes on from.
pub(crate) type Cursor = String;

/// What is added to a number.
pub(crate) type Delta = i64;

struct Guest;

export!(Guest);

impl exports::wasi::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        Run::new(out).serve(&request);
    }
}

/// The page of keys behind a cursor.
pub(crate) fn list_keys(
    bucket: &store::Bucket,
    cursor: Option<Cursor>,
) -> Result<store::KeyResponse, store::Error> {
    bucket.list_keys(cursor.as_deref())
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
    vec![("dated", dated::get(key).map_err(|it| it.to_string()))]
}

/// Every value, under each name of the interface.
pub(crate) fn config_all() -> Named<Vec<(String, String)>> {
    vec![("dated", dated::get_all().map_err(|it| it.to_string()))]
}
