//! What surrounds a call reaches the plugin as it was said.

use portcullis::contract::{
    Capability, Configuration, Context, Execute, Iteration, Json, Settings, Solution,
};
use portcullis_tests::{Door, TestHost, TestPlugin, TestResult, request};
use serde_json::{Value, json};
use test_case::test_case;

async fn seen(plugin: &TestPlugin, request: Execute) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_str(plugin.request(request).await?.data.as_str())?)
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_context_of_an_execution_reaches_the_plugin(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let context = Context {
        context: Some(Json::from_text(r#"{"resolverContext":{"a":[1,2]}}"#)),
        dry_run: true,
        mode: Some(Capability::ACTION),
        working_directory: Some("/work/here".to_owned()),
        output_directory: Some("/work/there".to_owned()),
        conflict_strategy: Some("skip".to_owned()),
        backup: true,
        iteration: Some(Iteration {
            item: Some(Json::from_text(r#"{"n":1}"#)),
            index: 3,
            item_alias: "it".to_owned(),
            index_alias: "i".to_owned(),
        }),
        parameters: Some(Json::from_text(r#"{"p":"q"}"#)),
        solution: Some(Solution {
            name: "sol".to_owned(),
            version: "1.0.0".to_owned(),
            display_name: "Sol".to_owned(),
            description: "what it is".to_owned(),
            category: "stars".to_owned(),
            tags: vec!["hot".to_owned(), "near".to_owned()],
            source: "catalog".to_owned(),
        }),
        auth_profile: Some("work".to_owned()),
        settings: [("s".to_owned(), Json::from_text("[true]"))].into(),
    };
    let request = Execute { context, ..request("acrobat", r#"{"operation":"context"}"#) };
    let seen = seen(&plugin, request).await?;

    assert_eq!(seen["dryRun"], true);
    assert_eq!(seen["mode"], "action");
    assert_eq!(seen["workingDirectory"], "/work/here");
    assert_eq!(seen["outputDirectory"], "/work/there");
    assert_eq!(seen["conflictStrategy"], "skip");
    assert_eq!(seen["backup"], true);
    assert_eq!(
        seen["iteration"],
        json!({"item": {"n": 1}, "index": 3, "itemAlias": "it", "indexAlias": "i"})
    );
    assert_eq!(seen["parameters"], json!({"p": "q"}));
    let solution = &seen["solution"];
    for (key, value) in [
        ("name", json!("sol")),
        ("version", json!("1.0.0")),
        ("displayName", json!("Sol")),
        ("description", json!("what it is")),
        ("category", json!("stars")),
        ("tags", json!(["hot", "near"])),
        ("source", json!("catalog")),
    ] {
        assert_eq!(solution[key], value, "{key}");
    }
    assert_eq!(seen["authProfile"], "work");
    assert_eq!(seen["settings"], json!({"s": [true]}));
    Ok(())
}

/// A Go plugin gets the bytes as they are.
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_is_no_json_is_a_text(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let settings: Settings = [("word".to_owned(), Json::from_text("plain"))].into();
    let configuration = Configuration { settings: settings.clone(), ..Configuration::default() };
    plugin.configure("acrobat", &configuration).await?;
    let configured = seen(&plugin, request("acrobat", r#"{"operation":"configured"}"#)).await?;
    assert_eq!(configured["settings"], json!({"word": "plain"}));

    let context = Context { settings, ..Context::default() };
    let request = Execute { context, ..request("acrobat", r#"{"operation":"context"}"#) };
    assert_eq!(seen(&plugin, request).await?["settings"], json!({"word": "plain"}));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_said_is_not_seen(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let seen = seen(&plugin, request("acrobat", r#"{"operation":"context"}"#)).await?;
    assert_eq!(seen["dryRun"], false);
    for key in ["mode", "workingDirectory", "outputDirectory", "conflictStrategy", "iteration", "solution"] {
        assert!(matches!(&seen[key], Value::Null) || seen[key] == "", "{key}: {seen}");
    }
    Ok(())
}

/// A component gets a fresh instance for every call, each configured like the first.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_holds_for_every_call_that_follows(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let configuration = Configuration {
        quiet: true,
        no_color: true,
        binary_name: "portcullis".to_owned(),
        settings: [
            ("one".to_owned(), Json::from_text("1")),
            ("two".to_owned(), Json::from_text(r#"{"x":"y"}"#)),
        ]
        .into(),
        profile: Some("work".to_owned()),
        prompts_for_response: true,
    };
    plugin.configure("acrobat", &configuration).await?;
    for _ in 0..3 {
        let seen = seen(&plugin, request("acrobat", r#"{"operation":"configured"}"#)).await?;
        assert_eq!(seen["quiet"], true);
        assert_eq!(seen["noColor"], true);
        assert_eq!(seen["binaryName"], "portcullis");
        assert_eq!(seen["profile"], "work");
        assert_eq!(seen["settings"], json!({"one": 1, "two": {"x": "y"}}));
        // A provider has no login to ask during.
        assert_ne!(seen["promptsForResponse"], true);
    }
    Ok(())
}

/// What is set for us is not set for plugins: a child gets what most programs need, a component nothing,
/// and each what it was granted by name.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_is_seen_when_it_was_granted(door: Door) -> TestResult {
    let env = async |plugin: &TestPlugin, name: &str| {
        seen(plugin, request("acrobat", &format!(r#"{{"operation":"env","name":"{name}"}}"#))).await
    };
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    assert_eq!(env(&plugin, "HOST_TOKEN").await?["set"], false);
    assert_eq!(env(&plugin, "PATH").await?["set"], !matches!(door, Door::Component | Door::Shim));

    host.grants.env = vec!["HOST_TOKEN".to_owned()];
    let plugin = host.launch("acrobat").await?;
    assert_eq!(env(&plugin, "HOST_TOKEN").await?, json!({"set": true, "value": "hush"}));
    Ok(())
}
