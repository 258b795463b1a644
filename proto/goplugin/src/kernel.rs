//! A kernel that does less than ours, for tests: an old one, or what a container lets through of a new one.

use std::thread;

use libc::{c_long, c_ulong, sock_filter, sock_fprog};
use rustix::io::Errno;

/// Works on a thread of its own, to which the kernel says `error` whenever it asks for `call`.
pub(crate) fn without(call: c_long, error: Errno, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let refused = scope.spawn(move || {
            refuse(call, error);
            work();
        });
        refused.join().unwrap();
    });
}

/// Has the kernel refuse a call to this thread from now on.
#[expect(unsafe_code, reason = "what a thread may ask for has no safe form")]
fn refuse(call: c_long, error: Errno) {
    let [load, compare, answer] =
        [libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_RET]
            .map(|code| u16::try_from(code).unwrap());
    let [call, error] = [call, error.raw_os_error().into()].map(|number| u32::try_from(number).unwrap());
    let step = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    let mut steps = [
        // Of what is told of a call, its number comes first.
        step(load, 0, 0),
        step(compare, call, 1),
        step(answer, libc::SECCOMP_RET_ERRNO | error, 0),
        step(answer, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let filter = sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    let (yes, none, mode): (c_ulong, c_ulong, c_ulong) = (1, 0, libc::SECCOMP_MODE_FILTER.into());
    // SAFETY: these are system calls that concern this thread alone, and the kernel copies the four steps.
    let done = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none),
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter),
        ]
    };
    assert_eq!(done, [0, 0]);
}
