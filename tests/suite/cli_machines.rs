//! Commands on machines that keep something from them: address space, and code that was not there from the start.

use std::io;
use std::os::unix::process::CommandExt as _;

use portcullis_tests::TestResult;

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

/// Has the kernel refuse to this process, and to all that it starts, to make executable what is in memory.
#[expect(unsafe_code, reason = "what a process may ask for has no safe form")]
fn forbid_new_code() -> io::Result<()> {
    /// To load a number, to compare it, to look for a bit in it, and to answer: steps of a filter.
    const LOAD: u16 = 0x20;
    const EQUALS: u16 = 0x15;
    const HAS: u16 = 0x45;
    const ANSWER: u16 = 0x06;
    /// Where the number of a call is, and the lower half of its third argument.
    const CALL: u32 = 0;
    const PROTECTION: u32 = 32;

    let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut steps = [
        step(LOAD, CALL, 0),
        step(EQUALS, u32::try_from(libc::SYS_mprotect).map_err(io::Error::other)?, 3),
        step(LOAD, PROTECTION, 0),
        step(HAS, libc::PROT_EXEC.unsigned_abs(), 1),
        step(ANSWER, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(), 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let filter = libc::sock_fprog { len: 6, filter: steps.as_mut_ptr() };
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: these are system calls that concern this process alone, and the kernel copies the six steps.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}
