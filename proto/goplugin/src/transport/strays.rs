//! Socket files that a plugin may leave behind.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Address, Socket};
use crate::lock::lock;

/// Socket files of the plugin that we know of, to be removed when it is gone.
///
/// A plugin that respects our directory has them there, and they are removed with it. One that does not leaves them
/// behind when it is killed. It may announce any path, so only sockets on which a process of the plugin listens count.
/// Dropping this removes those that are left, because the runtime may end before the plugin does.
pub(crate) struct Strays {
    is_plugin: Box<dyn Fn(i32) -> bool + Send + Sync>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    paths: BTreeSet<PathBuf>,
    /// How many there were when we last checked which of them still exist.
    looked: usize,
}

/// How many files are remembered before we check which of them still exist. A plugin makes one for each connection that
/// it brokers, and may live for months.
const FEW: usize = 64;

impl Strays {
    /// Starts with none. `is_plugin` tells whether a process is one of the plugin's.
    pub(crate) fn new(is_plugin: impl Fn(i32) -> bool + Send + Sync + 'static) -> Self {
        Self { is_plugin: Box::new(is_plugin), known: Mutex::default() }
    }

    /// Remembers the file behind `address`, to which `socket` is connected, if it is the plugin's.
    pub(crate) fn note(&self, socket: &Socket, address: &Address) {
        if let Some(file) = address.file()
            && socket.listener().is_some_and(&self.is_plugin)
        {
            lock(&self.known).insert(file.to_owned());
        }
    }

    /// Removes those that still exist, and returns their paths.
    pub(crate) fn remove(&self) -> BTreeSet<PathBuf> {
        let mut left = std::mem::take(&mut *lock(&self.known)).paths;
        left.retain(|path| is_socket(path));
        for path in &left {
            let _gone = std::fs::remove_file(path);
        }
        left
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Known {
    fn insert(&mut self, path: PathBuf) {
        self.paths.insert(path);
        if self.paths.len() >= FEW.max(2 * self.looked) {
            self.paths.retain(|path| is_socket(path));
            self.looked = self.paths.len();
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;

    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

impl fmt::Debug for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = lock(&self.known);
        f.debug_struct("Strays").field("paths", &known.paths).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    #[tokio::test]
    async fn only_files_that_are_still_there_are_remembered_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let strays = Strays::new(|_| true);
        let mut kept = BTreeSet::new();
        for number in 0..1_000 {
            let path = dir.path().join(number.to_string());
            let _listener = UnixListener::bind(&path).unwrap();
            let socket = Socket::Unix(UnixStream::connect(&path).await.unwrap());
            strays.note(&socket, &Address::Unix(path.clone()));
            if number % 100 == 0 {
                kept.insert(path);
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        let known = strays.known.lock().unwrap().paths.len();
        assert!(known < 2 * FEW, "{known} are remembered");
        assert_eq!(strays.remove(), kept);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    /// A file may be called the same, and be somebody else's.
    #[tokio::test]
    async fn a_name_without_a_file_is_nothing_to_remove() {
        let strays = Strays::new(|_| true);
        let (socket, _other) = UnixStream::pair().unwrap();
        strays.note(&Socket::Unix(socket), &Address::Unix("@name".into()));
        assert!(strays.known.lock().unwrap().paths.is_empty());
    }
}
