//! unknown: imports an interface that the host does not have.
//!
//! The host must refuse it before it listens, and name
//! `test:unknown/oracle@1.0.0`.

wit_bindgen::generate!({
    world: "test:unknown/handler@1.0.0",
    path: ["../../../wit", "wit"],
    generate_all,
});

use test::unknown::oracle;
use wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

struct Component;

export!(Component);

impl exports::wasi::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        // The import must be used, or the linker leaves it out.
        let known = oracle::ask(&request.path_with_query().unwrap_or_default()).is_empty();
        let response = OutgoingResponse::new(Fields::new());
        let _ = response.set_status_code(if known { 200 } else { 404 });
        ResponseOutparam::set(out, Ok(response));
    }
}
