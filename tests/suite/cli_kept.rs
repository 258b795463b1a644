//! What commands keep on the disk: never trusted, never in the way.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use portcullis_tests::{TestResult, cli, fixtures};

use crate::person::{Person, answer, stderr, stdout};

/// In the other directory there is no file of that name, and there never was.
#[test]
fn what_is_known_of_a_plugin_is_not_forgotten_in_another_directory() -> TestResult {
    let person = Person::new()?;
    let list = |place: &str, more: &[&str]| {
        let mut list = person.alone(&[&["list", "--plugin-dir", "own"][..], more].concat());
        list.current_dir(person.path(place)).output()
    };
    for (place, plugin) in [("here", "echo"), ("there", "acrobat")] {
        let directory = person.path(place).join("own");
        fs::create_dir_all(&directory)?;
        fixtures::copy(&fixtures::native(plugin), &directory.join(plugin))?;
        assert!(list(place, &["--describe"])?.status.success());
        let long_ago = SystemTime::now() - Duration::from_secs(60 * 24 * 60 * 60);
        for kept in cli::files_below(&person.path("cache/descriptors")) {
            fs::File::open(kept)?.set_modified(long_ago)?;
        }
    }
    let listed = stdout(&list("here", &[])?);
    assert!(listed.contains("echo") && !listed.contains("not yet described"), "{listed}");
    Ok(())
}

/// As an update of what stands behind a script leaves it.
#[test]
fn what_a_script_offers_is_what_it_offered_when_it_was_last_started() -> TestResult {
    let person = Person::new()?;
    let own = person.path("own");
    person.has_program("plugins/scafctl-plugin-echo", format!("#!/bin/sh\nexec '{}'\n", own.display()))?;
    for (guest, succeeds) in [("echo", true), ("keeper", false), ("echo", true)] {
        let _earlier = fs::remove_file(&own);
        symlink(fixtures::native(guest), &own)?;
        let mut run = person.command(&["run", "echo", "message=hello"]);
        let run = run.env("PORTCULLIS_CACHE_DIR", person.path("cache")).output()?;
        assert_eq!(run.status.success(), succeeds, "{}", stderr(&run));
        let mut list = person.command(&["list", "-o", "json"]);
        let listed = answer(&list.env("PORTCULLIS_CACHE_DIR", person.path("cache")).output()?);
        assert_eq!(listed[0]["name"], guest);
    }
    Ok(())
}

#[test]
fn a_script_that_starts_a_plugin_of_the_other_kind_is_asked_what_it_is_anew() -> TestResult {
    let person = Person::new()?;
    let own = person.path("own");
    person.has_program("plugins/echo", format!("#!/bin/sh\nexec '{}'\n", own.display()))?;
    let (providers, handlers) = (&["echo", "noop", "raw"][..], &["door", "side"][..]);
    for (guest, succeeds, names) in [("echo", true, providers), ("doorman", false, handlers)] {
        let _earlier = fs::remove_file(&own);
        symlink(fixtures::native(guest), &own)?;
        let commands = [&["run", "echo", "message=hello"][..], &["list", "--describe", "-o", "json"]];
        let [run, list] = commands
            .map(|words| person.command(words).env("PORTCULLIS_CACHE_DIR", person.path("cache")).output());
        let run = run?;
        assert_eq!(run.status.success(), succeeds, "{run:?}");
        let listed = answer(&list?);
        let listed: Vec<_> = listed.as_array().into_iter().flatten().map(|of| &of["name"]).collect();
        assert_eq!(listed, names);
    }
    Ok(())
}

/// As an update leaves it. It compiles when it has read its inputs.
#[test]
fn a_command_whose_program_is_gone_compiles_all_the_same() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    cli::make_pipe(&person.path("pipe"))?;
    let becomes_a_copy = r#"/bin/ln "$1" own || /bin/cp "$1" own; shift; set -- ./own "$@""#;
    let mut run = person.after(becomes_a_copy, &["run", "echo", "message=@pipe"]);
    run.env("PORTCULLIS_CACHE_DIR", person.path("cache")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = run.spawn()?;
    let mut inputs = fs::File::options().write(true).open(person.path("pipe"))?;
    fs::remove_file(person.path("own"))?;
    inputs.write_all(b"hello")?;
    drop(inputs);
    assert_eq!(answer(&run.wait_with_output()?)["data"]["message"], "hello");
    Ok(())
}

/// As in a container that is read-only.
#[test]
fn where_nothing_can_be_written_a_component_runs_all_the_same() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let mut command = person.command(&["run", "echo", "message=hello", "--log-level", "info"]);
    for variable in ["PORTCULLIS_CACHE_DIR", "PORTCULLIS_DATA_DIR", "TMPDIR"] {
        command.env(variable, "/dev/null");
    }
    let ran = command.output()?;
    assert_eq!(answer(&ran)["data"]["message"], "hello");
    // It is asked what it offers, and then run.
    assert_eq!(stderr(&ran).matches("component compiled").count(), 1, "{}", stderr(&ran));
    Ok(())
}

/// The cache is never trusted and never in the way.
#[test]
fn a_corrupt_a_foreign_and_an_unwritable_cache_cost_time_and_nothing_else() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = |cache: &Path| {
        person.alone(&["run", "echo", "message=hello"]).env("PORTCULLIS_CACHE_DIR", cache).output()
    };
    let cache = person.path("cache");
    let expected = answer(&run(&cache)?)["data"].clone();

    let mut compiled = cli::files_below(&cache);
    compiled.retain(|file| fs::metadata(file).is_ok_and(|meta| meta.len() > 10_000));
    assert!(!compiled.is_empty(), "something was compiled and kept");
    for (change, what) in [
        (Box::new(|bytes: &mut Vec<u8>| bytes.truncate(100)) as Box<dyn Fn(&mut Vec<u8>)>, "truncated"),
        (
            Box::new(|bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1
            }),
            "changed in one bit",
        ),
        (Box::new(|bytes| bytes.clear()), "empty"),
    ] {
        let mut damaged = Vec::new();
        for file in &compiled {
            let mut bytes = fs::read(file)?;
            change(&mut bytes);
            fs::remove_file(file)?;
            fs::write(file, &bytes)?;
            damaged.push((file, bytes));
        }
        assert_eq!(answer(&run(&cache)?)["data"], expected, "{what}");
        for (file, bytes) in damaged {
            assert!(fs::read(file)? != bytes, "{} was run while it was {what}", file.display());
        }
    }
    // A cache under somebody else's key.
    fs::remove_dir_all(person.path("data"))?;
    assert_eq!(answer(&run(&cache)?)["data"], expected);
    // No cache at all: what is in its place is a file.
    let blocked = person.path("blocked");
    fs::write(&blocked, "")?;
    assert_eq!(answer(&run(&blocked)?)["data"], expected);
    Ok(())
}

/// To open a pipe is to wait for whoever has its other end, and nobody has.
#[test]
fn pipes_in_the_place_of_what_is_kept_hold_nobody_up() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let native = fixtures::native("keeper").display().to_string();
    let run = || person.alone(&["run", "echo", "message=hello"]).output();
    let inspect = || person.alone(&["inspect", &native, "-o", "json"]).output();
    let expected = (answer(&run()?)["data"].clone(), answer(&inspect()?));
    // Without the key nothing else is looked at.
    for directory in ["cache", "data"] {
        for file in cli::files_below(&person.path(directory)) {
            fs::remove_file(&file)?;
            cli::make_pipe(&file)?;
        }
        assert_eq!((answer(&run()?)["data"].clone(), answer(&inspect()?)), expected);
    }
    Ok(())
}

/// As a copy of the home directory may have it.
#[test]
fn a_key_that_others_can_read_is_told_with_what_to_do() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = || person.alone(&["run", "echo", "message=hello"]).output();
    answer(&run()?);
    let key = person.path("data/component-cache.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let told = run()?;
    assert_eq!(answer(&told)["data"]["message"], "hello");
    let sentence = format!("{}: others can read it; remove it, and another one is made", key.display());
    assert!(stderr(&told).contains(&sentence), "{}", stderr(&told));
    fs::remove_file(&key)?;
    assert_eq!(stderr(&run()?), "");
    Ok(())
}

/// There is nothing in them, so they take no room.
#[test]
fn of_too_much_that_was_compiled_what_was_used_longest_ago_goes() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let components = person.path("cache/components");
    fs::create_dir_all(&components)?;
    let compiled = |digit: &str| format!("{}-{}.cwasm", digit.repeat(64), digit.repeat(16));
    let [earlier, later] = ["a", "b"].map(|digit| components.join(compiled(digit)));
    for (path, days) in [(&earlier, 2), (&later, 1)] {
        let file = fs::File::create(path)?;
        file.set_len(3 << 30)?;
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60))?;
    }
    answer(&person.alone(&["run", "echo", "message=hello"]).output()?);
    assert_eq!([&earlier, &later].map(|path| path.exists()), [false, true]);

    // The clock ran ahead when the one was used.
    fs::write(&earlier, "")?;
    fs::File::options().write(true).open(&earlier)?.set_len(3 << 30)?;
    let in_ten_years = SystemTime::now() + Duration::from_secs(10 * 365 * 24 * 60 * 60);
    fs::File::options().write(true).open(&earlier)?.set_modified(in_ten_years)?;
    person.has_guest("acrobat")?;
    answer(&person.alone(&["run", "acrobat", "operation=ok"]).output()?);
    assert_eq!([&earlier, &later].map(|path| path.exists()), [false, true]);
    Ok(())
}

#[test]
fn two_that_compile_the_same_component_at_once_both_succeed() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let start = || {
        let mut run = person.alone(&["run", "echo", "message=hello"]);
        run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let both = [start()?, start()?];
    for child in both {
        assert_eq!(answer(&child.wait_with_output()?)["data"]["message"], "hello");
    }
    Ok(())
}

/// Each would take all processors for as long.
#[test]
fn what_two_commands_want_at_once_is_compiled_by_one() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let list = || {
        let mut list = person.alone(&["list", "-o", "json", "--log-level", "debug"]);
        list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let (mut compiled, mut waited) = (0, 0);
    for list in [list()?, list()?] {
        let listed = list.wait_with_output()?;
        assert_eq!(answer(&listed)[0]["name"], "keeper");
        compiled += stderr(&listed).matches("component compiled").count();
        waited += stderr(&listed).matches("another process has compiled the component meanwhile").count();
    }
    // One that waits has it compiled, too, by the other; one that comes when all is done has nothing to wait for.
    assert_eq!(compiled - waited, 1, "{compiled} {waited}");
    Ok(())
}
