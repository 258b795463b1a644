//! Starting another program without a copy of our memory.
//!
//! A fork copies our page tables, and then each page that we write to before the child executes: a host of a gigabyte
//! would stand still for ten milliseconds. So the child begins in our own memory, while the thread that starts it
//! waits. `posix_spawn` does the same, but cannot set a parent-death signal. Nor can `Command`, which besides has a
//! shell run whatever the kernel cannot: a text, or a program for another machine.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, retry_on_intr};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, chdir, getpid, getppid, kill_process,
    set_parent_process_death_signal, setpgid, setrlimit, waitid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::super::executable::Form;
use super::super::{Environment, Stdin};
use super::{Order, Reach};
use crate::open_files;

/// The stack that a child has before it is another program, in units of 16 bytes: 64 KiB, of which it needs little.
const STACK: usize = 4 << 10;
/// Where open files have names.
const OPENED: &str = "/proc/self/fd";

/// What a child does before it executes, and what it executes. All of it is made before there is a child.
pub(super) struct Program {
    /// What becomes of its first three descriptors, if not ours. All of them are above those.
    stdin: Option<OwnedFd>,
    outputs: [OwnedFd; 2],
    directory: Option<CString>,
    /// How many files it may open, if not as many as we.
    open_files: Option<Rlimit>,
    reach: Reach,
    path: CString,
    /// The opened file that `path` names.
    file: Option<(OwnedFd, Form)>,
    arguments: Strings,
    environment: Strings,
}

impl Program {
    /// Makes all that `order` needs, and returns it with our ends of the child's outputs.
    pub(super) fn of(order: &Order) -> io::Result<(Self, [OwnedFd; 2])> {
        let (path, file) = match order.executable.opened() {
            // The kernel opens it before it closes our descriptor. A script's interpreter opens it once more, by this
            // same name, and has to inherit the descriptor for that.
            Some((opened, form)) => {
                let opened = above(opened)?;
                (Path::new(OPENED).join(opened.as_raw_fd().to_string()), Some((opened, form)))
            }
            None => (std::path::absolute(order.executable.path())?, None),
        };
        let stdin = match order.stdin {
            Stdin::Null => {
                let nothing = Path::new("/dev/null");
                let opened = File::open(nothing);
                Some(above(opened.map_err(|error| explained(error, "its standard input is", nothing))?)?)
            }
            Stdin::Inherit => None,
        };
        let (stdout, its_stdout) = io::pipe()?;
        let (stderr, its_stderr) = io::pipe()?;
        let directory = order.directory.as_ref().map(|path| CString::new(path.as_os_str().as_bytes()));
        let name = order.executable.path().as_os_str().to_owned();
        let program = Self {
            reach: Reach::of(order.stdin),
            stdin,
            outputs: [above(its_stdout)?, above(its_stderr)?],
            directory: directory.transpose()?,
            open_files: open_files::of_children(),
            path: CString::new(path.as_os_str().as_bytes())?,
            file,
            arguments: Strings::new(std::iter::once(name).chain(order.arguments.iter().cloned()))?,
            environment: Strings::new(environment(order))?,
        };
        Ok((program, [stdout.into(), stderr.into()]))
    }

    /// Starts a child, which executes this or ends.
    #[expect(unsafe_code, reason = "no safe way to start a child does what it has to do first")]
    pub(super) fn start(&self) -> io::Result<(Pid, OwnedFd)> {
        let mut stack = Box::<[u128]>::new_uninit_slice(STACK);
        let first = First { program: self, parent: getpid(), failed: AtomicI32::new(0) };
        let mut pidfd: RawFd = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the child shares our memory until it executes or ends. This thread waits until then, so that what it
        // lends the child stays: the stack, which nobody else uses and which grows down from its end, and `first`.
        // Other threads go on. The child makes system calls, writes only to its own stack, to `failed` and to this
        // thread's `errno`, and takes no lock that they could hold for long. (C libraries guard what SIGABRT does by
        // one, which is held while that is set, or by whoever aborts.) No handler of ours runs in it: signals stay
        // blocked until it has none.
        let pid = with_signals_blocked(|| unsafe {
            let top = stack.as_mut_ptr_range().end.cast();
            let pid = libc::clone(begin, top, flags, (&raw const first).cast_mut().cast(), &raw mut pidfd);
            Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or_else(io::Error::last_os_error)
        })?;
        if pidfd < 0 {
            // Linux has them since 5.2. Without one there is no leash.
            let _gone = kill_process(pid, Signal::KILL);
            reap(&WaitId::Pid(pid));
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the kernel has just opened it for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        match first.failed.into_inner() {
            0 => Ok((pid, pidfd)),
            error => {
                reap(&WaitId::PidFd(pidfd.as_fd()));
                let error = io::Error::from_raw_os_error(error);
                Err(if self.file.is_some() {
                    explained(error, "it is executed through", Path::new(OPENED))
                } else {
                    error
                })
            }
        }
    }
}

/// Waits for a child that is about to end. If a signal broke off the wait, the child would stay a zombie.
fn reap(child: &WaitId<'_>) {
    let _reaped = retry_on_intr(|| waitid(child.clone(), WaitIdOptions::EXITED));
}

/// What a child gets from the thread that starts it, and leaves for it.
struct First<'a> {
    program: &'a Program,
    parent: Pid,
    /// Why the child did not become the program, as a number of the kernel's; 0 if it did.
    failed: AtomicI32,
}

/// What the child does first of all.
#[expect(unsafe_code, reason = "this is called by the kernel, as it were")]
extern "C" fn begin(first: *mut c_void) -> c_int {
    // SAFETY: `start` passes this, and waits.
    let first = unsafe { &*first.cast_const().cast::<First<'_>>() };
    let error = first.program.execute(first.parent);
    first.failed.store(error.raw_os_error().unwrap_or(libc::EINVAL), Ordering::Relaxed);
    // SAFETY: nothing is run that expects more of the process.
    unsafe { libc::_exit(127) }
}

impl Program {
    /// Becomes the program, or returns why not. Called in the child alone; it may make system calls, and nothing else.
    #[expect(unsafe_code, reason = "these calls have no safe form that takes what is there already")]
    fn execute(&self, parent: Pid) -> io::Error {
        if let Err(error) = self.prepare(parent) {
            return error.into();
        }
        // SAFETY: the handlers are this process's own, which has no use for them any more. All three point to memory that `self`
        // owns and that nobody changes: a string that ends in a zero, and two lists of such strings that end in a null.
        unsafe {
            forget_signals();
            libc::execve(self.path.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr());
        }
        io::Error::last_os_error()
    }

    /// Prepares the process for the program. Called in the child alone; it makes system calls, and nothing else.
    #[expect(unsafe_code, reason = "it has no safe form that a kernel without the call may refuse")]
    fn prepare(&self, parent: Pid) -> Result<(), Errno> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had we died before the call, nothing would be sent any more.
        if getppid() != Some(parent) {
            return Err(Errno::SRCH);
        }
        // What we have from whoever started us, such as a password that a script had us read, is not for plugins. Linux
        // has the call since 5.11; without it a plugin has what it has under Go's hosts.
        // SAFETY: descriptors are closed when the program is executed, and not before.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
        if self.reach == Reach::Group {
            setpgid(None, None)?;
        }
        if let Some(stdin) = &self.stdin {
            dup2_stdin(stdin)?;
        }
        let [stdout, stderr] = &self.outputs;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        if let Some(directory) = &self.directory {
            chdir(directory)?;
        }
        if let Some((file, Form::Script)) = &self.file {
            fcntl_setfd(file, FdFlags::empty())?;
        }
        // Descriptors that are open already stay open, even above the limit.
        if let Some(limit) = self.open_files {
            setrlimit(Resource::Nofile, limit)?;
        }
        Ok(())
    }
}

/// Resets every signal with a handler to its default, and unblocks all. Those that are ignored stay so, but for
/// SIGPIPE: it was Rust that had it ignored, and not whoever started us.
///
/// # Safety
///
/// The caller is a process whose handlers are its own, and needs none of them any more.
#[expect(unsafe_code, reason = "what signals do has no safe form")]
unsafe fn forget_signals() {
    // SAFETY: these are system calls; zeros are an action, the usual one, and an empty set.
    unsafe {
        let usual: libc::sigaction = MaybeUninit::zeroed().assume_init();
        for signal in 1..=libc::SIGRTMAX() {
            let mut now = usual;
            let known = libc::sigaction(signal, null(), &raw mut now) == 0;
            let kept = now.sa_sigaction == libc::SIG_DFL || now.sa_sigaction == libc::SIG_IGN;
            if known && (!kept || signal == libc::SIGPIPE) {
                libc::sigaction(signal, &raw const usual, null_mut());
            }
        }
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), null_mut());
    }
}

/// Runs `work` while every signal is blocked on this thread.
#[expect(unsafe_code, reason = "what signals do has no safe form")]
fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: each set is filled before it is used, and nothing else is touched.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let done = work();
    // SAFETY: as above; what was before is what is set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()) };
    done
}

/// Returns another descriptor of the same, above the three that the child's own are put on. Ours are among those if
/// this process began without them.
pub(super) fn above(file: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(file, 3)?)
}

/// Returns the variables of the child, each with its value.
fn environment(order: &Order) -> impl Iterator<Item = OsString> {
    let mut variables: BTreeMap<OsString, OsString> = match &order.environment {
        // In a map the last stays.
        Environment::Inherit(extra) => {
            let ours: Vec<_> = std::env::vars_os().collect();
            ours.into_iter().rev().chain(extra.iter().rev().cloned()).collect()
        }
        Environment::Only(all) => all.iter().rev().cloned().collect(),
    };
    for (key, value) in &order.protocol {
        match value {
            Some(value) => drop(variables.insert(key.clone(), value.clone())),
            None => drop(variables.remove(key)),
        }
    }
    variables.into_iter().map(|(mut variable, value)| {
        variable.push("=");
        variable.push(value);
        variable
    })
}

/// Says what `needed` is for, and that it is missing, if that is why the kernel finds no file.
fn explained(error: io::Error, what_for: &str, needed: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound || needed.exists() {
        return error;
    }
    let missing = format!("{what_for} {}, which is not there", needed.display());
    io::Error::new(io::ErrorKind::NotFound, missing)
}

/// A list of strings as the kernel takes it. (Atomic pointers are laid out as plain ones and may be
/// moved between threads.)
struct Strings {
    pointers: Vec<AtomicPtr<c_char>>,
    _owned: Vec<CString>,
}

impl Strings {
    fn new(strings: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let strings = strings.map(|string| CString::new(string.into_vec()));
        let owned: Vec<_> = strings.collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|string| string.as_ptr().cast_mut());
        let pointers = pointers.chain([null_mut()]).map(AtomicPtr::new).collect();
        Ok(Self { pointers, _owned: owned })
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_variable_that_is_there_twice_the_first_counts() {
        let variables = [("A", "1"), ("B", "2"), ("A", "3")];
        let order = Order {
            executable: crate::Executable::at("/nowhere"),
            arguments: Vec::new(),
            environment: Environment::Only(variables.map(|(name, value)| (name.into(), value.into())).into()),
            protocol: Vec::new(),
            stdin: Stdin::Null,
            directory: None,
        };
        assert_eq!(environment(&order).collect::<Vec<_>>(), ["A=1", "B=2"]);
    }

    #[test]
    fn a_file_that_has_no_name_is_not_said_to_be_missing() {
        let check = |error: Errno, opened: &str, expected: &str| {
            assert_eq!(
                explained(error.into(), "it is executed through", Path::new(opened)).to_string(),
                expected
            );
        };
        check(Errno::NOENT, OPENED, "No such file or directory (os error 2)");
        check(Errno::NOENT, "/no/proc", "it is executed through /no/proc, which is not there");
        check(Errno::NOEXEC, "/no/proc", "Exec format error (os error 8)");
    }
}
