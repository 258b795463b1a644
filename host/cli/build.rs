//! Takes the shim in, if there is one: `PORTCULLIS_SHIM` names the file, built beforehand and by itself.
//!
//! Built together with this command it would get the compiler. Without one the build works as well, and `wrap` then says
//! how to come by one.

#![expect(clippy::disallowed_methods, reason = "Cargo tells a build script everything by the environment")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(carries_shim)");
    println!("cargo::rerun-if-env-changed=PORTCULLIS_SHIM");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(shim) = env::var_os("PORTCULLIS_SHIM").filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(());
    };
    if !shim.is_absolute() {
        return Err(format!("PORTCULLIS_SHIM: {} is not absolute", shim.display()).into());
    }
    println!("cargo::rerun-if-changed={}", shim.display());
    let copy = Path::new(&env::var("OUT_DIR")?).join("shim");
    // Without its permissions: where nobody may write to it, the next one could not take its place.
    fs::read(&shim)
        .and_then(|program| fs::write(copy, program))
        .map_err(|error| format!("PORTCULLIS_SHIM: {}: {error}", shim.display()))?;
    println!("cargo::rustc-cfg=carries_shim");
    Ok(())
}
