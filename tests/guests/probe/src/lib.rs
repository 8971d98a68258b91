//! probe: runs the steps it is sent, well-behaved and hostile ones.
//!
//! The steps are the lines of the request's body, or the parts between
//! semicolons of the query parameter `do`:
//!
//! ```text
//! acquire item/a lease=200
//! sleep 500
//! put items a 1
//! ```
//!
//! Each step adds a line to the answer: its name, and what came of it. A step
//! that fails ends the run with an error answer, unless `try` stands before
//! it. `steps/` has a module for each kind of step; the README of the
//! workspace lists them all.

mod http;
mod run;
mod steps;

wit_bindgen::generate!({
    world: "lockport:host/handler@0.1.0",
    path: "../../../wit",
    generate_all,
});

use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Probe;

export!(Probe);

impl exports::wasi::http::incoming_handler::Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match http::script(&request) {
            Ok(script) => run::Run::new(request, out).script(&script),
            Err(reason) => run::Run::new(request, out).refuse(&reason),
        }
    }
}
