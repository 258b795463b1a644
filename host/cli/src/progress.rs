//! Tells a person that a component is being compiled, which happens once and may take seconds.
//!
//! Only on a terminal; nothing is drawn, and nothing built, before there is something to tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar};
use portcullis::component::{CompileListener, Compiling};
use portcullis_contract::visible_line;

/// Returns who is told of compiling.
pub(crate) fn listener() -> CompileListener {
    let bars: Mutex<Vec<(std::path::PathBuf, ProgressBar)>> = Mutex::default();
    Arc::new(move |compiling| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        match compiling {
            Compiling::Begun { path, size } => {
                let bar = ProgressBar::new_spinner();
                let file = path.display().to_string();
                bar.set_message(format!("compiling {} ({}), once", visible_line(&file), HumanBytes(*size)));
                bar.enable_steady_tick(Duration::from_millis(100));
                bars.push((path.clone(), bar));
            }
            Compiling::Ended { path, .. } => {
                if let Some(at) = bars.iter().position(|(compiled, _)| compiled == path) {
                    bars.swap_remove(at).1.finish_and_clear();
                }
            }
            _ => {}
        }
    })
}
