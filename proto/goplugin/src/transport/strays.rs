//! Socket files that a plugin may leave behind.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{Address, Socket};

/// Socket files of the plugin that we know of, to be removed when it is gone.
///
/// A plugin that heeds our directory has them there, and they go with that. One that does not leaves them
/// behind when it is killed. Any path may be announced, so what counts is that a process of the plugin
/// listens there.
pub(crate) struct Strays {
    is_plugin: Box<dyn Fn(i32) -> bool + Send + Sync>,
    paths: Mutex<BTreeSet<PathBuf>>,
}

impl Strays {
    /// Starts with none. `is_plugin` tells whether a process is one of the plugin's.
    pub(crate) fn new(is_plugin: impl Fn(i32) -> bool + Send + Sync + 'static) -> Self {
        Self { is_plugin: Box::new(is_plugin), paths: Mutex::default() }
    }

    /// Remembers the file behind `address`, to which `socket` is connected, if it is the plugin's.
    pub(crate) fn note(&self, socket: &Socket, address: &Address) {
        if let Address::Unix(path) = address
            && socket.listener().is_some_and(&self.is_plugin)
        {
            self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    }

    /// Removes what is still there, and returns what that was.
    pub(crate) fn remove(&self) -> BTreeSet<PathBuf> {
        use std::os::unix::fs::FileTypeExt as _;

        let mut left = std::mem::take(&mut *self.paths.lock().unwrap_or_else(PoisonError::into_inner));
        left.retain(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()));
        for path in &left {
            let _gone = std::fs::remove_file(path);
        }
        left
    }
}

impl fmt::Debug for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strays").field("paths", &self.paths).finish_non_exhaustive()
    }
}
