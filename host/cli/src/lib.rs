//! The `portcullis` command.
//!
//! The program is this library, so that a test's package can build it too; every command has a file of its
//! own. Data goes to stdout, everything else to stderr. The environment is read in one place,
//! `environment.rs`, and errors are printed in one place, here.
//!
//! Nothing is done before it is needed: a run of a cached component takes less time than most programs
//! take to start.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use portcullis_contract::{visible, visible_line};
use portcullis_goplugin::raise_open_files;
use rustix::io::Errno;

mod auth;
mod describe;
mod duration;
mod ending;
mod environment;
mod errors;
mod exit;
mod inputs;
mod inspect;
mod json;
mod list;
mod lock;
mod logging;
mod moment;
mod options;
mod output;
mod path;
mod probe;
mod profile;
mod progress;
mod run;
mod setup;
mod shim;
mod signals;
mod stderr;
mod table;
mod terminal;
mod wrap;
mod wrapped;
mod yaml;

use environment::Environment;
use exit::{Exit, Failure, OrExit as _};
use logging::LogFormat;
use signals::Signals;

/// The hidden command with which this program starts itself to compile one component. People have no use
/// for it.
const COMPILE_WORKER: &str = "__compile-worker";

/// How many pairs of descriptors must be free when a command begins. A guess: a runtime that listens to signals takes
/// five descriptors and panics without them, and no command gets anything done with fewer.
const PAIRS: usize = 4;

/// What no option says, and how a command ends, for the help.
const AFTER_HELP: &str = "\
Environment:
  PORTCULLIS_PLUGIN_DIR  Where to look for plugins, separated like PATH, in place of --plugin-dir
  PORTCULLIS_CACHE_DIR   Where compiled components and descriptions of plugins are kept
  PORTCULLIS_DATA_DIR    Where the key of that cache is kept, and which files were wrapped here
  PORTCULLIS_SHIM        Shim to wrap with, instead of the one that portcullis carries
  PORTCULLIS_LOG_LEVEL, PORTCULLIS_DEBUG, PORTCULLIS_LOG_FORMAT, NO_COLOR
                         What --log-level, --debug, --log-format and --no-color say

Exit codes:
  0  it was done
  1  it failed, or an option is not understood
  2  the plugin breaks the protocol (probe)
  3  an input or a value cannot be used
  4  there is no such provider or file, or the file can be no plugin
  7  the policy or the secrets file cannot be used
  9  the time of --timeout has passed
  129, 130, 143  SIGHUP, Ctrl-C or SIGTERM ended it";

/// Runs plugins: go-plugin child processes and sandboxed WASI components, one like the other.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args, Debug)]
struct Global {
    /// How much to log: none, error, warn, info, debug, trace (default: warn)
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    log_level: Option<String>,

    /// Log for debugging (short for --log-level debug)
    #[arg(short, long, global = true, help_heading = "Global options")]
    debug: bool,

    /// Form of the log: console, json (default: console)
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    log_format: Option<String>,

    /// Print nothing beside data, errors, prompts and the log
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,

    /// Do without colours
    #[arg(long, global = true, help_heading = "Global options")]
    no_color: bool,

    /// Change to a directory first
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = "Global options")]
    cwd: Option<OsString>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the plugins in directories
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Tell everything about one plugin: inputs, rights, limits, digest
    Inspect(inspect::InspectArgs),
    /// Execute a provider once
    Run(Box<run::RunArgs>),
    /// Log in and out with auth handlers, and use what they give
    #[command(subcommand, alias = "authenticate")]
    Auth(Box<auth::AuthCommand>),
    /// Make a native plugin of a component, for hosts that know no components
    Wrap(wrap::WrapArgs),
    /// Speak go-plugin with any binary, and tell what is wrong with it
    Probe(Box<probe::ProbeArgs>),
    /// Compile a component
    #[command(name = COMPILE_WORKER, hide = true)]
    CompileWorker,
}

/// What holds for the whole of one command.
#[derive(Debug)]
struct Session {
    environment: Environment,
    /// What reads the errors.
    reader: Reader,
    /// Whether to print nothing beside data, errors, prompts and the log.
    quiet: bool,
    /// Whether somebody asked for no colours.
    no_color: bool,
    /// The directory that relative paths start from, if an option named one.
    working_directory: Option<String>,
}

/// Does what the command line says. Both binaries call this and nothing else.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match options::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, &arguments).into(),
    };
    // A worker reads nothing but the component: it is started with an empty environment.
    if matches!(cli.command, Command::CompileWorker) {
        return portcullis::compile::worker_main();
    }
    let environment = Environment::read();
    let reader = Reader::of_stderr(&environment, &cli.global);
    let session = Session::new(environment, &cli.global, reader);
    match session.and_then(|session| session.execute(cli.command)) {
        Ok(exit) => exit.into(),
        // Nothing listens to signals yet: each still ends the process.
        Err(Failure { exit, problem }) => {
            output::complain(error_text(&exit::chain(&problem), reader).as_bytes());
            exit.into()
        }
    }
}

/// Prints the help that was asked for, or what is wrong with the command line.
fn explain(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let has_controls = |argument: &OsString| {
        let text = argument.to_string_lossy();
        visible_line(&text) != text
    };
    if error.use_stderr() && io::stderr().is_terminal() && arguments.iter().any(has_controls) {
        // As text it has no colours, neither those of the parser nor those in an argument, which it quotes as it is.
        output::complain(visible(&error.to_string()).as_bytes());
        return Exit::Failed;
    }
    let printed = error.print().and_then(|()| io::stdout().flush());
    if error.use_stderr() {
        return Exit::Failed;
    }
    match printed {
        // A reader who has gone does not matter.
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => {
            output::complain(format!("cannot write to stdout: {problem}\n").as_bytes());
            Exit::Failed
        }
        _ => Exit::Done,
    }
}

/// What reads the errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A file or a pipe, which gets every character as it is.
    Program,
    /// A terminal without colours. Control characters are made visible all the same.
    PlainTerminal,
    /// A terminal.
    TerminalInColour,
}

impl Reader {
    fn of_stderr(environment: &Environment, global: &Global) -> Self {
        match (environment.stderr_is_terminal, environment.no_color || global.no_color) {
            (false, _) => Self::Program,
            (true, true) => Self::PlainTerminal,
            (true, false) => Self::TerminalInColour,
        }
    }
}

/// Returns an error as upstream prints it: on a terminal in red, behind a mark.
fn error_text(text: &str, reader: Reader) -> String {
    match reader {
        Reader::Program => format!("{text}\n"),
        Reader::PlainTerminal => format!("{}\n", visible(text)),
        Reader::TerminalInColour => {
            let text = visible(text);
            let red: Vec<_> = text.lines().map(|line| format!("\u{1b}[31m{line}\u{1b}[0m")).collect();
            format!(" \u{274c} {}\n", red.join("\n"))
        }
    }
}

impl Session {
    fn new(mut environment: Environment, global: &Global, reader: Reader) -> Result<Self, Failure> {
        let level = match (&global.log_level, global.debug) {
            (_, true) => logging::parse_level("debug"),
            (Some(level), false) => logging::parse_level(level),
            (None, false) => {
                let level = environment.log_level.as_deref().unwrap_or("warn");
                logging::parse_level(level).context("PORTCULLIS_LOG_LEVEL")
            }
        };
        let format = match (&global.log_format, &environment.log_format) {
            (Some(format), _) => LogFormat::parse(format),
            (None, Some(format)) => LogFormat::parse(format).context("PORTCULLIS_LOG_FORMAT"),
            (None, None) => Ok(LogFormat::Console),
        };
        let (level, format) = (level.or_exit(Exit::InvalidInput)?, format.or_exit(Exit::InvalidInput)?);
        logging::start(level, format, reader);
        environment.correct_pwd();
        let cwd = global.cwd.as_deref().filter(|directory| !directory.is_empty()).map(Path::new);
        let entered = cwd.map(|directory| path::enter(directory, || environment.here()).context("--cwd"));
        let working_directory = entered.transpose()?;
        if let Some(directory) = &working_directory {
            environment.set("PWD", directory);
        }
        Ok(Self {
            reader,
            quiet: global.quiet,
            no_color: global.no_color || environment.no_color,
            working_directory,
            environment,
        })
    }

    fn execute(&self, command: Command) -> Result<Exit, Failure> {
        signals::unblock()?;
        raise_open_files();
        room_for_files()?;
        room_for_a_thread()?;
        // One thread: the work is done by children, the compiler, and blocking threads for writes. The first blocking
        // thread is started now and kept: without any the runtime panics, without more the work only queues.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().thread_keep_alive(Duration::MAX).build()?;
        let _first = runtime.spawn_blocking(|| ());
        runtime.block_on(async { signals::keep_endings().and_then(|()| signals::outlive_large_files()) })?;
        let exit = runtime.block_on(async {
            let signals = &mut Signals::default();
            let ended = match command {
                Command::List(args) => list::main(self, args, signals).await,
                Command::Inspect(args) => inspect::main(self, args, signals).await,
                Command::Run(args) => run::main(self, *args, signals).await,
                Command::Auth(command) => auth::main(self, *command, signals).await,
                Command::Wrap(args) => wrap::main(self, args, signals).await,
                Command::Probe(args) => probe::main(self, *args, signals).await,
                // Was seen to before there was a session.
                Command::CompileWorker => Ok(Exit::Done),
            };
            let exit = match ended {
                Ok(exit) => exit,
                Err(failure) => self.tell(failure, signals).await,
            };
            output::flush(exit, signals).await
        });
        // Does not wait for writes to a reader who never reads.
        runtime.shutdown_background();
        Ok(exit)
    }

    /// Says why a command failed, and returns how it ends.
    async fn tell(&self, failure: Failure, signals: &mut Signals) -> Exit {
        let text = error_text(&exit::told(&failure.problem), self.reader);
        output::complain_or_end(text, signals).await.unwrap_or(failure.exit)
    }
}

/// Fails if not even the files that every command needs can be opened.
fn room_for_files() -> anyhow::Result<()> {
    // All of them are open at once.
    let pairs: io::Result<Vec<_>> = (0..PAIRS).map(|_| UnixStream::pair()).collect();
    pairs.map(drop).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            anyhow!(error).context("no command can do with so few open files; `ulimit -n` allows more")
        }
        _ => anyhow!(error).context("no command can do without pairs of sockets"),
    })
}

/// Fails if no thread can be started.
fn room_for_a_thread() -> anyhow::Result<()> {
    let thread = thread::Builder::new().spawn(|| ());
    let thread = thread.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::AGAIN | Errno::NOMEM) => anyhow!(error)
            .context("no command can do without a second thread; `ulimit -u` or `ulimit -v` may allow one"),
        _ => anyhow!(error).context("no command can do without a second thread"),
    })?;
    // What it does cannot panic.
    let _ended = thread.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_a_plain_line_but_on_a_terminal() {
        assert_eq!(error_text("no\u{1b}[2J", Reader::Program), "no\u{1b}[2J\n");
        assert_eq!(
            error_text("a\u{7}\nb", Reader::TerminalInColour),
            " \u{274c} \u{1b}[31ma\\u{7}\u{1b}[0m\n\u{1b}[31mb\u{1b}[0m\n"
        );
    }

    #[test]
    fn a_terminal_without_colours_is_not_moved_about_either() {
        assert_eq!(error_text("no\u{1b}[2J", Reader::PlainTerminal), "no\\u{1b}[2J\n");
    }
}
