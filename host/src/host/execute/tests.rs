//! One execution against a plugin that answers by a script.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{
    BackendName, Context, Descriptor, Diagnostic, Digest, Kind, Operation, PluginInfo, PluginName,
    ProviderName,
};
use portcullis_fuzz::in_time;

use super::super::schema::SOON;
use super::*;
use crate::fake::{Answer, FakeProvider, Log, World, descriptor};

const WRITES: &str = r#"{"properties":{"operation":{"type":"string"},"n":{"type":"integer","maximum":9},
    "pin":{"type":"string","maxLength":3},"x":{}}}"#;

fn provider(change: impl FnOnce(&mut Descriptor)) -> (Arc<World>, RegisteredProvider) {
    let world = Arc::new(World::default());
    let mut descriptor = descriptor("gh", &world);
    descriptor.capabilities = vec![Capability::FROM, Capability::ACTION];
    let action = Json::from_text(r#"{"properties":{"success":{"type":"boolean"}}}"#);
    descriptor.output_schemas.insert(Capability::ACTION, action);
    descriptor.schema = Some(Json::from_text(WRITES));
    descriptor.sensitive_fields = vec!["pin".to_owned()];
    descriptor.write_operations = Some(vec!["create".to_owned()]);
    change(&mut descriptor);
    let advertised = ProviderName::new("gh-advertised");
    let plugin = FakeProvider {
        info: PluginInfo {
            name: PluginName::new("p"),
            kind: Kind::Provider,
            backend: BackendName::Component,
            path: PathBuf::from("/nowhere"),
            digest: Digest::from_sha256([0; 32]),
        },
        providers: vec![advertised.clone()],
        descriptors: vec![descriptor],
        world: Arc::clone(&world),
        dead: std::sync::atomic::AtomicBool::new(false),
    };
    (world, RegisteredProvider::new(Arc::new(plugin), &advertised).unwrap())
}

fn with_input(input: &str) -> Run {
    Run { input: Some(Json::from_text(input)), ..Run::default() }
}

fn check(run: Run, expected: Result<(&str, &str), &str>) {
    let (_world, provider) = provider(|_| {});
    let prepared = prepare_now(&provider, run);
    let said = match &prepared {
        Ok(p) => Ok((p.capability.as_str(), p.request.input.as_str())),
        Err(error) => Err(chain(error)),
    };
    assert_eq!(said, expected.map_err(str::to_owned));
}

/// Contract items 82, 95 and 119.
#[test]
fn a_request_goes_out_under_the_advertised_name_with_what_surrounds_it() {
    let (_world, provider) = provider(|_| {});
    let context = Context { dry_run: true, backup: true, ..Context::default() };
    let run = Run { context: context.clone(), ..with_input("{ }") };
    let ReadyRequest { request, .. } = prepare_now(&provider, run).unwrap();
    assert_eq!(request.provider.as_str(), "gh-advertised");
    assert_eq!(request.input.as_str(), "{ }");
    assert_eq!(request.context, Context { mode: Some(Capability::FROM), ..context });
}

#[test]
fn only_an_action_is_told_of_an_output_directory() {
    let (_world, provider) = provider(|_| {});
    let told = |input: &str| {
        let context = Context { output_directory: Some("/out".to_owned()), ..Context::default() };
        prepare_now(&provider, Run { context, ..with_input(input) }).unwrap().request.context.output_directory
    };
    assert_eq!(told(r#"{"operation":"create"}"#).as_deref(), Some("/out"));
    assert_eq!(told(r#"{"operation":"list"}"#), None);
}

#[test]
fn the_capability_is_the_one_asked_for_or_the_one_that_fits() {
    check(with_input("{}"), Ok(("from", "{}")));
    let writing = r#"{"operation":"create"}"#;
    check(with_input(writing), Ok(("action", writing)));
    let reading = r#"{"operation":"list"}"#;
    check(with_input(reading), Ok(("from", reading)));
    let asked =
        |capability: &str, input: &str| Run { capability: Some(capability.to_owned()), ..with_input(input) };
    check(asked("action", reading), Ok(("action", reading)));
    check(
        asked("fly", "{}"),
        Err("invalid capability \"fly\" (valid: from, transform, validation, authentication, action)"),
    );
    check(
        asked("transform", "{}"),
        Err("provider \"gh\" does not support capability \"transform\" (supported: [from action])"),
    );
}

/// Contract item 88, which upstream has to leave out.
#[test]
fn write_protection_holds() {
    let refused = "provider execution failed: operation \"create\" is a write operation and cannot be used in \
        read-only execution mode \"from\"; use a workflow action instead";
    let from = |input: &str| Run { capability: Some("from".to_owned()), ..with_input(input) };
    check(from(r#"{"operation":"create"}"#), Err(refused));
    check(from(r#"{"operation":{"literal":"create"}}"#), Err(refused));
    check(Run { input_check: InputCheck::None, ..from(r#"{"operation":"create"}"#) }, Err(refused));
    check(from(r#"{"operation":"list"}"#), Ok(("from", r#"{"operation":"list"}"#)));
}

/// Nothing asks that the two agree, upstream either; neither can take back what the other says.
#[test]
fn write_protection_holds_whichever_part_of_a_descriptor_names_the_operation() {
    let operation =
        |name: &str, is_write: bool| Operation { name: name.to_owned(), is_write, ..Operation::default() };
    let listed = Some(vec!["create".to_owned()]);
    for (writes, operations) in [
        (None, vec![operation("create", true)]),
        (Some(vec![]), vec![operation("create", true)]),
        (Some(vec!["delete".to_owned()]), vec![operation("create", false), operation("create", true)]),
        (listed.clone(), vec![operation("create", false)]),
        (listed, vec![operation("delete", true)]),
    ] {
        let (_world, provider) = provider(|descriptor| {
            descriptor.write_operations = writes;
            descriptor.operations = operations;
        });
        let prepared = |asked: Option<&str>, input: &str| {
            let capability = asked.map(str::to_owned);
            prepare_now(&provider, Run { capability, ..with_input(input) })
                .map(|prepared| prepared.capability)
        };
        assert!(prepared(Some("from"), r#"{"operation":"create"}"#).is_err());
        assert_eq!(prepared(None, r#"{"operation":"create"}"#).unwrap(), Capability::ACTION);
        assert_eq!(prepared(None, r#"{"operation":"list"}"#).unwrap(), Capability::FROM);
    }
}

/// Later providers of clusters are written so that all they do is done in one capability.
#[test]
fn a_capability_that_is_there_to_change_something_may() {
    for capability in [Capability::STATE, Capability::KUBECONFIG] {
        let (_world, provider) = provider(|descriptor| {
            let success = Json::from_text(r#"{"properties":{"success":{"type":"boolean"}}}"#);
            descriptor.capabilities = vec![Capability::FROM, capability.clone()];
            descriptor.output_schemas.insert(capability.clone(), success);
        });
        let prepared = |asked: Option<&str>| {
            let capability = asked.map(str::to_owned);
            prepare_now(&provider, Run { capability, ..with_input(r#"{"operation":"create"}"#) })
        };
        assert_eq!(prepared(None).unwrap().capability, capability);
        assert_eq!(prepared(Some(capability.as_str())).unwrap().capability, capability);
        assert!(prepared(Some("from")).is_err());
    }
}

/// Contract items 91 and 92, 120 to 122.
#[test]
fn inputs_are_checked_unless_the_caller_says_otherwise() {
    check(Run::default(), Ok(("from", "{}")));
    check(Run { input_check: InputCheck::None, ..Run::default() }, Ok(("from", "null")));
    check(with_input("[]"), Err("gh: expected map[string]any, got []interface {}"));
    check(
        with_input(r#"{"m":1}"#),
        Err(
            "provider \"gh\" does not accept input \"m\" — did you mean \"n\"? (valid inputs: n, operation, pin, x)",
        ),
    );
    check(
        with_input(r#"{"n":"no"}"#),
        Err(
            "provider execution failed: failed to resolve inputs: failed to coerce property \"n\" to type integer: \
             cannot convert \"no\" to integer: strconv.ParseInt: parsing \"no\": invalid syntax",
        ),
    );
    check(
        with_input(r#"{"n":"10"}"#),
        Err("provider execution failed: input validation failed: inputs: validating root: validating \
             /properties/n: maximum: 10/1 is greater than 9.000000"),
    );
    check(
        with_input(r#"{"pin":"hunter2"}"#),
        Err("provider execution failed: input validation failed: inputs: validating root: validating \
             /properties/pin: maxLength: \"***REDACTED***\" contains 7 Unicode code points, more than 3"),
    );
    let twice = "gh: a key is given more than once in one object; give it once";
    check(with_input(r#"{"n":1,"n":99}"#), Err(twice));
    check(with_input(r#"{"x":{"n":1,"n":99}}"#), Err(twice));

    let raw = r#"{"n":"no","m":1}"#;
    check(Run { input_check: InputCheck::None, ..with_input(raw) }, Ok(("from", raw)));
}

#[derive(Default)]
struct Seen(Vec<String>);

#[async_trait]
impl OutputSink for Seen {
    async fn stdout(&mut self, bytes: Bytes) {
        self.0.push(format!("out {}", String::from_utf8_lossy(&bytes)));
    }

    async fn stderr(&mut self, bytes: Bytes) {
        self.0.push(format!("err {}", String::from_utf8_lossy(&bytes)));
    }
}

async fn called(
    provider: &RegisteredProvider,
    sink: Option<&mut dyn OutputSink>,
) -> Result<Output, ExecuteError> {
    let ReadyRequest { request, .. } = prepare_now(provider, with_input("{}")).unwrap();
    call(provider, &Call::default(), request, sink).await.map(|(output, _took)| output)
}

/// Contract item 96. That there is no result (item 100) is for the backend to understand.
#[tokio::test]
async fn what_a_provider_shows_is_handed_on_as_it_appears() {
    let (world, provider) = provider(|_| {});
    let mut seen = Seen::default();
    let pieces = vec![
        Chunk::Stdout("a".into()),
        Chunk::Stderr("b".into()),
        Chunk::Result(Output::new(Json::from_text("1"))),
    ];
    world.next([Answer::Pieces(pieces), Answer::Pieces(vec![])]);

    let output = called(&provider, Some(&mut seen)).await.unwrap();
    assert_eq!(output.data.as_str(), "1");
    assert_eq!(seen.0, ["out a", "err b"]);

    let error = called(&provider, Some(&mut seen)).await.unwrap_err();
    assert!(matches!(error.call_error(), Some(CallError::Contract(_))), "{error:?}");
}

/// Contract items 97 to 99; unlike upstream, it is remembered.
#[tokio::test]
async fn a_provider_that_does_not_stream_is_asked_once() {
    let (world, provider) = provider(|_| {});
    let mut seen = Seen::default();
    world.next([Answer::Unimplemented]);
    assert!(called(&provider, Some(&mut seen)).await.is_ok());
    assert!(called(&provider, Some(&mut seen)).await.is_ok());
    assert_eq!(world.log(), ["stream"]);

    // It was that request, and not the stream, that it declined.
    let (world, provider) = self::provider(|_| {});
    let declined =
        Refusal { by_library: true, ..Refusal::new("rpc error: code = Unimplemented desc = not that") };
    world.next([Answer::Unimplemented, Answer::Refuse(declined)]);
    assert!(called(&provider, Some(&mut seen)).await.is_err());
    assert!(called(&provider, Some(&mut seen)).await.is_ok());
    assert_eq!(world.log(), ["stream", "stream"]);

    // It had begun to: the next call may stream again.
    let (world, provider) = self::provider(|_| {});
    world.next([Answer::PiecesAndUnimplemented(vec![Chunk::Stdout("a".into())])]);
    assert_eq!(called(&provider, Some(&mut seen)).await.unwrap().data.as_str(), "{}");
    assert_eq!(seen.0, ["out a"]);
    assert!(called(&provider, Some(&mut seen)).await.is_ok());
    assert_eq!(world.log(), ["stream", "stream"]);

    let (world, provider) = self::provider(|_| {});
    world.next([Answer::Die]);
    assert!(called(&provider, Some(&mut seen)).await.is_err());
    assert_eq!(world.requests.lock().unwrap().len(), 0);
    assert!(called(&provider, None).await.is_ok());
}

fn remark(severity: Severity, summary: &str) -> Diagnostic {
    Diagnostic { severity, summary: summary.to_owned(), ..Diagnostic::default() }
}

/// Contract items 102, 103, 106 to 108.
#[tokio::test]
async fn a_refusal_reads_as_it_does_upstream() {
    let (world, provider) = provider(|_| {});
    let mut refusal = Refusal::new("boom");
    refusal.exit_code = Some(7);
    refusal.diagnostics = vec![remark(Severity::Warning, "w")];
    let mut worse = refusal.clone();
    worse.diagnostics.extend([remark(Severity::Error, "one"), remark(Severity::Error, "two")]);
    world.next([Answer::Refuse(refusal), Answer::Refuse(worse), Answer::Die]);

    let mut said = Vec::new();
    let mut codes = Vec::new();
    for _ in 0..3 {
        let error = RunError::Execution(called(&provider, None).await.unwrap_err());
        said.push(chain(&error));
        codes.push(error.exit_code());
    }
    let twice = "provider execution failed: provider execution failed: gh";
    assert_eq!(
        said,
        [
            format!("{twice}: provider execution failed: boom"),
            format!("{twice}: one\ntwo"),
            format!("{twice}: the plugin stopped before it answered: exit status 3"),
        ]
    );
    assert_eq!(codes, [Some(7), Some(7), None]);
}

/// Contract item 112.
#[tokio::test]
async fn without_words_of_its_own_a_provider_gets_upstreams() {
    let (world, provider) = provider(|_| {});
    let general = "Would execute gh provider";
    let now = Call::default();
    let ask = || provider.what_if(&now, Json::from_text("words"));
    world.next([Answer::EchoAfter(Duration::ZERO), Answer::Echo, Answer::Unimplemented, Answer::Die]);
    assert_eq!(ask().await, "words");
    for _ in 0..3 {
        assert_eq!(ask().await, general);
    }
}

/// Contract items 113 and 114.
#[tokio::test(start_paused = true)]
async fn dependencies_are_asked_for_only_where_it_is_worth_it() {
    let (world, provider) = provider(|d| d.has_extract_dependencies = true);
    let ask = || provider.dependencies(Json::from_text("{}"));
    world.next([
        Answer::EchoAfter(Duration::ZERO),
        Answer::Echo,
        Answer::Unimplemented,
        Answer::Die,
        Answer::Hang,
    ]);
    assert_eq!(ask().await, Some(vec!["a".to_owned()]));
    for _ in 0..3 {
        assert_eq!(ask().await, None);
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(ask().await, None);
    assert_eq!(begun.elapsed(), DEPENDENCIES_LIMIT);

    let (world, provider) = self::provider(|_| {});
    world.next([Answer::EchoAfter(Duration::ZERO)]);
    assert_eq!(provider.dependencies(Json::from_text("{}")).await, None);
    assert_eq!(world.answers.lock().unwrap().len(), 1);
}

/// Returns what is logged while something is done.
fn logged(work: impl Future<Output = ()>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Log::of(|| runtime.block_on(work)).concat()
}

#[test]
fn what_a_plugin_with_sensitive_inputs_refuses_is_not_logged() {
    let (world, provider) = provider(|d| d.has_extract_dependencies = true);
    let mut refusal = Refusal::new("hunter2 is no pin");
    refusal.diagnostics = vec![remark(Severity::Warning, "hunter2 is too easy")];
    world.next([(); 3].map(|()| Answer::Refuse(refusal.clone())));
    let logged = logged(async {
        provider.what_if(&Call::default(), Json::from_text("{}")).await;
        provider.dependencies(Json::from_text("{}")).await;
        assert!(called(&provider, None).await.is_err());
    });
    for said in ["does not say what it would do", "dependencies not extracted", "remarks=1"] {
        assert!(logged.contains(said), "{said}: {logged}");
    }
    assert!(!logged.contains("hunter2"), "{logged}");
}

/// Contract item 106.
#[test]
fn what_is_remarked_beside_a_refusal_is_logged() {
    let (world, provider) = provider(|d| d.sensitive_fields.clear());
    let mut refusal = Refusal::new("no");
    refusal.diagnostics = vec![remark(Severity::Warning, "odd"), remark(Severity::Error, "gone")];
    world.next([Answer::Refuse(refusal)]);
    let logged = logged(async { assert!(called(&provider, None).await.is_err()) });
    assert!(logged.contains("remark=odd ") && !logged.contains("gone"), "{logged}");
}

#[test]
fn redaction_replaces_sensitive_fields_at_the_top_and_nothing_else() {
    let check = |data: &str, expected: &str| {
        let redacted = redact(&Json::from_text(data), &["pin".to_owned()]);
        assert_eq!(redacted.as_str(), expected, "{data}");
    };
    check(r#"{ "a" : 1.0, "pin" : {"b":2} }"#, r#"{"a":1.0,"pin":"[REDACTED]"}"#);
    check(r#"{ "a" : {"pin":1} }"#, r#"{ "a" : {"pin":1} }"#);
    check(r#"["pin"]"#, r#"["pin"]"#);
    check(r#"{"\u0070in":1}"#, r#"{"\u0070in":"[REDACTED]"}"#);
    check(r#"{"pin":1,"pin":2}"#, r#""[REDACTED]""#);
    check(r#"{"pin":1"#, r#""[REDACTED]""#);
}

/// It would not end, were every field looked for in all that is sensitive.
#[test]
fn much_may_be_sensitive() {
    in_time(|| {
        let fields: Vec<_> = (0..200_000).map(|n| format!("\"f{n}\":{n}")).collect();
        let data = Json::from_text(format!("{{{}}}", fields.join(",")));
        let sensitive: Vec<_> = (0..200_000).map(|n| format!("s{n}")).chain(["f7".to_owned()]).collect();
        let redacted = redact(&data, &sensitive);
        assert!(redacted.as_str().contains("\"f6\":6,\"f7\":\"[REDACTED]\",\"f8\":8"));
    });
}

/// A schema is the plugin's: to judge by it may take for ever, and other plugins' calls go on meanwhile.
#[test]
fn an_input_that_may_take_long_to_judge_holds_up_no_thread_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        // The one thread for what blocks has something else to do.
        let _busy = tokio::task::spawn_blocking(move || released.recv());
        let at_once = |schema: String, input: &str| {
            let (_world, provider) = provider(|d| {
                d.schema = Some(Json::from_text(schema));
                d.sensitive_fields.clear();
            });
            let run = with_input(input);
            async move {
                let (most, provider) = (provider.judges.available_permits(), Arc::new(provider));
                let is_done = futures_util::FutureExt::now_or_never(prepare(&provider, run)).is_some();
                // What is given up counts until it is over.
                assert_eq!(provider.judges.available_permits() < most, !is_done);
                is_done
            }
        };
        let plain = r#"{"properties":{"x":{"type":"string"}}}"#.to_owned();
        assert!(at_once(plain.clone(), r#"{"x":"y"}"#).await);
        assert!(at_once(plain.clone(), r#"{"x":1}"#).await);
        assert!(!at_once(plain, &format!(r#"{{"x":"{}"}}"#, "y".repeat(SOON))).await);
        assert!(!at_once(r#"{"properties":{"x":{"pattern":"a"}}}"#.to_owned(), r#"{"x":"y"}"#).await);
        let defaults = format!(r#"{{"properties":{{"x":{{"default":"{}"}}}}}}"#, "y".repeat(1 << 12));
        assert!(!at_once(defaults, "{}").await);
        drop(release);
    });
}
