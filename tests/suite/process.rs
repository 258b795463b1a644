//! What only a child process can do to us, or for us.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use portcullis::contract::{Digest, LaunchError, PluginName, PluginSpec, chain};
use portcullis_tests::{Door, LONG, SOON, Scratch, TestHost, TestResult, assert_matches, fixtures, generous};
use test_case::test_case;

/// Returns the whole chain of why a child did not start.
async fn refusal(host: &mut TestHost, path: PathBuf) -> String {
    let error = match generous(host.launch_file(path)).await {
        Err(error) => error,
        Ok(plugin) => panic!("{:?} started", plugin.provider.info()),
    };
    chain(&error)
}

/// Whoever breaks the protocol is refused by what was seen, and leaves nothing behind: the host's own check for that comes
/// with its drop. Each way in which a line may be wrong is in the tests of go-plugin's own host.
#[test_case("garbage", "is not a handshake: \"Hello! I am"; "prints something else")]
#[test_case("nothing-exit0", "ended before it served: exit status: 0"; "exits at once as if all were well")]
#[test_case("nothing-exit3-stderr", "exit status: 3; its last words: cannot open"; "exits at once and says why")]
#[test_case("fork-exit", "ended before it served: exit status: 0"; "leaves its pipes to a child and exits")]
#[test_case("flood-stdout", "longer than 65536 bytes"; "floods stdout")]
#[test_case("two-lines", "cannot connect to it at /nowhere/at/all: "; "prints two lines")]
#[test_case("die-later", "exit status: 9"; "dies at the first connection")]
#[test_case("cert", "wants a TLS connection"; "sends a certificate that nobody asked for")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_breaks_the_protocol_is_refused_by_what_it_did(way: &str, says: &str) -> TestResult {
    let mut host = TestHost::new(Door::Process);
    let rogue = fixtures::rogue(way, host.scratch());
    let refusal = refusal(&mut host, rogue).await;
    assert!(refusal.contains(says), "{refusal}");
    Ok(())
}

#[test_case("half"; "prints half a line and hangs")]
#[test_case("hang"; "prints nothing and hangs")]
#[test_case("flood-stderr"; "floods stderr")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_never_serves_is_given_up(way: &str) -> TestResult {
    let mut host = TestHost::impatient();
    let rogue = fixtures::rogue(way, host.scratch());
    let refusal = refusal(&mut host, rogue).await;
    assert!(refusal.contains(&format!("did not serve within {SOON:?}")), "{refusal}");
    Ok(())
}

/// What is said of it depends on how far we come until then.
#[test_case("hangup"; "accepts and hangs up")]
#[test_case("not-grpc"; "speaks another protocol")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_listens_and_answers_nothing_is_refused(way: &str) -> TestResult {
    let mut host = TestHost::impatient();
    let rogue = fixtures::rogue(way, host.scratch());
    let refused = generous(host.launch_file(rogue)).await;
    assert_matches!(refused, Err(LaunchError::Failed(_) | LaunchError::Undescribed(_)));
    Ok(())
}

/// Who waits no longer drops the launch, and everything that it has begun ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_is_dropped_leaves_nothing() -> TestResult {
    for way in ["deaf", "hang"] {
        let mut host = TestHost::new(Door::Process);
        let rogue = fixtures::rogue(way, host.scratch());
        assert!(tokio::time::timeout(SOON, host.launch_file(rogue)).await.is_err(), "{way} never starts");
    }
    Ok(())
}

/// It was what it had to be when it was looked at first, and what runs now may be another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_is_replaced_while_it_starts_is_not_used() -> TestResult {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("script");
    let echo = fixtures::native("echo");
    let replaced =
        format!("#!/bin/sh\necho >> \"$0.new\"\nmv \"$0.new\" \"$0\"\nexec '{}'\n", echo.display());
    for (script, is_used) in [(format!("#!/bin/sh\nexec '{}'\n", echo.display()), true), (replaced, false)] {
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let backend = fixtures::backend(Door::Process, scratch.path(), LONG);
        let mut spec = PluginSpec::new(PluginName::new("script"), &path);
        // Nothing is started that has another digest.
        spec.digest = Some(Digest::from_sha256([7; 32]));
        let Err(LaunchError::Changed { found, .. }) = generous(backend.launch_provider(spec.clone())).await
        else {
            return Err("it has another digest".into());
        };
        spec.digest = Some(found);
        let launched = generous(backend.launch_provider(spec)).await.map(drop);
        match is_used {
            true => launched?,
            false => assert_matches!(launched, Err(LaunchError::Changed { .. })),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_program_is_refused_with_what_to_do() -> TestResult {
    let mut host = TestHost::new(Door::Process);
    let [notes, nobody] = ["notes", "nobody"].map(|name| host.scratch().join(name));
    let unfit = fixtures::rogue("hang", host.scratch());
    fs::write(&notes, "buy milk\n")?;
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&unfit, fs::Permissions::from_mode(0o644))?;
    let missing = format!("cannot read {}: ", nobody.display());
    for (path, says) in [
        (notes, "it is neither a program nor a script"),
        (unfit, "`chmod +x` it"),
        (nobody, missing.as_str()),
    ] {
        let refusal = refusal(&mut host, path).await;
        assert!(refusal.contains(says), "{refusal}");
    }
    Ok(())
}

#[cfg(go_peers)]
mod peers {
    use portcullis::contract::{
        Call, CallError, Chunk, Configuration, Json, LaunchError, Output, ProviderName,
    };
    use portcullis_tests::{Door, TestHost, TestResult, assert_matches, generous};

    use crate::person::{Person, answer, fails, stderr};

    /// Contract spec 4.7: what an older plugin lacks, its host does without.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plugin_of_the_oldest_generation_runs() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        // Contract items 1, 5 and 15: go-plugin runs under its cookie only, and answers to its paths only.
        let plugin = host.launch("elder").await?;
        let name = ProviderName::new("elder");
        let call = Call::default();

        // Contract item 111.
        plugin.configure("elder", &Configuration::default()).await?;
        generous(plugin.provider.stop(&call, Some(&name))).await?;

        // Contract item 97: falling back is the caller's.
        let (chunks, error) = plugin.stream("elder", "{}").await;
        assert_matches!((&chunks[..], error), ([], Some(CallError::Unimplemented)));
        assert_eq!(plugin.execute("elder", r#"{"a":1}"#).await?.data.as_str(), r#"{"a":1}"#);

        // Contract items 112 and 113.
        let input = || Json::from_text("{}");
        let what_if = generous(plugin.provider.describe_what_if(&call, &name, input())).await;
        assert_matches!(what_if, Err(CallError::Unimplemented));
        let dependencies = generous(plugin.provider.extract_dependencies(&call, &name, input())).await;
        assert_matches!(dependencies, Err(CallError::Unimplemented));
        Ok(())
    }

    /// Contract item 86.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_structured_schema_is_read_as_json_schema() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let plugin = host.launch("elder").await?;
        let descriptor = plugin.provider.descriptor(&ProviderName::new("elder")).expect("elder is described");
        let schema = descriptor.schema.as_ref().expect("a schema");
        let schema: serde_json::Value = serde_json::from_str(schema.as_str())?;
        assert_eq!(schema["type"], "object");
        assert!(schema["properties"].is_object(), "{schema}");
        Ok(())
    }

    /// As of an exception in a plugin in another language.
    #[test]
    fn what_a_plugins_library_refuses_is_told_as_it_is_upstream() -> TestResult {
        let person = Person::new()?;
        person.has_peer("acrobat")?;
        let run = ["run", "./plugins/acrobat", "--provider", "acrobat", "operation=break", "message=no"];
        for (code, name) in [(2, "Unknown"), (12, "Unimplemented"), (13, "Internal")] {
            let code = format!("code={code}");
            let status = format!("rpc error: code = {name} desc = no\n");
            // One that is called unimplemented is executed without a stream then.
            let stream = if name == "Unimplemented" { "" } else { "stream receive error: " };
            let streamed = person.types(&[&run[..], &[&code]].concat())?;
            fails(&streamed, 1, &format!("provider execution failed: acrobat: {stream}{status}"));
            let whole = person.types(&[&run[..], &[&code, "--no-stream"]].concat())?;
            fails(&whole, 1, &format!("provider execution failed: acrobat: {status}"));
        }
        Ok(())
    }

    /// Contract item 77.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_provider_that_cannot_be_described_does_not_hide_the_others() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let plugin = host.launch("halves").await?;
        let described: Vec<_> = plugin
            .provider
            .providers()
            .iter()
            .map(|name| (name.as_str(), plugin.provider.descriptor(name).is_ok()))
            .collect();
        assert!(described.contains(&("half", true)), "{described:?}");
        assert!(described.iter().any(|(_, described)| !described), "{described:?}");
        Ok(())
    }

    #[test]
    fn a_provider_that_is_named_more_than_once_is_one_and_warned_of_once() -> TestResult {
        let person = Person::new()?;
        person.has_peer("halves")?;
        let ran = person.types(&["run", "./plugins/halves", "--provider", "half"])?;
        assert_eq!(answer(&ran)["data"]["half"], true);
        let said = stderr(&ran);
        assert_eq!(said.matches("names providers more than once").count(), 1, "{said}");
        assert!(said.contains("repeated=2"), "{said}");
        // Without a name the only one that can be used is meant.
        answer(&person.types(&["run", "./plugins/halves"])?);
        // Of one that is advertised it is told why it cannot be.
        let lost = person.types(&["run", "half-lost", "--describe"])?;
        assert!(!lost.status.success());
        let said = stderr(&lost);
        assert!(said.contains("plugin halves cannot describe its provider \"half-lost\": "), "{said}");
        assert!(said.contains("the descriptor is lost"), "{said}");
        Ok(())
    }

    /// Contract item 72.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plugin_that_cannot_list_its_providers_is_ended() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let refused = generous(host.launch("broken-list")).await;
        assert_matches!(refused, Err(LaunchError::Undescribed(_)));
        Ok(())
    }

    /// Contract item 100.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stream_that_ends_without_a_result_is_an_empty_result() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let plugin = host.launch("acrobat").await?;
        let (chunks, error) = plugin.stream("acrobat", r#"{"operation":"stream-no-result"}"#).await;
        assert_matches!(error, None);
        let Some(Chunk::Result(output)) = chunks.last() else { panic!("{chunks:?}") };
        assert_eq!(*output, Output::new(Json::null()));
        Ok(())
    }

    /// A descendant that stayed in the group ends with its plugin; the drop of the host looks for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_plugin_started_ends_with_it() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let plugin = host.launch("acrobat").await?;
        plugin.execute("acrobat", r#"{"operation":"fork"}"#).await?;
        Ok(())
    }
}
