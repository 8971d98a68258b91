//! From a handler function to an exported component.

use crate::{IntoResponse, Request, Response};

/// Makes a function the component's handler.
///
/// The function takes a `&Request` and returns a `Result` whose two sides are
/// [`IntoResponse`]: usually `Result<Response, Error>`, or an error type of
/// the component's own. On other targets than WebAssembly nothing is exported,
/// so that the same crate can be tested natively.
#[macro_export]
macro_rules! export {
    ($handler:path) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::wasi::http::incoming_handler::Guest for Component {
                fn handle(
                    request: $crate::bindings::wasi::http::types::IncomingRequest,
                    out: $crate::bindings::wasi::http::types::ResponseOutparam,
                ) {
                    $crate::serve(request, out, $handler);
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Request) -> $crate::Response =
            |request| $crate::answer(request, $handler);
    };
}

/// Runs the handler and turns what it returns into a response.
#[doc(hidden)]
pub fn answer<R, E>(request: &Request, handler: impl FnOnce(&Request) -> Result<R, E>) -> Response
where
    R: IntoResponse,
    E: IntoResponse,
{
    match handler(request) {
        Ok(response) => response.into_response(),
        Err(error) => error.into_response(),
    }
}
