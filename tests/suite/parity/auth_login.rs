//! How a login goes: prompts first, then one result or one error.

use futures_util::StreamExt as _;
use portcullis::contract::{
    Account, Amount, Call, CallError, Claims, HandlerName, LimitHit, LimitName, Limits, LoginEvent,
    LoginRequest,
};
use portcullis_tests::auth::{login, refusal};
use portcullis_tests::{Door, LONG, TestHost, TestResult, assert_matches, generous};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_come_in_order_and_one_result_after_them(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    for (flow, tenant, codes) in [
        ("", "t-1", &["ABCD-1234"][..]),
        ("device_code", "t-1", &["ABCD-1234"]),
        ("", "two-prompts", &["ABCD-1234", "EFGH-5678"]),
    ] {
        let (prompts, result) = doorman.login("door", login(flow, tenant)).await;
        // item 125
        assert_eq!(prompts.iter().map(|p| p.user_code.as_str()).collect::<Vec<_>>(), codes);
        for prompt in prompts {
            assert_eq!(prompt.verification_uri, "https://door.example/device");
            assert_eq!(prompt.message, format!("Enter {}", prompt.user_code));
        }
        let result = result?;
        assert_eq!(result.expires_at, Some(1_700_003_600));
        let claims = Claims {
            issuer: "https://door.example".to_owned(),
            subject: "s-1".to_owned(),
            tenant_id: tenant.to_owned(),
            object_id: String::new(),
            client_id: "c-1".to_owned(),
            email: "ada@door.example".to_owned(),
            name: "Ada".to_owned(),
            username: "ada".to_owned(),
            issued_at: Some(1_700_000_000),
            expires_at: None, // item 137
        };
        assert_eq!(result.claims, Some(claims));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_is_refused_in_the_plugins_words(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    // item 127: the words around these are the host's.
    assert_eq!(refusal(doorman.login("door", login("", "refuse")).await.1), "login refused");
    let (prompts, result) = doorman.login("door", login("teleport", "")).await;
    assert_eq!((prompts, refusal(result)), (vec![], "flow not supported: teleport".to_owned()));
    // item 142: the plugin itself is asked about a flow that nobody knows.
    let knocked = doorman.login("side", login("secret_knock", "")).await.1;
    assert_eq!(refusal(knocked), "flow not supported: secret_knock");
    assert!(!doorman.status("door").await?.authenticated);
    Ok(())
}

/// A Go plugin's error has no remarks.
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remark_on_a_refused_login_takes_the_place_of_its_words(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let refused = doorman.login("door", login("", "remark")).await.1;
    assert_eq!(refused.map_err(|error| error.to_string()), Err("nobody is home: ring twice".to_owned()));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_without_claims_is_a_result(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let (_, result) = doorman.login("door", login("", "no-claims")).await;
    let result = result?;
    assert_eq!((result.claims, result.expires_at), (None, Some(1_700_003_600))); // item 138
    let status = doorman.status("door").await?;
    assert_eq!((status.authenticated, status.claims), (true, None));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_login_abandons_it_and_nothing_else(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let (call, name) = (Call::default(), HandlerName::new("door"));
    for _ in 0..3 {
        let mut events = doorman.plugin.login(&call, &name, login("", "never"));
        assert_matches!(generous(events.next()).await, Some(Ok(LoginEvent::Prompt(_))));
        assert!(futures_util::poll!(events.next()).is_pending());
        drop(events);
    }
    // One that was never read was never begun.
    drop(doorman.plugin.login(&call, &name, login("", "never")));
    let (prompts, result) = doorman.login("door", login("", "")).await;
    assert_eq!((prompts.len(), result.is_ok()), (1, true));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_dies_under_a_login_is_said_to_have_stopped(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let (prompts, result) = doorman.login("door", login("", "crash")).await;
    assert_matches!((&prompts[..], result), ([], Err(CallError::Stopped(_))));
    Ok(())
}

/// Ten thousand prompts pass through a reader who takes one at a time.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_a_flood_of_prompts_loses_none(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { cpu: Some(LONG), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    let (call, name) = (Call::default(), HandlerName::new("door"));
    let mut events = doorman.plugin.login(&call, &name, login("", "flood"));
    let mut seen = 0;
    while let Some(event) = generous(events.next()).await {
        match event? {
            LoginEvent::Prompt(prompt) => {
                assert_eq!(prompt.user_code, format!("F-{seen:05}"));
                seen += 1;
            }
            LoginEvent::Result(result) => assert!(result.claims.is_some()),
        }
        // Let everybody else run before the next one is asked for.
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, 10_000);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_leaves_a_flood_leaves_no_login_behind(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { cpu: Some(LONG), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    let (call, name) = (Call::default(), HandlerName::new("door"));
    let mut events = doorman.plugin.login(&call, &name, login("", "flood"));
    assert_matches!(generous(events.next()).await, Some(Ok(LoginEvent::Prompt(_))));
    drop(events);
    assert!(!doorman.status("side").await?.authenticated);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_shows_is_limited_as_output_is(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { output: Some(1_000), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    let (prompts, result) = doorman.login("door", login("", "flood")).await;
    // Of 46 or so bytes each.
    assert!((1..=22).contains(&prompts.len()), "{}", prompts.len());
    let Err(CallError::Limit(LimitHit { which: LimitName::Output, asked, allowed })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(allowed, Amount::Bytes(1_000));
    assert_matches!(asked, Amount::Bytes(bytes) if bytes > 1_000);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_too_large_is_not_sent(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { message: Some(1_000), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    let long = "x".repeat(2_000);
    let request = LoginRequest { scopes: vec![long.clone()], ..LoginRequest::default() };
    let (prompts, result) = doorman.login("door", request).await;
    assert_matches!(
        (&prompts[..], result),
        (
            [],
            Err(CallError::Limit(LimitHit { which: LimitName::Message, allowed: Amount::Bytes(1_000), .. }))
        )
    );
    let (plugin, call, door) = (&doorman.plugin, Call::default(), HandlerName::new("door"));
    let account = Account { profile: Some(long.clone()), hostname: None };
    for error in [
        generous(plugin.logout(&call, &door, &account)).await.err(),
        generous(plugin.status(&call, &door, &account)).await.err(),
        generous(plugin.list_cached_tokens(&call, &door, Some(&long))).await.err(),
        generous(plugin.purge_expired_tokens(&call, &door, Some(&long))).await.err(),
    ] {
        assert_matches!(error, Some(CallError::Limit(LimitHit { which: LimitName::Message, .. })));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_is_a_limit(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { message: Some(1_000), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    doorman.login("door", login("", "")).await.1?;
    // A token names its scope twice.
    let token = doorman.token("door", &"x".repeat(600)).await;
    assert_matches!(
        token,
        Err(CallError::Limit(LimitHit { which: LimitName::Message, allowed: Amount::Bytes(1_000), .. }))
    );
    doorman.token("door", "a").await?;
    Ok(())
}
