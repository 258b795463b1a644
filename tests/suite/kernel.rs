//! Kernels that refuse something to a child, and to all that it starts. Each of these is called between fork and exec.

use std::io;

/// Loads a number to compare: that of the call, or the lower half of its third argument.
const LOAD: u16 = 0x20;
const CALL: u32 = 0;
const PROTECTION: u32 = 32;
/// Compares it, and skips `jt` steps if the comparison holds, and `jf` if not.
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
pub(crate) fn forbid_new_code() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_mprotect)?, 0, 3),
        step(LOAD, PROTECTION, 0, 0),
        step(HAS_BIT, libc::PROT_EXEC.unsigned_abs(), 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Has the kernel refuse `pidfd_open`, and every call that came after `clone3`, which threads are started by.
pub(crate) fn forbid_what_is_new() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_pidfd_open)?, 1, 0),
        step(IS_AT_LEAST, number(libc::SYS_close_range)?, 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Has the kernel refuse files in memory.
pub(crate) fn forbid_memory_files() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_memfd_create)?, 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Has the kernel refuse to give a file a name only if that is free, as file systems of networks and FUSE do.
pub(crate) fn forbid_exclusive_names() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_renameat2)?, 2, 0),
        step(EQUALS, number(libc::SYS_linkat)?, 1, 0),
        step(EQUALS, number(libc::SYS_link)?, 0, 1),
        step(ANSWER, REFUSED, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Has the kernel kill whoever is about to change the mode of a file that it has open.
pub(crate) fn die_of_changing_modes() -> io::Result<()> {
    filter([
        step(LOAD, CALL, 0, 0),
        step(EQUALS, number(libc::SYS_fchmod)?, 0, 1),
        step(ANSWER, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ])
}

/// Takes from root the right to read and to enter what its mode forbids. Who is not root does not have it.
#[expect(unsafe_code, reason = "what a process may do has no safe form")]
pub(crate) fn without_privileges() {
    /// To do to files what their modes forbid, and to read them and search directories.
    const CAPABILITIES: [libc::c_ulong; 2] = [1, 2];
    for capability in CAPABILITIES {
        // SAFETY: it is a system call that concerns this process alone.
        let _none_to_drop = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

fn number(call: libc::c_long) -> io::Result<u32> {
    u32::try_from(call).map_err(io::Error::other)
}

/// Puts these steps before every call of this process and of all that it starts.
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
