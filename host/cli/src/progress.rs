//! Tells a person that a component is being compiled, which happens once and may take seconds.
//!
//! Only on a terminal; nothing is drawn, and nothing built, before there is something to tell. That it was given up is
//! remembered in any case, for who says why there is no answer.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar};
use portcullis::component::{CompileListener, Compiling};
use portcullis_contract::visible_line;

/// Whether a component was being compiled when nobody waited for it any more. A process is one command.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Returns whether a component was being compiled when nobody waited for it any more.
pub(crate) fn was_given_up() -> bool {
    GIVEN_UP.load(Ordering::SeqCst)
}

/// Where it is seen that something goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// On a terminal.
    Terminal,
    /// Nowhere.
    Nowhere,
}

/// Returns who is told of compiling.
pub(crate) fn listener(shown: Shown) -> CompileListener {
    let bars: Mutex<Vec<(PathBuf, ProgressBar)>> = Mutex::default();
    Arc::new(move |compiling| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        match compiling {
            Compiling::Begun { path, size } if shown == Shown::Terminal => {
                let bar = ProgressBar::new_spinner();
                let file = path.display().to_string();
                bar.set_message(format!("compiling {} ({}), once", visible_line(&file), HumanBytes(*size)));
                bar.enable_steady_tick(Duration::from_millis(100));
                bars.push((path.clone(), bar));
            }
            Compiling::Ended { path, .. } => clear(&mut bars, path),
            Compiling::GivenUp { path, .. } => {
                GIVEN_UP.store(true, Ordering::SeqCst);
                clear(&mut bars, path);
            }
            _ => {}
        }
    })
}

fn clear(bars: &mut Vec<(PathBuf, ProgressBar)>, path: &Path) {
    if let Some(at) = bars.iter().position(|(compiled, _)| compiled == path) {
        bars.swap_remove(at).1.finish_and_clear();
    }
}
