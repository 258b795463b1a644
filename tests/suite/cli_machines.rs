//! Commands on machines that refuse them something: address space, executable memory, or new system calls.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Output, Stdio};

use portcullis::component::FINGERPRINT;
use portcullis_tests::{TestResult, fixtures};

use crate::kernel::{
    forbid_exclusive_names, forbid_memory_files, forbid_new_code, forbid_what_is_new, without_privileges,
};
use crate::person::{Person, answer, fails, say_hi, stderr};

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

/// Of a plugin that writes a large file the command does not die either.
#[test]
fn where_no_file_may_be_large_a_plugin_is_told_so() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    fs::create_dir(person.path("out"))?;
    let grant = r#"fs = [{ host = "out", guest = "/out", access = "write" }]"#;
    let policy = person.has_policy(&fixtures::guest("acrobat"), grant)?;
    let write = ["operation=write", "path=/out/file", "text=hello"];
    let arguments = [&["run", "acrobat", "--policy", &policy][..], &write].concat();
    assert!(person.types(&arguments)?.status.success());
    fails(&person.after("ulimit -c 0; ulimit -f 0", &arguments).output()?, 1, "(os error ");

    // Nor does the compile worker end without a word.
    let mut anew = person.after("ulimit -c 0; ulimit -f 0", &arguments);
    anew.env("PORTCULLIS_CACHE_DIR", person.path("cache"));
    fails(&anew.output()?, 1, "or as few as `ulimit -f` says");

    // Nor does the shim.
    let wrapped = person.has_wrapped("acrobat", "wrapped", grant)?.display().to_string();
    let arguments = [&["run", &wrapped, "--provider", "acrobat"][..], &write].concat();
    fails(&person.after("ulimit -c 0; ulimit -f 0", &arguments).output()?, 1, "(os error ");

    // Whoever has that signal ignored has it ignored by native plugins, too.
    let native = fixtures::native("acrobat").display().to_string();
    let arguments = ["run", &native, "--provider", "acrobat", "operation=write", "path=file", "text=hello"];
    let ignoring = person.after("trap '' XFSZ; ulimit -c 0; ulimit -f 0", &arguments).output()?;
    fails(&ignoring, 1, "(os error 27)");
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
    let wrapped = say_hi("./plugins/echo");
    // The first has to compile.
    for mut command in [person.alone(&component), person.command(&component), person.command(&wrapped)] {
        // SAFETY: it makes two system calls, between fork and exec.
        unsafe { command.pre_exec(forbid_new_code) };
        fails(&command.output()?, 1, "(os error 1); `MemoryDenyWriteExecute` of systemd");
    }
    Ok(())
}

/// As in a container whose filter is older than its kernel: what the filter does not know is not permitted.
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

/// As on file systems of networks and FUSE, some of which can only replace.
#[test]
#[expect(unsafe_code, reason = "what a child may ask for has no safe form")]
fn where_no_name_can_be_taken_only_if_it_is_free_files_are_written_all_the_same() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = |arguments: &[&str]| {
        let mut command = person.alone(arguments);
        // SAFETY: it makes two system calls, between fork and exec.
        unsafe { command.pre_exec(forbid_exclusive_names) };
        command.output()
    };
    let wrap = ["wrap", "plugins/echo.wasm", "-o", "wrapped"];
    let wrapped = run(&wrap)?;
    assert!(wrapped.status.success() && !stderr(&wrapped).contains("cache"), "{}", stderr(&wrapped));
    answer(&run(&say_hi("./wrapped"))?);
    fails(&run(&wrap)?, 3, "exists");
    assert!(person.path("data/component-cache.key").exists());
    Ok(())
}

/// Root may enter any directory, and so gives that up first.
#[test]
#[expect(unsafe_code, reason = "what a child is allowed has no safe form")]
fn under_any_umask_a_component_runs_in_a_process_of_its_own() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let policy = person.has_policy(&fixtures::guest("echo"), "isolation = \"process\"")?;
    let mut command = person.alone(&[&say_hi("./plugins/echo.wasm")[..], &["--policy", &policy]].concat());
    // SAFETY: it makes system calls alone, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o177);
            without_privileges();
            Ok(())
        });
    }
    answer(&command.output()?);
    Ok(())
}

/// As in a container whose filter knows little.
#[test]
#[expect(unsafe_code, reason = "what a child may ask for has no safe form")]
fn where_there_are_no_files_without_a_name_it_is_said_what_may_forbid_them() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    person.has_wrapped("echo", "plugins/echo", "")?;
    let mut command = person.command(&say_hi("./plugins/echo"));
    // SAFETY: it makes two system calls, between fork and exec.
    unsafe { command.pre_exec(forbid_memory_files) };
    fails(
        &command.output()?,
        1,
        "this machine does not allow it: Operation not permitted (os error 1); a filter of system calls may forbid",
    );
    Ok(())
}

/// Has a compile worker make something of the guest `echo`, as the host of a version would.
fn compile(person: &Person, version: &str, variables: &[(&str, String)]) -> Result<Output, Box<dyn Error>> {
    let component = fs::read(fixtures::guest("echo"))?;
    let mut worker = person.command(&["__compile-worker"]);
    worker
        .envs(variables.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut worker = worker.spawn()?;
    let mut stdin = worker.stdin.take().ok_or("it is piped")?;
    let length = u64::try_from(component.len())?.to_le_bytes();
    // One that refuses the version reads no more.
    let _refused = stdin.write_all(&[version.as_bytes(), b"\n", &length, &component].concat());
    let done = worker.wait_with_output()?;
    drop(stdin);
    Ok(done)
}

/// No stack can be as large as that.
#[test]
fn where_there_are_no_threads_for_it_a_component_is_compiled_by_one() -> TestResult {
    let large = ("RUST_MIN_STACK", (1_u64 << 50).to_string());
    let done = compile(&Person::new()?, FINGERPRINT, &[large])?;
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(!done.stdout.is_empty());
    Ok(())
}

/// What it made would be compiled anew at each start.
#[test]
fn a_compile_worker_of_another_version_says_so() -> TestResult {
    let done = compile(&Person::new()?, "portcullis 0.0.1", &[])?;
    fails(&done, 1, r#"was asked by "portcullis 0.0.1": name a worker of the same version"#);
    Ok(())
}

#[test]
fn a_native_plugin_runs_where_no_socket_can_be_in_the_directory_for_what_is_temporary() -> TestResult {
    let person = Person::new()?;
    person.has_native("echo")?;
    for name in [&b""[..], b"a|b", b"a\nb", b"a\xffb"] {
        let named = OsStr::from_bytes(name);
        let directory = if name.is_empty() { named.into() } else { person.scratch().join(named) };
        fs::create_dir_all(person.scratch().join(named))?;
        let output = person.command(&["run", "echo", "message=hello"]).env("TMPDIR", directory).output()?;
        assert_eq!(answer(&output)["data"]["message"], "hello", "{named:?}");
    }
    Ok(())
}
