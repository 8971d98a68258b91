//! `wasi:config` under every name it has had: what a component may read of its
//! node's configuration.
//!
//! The interface is the same under all of them. What the manifest does not
//! grant is absent, like what is granted and has no value.

use crate::instance::State;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package lockport:engine-config;

            world imports {
                import wasi:config/store@0.2.0-rc.1;
                import wasi:config/store@0.2.0-draft;
                import wasi:config/runtime@0.2.0-draft;
                import wasi:config/store@0.2.0-draft-2024-09-27;
            }
        ",
        world: "lockport:engine-config/imports",
        imports: { default: trappable },
        require_store_data_send: true,
    });
}

use bindings::wasi::{
    config0_2_0_draft as draft, config0_2_0_draft_2024_09_27 as dated, config0_2_0_rc_1 as rc,
};

/// Links the interface under each of its names.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    rc::store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    draft::store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    draft::runtime::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    dated::store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// The interface, for the bindings of one of its names.
macro_rules! serve {
    ($interface:path, $error:ident) => {
        const _: () = {
            use $interface as interface;

            impl interface::Host for State {
                fn get(
                    &mut self,
                    key: String,
                ) -> Result<Result<Option<String>, interface::$error>> {
                    Ok(Ok(self.value(&key)))
                }

                fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, interface::$error>> {
                    Ok(Ok(self.values()))
                }
            }
        };
    };
}

serve!(rc::store, Error);
serve!(draft::store, Error);
serve!(draft::runtime, ConfigError);
serve!(dated::store, Error);

impl State {
    fn value(&self, key: &str) -> Option<String> {
        self.spec.configuration.get(key).map(str::to_owned)
    }

    /// All but the secrets: those are told by name only, so that a component
    /// that shows its configuration does not show them.
    fn values(&self) -> Vec<(String, String)> {
        let values = self.spec.configuration.config.iter();
        values
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}
