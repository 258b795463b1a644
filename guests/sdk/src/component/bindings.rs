//! What the component contract's WIT says, as Rust. Generated, and nothing else.

wit_bindgen::generate!({
    path: "../../wit",
    world: "provider-plugin",
    pub_export_macro: true,
    export_macro_name: "export_provider_plugin",
    default_bindings_module: "portcullis_sdk::component::bindings",
});
