//! A component in a process of its own, as a program that has the library launches it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};

use futures_util::StreamExt as _;
use portcullis::contract::{
    Backend, BackendName, Call, CallError, Chunk, Isolation, PluginName, PluginSpec, Provider as _,
};
use portcullis::process::ProcessOptions;
use portcullis::supervise::{self, ProviderKind};
use portcullis::{Options, ShimSource};
use portcullis_tests::{Door, LONG, TestHost, TestResult, assert_matches, fixtures, generous, request};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;

/// Returns what launches components with a shim, and how one of them is launched apart.
fn apart(
    host: &TestHost,
    name: &str,
    shim: ShimSource,
) -> Result<(Arc<dyn Backend>, PluginSpec), Box<dyn std::error::Error>> {
    let runtime_dir = Some(host.scratch().to_owned());
    let process = ProcessOptions { runtime_dir, ..ProcessOptions::default() };
    let options = Options { process, component: fixtures::component_options(), shim: Some(shim) };
    let component = portcullis::backends(options)?.into_iter().find(|b| b.name() == BackendName::Component);
    let mut spec = PluginSpec::new(PluginName::new(name), fixtures::guest(name));
    spec.run_as.isolation = Isolation::Process;
    Ok((component.ok_or("it was compiled in")?, spec))
}

/// Its process may end before a thread that writes does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_apart_that_is_given_up_leaves_nothing_while_its_file_is_made() -> TestResult {
    let host = TestHost::new(Door::Component);
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Barrier::new(2)));
    let (says, waits) = (Arc::clone(&begun), Arc::clone(&end));
    let shim = ShimSource::new(move || {
        says.notify_one();
        waits.wait();
        Ok(Vec::new())
    });
    let (component, spec) = apart(&host, "echo", shim)?;
    tokio::select! {
        launched = component.launch_provider(spec) => panic!("its shim was not read: {launched:?}"),
        () = generous(begun.notified()) => {}
    }
    let names: Vec<_> = fs::read_dir(host.scratch())?.flatten().map(|entry| entry.file_name()).collect();
    end.wait();
    assert!(!names.iter().any(|name| name.as_encoded_bytes().starts_with(b"portcullis-apart-")), "{names:?}");
    Ok(())
}

/// Returns the process that runs from a file in that directory, which may be gone.
fn process_from(directory: &Path) -> Option<Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let is_ours = |entry: &Path| fs::read_link(entry.join("exe")).is_ok_and(|exe| exe.starts_with(directory));
    pids.filter(|(_, entry)| is_ours(entry)).find_map(|(pid, _)| Pid::from_raw(pid))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_apart_whose_process_is_killed_loses_what_was_under_way_and_no_more() -> TestResult {
    let host = TestHost::new(Door::Component);
    let (component, spec) = apart(&host, "acrobat", ShimSource::new(|| fs::read(fixtures::shim())))?;
    let plugin = supervise::launch::<ProviderKind>(component, spec, LONG).await?;
    let input = r#"{"operation":"stream","chunks":2,"size":1,"pauseMillis":600000}"#;
    let mut stream = plugin.execute_stream(&Call::default(), request("acrobat", input));
    assert_matches!(generous(stream.next()).await, Some(Ok(Chunk::Stdout(_))));

    let process = process_from(host.scratch()).ok_or("it runs in a process of its own")?;
    kill_process(process, Signal::KILL)?;
    let Some(Err(CallError::Stopped(reason))) = generous(stream.next()).await else { panic!("it is killed") };
    assert!(reason.to_string().contains("signal: 9"), "{reason}");

    let ok = generous(plugin.execute(&Call::default(), request("acrobat", r#"{"operation":"ok"}"#))).await?;
    assert_eq!(ok.data.as_str(), r#"{"success":true}"#);
    let next = process_from(host.scratch()).ok_or("it runs in another process")?;
    assert_ne!(next, process);
    Ok(())
}
