//! hello12: answers every request with the same twelve bytes.
//!
//! This is the guest of the benchmarks. It uses nothing but plain
//! `wit-bindgen` and the world `wasi:http/proxy`, so that it runs unmodified
//! under other hosts too. Nothing here may pull in more of WASI: no standard
//! output, no panic message, no environment.

use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wit_bindgen::generate!({
    world: "wasi:http/proxy@0.2.12",
    path: "../../../wit",
    generate_all,
});

const BODY: &[u8] = b"Hello World!";

struct Hello;

export!(Hello);

impl exports::wasi::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        let Ok(stream) = body.write() else { return };
        // The host allows at least the first twelve bytes without a wait.
        if stream
            .check_write()
            .is_ok_and(|room| room >= BODY.len() as u64)
        {
            let _ = stream.write(BODY);
        }
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
