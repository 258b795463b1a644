//! Generates go-plugin's own messages, clients and servers, without a system compiler.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // All three declare the package `plugin`, as go-plugin does; they share one generated module.
    let files = protox::compile(["broker.proto", "controller.proto", "stdio.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;

    // What the example and the tests serve; the library itself takes no part of it.
    for (file, directory) in [("kv.proto", "examples"), ("peer.proto", "tests/proto")] {
        println!("cargo:rerun-if-changed={directory}/{file}");
        tonic_prost_build::configure().bytes(".").compile_fds(protox::compile([file], [directory])?)?;
    }
    Ok(())
}
