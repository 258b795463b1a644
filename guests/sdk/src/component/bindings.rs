//! What the component contract's WIT says, as Rust. Generated, and nothing else.

pub mod provider {
    wit_bindgen::generate!({
        path: "wit",
        world: "provider-plugin",
        pub_export_macro: true,
        export_macro_name: "export_provider_plugin",
        default_bindings_module: "portcullis_sdk::component::bindings::provider",
    });
}

pub mod auth {
    wit_bindgen::generate!({
        path: "wit",
        world: "auth-handler-plugin",
        pub_export_macro: true,
        export_macro_name: "export_auth_handler_plugin",
        default_bindings_module: "portcullis_sdk::component::bindings::auth",
        with: {
            "portcullis:plugin/types@0.1.0": crate::component::bindings::provider::portcullis::plugin::types,
            "portcullis:plugin/secrets@0.1.0": crate::component::bindings::provider::portcullis::plugin::secrets,
            "portcullis:plugin/identity@0.1.0": crate::component::bindings::provider::portcullis::plugin::identity,
            "portcullis:plugin/control@0.1.0": crate::component::bindings::provider::portcullis::plugin::control,
            "portcullis:plugin/log@0.1.0": crate::component::bindings::provider::portcullis::plugin::log,
        },
    });
}
