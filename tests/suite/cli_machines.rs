//! Commands on machines that keep something from them: address space, code that was not there from the start, or what is new
//! in their kernel.

use std::io;
use std::os::unix::process::CommandExt as _;

use portcullis_tests::{TestResult, fixtures};

use crate::person::{Person, answer, fails};

fn say_hi(file: &str) -> [&str; 5] {
    ["run", file, "--provider", "echo", "message=hi"]
}

/// For each memory the engine reserves a little more than 4 GiB, and for a pool of them many times as much.
#[test]
fn where_there_is_little_address_space_there_is_no_pool_and_where_there_is_less_that_is_said() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    person.has_wrapped("echo", "plugins/echo", "")?;
    for file in ["./plugins/echo.wasm", "./plugins/echo"] {
        let run = |gibibytes: u64| person.after(&format!("ulimit -v {}", gibibytes << 20), &say_hi(file));
        answer(&run(16).output()?);
        fails(&run(4).output()?, 1, "Cannot allocate memory (os error 12); `ulimit -v` may allow more");
    }
    Ok(())
}

/// As systemd has it for a service with `MemoryDenyWriteExecute`.
#[test]
#[expect(unsafe_code, reason = "what a child may ask for has no safe form")]
fn where_nothing_can_be_made_executable_it_is_said_what_may_forbid_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    person.has_wrapped("echo", "plugins/echo", "")?;
    let component = say_hi("./plugins/echo.wasm");
    let mut compiles = person.command(&component);
    compiles.env("PORTCULLIS_CACHE_DIR", person.path("cache"));
    for mut command in [compiles, person.command(&component), person.command(&say_hi("./plugins/echo"))] {
        // SAFETY: it makes two system calls, between fork and exec.
        unsafe { command.pre_exec(forbid_new_code) };
        fails(&command.output()?, 1, "(os error 1); `MemoryDenyWriteExecute` of systemd");
    }
    Ok(())
}

/// As a container has it whose filter is older than its kernel: what it does not know is not permitted.
#[test]
#[expect(unsafe_code, reason = "what a child may ask for has no safe form")]
fn where_what_is_new_is_refused_native_plugins_run() -> TestResult {
    let person = Person::new()?;
    let native = fixtures::native("echo").display().to_string();
    let mut command = person.command(&say_hi(&native));
    // SAFETY: it makes two system calls, between fork and exec.
    unsafe { command.pre_exec(forbid_what_is_new) };
    answer(&command.output()?);
    Ok(())
}

/// Loads a number into a filter: that of a call, or the lower half of its third argument.
const LOAD: u16 = 0x20;
const CALL: u32 = 0;
const PROTECTION: u32 = 32;
/// Compares it, and goes on so many steps later if that holds, or if it does not.
const EQUALS: u16 = 0x15;
const IS_AT_LEAST: u16 = 0x35;
const HAS_BIT: u16 = 0x45;
/// Says what becomes of the call.
const ANSWER: u16 = 0x06;
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();

fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Has the kernel refuse to make executable what is in memory.
fn forbid_new_code() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_mprotect)?, 0, 3),
        step(LOAD, PROTECTION, 0, 0),
        step(HAS_BIT, libc::PROT_EXEC.unsigned_abs(), 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Has it refuse `pidfd_open`, and all that came after `clone3`, without which no thread is started.
fn forbid_what_is_new() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_pidfd_open)?, 1, 0),
        step(IS_AT_LEAST, number(libc::SYS_close_range)?, 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

fn number(call: libc::c_long) -> io::Result<u32> {
    u32::try_from(call).map_err(io::Error::other)
}

/// Puts it before what this process, and all that it starts, asks of the kernel.
#[expect(unsafe_code, reason = "what a process may ask for has no safe form")]
fn filter<const STEPS: usize>(mut steps: [libc::sock_filter; STEPS]) -> io::Result<()> {
    let len = u16::try_from(STEPS).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len, filter: steps.as_mut_ptr() };
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: these are system calls that concern this process alone, and the kernel copies the steps.
    let is_refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) != 0
    };
    if is_refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}
