//! What a component sees of Lockport: one file per WIT interface of ours, and
//! one per package of the standard ones that are served by it.
//!
//! Functions here convert and delegate. Grants are checked first, and a denial
//! says nothing about what was asked for; what a guest passes becomes a value
//! that is valid by construction before anything else happens to it.

mod config;
mod keyvalue;
mod locks;
mod request;
mod state;

#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub use locks::GuardHandle;

use crate::instance::State;
use std::any::Any;
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
    wit::request::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    keyvalue::add_to_linker(linker)?;
    config::add_to_linker(linker)
}

/// Links those that have two forms under one name in their other form.
pub(crate) fn add_others_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    keyvalue::replace_batch(linker)
}

/// Ends what a guest's resource has of the request that is over.
pub(crate) fn end(resource: &mut dyn Any) {
    if let Some(guard) = resource.downcast_mut::<GuardHandle>() {
        guard.end();
    }
    if let Some(bucket) = resource.downcast_mut::<keyvalue::Bucket>() {
        bucket.end();
    }
    if let Some(cas) = resource.downcast_mut::<keyvalue::Cas>() {
        cas.end();
    }
}

/// A duration as WIT has it: nanoseconds, at most some 584 years.
fn to_nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
