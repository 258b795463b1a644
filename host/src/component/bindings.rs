//! The component contract as Rust, generated from `wit/`, and nothing else.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "provider-plugin",
    imports: {
        "portcullis:plugin/control": trappable,
        "portcullis:plugin/log": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});
