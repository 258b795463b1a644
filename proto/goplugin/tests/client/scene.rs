//! A launch of the helper, and what it says.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use portcullis_goplugin::log::Entry;
use portcullis_goplugin::{Cookie, Launch, Sink, StartError, Versions};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{LONG, ROGUE};

/// A launch of the helper, with a directory of its own that has to be empty in the end.
pub(crate) struct Scene {
    pub(crate) launch: Launch,
    pub(crate) base: tempfile::TempDir,
    entries: mpsc::UnboundedReceiver<Entry>,
}

struct Collect(mpsc::UnboundedSender<Entry>);

impl Sink for Collect {
    fn log(&self, entry: Entry) {
        let _test_is_over = self.0.send(entry);
    }
}

pub(crate) fn scene(arguments: &[&str]) -> Scene {
    let base = tempfile::tempdir().expect("there is room for a directory");
    let (sender, entries) = mpsc::unbounded_channel();
    let mut launch = Launch::new(ROGUE, Cookie::new("ROGUE", "yes"), Versions::from([1, 2]));
    launch.arguments = arguments.iter().map(Into::into).collect();
    launch.socket_base = Some(base.path().to_owned());
    launch.start_timeout = LONG;
    launch.sink = Arc::new(Collect(sender));
    Scene { launch, base, entries }
}

impl Scene {
    /// Starts what must not start, and checks that nothing of it is left.
    pub(crate) async fn failure(&self) -> StartError {
        let error = self.launch.start().await.expect_err("this is no plugin");
        self.expect_nothing_left();
        error
    }

    pub(crate) fn expect_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.base.path())
            .expect("the base is there")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }

    /// Waits for the next entry of the log.
    pub(crate) async fn next(&mut self) -> Entry {
        let next = timeout(LONG, self.entries.recv()).await.expect("the plugin says something");
        next.expect("the sink is still there")
    }

    /// Waits for the entry that begins so, and returns the rest of its message.
    pub(crate) async fn entry(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.next().await.message.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }
}

/// Returns the whole chain, as a person would see it.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

/// Writes a program to where a test starts it.
///
/// Another process (`cp`) writes it. A child that another test starts at the same moment inherits the files that this
/// process has open, and the kernel does not start a program that is open for writing anywhere.
#[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
pub(crate) fn write_program(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, content)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    let copied = Command::new("cp").arg(&draft).arg(path).status()?;
    assert!(copied.success(), "cp did not copy it");
    fs::remove_file(draft)
}

/// Waits until a directory has nothing in it any more.
pub(crate) async fn wait_until_empty(directory: &Path) {
    let until = Instant::now() + LONG;
    while fs::read_dir(directory).expect("the directory is there").next().is_some() {
        assert!(Instant::now() < until, "something is left in it");
        tokio::task::yield_now().await;
    }
}
