//! What a component sees of Lockport: one file per WIT interface.
//!
//! Functions here convert and delegate. Grants are checked first, and a denial
//! says nothing about what was asked for; what a guest passes becomes a value
//! that is valid by construction before anything else happens to it.

mod locks;
mod request;
mod state;

#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub use locks::GuardHandle;

use crate::instance::State;
use wasmtime::component::{HasSelf, Linker};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package lockport:engine;

            world imports {
                import lockport:host/locks@0.1.0;
                import lockport:host/state@0.1.0;
                import lockport:host/request@0.1.0;
            }
        ",
        world: "lockport:engine/imports",
        imports: {
            "lockport:host/request": trappable,
            default: async | trappable,
        },
        with: {
            "wasi": wasmtime_wasi::p2::bindings,
            "lockport:host/locks.guard": super::GuardHandle,
        },
        require_store_data_send: true,
    });
}

use bindings::lockport::host as wit;

/// Links the interfaces.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wit::locks::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    wit::state::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    wit::request::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// A duration as WIT has it: nanoseconds, at most some 584 years.
fn to_nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
