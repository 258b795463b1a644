//! Who waits for whom, so that no plugin waits for itself.
//!
//! A plugin may ask for a token while it serves a call, and the auth handler that is asked may itself ask another. If
//! that leads back to a plugin that is waiting, all of them could wait for ever. So each question is noted while it is
//! open, and one that would close a circle is refused, even where the plugin could have served both calls: nobody can
//! know.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::lock::lock;

/// The questions that are open, each from one plugin's file to another's.
#[derive(Debug, Default)]
pub(super) struct Waits {
    open: Mutex<Vec<(PathBuf, PathBuf)>>,
}

/// One question. It is open until this is dropped.
#[derive(Debug)]
pub(super) struct Wait<'w> {
    waits: &'w Waits,
    question: (PathBuf, PathBuf),
}

impl Waits {
    /// Notes a question, unless it would close a circle.
    pub(super) fn begin(&self, asker: &Path, asked: &Path) -> Option<Wait<'_>> {
        let mut open = self.open();
        if leads_to(&open, asked, asker) {
            return None;
        }
        let question = (asker.to_owned(), asked.to_owned());
        open.push(question.clone());
        Some(Wait { waits: self, question })
    }

    fn open(&self) -> MutexGuard<'_, Vec<(PathBuf, PathBuf)>> {
        lock(&self.open)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut open = self.waits.open();
        if let Some(at) = open.iter().position(|question| *question == self.question) {
            open.swap_remove(at);
        }
    }
}

/// Returns whether open questions lead from one file to another; each leads to itself.
fn leads_to(open: &[(PathBuf, PathBuf)], from: &Path, to: &Path) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(here) = reached.get(next).copied() {
        if here == to {
            return true;
        }
        for (_, asked) in open.iter().filter(|(asker, _)| asker == here) {
            if !reached.contains(&asked.as_path()) {
                reached.push(asked);
            }
        }
        next += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_refused_and_only_as_long_as_its_questions_are_open() {
        let waits = Waits::default();
        let ask = |asker: &str, asked: &str| waits.begin(Path::new(asker), Path::new(asked));
        assert!(ask("a", "a").is_none());

        let first = ask("a", "b").unwrap();
        let again = ask("a", "b").unwrap();
        let second = ask("b", "c").unwrap();
        assert!(ask("c", "a").is_none());
        assert!(ask("c", "b").is_none());
        assert!(ask("c", "d").is_some());

        drop(first);
        assert!(ask("c", "a").is_none());
        drop(again);
        assert!(ask("c", "a").is_some());
        drop(second);
        assert!(ask("c", "b").is_some());
    }
}
