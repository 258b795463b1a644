//! The guest doorman as a native program.

#[path = "lib.rs"]
mod plugin;

fn main() -> portcullis_sdk::native::Outcome {
    portcullis_sdk::native::serve_auth_handler(plugin::Doorman::default())
}
