//! Tells a person that a component is being compiled, which happens once and may take seconds.
//!
//! Only on a terminal, and nothing is built or drawn before a component is compiled. Drawing may wait for the terminal,
//! so the thread that writes to [stderr](crate::stderr) does it. Whether compiling was begun and not ended is
//! remembered in any case, because a timeout's message mentions it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar};
use portcullis::component::{CompileListener, Compiling};
use portcullis_contract::visible_line;

use crate::lock::lock;
use crate::stderr;

/// How many components are being compiled, or were when compiling was abandoned. A process runs one command.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

/// Returns whether a component is being compiled, or was when compiling was abandoned.
pub(crate) fn is_unfinished() -> bool {
    UNFINISHED.load(Ordering::SeqCst) > 0
}

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// On a terminal.
    Terminal,
    /// Nowhere.
    Nowhere,
}

/// How long the runtime's thread waits for a drawing. A guess: a terminal that takes longer is stuck.
const MOMENT: Duration = Duration::from_millis(100);

/// The components that are being compiled.
type Bars = Vec<(PathBuf, ProgressBar)>;

/// Returns the listener that shows what is being compiled.
pub(crate) fn listener(shown: Shown) -> CompileListener {
    let bars: Arc<Mutex<Bars>> = Arc::default();
    Arc::new(move |compiling| {
        match compiling {
            Compiling::Begun { .. } => _ = UNFINISHED.fetch_add(1, Ordering::SeqCst),
            Compiling::Ended { .. } => _ = UNFINISHED.fetch_sub(1, Ordering::SeqCst),
            _ => {}
        }
        if shown == Shown::Nowhere {
            return;
        }
        let (bars, compiling) = (Arc::clone(&bars), compiling.clone());
        let (done, drawn) = mpsc::channel::<()>();
        stderr::shared().draw(move || {
            draw(&mut lock(&bars), &compiling);
            drop(done);
        });
        // What goes to stdout is to come after it, on the same terminal.
        let _stands_still = drawn.recv_timeout(MOMENT);
    })
}

fn draw(bars: &mut Bars, compiling: &Compiling) {
    match compiling {
        Compiling::Begun { path, size } => {
            let bar = ProgressBar::new_spinner();
            let file = path.display().to_string();
            bar.set_message(format!("compiling {} ({}), once", visible_line(&file), HumanBytes(*size)));
            bar.enable_steady_tick(Duration::from_millis(100));
            bars.push((path.clone(), bar));
        }
        Compiling::Ended { path, .. } | Compiling::GivenUp { path, .. } => {
            if let Some(at) = bars.iter().position(|(compiled, _)| compiled == path) {
                bars.swap_remove(at).1.finish_and_clear();
            }
        }
        _ => {}
    }
}
