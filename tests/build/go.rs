//! How both build scripts of the tests run the Go toolchain.

use std::error::Error;
use std::path::Path;
use std::process::Command;

pub(crate) fn is_there() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|done| done.status.success())
}

/// Builds programs of a module.
pub(crate) fn build(
    module: &Path,
    what: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), Box<dyn Error>> {
    let mut go = Command::new("go");
    // Without C the peers are plain static programs, whatever compilers the machine has.
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        // A workspace around the checkout, or a repository that git distrusts, is none of its business.
        .env("GOWORK", "off")
        // Nor are flags for other modules, as packagers set them. This one says what holds anyway: in place of an empty
        // variable Go takes the user's settings.
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-trimpath", "-buildvcs=false"]);
    let done = what(&mut go).output()?;
    if done.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&done.stderr);
    Err(format!("the Go peers in {} do not build:\n{text}", module.display()).into())
}
