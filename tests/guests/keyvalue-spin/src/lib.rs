//! keyvalue-spin: runs steps on the second draft of `wasi:keyvalue` as Spin has
//! it: under the same name, its `get-many` answers something else.
//!
//! It imports nothing of Lockport's. `wit/` is Spin's, unchanged; the steps are
//! in `run.rs` of `keyvalue-draft` and `cas.rs` of `keyvalue-draft2`.

#[path = "../../keyvalue-draft2/src/cas.rs"]
mod cas;
#[path = "../../probe/src/http.rs"]
mod http;
#[path = "../../keyvalue-draft/src/run.rs"]
mod run;
#[path = "../../keyvalue-draft/src/values.rs"]
mod values;

wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io.wit",
        "../../../wit/deps/clocks.wit",
        "../../../wit/deps/random.wit",
        "../../../wit/deps/filesystem.wit",
        "../../../wit/deps/sockets.wit",
        "../../../wit/deps/cli.wit",
        "../../../wit/deps/http.wit",
        "wit",
    ],
    inline: "
        package test:keyvalue-spin;

        world guest {
            include wasi:http/proxy@0.2.12;

            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }
    ",
    world: "test:keyvalue-spin/guest",
    generate_all,
});

pub(crate) use cas::own_step;
use run::{Named, Pair, Run};
use wasi::http::types::{IncomingRequest, ResponseOutparam};
pub(crate) use wasi::keyvalue::{atomics, batch, store};

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
    let found = batch::get_many(bucket, keys)?.into_iter();
    Ok(found.map(|(key, value)| Some((key, value?))).collect())
}

/// It asks for no configuration.
pub(crate) fn config(_key: &str) -> Named<Option<String>> {
    Vec::new()
}

/// It asks for no configuration.
pub(crate) fn config_all() -> Named<Vec<(String, String)>> {
    Vec::new()
}
