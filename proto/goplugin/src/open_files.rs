//! The limit on open files: raised for this process, and not for its children.
//!
//! The usual limit of 1,024 is for programs that call `select`, which knows no descriptor beyond those. It is a soft
//! limit, which every program may raise to its hard one. Go's programs do so when they start, and give what they
//! execute the old one.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How far it is raised at most. A guess: far above what a host of hundreds of plugins takes, and no more than the
/// watcher of our children closes one by one where it has to.
const MOST: u64 = 1 << 16;

/// The limit before it was raised.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// Lets this process open as many files as its hard limit allows, up to 65,536.
///
/// Call it at the beginning of `main`: the limit is the whole program's, so this crate never raises it by itself.
/// Plugins that are started later still get the old limit. If there is nothing to raise, nothing happens.
pub fn raise_open_files() {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.map_or(MOST, |hard| hard.min(MOST));
    let Some(before) = now.current.filter(|soft| *soft < most) else { return };
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..now }).is_ok() {
        // Only once: what children get is the limit from before the first call.
        BEFORE.get_or_init(|| before);
    }
}

/// Returns the limit for children, if it differs from ours.
pub(crate) fn of_children() -> Option<Rlimit> {
    let before = *BEFORE.get()?;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Some(Rlimit { current: Some(maximum.map_or(before, |hard| hard.min(before))), maximum })
}
