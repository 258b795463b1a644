//! What a plugin answers, as it arrives.

use portcullis::contract::{Call, Capability, Json, ProviderName};
use portcullis_tests::{Door, TestHost, TestResult, generous};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_offers_its_providers_in_its_own_order(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("echo").await?;
    let names: Vec<_> = plugin.provider.providers().iter().map(ProviderName::as_str).collect();
    assert_eq!(names, ["echo", "noop", "raw"]);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descriptor_says_the_same_whatever_runs_the_plugin(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("keeper").await?;
    let descriptor = plugin.provider.descriptor(&ProviderName::new("keeper")).expect("keeper is described");

    assert_eq!(descriptor.name, "keeper");
    assert_eq!(descriptor.version, "1.2.3");
    assert_eq!(descriptor.api_version, "v1");
    assert_eq!(descriptor.category, "test");
    assert_eq!(descriptor.capabilities, [Capability::FROM, Capability::ACTION]);
    assert_eq!(descriptor.sensitive_fields, ["value"]);
    assert_eq!(descriptor.write_operations.as_deref(), Some(&["set".to_owned(), "delete".to_owned()][..]));
    let schema: serde_json::Value =
        serde_json::from_str(descriptor.schema.as_ref().expect("a schema").as_str())?;
    assert_eq!(schema["required"], serde_json::json!(["operation"]));
    assert_eq!(schema["properties"]["operation"]["type"], "string");
    let action = &descriptor.output_schemas[&Capability::ACTION];
    let action: serde_json::Value = serde_json::from_str(action.as_str())?;
    assert_eq!(action["properties"]["success"]["type"], "boolean");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_metadata_and_the_streamed_mark_arrive(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let output = plugin.execute("acrobat", r#"{"operation":"warn","streamed":true}"#).await?;
    assert_eq!(output.warnings.len(), 2, "{output:?}");
    assert!(output.streamed);
    let metadata: serde_json::Value = serde_json::from_str(output.metadata.expect("metadata").as_str())?;
    assert_eq!(metadata, serde_json::json!({"n": 1, "who": "acrobat"}));

    let output = plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    assert_eq!((output.warnings.len(), output.metadata, output.streamed), (0, None, false));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_says_what_it_would_do(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let name = ProviderName::new("acrobat");
    let what_if = async |operation: &str| {
        let input = Json::from_text(format!(r#"{{"operation":"{operation}"}}"#));
        generous(plugin.provider.describe_what_if(&Call::default(), &name, input)).await
    };
    assert_eq!(what_if("leap").await?, "Would leap");
    assert_eq!(what_if("quiet-what-if").await?, "");
    assert!(what_if("fail-what-if").await.is_err());
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_names_what_its_inputs_depend_on(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let name = ProviderName::new("acrobat");
    let inputs = Json::from_text(r#"{"a":{"rslvr":"one"},"b":{"expr":"x"},"c":"plain","d":{"rslvr":"two"}}"#);
    let mut found = generous(plugin.provider.extract_dependencies(&Call::default(), &name, inputs)).await?;
    found.sort();
    assert_eq!(found, ["one", "two"]);

    let none = Json::from_text("{}");
    assert_eq!(generous(plugin.provider.extract_dependencies(&Call::default(), &name, none)).await?, [""; 0]);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_a_provider_leaves_the_plugin_running(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let name = ProviderName::new("acrobat");
    generous(plugin.provider.stop(&Call::default(), Some(&name))).await?;
    generous(plugin.provider.stop(&Call::default(), None)).await?;
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}
