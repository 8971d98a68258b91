//! What `wit-bindgen` makes of the world `lockport:host/handler`. Private to
//! the SDK, except that [`export!`](crate::export) names it. Generated code: its
//! documentation is in the WIT.

wit_bindgen::generate!({
    world: "lockport:host/handler@0.1.0",
    path: "../../wit",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "lockport_guest::bindings",
});
