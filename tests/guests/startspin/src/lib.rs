//! startspin: never finishes being instantiated.
//!
//! The host must end the request at its deadline, and nobody else may notice.

wit_bindgen::generate!({
    world: "wasi:http/proxy@0.2.12",
    path: "../../../wit",
    generate_all,
});

use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

export!(Component);

impl exports::wasi::http::incoming_handler::Guest for Component {
    fn handle(_request: IncomingRequest, _out: ResponseOutparam) {}
}

/// What a host calls when it instantiates a component: its encoder looks for
/// this name.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    loop {
        std::hint::spin_loop();
    }
}
