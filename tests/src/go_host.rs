//! A host of scafctl's contract that is written in Go, and what it is told to do with a plugin.
//!
//! The program is `tests/go/cmd/host`, built with several versions of go-plugin; its first comment lists its
//! commands. It runs any plugin of either kind, so that everything that claims to be one is tried in the same
//! way: see [`Made`]. Dropping a [`GoHost`] ends it with its plugin, and fails the test if a process is left. (Go's
//! own plugins leave sockets, so that only a test which says so looks for these.)

#![expect(
    clippy::disallowed_methods,
    reason = "a host of somebody else's is a program, and tests start what they test"
)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::{LONG, expect_no_process, fixtures, shim};

/// What a plugin is made of. To a Go host all are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Go, on the published go-plugin.
    Go,
    /// A guest of this repository, as a native program.
    Rust,
    /// The same guest as a component, wrapped into a file with a policy that grants all that a host may offer.
    Wrapped,
}

impl Made {
    /// Returns the executable of the plugin of that name.
    #[must_use]
    pub fn plugin(self, name: &str) -> PathBuf {
        match self {
            Self::Go => fixtures::peer(name),
            Self::Rust => fixtures::native(name),
            Self::Wrapped => shim::trusted(name),
        }
    }

    /// Returns the exit status of the plugin's process, after the plugin exited with 3 in a call. With a component that ends
    /// the call alone, and its process ends later, in order.
    #[must_use]
    pub fn exit_after_a_crash(self) -> &'static str {
        match self {
            Self::Go | Self::Rust => "exit status 3",
            Self::Wrapped => "exit status 0",
        }
    }

    /// Returns how large a request may be, in bytes: as in Go (contract spec 1.7), or as a policy has it by default.
    #[must_use]
    pub fn request_limit(self) -> usize {
        match self {
            Self::Go | Self::Rust => 4 << 20,
            Self::Wrapped => 64 << 20,
        }
    }

    /// Returns what the keeper says of a secret when no host has said where it is. In Go that is its author's business.
    #[must_use]
    pub fn without_a_host(self) -> &'static str {
        match self {
            Self::Go => "host service not available",
            Self::Rust | Self::Wrapped => "host GetSecret: secret store not available",
        }
    }
}

/// How host and plugin talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As scafctl does.
    Plain,
    /// With certificates made for the one launch.
    Tls,
    /// Over one socket. Not with go-plugin 1.4.
    Mux,
    /// Both. Not with go-plugin 1.4.
    Both,
}

impl Mode {
    fn flag(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "automtls",
            Self::Mux => "mux",
            Self::Both => "both",
        }
    }
}

/// Why a command came to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// In the words of the host.
    pub message: String,
    /// The status of the call, if it was the call that failed.
    pub code: Option<String>,
    /// What the plugin gave.
    pub exit_code: Option<i64>,
    /// What came before.
    pub result: Value,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a command comes to.
pub type Answer = Result<Value, Failure>;

/// How a plugin ended when its host had enough of it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Without being killed.
    pub graceful: bool,
    /// In the words of the system.
    pub exit: String,
    /// How long that took.
    pub milliseconds: f64,
}

/// A running Go host with its plugin.
#[derive(Debug)]
pub struct GoHost {
    host: Child,
    commands: Option<ChildStdin>,
    lines: Receiver<Value>,
    sent: u64,
    events: BTreeMap<u64, VecDeque<Value>>,
    answers: BTreeMap<u64, Answer>,
    started: Value,
    scratch: tempfile::TempDir,
}

impl GoHost {
    /// Starts a provider plugin under a host on that version of go-plugin.
    ///
    /// # Errors
    ///
    /// What the host said when the plugin did not start.
    pub fn provider(version: &str, mode: Mode, plugin: &Path) -> Result<Self, Failure> {
        Self::start(version, mode, "provider", plugin, &[])
    }

    /// Starts an auth handler plugin under a host on that version of go-plugin.
    ///
    /// # Errors
    ///
    /// What the host said when the plugin did not start.
    pub fn auth(version: &str, mode: Mode, plugin: &Path) -> Result<Self, Failure> {
        Self::start(version, mode, "auth", plugin, &[])
    }

    /// Starts a plugin with more flags of the host.
    ///
    /// # Errors
    ///
    /// What the host said when the plugin did not start.
    ///
    /// # Panics
    ///
    /// When the host itself does not start.
    pub fn start(
        version: &str,
        mode: Mode,
        kind: &str,
        plugin: &Path,
        flags: &[&str],
    ) -> Result<Self, Failure> {
        let scratch =
            tempfile::Builder::new().prefix("portcullis-test").tempdir().expect("a temporary directory");
        let mut host = Command::new(fixtures::go_host(version));
        host.args(["-kind", kind, "-mode", mode.flag()]).args(flags).arg(plugin);
        host.env("TMPDIR", scratch.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut host = host.spawn().expect("a Go host starts");
        let output = host.stdout.take().expect("its output was asked for");
        let (sender, lines) = channel();
        // Ends with the host's output, which ends with the host.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = line.expect("a Go host prints text");
                let line = serde_json::from_str(&line).expect("a Go host prints JSON");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let commands = host.stdin.take();
        let mut host = Self {
            host,
            commands,
            lines,
            sent: 0,
            events: BTreeMap::new(),
            answers: BTreeMap::new(),
            started: Value::Null,
            scratch,
        };
        host.started = host.answer(0)?;
        Ok(host)
    }

    /// Returns what the host said of the start: `pid`, `version`, `address`, `milliseconds`.
    #[must_use]
    pub fn started(&self) -> &Value {
        &self.started
    }

    /// Returns the directory that host and plugin have for their sockets.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Sends a command, and returns its number.
    ///
    /// # Panics
    ///
    /// When the host is gone, or `command` no object.
    pub fn send(&mut self, mut command: Value) -> u64 {
        self.sent += 1;
        command["id"] = self.sent.into();
        let commands = self.commands.as_mut().expect("the host was not ended");
        writeln!(commands, "{command}").expect("a Go host reads its commands");
        self.sent
    }

    /// Sends a command, and waits for what it comes to.
    ///
    /// # Errors
    ///
    /// Why it came to nothing.
    pub fn ask(&mut self, command: Value) -> Answer {
        let id = self.send(command);
        self.answer(id)
    }

    /// Waits for what a command comes to.
    ///
    /// # Errors
    ///
    /// Why it came to nothing.
    ///
    /// # Panics
    ///
    /// When nothing comes of it within [`LONG`].
    pub fn answer(&mut self, id: u64) -> Answer {
        let until = Instant::now() + LONG;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            self.listen(until);
        }
    }

    /// Waits for the next event of a command that is being carried out.
    ///
    /// # Panics
    ///
    /// When there is none within [`LONG`], or the command is over.
    pub fn event(&mut self, id: u64) -> Value {
        let until = Instant::now() + LONG;
        loop {
            if let Some(event) = self.events.get_mut(&id).and_then(VecDeque::pop_front) {
                return event;
            }
            assert!(!self.answers.contains_key(&id), "it is over: {:?}", self.answers.get(&id));
            self.listen(until);
        }
    }

    /// Returns the events of a command that are there and were not yet returned.
    pub fn events(&mut self, id: u64) -> Vec<Value> {
        self.events.remove(&id).unwrap_or_default().into()
    }

    fn listen(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let mut line = match self.lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the Go host does not answer"),
            Err(RecvTimeoutError::Disconnected) => panic!("the Go host has ended: {:?}", self.host.wait()),
        };
        let id = line["id"].as_u64().expect("every line belongs to a command");
        if let Some(event) = line.get_mut("event") {
            self.events.entry(id).or_default().push_back(event.take());
            return;
        }
        let result = line["result"].take();
        let answer = match line.get("error") {
            None => Ok(result),
            Some(error) => Err(Failure {
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                code: error["code"].as_str().map(str::to_owned),
                exit_code: error["exitCode"].as_i64(),
                result,
            }),
        };
        self.answers.insert(id, answer);
    }

    /// Kills the host itself, which then ends nothing.
    ///
    /// # Panics
    ///
    /// When it cannot be killed.
    pub fn die(&mut self) {
        self.host.kill().expect("it runs");
        self.host.wait().expect("it is a child");
    }

    /// Has the host end the plugin, and returns how that went.
    ///
    /// # Panics
    ///
    /// When the plugin was not ended.
    pub fn kill(&mut self) -> Ended {
        let ending = self.ask(json!({"do": "kill"})).expect("a host always ends its plugin");
        assert_eq!(ending["exited"], true);
        Ended {
            graceful: ending["graceful"] == true,
            exit: ending["exit"].as_str().unwrap_or_default().to_owned(),
            milliseconds: ending["milliseconds"].as_f64().unwrap_or_default(),
        }
    }
}

impl Drop for GoHost {
    fn drop(&mut self) {
        // At the end of its commands it ends its plugin and itself, and with that its output.
        drop(self.commands.take());
        let until = Instant::now() + LONG;
        let ended = loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break true,
                Err(RecvTimeoutError::Timeout) => break false,
            }
        };
        if !ended {
            let _it_has_just_ended = self.host.kill();
        }
        let _only_to_reap_it = self.host.wait();
        if !std::thread::panicking() {
            assert!(ended, "the Go host did not end");
            expect_no_process(self.scratch.path());
        }
    }
}

/// Returns the value of a command, `{"do": what}` with a provider's or handler's name.
#[must_use]
pub fn about(what: &str, name: &str) -> Value {
    json!({"do": what, "name": name})
}

/// Returns the command to execute a provider.
#[must_use]
pub fn execute(name: &str, input: Value) -> Value {
    let mut command = about("execute", name);
    command["input"] = input;
    command
}

/// Returns whether a line of a host's log says that, at that level.
#[must_use]
pub fn logged(log: &Value, level: &str, message: &str) -> bool {
    let lines = log.as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().any(|line| line["@level"] == level && line["@message"] == message)
}
