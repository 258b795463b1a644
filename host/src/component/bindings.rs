//! The component contract as Rust, generated from `wit/`, and nothing else.

wasmtime::component::bindgen!({
    path: "wit",
    world: "provider-plugin",
    imports: {
        "portcullis:plugin/control": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});

pub(crate) mod auth {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "auth-handler-plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "portcullis:plugin/types": crate::component::bindings::portcullis::plugin::types,
            "portcullis:plugin/secrets": crate::component::bindings::portcullis::plugin::secrets,
            "portcullis:plugin/identity": crate::component::bindings::portcullis::plugin::identity,
            "portcullis:plugin/control": crate::component::bindings::portcullis::plugin::control,
            "portcullis:plugin/log": crate::component::bindings::portcullis::plugin::log,
        },
    });
}
