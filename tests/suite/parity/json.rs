//! JSON is text: what goes in comes out, to the byte.

use portcullis_tests::{Door, TestHost, TestResult};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_passes_untouched(door: Door) -> TestResult {
    // Contract item 109, and more than it asks: no number changes, however it is written.
    let mut host = TestHost::new(door);
    let plugin = host.launch("echo").await?;
    let deep = format!(r#"{{"deep":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let huge = format!(r#"{{"huge":"{}"}}"#, "x".repeat(3 << 20));
    let texts = [
        r#"{"integer":9007199254740993}"#,
        r#"{"large":1e400,"small":1e-400,"negative":-0,"fraction":1.0,"exponent":1E+2}"#,
        r#"{"digits":123456789012345678901234567890.123456789012345678901234567890}"#,
        r#"{"twice":1,"twice":2}"#,
        r#"{"z":1,"a":2,"m":{"z":1,"a":2}}"#,
        r#"{"empty":"","":"empty"}"#,
        r#"{"astral":"𝄞 👩‍🚀 \ud834\udd1e","escaped":"\u0000\u001f\/","markup":"<a href='x'>&</a>"}"#,
        "{ \"spaced\" :\t[ 1 , 2 ] ,\n\"out\": null }",
        &deep,
        &huge,
    ];
    for text in texts {
        let output = plugin.execute("raw", text).await?;
        assert!(output.data.as_str() == text, "sent {text:.100}, got {:.100}", output.data.as_str());
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_parses_its_input_answers_the_same_value(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("echo").await?;
    let text = r#"{"message":"hi","nested":{"list":[1,2,{"deep":true}],"none":null},"text":"𝄞"}"#;
    let output = plugin.execute("echo", text).await?;
    let sent: serde_json::Value = serde_json::from_str(text)?;
    assert_eq!(serde_json::from_str::<serde_json::Value>(output.data.as_str())?, sent);
    Ok(())
}
