//! A person at a terminal: what lies in the plugin directory, what is typed, and what is seen.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portcullis_tests::{Scratch, cli, fixtures};
use serde_json::Value;

/// A person with a plugin directory, and nothing in it yet.
pub(crate) struct Person {
    scratch: Scratch,
}

impl Person {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        let scratch = Scratch::new()?;
        fs::create_dir(scratch.path().join("plugins"))?;
        Ok(Self { scratch })
    }

    /// Returns the directory that everything lies in.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn has_guest(&self, name: &str) -> Result<(), std::io::Error> {
        fs::copy(fixtures::guest(name), self.path("plugins").join(format!("{name}.wasm"))).map(drop)
    }

    pub(crate) fn has_native(&self, name: &str) -> Result<(), std::io::Error> {
        fixtures::copy(&fixtures::native(name), &self.path("plugins").join(name))
    }

    #[cfg(go_peers)]
    pub(crate) fn has_peer(&self, name: &str) -> Result<(), std::io::Error> {
        fixtures::copy(&fixtures::peer(name), &self.path("plugins").join(name))
    }

    /// Wraps a guest under a name, with the lines of a policy's table.
    pub(crate) fn has_wrapped(
        &self,
        guest: &str,
        name: &str,
        policy: &str,
    ) -> Result<PathBuf, std::io::Error> {
        let (component, path) = (fixtures::guest(guest), self.path(name));
        let (policy, component) = (self.has_policy(&component, policy)?, component.display().to_string());
        let output = path.display().to_string();
        let wrapped = self.types(&["wrap", &component, "--policy", &policy, "-o", &output, "--force"])?;
        assert!(wrapped.status.success(), "{}", stderr(&wrapped));
        Ok(path)
    }

    /// Writes a policy with one table, and returns its path.
    pub(crate) fn has_policy(&self, component: &Path, lines: &str) -> Result<String, std::io::Error> {
        let inspection = portcullis::component::inspect(component).map_err(std::io::Error::other)?;
        let path = self.path("policy.toml");
        fs::write(&path, format!("[plugin.it]\ndigests = [\"{}\"]\n{lines}\n", inspection.digest))?;
        Ok(path.display().to_string())
    }

    /// Writes a file that can be run, and returns its path.
    pub(crate) fn has_program(
        &self,
        name: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<PathBuf, std::io::Error> {
        let [draft, path] = ["draft", name].map(|name| self.path(name));
        fs::write(&draft, content)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
        fixtures::copy(&draft, &path)?;
        fs::remove_file(draft)?;
        Ok(path)
    }

    /// Writes a file of secrets that nobody else may read.
    pub(crate) fn has_secrets(&self, content: &str) -> Result<(), std::io::Error> {
        let path = self.path("secrets.json");
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cli::command(self.scratch.path());
        command.args(arguments).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.env("PORTCULLIS_PLUGIN_DIR", self.path("plugins"));
        command
    }

    /// Makes a command that shares nothing that is compiled with other tests.
    pub(crate) fn alone(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("PORTCULLIS_CACHE_DIR", self.path("cache")).env("PORTCULLIS_DATA_DIR", self.path("data"));
        command
    }

    /// Makes a command of a shell that does `first` and then becomes it.
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    pub(crate) fn after(&self, first: &str, arguments: &[&str]) -> Command {
        let command = self.command(arguments);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(self.scratch()).stdin(Stdio::null());
        shell
    }

    pub(crate) fn types(&self, arguments: &[&str]) -> Result<Output, std::io::Error> {
        self.command(arguments).output()
    }
}

/// What is typed to have echo say hi.
pub(crate) fn say_hi(file: &str) -> [&str; 5] {
    ["run", file, "--provider", "echo", "message=hi"]
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub(crate) fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

#[track_caller]
pub(crate) fn fails(output: &Output, code: i32, sentence: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(sentence), "{text}");
    assert_eq!(stdout(output), "");
}
