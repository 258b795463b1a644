//! The calls of a provider.

use std::sync::Arc;

use portcullis_contract::proto::FAILURE;
use portcullis_contract::{CallError, LaunchError, Refusal};
use portcullis_proto as proto;
use portcullis_proto::execute_provider_stream_chunk::Chunk as Payload;
use portcullis_serve::{End, ServeError, Served, Surroundings};
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::{Code, Request, Status};

use crate::TestResult;
use crate::player::{Player, Seen};
use crate::stage::{LONG, Stage, execute, generous, told};

async fn stage() -> Result<(Stage, Arc<Seen>, UnboundedReceiver<&'static str>), Box<dyn std::error::Error>> {
    let (seen, hung) = Seen::new();
    let shown = Arc::clone(&seen);
    let stage = Stage::provider(move |around| Ok(Player::new(around, shown))).await?;
    Ok((stage, seen, hung))
}

#[tokio::test]
async fn what_a_plugin_offers_is_told_and_what_it_cannot_say_is_a_status() -> TestResult {
    let (stage, _, _) = stage().await?;
    let mut client = stage.providers();
    let names = client.get_providers(proto::GetProvidersRequest {}).await?.into_inner().provider_names;
    assert_eq!(names, ["good", "bad"]);

    let mut describe = async |name: &str| {
        let request = proto::GetProviderDescriptorRequest { provider_name: name.to_owned() };
        client.get_provider_descriptor(request).await.map(|response| response.into_inner().descriptor)
    };
    let good = describe("good").await?.expect("there is one");
    assert_eq!((good.name.as_str(), good.has_extract_dependencies), ("good", true)); // item 60
    let bound = &good.schema.expect("it has properties").parameters["n"];
    // item 58
    assert_eq!((bound.has_minimum, bound.minimum), (true, 0.0));
    assert_eq!((bound.has_exclusive_maximum, bound.exclusive_maximum, bound.has_maximum), (true, 0.0, false));

    let status = describe("bad").await.expect_err("it has no words"); // item 26
    assert_eq!(told(&status), (Code::Unknown, "GetProviderDescriptor \"bad\": no words for it"));
    let status = describe("nobody").await.expect_err("nobody is there"); // item 27
    assert_eq!(told(&status), (Code::Unknown, "GetProviderDescriptor \"nobody\": unknown provider: nobody"));
    Ok(())
}

/// It is served all the same, so that a host can tell why it is of no use. Contract item 25.
#[tokio::test]
async fn a_plugin_that_cannot_say_what_it_offers_tells_so_whoever_asks() -> TestResult {
    let mute = || LaunchError::Undescribed(CallError::Refused(Refusal::new("lost my voice")));
    let stage = Stage::provider::<Player>(move |_| Err(mute())).await?;
    let mut client = stage.providers();
    let status = client.get_providers(proto::GetProvidersRequest {}).await.expect_err("it cannot say");
    assert_eq!(told(&status), (Code::Unknown, "GetProviders: lost my voice"));
    let status = client.execute_provider(execute("")).await.expect_err("it cannot do anything");
    assert_eq!(told(&status), (Code::Unknown, "lost my voice"));
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_does_not_start_is_not_served() {
    let served = Stage::provider::<Player>(|_| Err(LaunchError::unfit("made of cheese"))).await;
    let error = served.err().expect("there is nothing to serve");
    let source = error.source().and_then(|error| error.source()).expect("it says why");
    assert_eq!(source.to_string(), "made of cheese");
}

#[tokio::test]
async fn a_refusal_is_in_the_answer_with_all_that_goes_with_it() -> TestResult {
    let (stage, _, _) = stage().await?;
    let refused = stage.providers().execute_provider(execute("refuse")).await?.into_inner();
    assert_eq!((refused.error.as_str(), refused.exit_code), ("not this one", 7)); // item 28
    assert_eq!((refused.diagnostics[0].severity, refused.diagnostics[0].summary.as_str()), (2, "flat"));
    assert!(refused.output.is_empty());

    let unknown = proto::ExecuteProviderRequest { provider_name: "nobody".to_owned(), ..execute("") };
    let refused = stage.providers().execute_provider(unknown).await?.into_inner();
    assert_eq!(refused.error, "unknown provider: nobody"); // item 27

    let output = stage.providers().execute_provider(execute("")).await?.into_inner().output;
    assert_eq!(output, "{\"data\":1.0}"); // item 39
    Ok(())
}

#[tokio::test]
async fn what_nobody_decided_is_a_status_and_a_line_for_hosts_of_ours() -> TestResult {
    let (stage, _, _) = stage().await?;
    for (what, code, message, line) in [
        ("trap", Code::Unavailable, "the plugin stopped before it answered: unreachable", "stopped"),
        (
            "limit",
            Code::ResourceExhausted,
            "limit cpu reached: asked more, allowed 1s",
            "limit cpu ? 1000000000ns",
        ),
        (
            "no-json",
            Code::Internal,
            "the plugin broke the contract: failed to encode output: key must be a string at line 1 column 2",
            "contract",
        ),
    ] {
        let status = stage.providers().execute_provider(execute(what)).await.expect_err(what);
        assert_eq!(told(&status), (code, message));
        assert_eq!(status.metadata().get(FAILURE).expect("a line").to_str()?, line);
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_ends_one_call_and_no_other() -> TestResult {
    let (stage, _, _) = stage().await?;
    let status = stage.providers().execute_provider(execute("panic")).await.expect_err("it panics");
    assert_eq!(told(&status), (Code::Internal, "panic: out of tune"));
    let (items, end) = stream(&stage, "panic").await;
    assert_eq!(
        (items.len(), end.map(|status| told(&status).1.to_owned())),
        (1, Some("panic: out of tune".to_owned()))
    );
    let (items, end) = stream(&stage, "panic-at-once").await;
    assert_eq!((items.len(), end.is_some()), (0, true));
    stage.providers().execute_provider(execute("")).await?;
    Ok(())
}

/// Contract items 35, 36 and 37.
#[tokio::test]
async fn what_was_not_said_is_not_seen_and_what_is_empty_is_there() -> TestResult {
    let (stage, seen, _) = stage().await?;
    let mut client = stage.providers();
    client.execute_provider(execute("")).await?;
    let empty = proto::ExecuteProviderRequest {
        context: "{}".into(),
        iteration_context: Some(proto::IterationContext::default()),
        solution_metadata: Some(proto::SolutionMeta::default()),
        dry_run: true,
        backup: true,
        ..execute("")
    };
    client.execute_provider(empty).await?;
    let seen = seen.requests.lock().unwrap();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    assert!(!first.context.dry_run && !first.context.backup);
    assert_eq!((&first.context.mode, &first.context.working_directory), (&None, &None));
    assert_eq!((&first.context.output_directory, &first.context.conflict_strategy), (&None, &None));
    assert_eq!((&first.context.iteration, &first.context.solution), (&None, &None));
    assert_eq!((&first.context.context, &first.context.parameters), (&None, &None));
    assert!(second.context.dry_run && second.context.backup);
    assert_eq!(
        second.context.iteration.as_ref().map(|turn| (turn.index, turn.item.is_none())),
        Some((0, true))
    );
    assert_eq!(second.context.solution.as_ref().map(|solution| solution.name.as_str()), Some(""));
    Ok(())
}

/// Contract items 29 to 33; the rest of them in `src/request.rs`.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_in_the_answer_and_never_reaches_the_plugin() -> TestResult {
    let (stage, seen, _) = stage().await?;
    let mut client = stage.providers();
    let broken = || proto::ExecuteProviderRequest { input: "[1]".into(), ..execute("") };
    let refused = client.execute_provider(broken()).await?.into_inner();
    assert_eq!(refused.error, "failed to decode input: not an object");
    let mut items = client.execute_provider_stream(broken()).await?.into_inner();
    let Some(Payload::Result(result)) = items.message().await?.and_then(|item| item.chunk) else {
        panic!("the refusal is the one item");
    };
    assert_eq!(result.error, refused.error);
    assert!(items.message().await?.is_none());
    let broken = proto::ExecuteProviderRequest { context: "{".into(), ..execute("") };
    let refused = client.execute_provider(broken).await?.into_inner();
    assert!(refused.error.starts_with("failed to decode context: "), "{}", refused.error);
    assert!(seen.requests.lock().unwrap().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_request_of_nearly_4_mib_is_taken_and_a_larger_one_refused() -> TestResult {
    let (stage, _, _) = stage().await?;
    let sized = |size: usize| proto::ExecuteProviderRequest {
        input: format!("{{\"x\":\"{}\"}}", "x".repeat(size)).into(),
        ..execute("")
    };
    stage.providers().execute_provider(sized((4 << 20) - 100)).await?;
    let status = stage.providers().execute_provider(sized(4 << 20)).await.expect_err("it is too large");
    assert_eq!(status.code(), Code::ResourceExhausted); // item 22
    stage.providers().execute_provider(execute("")).await?;
    Ok(())
}

#[tokio::test]
async fn a_configuration_reaches_the_plugin_as_it_is_and_its_refusal_the_host() -> TestResult {
    let (stage, seen, _) = stage().await?;
    let configure = |name: &str, settings: &[(&str, &'static str)]| proto::ConfigureProviderRequest {
        provider_name: name.to_owned(),
        quiet: true,
        binary_name: "bin".to_owned(),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        protocol_version: 77,
        ..Default::default()
    };
    let done = stage.providers().configure_provider(configure("good", &[("n", " 1.0 ")])).await?.into_inner();
    assert_eq!((done.error.as_str(), done.protocol_version), ("", 2)); // items 20 and 21
    let refused = stage.providers().configure_provider(configure("bad", &[])).await?.into_inner();
    assert_eq!((refused.error.as_str(), refused.protocol_version), ("not this one", 0)); // item 42
    assert_eq!(refused.diagnostics.len(), 1);

    let seen = seen.configurations.lock().unwrap();
    let [(_, first), (_, second)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((first.quiet, first.binary_name.as_str()), (true, "bin"));
    let settings: Vec<_> =
        first.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(settings, [("n", " 1.0 ")]); // item 41
    assert!(second.settings.is_empty());
    Ok(())
}

/// Returns the items of a stream, and the status that ended it.
async fn stream(stage: &Stage, what: &str) -> (Vec<Payload>, Option<Status>) {
    let mut found = Vec::new();
    let mut items = match stage.providers().execute_provider_stream(execute(what)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (found, Some(status)),
    };
    loop {
        match generous(items.message()).await {
            Ok(Some(item)) => found.push(item.chunk.expect("every item is something")),
            Ok(None) => return (found, None),
            Err(status) => return (found, Some(status)),
        }
    }
}

/// Contract items 47, 48 and 49: an item is one thing, by its type, and never nothing.
#[tokio::test]
async fn a_stream_is_sent_unchanged_and_in_order() -> TestResult {
    let (stage, _, _) = stage().await?;
    let (items, end) = stream(&stage, "").await;
    assert!(end.is_none(), "{end:?}");
    let [Payload::Stdout(one), Payload::Stderr(two), Payload::Stdout(three), Payload::Result(last)] =
        &items[..]
    else {
        panic!("{items:?}");
    };
    assert_eq!((&one[..], &two[..], &three[..]), (&[1; 3][..], &b"\xff\n"[..], &[2; 3][..]));
    assert_eq!((&last.output[..], last.error.as_str()), (&b"{\"data\":null}"[..], ""));
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_as_upstreams_does() -> TestResult {
    let (stage, _, _) = stage().await?;
    let (items, end) = stream(&stage, "unary").await;
    let end = end.expect("it does not stream");
    assert_eq!(told(&end), (Code::Unimplemented, "streaming execution not supported")); // item 50
    assert!(items.is_empty());

    let (items, end) = stream(&stage, "fail").await;
    let [Payload::Stdout(_), Payload::Result(last)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((last.error.as_str(), last.exit_code, end.is_none()), ("not this one", 7, true)); // item 51

    let (items, end) = stream(&stage, "no-result").await;
    assert!(matches!(&items[..], [Payload::Stdout(_)]) && end.is_none()); // item 52

    let (items, end) = stream(&stage, "trap").await;
    assert_eq!((items.len(), end.map(|status| status.code())), (1, Some(Code::Internal)));
    Ok(())
}

/// Contract item 53, but that the plugin learns of it: nothing is asked of it any more.
#[tokio::test]
async fn a_host_that_leaves_a_stream_ends_it_in_the_plugin() -> TestResult {
    let (stage, _, mut hung) = stage().await?;
    let mut items = stage.providers().execute_provider_stream(execute("endless")).await?.into_inner();
    assert!(items.message().await?.is_some());
    drop(items);
    assert_eq!(generous(hung.recv()).await, Some("dropped"));
    stage.providers().execute_provider(execute("")).await?;
    Ok(())
}

#[tokio::test]
async fn a_call_that_its_host_gives_up_is_dropped_in_the_plugin() -> TestResult {
    let (stage, seen, mut hung) = stage().await?;
    let mut client = stage.providers();
    let call = tokio::spawn(async move { client.execute_provider(execute("hang")).await });
    assert_eq!(generous(hung.recv()).await, Some("begun"));
    call.abort();
    assert_eq!(generous(hung.recv()).await, Some("dropped"));

    let mut request = Request::new(execute("hang"));
    request.set_timeout(std::time::Duration::from_millis(50));
    let status = generous(stage.providers().execute_provider(request)).await.expect_err("its time is over");
    assert_eq!(portcullis_goplugin::normalized(status).code(), Code::DeadlineExceeded);
    assert_eq!(generous(hung.recv()).await, Some("begun"));
    assert_eq!(generous(hung.recv()).await, Some("dropped"));
    assert_eq!(*seen.deadlines.lock().unwrap(), [false, true]);
    Ok(())
}

/// Contract item 61: two calls that wait for each other.
#[tokio::test]
async fn calls_overlap() -> TestResult {
    let (stage, _, _) = stage().await?;
    let (mut one, mut two) = (stage.providers(), stage.providers());
    let both =
        async { tokio::join!(one.execute_provider(execute("meet")), two.execute_provider(execute("meet"))) };
    let (one, two) = tokio::time::timeout(LONG, both).await?;
    assert!(one.is_ok() && two.is_ok());
    Ok(())
}

/// Contract items 54 and 55: nothing but a name and an input goes with them.
#[tokio::test]
async fn the_smaller_calls_answer_and_refuse_in_their_answers() -> TestResult {
    let (stage, _, _) = stage().await?;
    let mut client = stage.providers();
    let mut what_if = async |input: &'static str| {
        let request = proto::DescribeWhatIfRequest { provider_name: "good".to_owned(), input: input.into() };
        client.describe_what_if(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(what_if("{}").await?.description, "would {}");
    assert_eq!(what_if("").await?.description, "would null");
    let refused = what_if("{\"fail\":1}").await?;
    assert_eq!((refused.error.as_str(), refused.diagnostics.len()), ("not this one", 1));
    assert_eq!(what_if("3").await?.error, "failed to decode input: not an object");
    let status = what_if("{\"unimplemented\":1}").await.expect_err("it does not");
    assert_eq!(told(&status), (Code::Unimplemented, "method DescribeWhatIf not implemented"));

    let mut client = stage.providers();
    let mut extract = async |inputs: &'static str| {
        let request =
            proto::ExtractDependenciesRequest { provider_name: "good".to_owned(), inputs: inputs.into() };
        client.extract_dependencies(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(extract("{}").await?.dependencies, ["{}"]);
    assert_eq!(extract("{\"fail\":1}").await?.error, "not this one");
    assert_eq!(extract("[").await?.error, "failed to decode inputs: not an object");

    let mut client = stage.providers();
    let mut stop = async |name: &str| {
        let request = proto::StopProviderRequest { provider_name: name.to_owned() };
        client.stop_provider(request).await.map(|response| response.into_inner().error)
    };
    assert_eq!((stop("").await?.as_str(), stop("good").await?.as_str()), ("", ""));
    assert_eq!(stop("bad").await?, "not this one");
    Ok(())
}

/// As a panic of an author's does while the plugin is asked what it offers.
#[tokio::test]
async fn a_plugin_that_breaks_while_it_is_launched_is_not_served() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut served = Served::provider(async |around: Surroundings| {
        around.give_up();
        std::future::pending().await
    });
    served.options.variables = vec![("TMPDIR".into(), directory.path().into())];
    let error = generous(served.serve_in_test()).await.err();
    assert!(matches!(error, Some(ServeError::Ended { end: End::Broken })), "{error:?}");
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}
