//! The compiler of components, in a process of its own.
//!
//! Compiling is done by a worker that lives for one component: a program, usually ourselves, that ends
//! up in [`worker_main`]. It limits its own memory and processor time before it reads a byte of the
//! component, so that one made to choke a compiler chokes nobody else.
//!
//! The worker reads from stdin a line that says for which version of ours it is to compile, the length of
//! the component (8 bytes, little endian) and the component. It writes to stdout, which is the file to be
//! mapped later, the compiled form and a byte that says its class. The rest of stdin stays open and empty: its
//! end means that whoever asked is gone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use wasmparser::{Validator, WasmFeatures};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::engine::{Class, FINGERPRINT, advice, compiling};

/// Processor time of a worker. The slowest component known, a JavaScript engine, takes 20 s.
const CPU: Duration = Duration::from_secs(120);
/// Time of a worker, on a machine that has other things to do.
const WALL: Duration = Duration::from_secs(240);
/// Address space of a worker. The slowest component known takes a quarter of it.
const MEMORY: u64 = 4 << 30;
/// The most bytes that a worker may write.
const OUTPUT: u64 = 1 << 30;
/// The stack of the thread that watches whoever asked.
const STACK: usize = 64 << 10;
/// The most that is read of the line that names a version.
const VERSION: u64 = 1 << 10;
/// How much of what a worker says about a failure is kept.
const WORDS: usize = 4 << 10;

/// The WebAssembly features that we run, by and large; [`compiling`] turns the others off.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .difference(WasmFeatures::GC_TYPES);

/// The exit code of a worker that blames the component.
const BAD_COMPONENT: u8 = 2;
/// The exit code of a worker that cannot write what it compiled.
const UNWRITTEN: u8 = 3;
/// The exit code of a worker that failed at something else.
const FAILED: u8 = 1;

/// A command that ends up in [`worker_main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The program. The command line passes itself.
    pub program: PathBuf,
    /// The arguments that make it a worker.
    pub args: Vec<OsString>,
}

/// Why there is no compiled component.
#[derive(Debug, Error)]
pub(crate) enum CompileError {
    /// The component cannot be compiled.
    #[error("{0}")]
    Unfit(String),
    /// The worker did not start.
    #[error("cannot start the compile worker {}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The worker was too slow.
    #[error("compiling took longer than {WALL:?}")]
    TooSlow,
    /// The worker used up its processor time.
    #[error("compiling takes more than {CPU:?} of processor time")]
    TooMuch,
    /// The component made the worker crash, as it would any other worker.
    #[error("the compile worker died ({status}){}{words}", if words.is_empty() { "" } else { ": " })]
    Died { status: String, words: String },
    /// There is no room for what it compiled, where that was to be.
    #[error("cannot write the compiled component: {0}")]
    Unwritten(String),
    /// The worker failed at something else, which it names.
    #[error("the compile worker failed ({status}){}{words}", if words.is_empty() { "" } else { ": " })]
    Failed { status: String, words: String },
}

impl Worker {
    /// Compiles a component into a file. Dropping the future ends the worker.
    pub(crate) async fn compile(&self, wasm: &[u8], into: &File) -> Result<(), CompileError> {
        let start =
            |source| CompileError::Start { program: self.program.clone(), source: self.explained(source) };
        let into = into.try_clone().map_err(start)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the worker's one start; it is ended on drop, and by itself"
        )]
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().stdin(Stdio::piped()).stdout(into).stderr(Stdio::piped());
        // In a group of its own: a Ctrl-C at the terminal is for whoever asked, who may go on all the same.
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(start)?;
        match timeout(WALL, converse(&mut child, wasm)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(CompileError::TooSlow),
        }
    }

    /// Says so if the worker is not found because /proc is not there, in which a program finds itself.
    fn explained(&self, error: io::Error) -> io::Error {
        let in_proc = self.program.starts_with("/proc") && !Path::new("/proc/self").exists();
        match error.kind() {
            io::ErrorKind::NotFound if in_proc => io::Error::new(error.kind(), "/proc is not there"),
            _ => error,
        }
    }
}

async fn converse(child: &mut Child, wasm: &[u8]) -> Result<(), CompileError> {
    let (mut stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        let Some(stdin) = &mut stdin else { return };
        let length = u64::try_from(wasm.len()).unwrap_or(u64::MAX).to_le_bytes();
        // If the worker stops reading, its exit code and its stderr say why.
        let first = [FINGERPRINT.as_bytes(), b"\n", &length].concat();
        if stdin.write_all(&first).await.is_ok() {
            drop(stdin.write_all(wasm).await);
        }
    };
    let listen = async {
        let mut words = Vec::new();
        if let Some(stderr) = stderr {
            let most = u64::try_from(WORDS).unwrap_or(u64::MAX);
            drop(stderr.take(most).read_to_end(&mut words).await);
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    };
    let ((), words) = futures_util::join!(feed, listen);
    let status = child.wait().await;
    drop(stdin);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(BAD_COMPONENT.into()) => Err(CompileError::Unfit(words)),
        Ok(status) if status.code() == Some(UNWRITTEN.into()) => Err(CompileError::Unwritten(words)),
        Ok(status) if status.signal() == Some(Signal::XCPU.as_raw()) => Err(CompileError::TooMuch),
        Ok(status) if status.signal() == Some(Signal::XFSZ.as_raw()) => {
            let words = format!("a file may have {OUTPUT} bytes, or as few as `ulimit -f` says");
            Err(CompileError::Unwritten(words))
        }
        Ok(status) if status.code() == Some(FAILED.into()) => {
            Err(CompileError::Failed { status: status.to_string(), words })
        }
        Ok(status) => Err(CompileError::Died { status: status.to_string(), words }),
        Err(error) => Err(CompileError::Failed { status: error.to_string(), words }),
    }
}

/// Runs this process as a compile worker: compiles the component on stdin to stdout.
///
/// Limits this process for good and ends it when stdin is closed, so a process must do nothing else.
#[must_use]
pub fn worker_main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            // If stderr is closed, there is nowhere to report that.
            drop(writeln!(io::stderr(), "{text}"));
            ExitCode::from(code)
        }
    }
}

struct Failure {
    code: u8,
    text: String,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { code: FAILED, text: format!("cannot {what}: {error}") }
}

fn work() -> Result<(), Failure> {
    limit().map_err(failed("limit itself"))?;
    let mut stdin = io::stdin();
    let mut asked = Vec::new();
    stdin.lock().take(VERSION).read_until(b'\n', &mut asked).map_err(failed("read for whom to compile"))?;
    let asked = String::from_utf8_lossy(&asked);
    let asked = asked.trim_end();
    if asked != FINGERPRINT {
        let text = format!(
            "it compiles for {FINGERPRINT:?}, and was asked by {asked:?}: name a worker of the same version"
        );
        return Err(Failure { code: FAILED, text });
    }
    let mut length = [0; 8];
    stdin.read_exact(&mut length).map_err(failed("read the component"))?;
    let length = u64::from_le_bytes(length);
    let mut wasm = Vec::new();
    stdin.by_ref().take(length).read_to_end(&mut wasm).map_err(failed("read the component"))?;
    if u64::try_from(wasm.len()) != Ok(length) {
        return Err(Failure { code: FAILED, text: "the component ends early".to_owned() });
    }
    // Never joined: it ends the process or ends with it.
    let watch = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        drop(io::copy(&mut stdin, &mut io::sink()));
        std::process::exit(FAILED.into());
    });
    watch.map_err(failed("start a thread, which `ulimit -u` may allow"))?;
    let unfit = |error: wasmtime::Error| Failure { code: BAD_COMPONENT, text: format!("{error:#}") };
    let mut config = compiling();
    // The compiler would panic if it started these threads itself, and could not.
    config.parallel_compilation(rayon::ThreadPoolBuilder::new().build_global().is_ok());
    let engine = Engine::new(&config).map_err(unfit)?;
    let mut compiled = engine.precompile_component(&wasm).map_err(|error| refused(&wasm, &error))?;
    #[expect(unsafe_code, reason = "our own compiler made it a moment ago")]
    // SAFETY: these are the bytes that the engine's compiler returned, unchanged.
    let component = unsafe { Component::deserialize(&engine, &compiled) }.map_err(|error| Failure {
        // That our own output does not load is not the component's fault.
        code: FAILED,
        text: format!("cannot load what it compiled: {error:#}{}", advice(&error)),
    })?;
    compiled.push(Class::of(&component).encode());
    hand_over(io::stdout(), &compiled)
}

/// Says why the engine refuses a component and, if it uses features that we turn off, what to do.
fn refused(wasm: &[u8], error: &wasmtime::Error) -> Failure {
    let invalid = Validator::new_with_features(FEATURES).validate_all(wasm).err();
    let advice = match invalid.and_then(|invalid| invalid.missing_wasm_feature()) {
        Some(_) => {
            "; what is run is WebAssembly 2.0 and WASI 0.2: build it without async, exceptions, tail calls, GC, threads \
             and 64-bit memory"
        }
        None => "",
    };
    Failure { code: BAD_COMPONENT, text: format!("{error:#}{advice}") }
}

/// Writes all of it and flushes: what is still buffered when a process ends is lost silently.
fn hand_over(mut to: impl Write, compiled: &[u8]) -> Result<(), Failure> {
    let written = to.write_all(compiled).and_then(|()| to.flush());
    written.map_err(|error| Failure { code: UNWRITTEN, text: error.to_string() })
}

fn limit() -> io::Result<()> {
    let limits = [
        // The soft limit sends SIGXCPU, which says why; the hard one, a second later, would send SIGKILL.
        (Resource::Cpu, CPU.as_secs(), CPU.as_secs() + 1),
        (Resource::As, MEMORY, MEMORY),
        (Resource::Fsize, OUTPUT, OUTPUT),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in limits {
        // A lower limit that is set already stays: only root could raise it.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(current.min(allowed)), maximum: Some(maximum.min(allowed)) };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how a worker ends that is a script.
    async fn end(script: &str) -> CompileError {
        let args = vec!["-c".into(), script.into()];
        let worker = Worker { program: "/bin/sh".into(), args };
        worker.compile(b"", &tempfile::tempfile().unwrap()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_worker_tells_by_its_end_what_it_failed_at() {
        assert!(matches!(end("echo why >&2; exit 2").await, CompileError::Unfit(why) if why == "why"));
        assert!(matches!(end("echo why >&2; exit 3").await, CompileError::Unwritten(why) if why == "why"));
        assert!(matches!(end("ulimit -c 0; kill -s XCPU $$").await, CompileError::TooMuch));
        assert!(matches!(end("ulimit -c 0; kill -s XFSZ $$").await, CompileError::Unwritten(_)));
        assert!(matches!(end("ulimit -c 0; kill -s ABRT $$").await, CompileError::Died { .. }));
        assert!(matches!(end("exit 101").await, CompileError::Died { .. }));
        assert!(matches!(end("exit 1").await, CompileError::Failed { .. }));
    }

    #[tokio::test]
    async fn what_a_terminal_tells_its_host_is_not_told_a_worker() {
        // The fifth of what the kernel says of a process is its group.
        let group =
            "read -r pid name state parent group rest < /proc/$$/stat && echo $group is $$ >&2; exit 2";
        let said = end(group).await.to_string();
        let (group, pid) = said.split_once(" is ").unwrap();
        assert_eq!(group, pid);
    }

    #[test]
    fn a_compiled_component_whose_end_cannot_be_written_is_no_success() {
        let mut full = [0_u8; 0];
        // The buffer takes all of it; only the flush fails.
        let buffered = io::BufWriter::new(&mut full[..]);
        assert!(hand_over(buffered, b"compiled").is_err());
        assert!(hand_over(io::sink(), b"compiled").is_ok());
    }
}
