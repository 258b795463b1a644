//! Generates the messages, the clients and the servers of `plugin.proto`, without a system compiler.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=plugin.proto");
    let files = protox::compile(["plugin.proto"], ["."])?;
    // Payloads are JSON of any size: as `Bytes` they are slices of what came off the wire.
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec").compile_fds(files)?;
    Ok(())
}
