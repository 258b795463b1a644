//! Components that are not run, and why.

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use portcullis::contract::{
    Backend, CallError, Digest, Kind, LaunchError, LimitHit, LimitName, Limits, PluginName, PluginSpec, chain,
};
use portcullis_tests::{Door, LONG, Scratch, TestResult, assert_matches, fixtures, generous};
use test_case::test_case;

use crate::person::{Person, fails, stderr};

/// Writes a file and returns the whole chain of why it is refused as a plugin of a kind.
async fn refusal_as(kind: Kind, bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("plugin.wasm");
    fs::write(&path, bytes)?;
    let backend = fixtures::backend(Door::Component, scratch.path(), LONG);
    let spec = PluginSpec::new(PluginName::new("plugin"), path);
    let refused = match kind {
        Kind::Provider => generous(backend.launch_provider(spec)).await.map(drop),
        Kind::AuthHandler => generous(backend.launch_auth_handler(spec)).await.map(drop),
    };
    Ok(chain(&refused.expect_err("it is not fit to run")))
}

async fn refusal(bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    refusal_as(Kind::Provider, bytes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_module_is_refused_with_what_to_do() -> TestResult {
    let refusal = refusal(b"\0asm\x01\0\0\0").await?;
    assert!(refusal.contains("core WebAssembly module") && refusal.contains("wasm32-wasip2"), "{refusal}");
    Ok(())
}

#[test_case(0; "empty")]
#[test_case(8; "nothing but its first bytes")]
#[test_case(1000; "cut early")]
#[test_case(-1; "cut by one byte")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_component_is_refused(keep: isize) -> TestResult {
    let whole = fs::read(fixtures::guest("echo"))?;
    let keep = usize::try_from(keep).unwrap_or(whole.len() - 1);
    let refusal = refusal(&whole[..keep]).await?;
    assert!(refusal.starts_with("not a plugin that can be run: it "), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_component_is_refused() -> TestResult {
    let mut bytes = fs::read(fixtures::guest("echo"))?;
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    refusal(&bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_imports_what_nobody_offers_is_refused_by_the_imports_name() -> TestResult {
    let component = wat::parse_str(
        r#"(component
            (import "evil:corp/backdoor@6.6.6" (instance))
            (instance $provider)
            (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#,
    )?;
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("evil:corp/backdoor@6.6.6"), "{refusal}");
    Ok(())
}

/// As one that was built for a later WASI 0.2 may do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_imports_a_function_that_nobody_offers_is_refused_with_what_to_do() -> TestResult {
    let component = wat::parse_str(
        r#"(component
            (import "wasi:cli/environment@0.2.13" (instance (export "get-new" (func))))
            (instance $provider)
            (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#,
    )?;
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("get-new") && refusal.contains("or update the host"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_whose_functions_have_other_types_is_refused_with_what_to_do() -> TestResult {
    let functions = [
        "list-providers",
        "describe",
        "configure",
        "execute",
        "execute-stream",
        "describe-what-if",
        "extract-dependencies",
        "stop",
    ];
    let exports: String = functions.map(|name| format!(r#"(export "{name}" (func $nothing))"#)).concat();
    let component = wat::parse_str(format!(
        r#"(component
            (core module $module (func (export "nothing")))
            (core instance $core (instantiate $module))
            (func $nothing (canon lift (core func $core "nothing")))
            (instance $provider {exports})
            (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#
    ))?;
    let refusal = refusal(&component).await?;
    assert!(
        refusal.contains("not all that it exports has the types of portcullis:plugin@0.1.0"),
        "{refusal}"
    );
    Ok(())
}

#[test_case("(core func (canon backpressure.inc))"; "async")]
#[test_case("(core module (tag))"; "exceptions")]
#[test_case("(core module (func return_call 0))"; "tail calls")]
#[test_case("(core module (type (struct)))"; "gc")]
#[test_case("(core module (memory 1 1 shared))"; "threads")]
#[test_case("(core module (memory i64 1))"; "memory of 64 bits")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_wants_more_than_is_run_is_refused_with_what_to_do(more: &str) -> TestResult {
    let text = format!(
        r#"(component {more}
            (instance $provider)
            (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#
    );
    let refusal = refusal(&wat::parse_str(text)?).await?;
    assert!(refusal.contains("; what is run is WebAssembly 2.0 and WASI 0.2: build it without"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_no_known_world_is_refused() -> TestResult {
    let component = wat::parse_str("(component)")?;
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("portcullis:plugin"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_would_make_ten_million_instances_is_refused_unseen() -> TestResult {
    let ten = "(instance (instantiate 0))".repeat(10);
    let text = (0..7).fold("(component)".to_owned(), |inner, _| format!("(component {inner} {ten})"));
    let refusal = refusal(&wat::parse_str(text)?).await?;
    assert!(refusal.contains("more than 10000 instances"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_more_instances_than_one_may_have_breaks_no_contract() -> TestResult {
    let text = wasmprinter::print_bytes(fixtures::trapping_provider(|module| module))?;
    let half = "(core instance (instantiate $module))".repeat(500);
    let thousand = format!(
        "(component $half (core module $module) {half})
         (instance (instantiate $half)) (instance (instantiate $half))"
    );
    let component = wat::parse_str(fixtures::with_fields(&text, &thousand))?;
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("it takes more than a component may: instance count"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_loops_before_it_is_called_is_stopped() -> TestResult {
    let component = fixtures::trapping_provider(|module| {
        fixtures::with_fields(&module, "(func $forever (loop br 0)) (start $forever)")
    });
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("limit cpu reached"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_begins_with_4_gib_reaches_its_memory_limit() -> TestResult {
    let component = fixtures::trapping_provider(|module| {
        assert!(module.contains(" 0)"), "the dummy's memory is empty: {module}");
        let at = module.find("(memory").expect("a dummy has a memory");
        let end = at + module[at..].find(" 0)").expect("its size ends its line");
        format!("{} 65536){}", &module[..end], &module[end + " 0)".len()..])
    });
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("limit memory reached") && refusal.contains("64MiB"), "{refusal}");
    Ok(())
}

/// What never ends, whatever it is asked. Each of its instances may compute for that long.
fn spinning(most: Duration, module: impl FnOnce(String) -> String) -> Result<Launched, Box<dyn Error>> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("plugin.wasm");
    fs::write(&path, fixtures::trapping_provider(module))?;
    let mut spec = PluginSpec::new(PluginName::new("plugin"), path);
    spec.limits = Limits { cpu: Some(most), ..Limits::default() };
    Ok(Launched {
        backend: fixtures::backend(Door::Component, scratch.path(), LONG),
        spec,
        _scratch: scratch,
    })
}

struct Launched {
    backend: Arc<dyn Backend>,
    spec: PluginSpec,
    _scratch: Scratch,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_never_says_what_it_offers_is_not_waited_for_longer_than_for_a_call() -> TestResult {
    let Launched { backend, mut spec, _scratch } = spinning(LONG, |module| {
        fixtures::exporting(
            &module,
            &fixtures::provider("list-providers"),
            "(result i32) (loop br 0) unreachable",
        )
    })?;
    spec.limits.wall = Some(Duration::from_millis(300));
    let refused = generous(backend.launch_provider(spec)).await.map(drop).expect_err("it never says");
    assert!(chain(&refused).contains("limit wall reached"), "{}", chain(&refused));
    Ok(())
}

/// With an instance for each of them, they would take more than three minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_breaks_off_at_every_provider_is_asked_for_a_few() -> TestResult {
    const COUNT: u32 = 1_000;
    let Launched { backend, spec, _scratch } = spinning(Duration::from_millis(200), |module| {
        let spin = "(param i32 i32) (result i32) (loop br 0) unreachable";
        fixtures::exporting(&fixtures::naming(&module, COUNT), &fixtures::provider("describe"), spin)
    })?;
    let plugin = generous(backend.launch_provider(spec)).await?;
    assert_eq!(plugin.providers().len(), 1_000);
    let whys =
        plugin.providers().iter().map(|name| plugin.descriptor(name).expect_err("it never describes one"));
    let (asked, others): (Vec<_>, Vec<_>) =
        whys.partition(|why| matches!(why, CallError::Limit(LimitHit { which: LimitName::Cpu, .. })));
    assert_eq!(asked.len(), 4);
    for why in others {
        assert!(chain(why).contains("it was not asked"), "{}", chain(why));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_offers_thousands_is_refused() -> TestResult {
    let refusal = refusal(&fixtures::trapping_provider(|module| fixtures::naming(&module, 1_001))).await?;
    assert!(refusal.contains("it offers 1001 under different names, and no more than 1000"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_whose_every_call_traps_is_refused_for_what_it_does_not_say() -> TestResult {
    let component = fixtures::trapping_provider(|module| module);
    let refusal = refusal(&component).await?;
    assert!(refusal.contains("does not say what it offers"), "{refusal}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_was_swapped_is_not_run() -> TestResult {
    let scratch = Scratch::new()?;
    let backend = fixtures::backend(Door::Component, scratch.path(), LONG);
    let mut spec = PluginSpec::new(PluginName::new("echo"), fixtures::guest("echo"));
    spec.digest = Some(Digest::from_sha256([7; 32]));
    assert_matches!(backend.launch_provider(spec).await, Err(LaunchError::Changed { .. }));
    Ok(())
}

const PROVIDER: &str = r#"(instance $p) (export "portcullis:plugin/provider@0.1.0" (instance $p))"#;
const HANDLER: &str = r#"(instance $h) (export "portcullis:plugin/auth-handler@0.1.0" (instance $h))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_is_both_a_provider_and_an_auth_handler_is_refused_by_name() -> TestResult {
    let both = format!("(component {PROVIDER} {HANDLER})");
    for kind in [Kind::Provider, Kind::AuthHandler] {
        let refusal = refusal_as(kind, &wat::parse_str(&both)?).await?;
        for name in ["portcullis:plugin/provider@0.1.0", "portcullis:plugin/auth-handler@0.1.0"] {
            assert!(refusal.contains(name), "{refusal}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_world_has_its_own_imports() -> TestResult {
    for (kind, import, export) in
        [(Kind::Provider, "prompts", PROVIDER), (Kind::AuthHandler, "output", HANDLER)]
    {
        let import = format!("portcullis:plugin/{import}@0.1.0");
        let text = format!(r#"(component (import "{import}" (instance)) {export})"#);
        let refusal = refusal_as(kind, &wat::parse_str(text)?).await?;
        assert!(refusal.contains(&import), "{refusal}");
    }
    Ok(())
}

#[test]
fn what_a_crash_of_the_machine_left_of_a_component_is_told() -> TestResult {
    let person = Person::new()?;
    let left = person.path("plugins/echo.wasm");
    let sentence = format!("{}: an empty file, or one that begins with zeros", left.display());
    for size in [0, 4096] {
        fs::File::create(&left)?.set_len(size)?;
        for wanted in ["echo", &left.display().to_string()] {
            fails(&person.types(&["run", wanted, "message=hello"])?, 4, &sentence);
        }
        let listing = person.types(&["list"])?;
        assert!(stderr(&listing).contains(&sentence), "{}", stderr(&listing));
    }
    Ok(())
}
