//! What only an auth handler that is a child can do: be older, or newer, or play tricks on the wire.

#[cfg(go_peers)]
mod peers {
    use futures_util::StreamExt as _;
    use portcullis::contract::{
        Account, Call, CallError, Configuration, HandlerName, Json, LoginEvent, PromptError,
    };
    use portcullis_tests::auth::{Household, login, refusal, whole_access, whole_login};
    use portcullis_tests::{Door, TestAuth, TestHost, TestResult, assert_matches, generous};
    use serde_json::{Value, json};

    async fn detects(doorman: &TestAuth) -> bool {
        match doorman.flows("door").await {
            Ok(flows) => flows.len() == 3,
            Err(CallError::Unimplemented) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Item 2 as well: none of these would start without the cookie of auth handlers.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn both_versions_of_the_handshake_are_offered_and_the_later_one_is_chosen() -> TestResult {
        // A plugin of both knows the later calls in version 2 alone.
        for (name, later) in [("doorman-old", false), ("doorman-later", true), ("doorman", true)] {
            let mut host = TestHost::new(Door::Process);
            let doorman = host.launch_auth(name).await?;
            assert_eq!(doorman.plugin.handlers().len(), 2, "{name}");
            assert_eq!(detects(&doorman).await, later, "{name}");
            let version = if later { "version: 2" } else { "version: 1" };
            assert!(format!("{:?}", doorman.plugin).contains(version), "{:?}", doorman.plugin);
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plugin_of_the_oldest_generation_lets_people_in() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        host.host = Some(Household::new(&[], Ok("")));
        let doorman = host.launch_auth("doorman-old").await?;
        let call = Call::default();

        // item 111
        doorman.configure("door", &Configuration::default()).await?;
        generous(doorman.plugin.stop(&call, Some(&HandlerName::new("door")))).await?;
        generous(doorman.plugin.stop(&call, None)).await?;

        // The calls of the later wire have no fallback of their own: whoever calls does without.
        let activated = generous(doorman.plugin.activate_server_mode(&call, Json::from_text("{}"))).await;
        assert_matches!(activated, Err(CallError::Unimplemented));

        let (prompts, result) = doorman.login("door", login("", "two-prompts")).await;
        assert_eq!((prompts.len(), result?.claims.is_some()), (2, true));
        assert!(doorman.status("door").await?.authenticated);
        assert_eq!(doorman.token("door", "old").await?.access_token, "token-1-old");
        // item 134
        assert_eq!((doorman.tokens("door").await?.len(), doorman.purge("door").await?), (1, 1));
        doorman.logout("door").await?;
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_handler_is_was_asked_once() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        trickster.status("trickster").await?;
        // item 124
        assert_eq!(trickster.token("trickster", "asked").await?.access_token, "asked 1 times");
        let names: Vec<_> = trickster.plugin.handlers().iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["trickster", "trickster", ""], "who refuses names is the registry");
        assert_eq!(trickster.plugin.handlers()[1].display_name, "asked 1 times");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_first_end_of_a_login_counts_and_none_breaks_the_contract() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        let login = async |tenant: &str| trickster.login("trickster", login("", tenant)).await;

        let (prompts, result) = login("nothing").await;
        let Err(CallError::Contract(source)) = result else { panic!("{result:?}") };
        // item 126
        assert_eq!((prompts.len(), source.to_string().as_str()), (1, "login stream ended without result"));

        // item 125: what comes after the first result or error is not heard.
        for (tenant, name) in [("twice", "first"), ("unknown", "known")] {
            let (prompts, result) = login(tenant).await;
            assert_eq!((prompts.len(), result?.claims.map(|c| c.name)), (0, Some(name.to_owned())));
        }
        assert_eq!(refusal(login("late").await.1), "too late");
        assert_eq!(refusal(login("mute").await.1), "");
        Ok(())
    }

    /// Upstream's words before a status of a login, and upstream's form of the status.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_login_that_ends_with_a_status_says_so() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        let (prompts, result) = trickster.login("trickster", login("", "status")).await;
        assert_eq!(prompts.len(), 1);
        assert_eq!(refusal(result), "login stream error: rpc error: code = Unknown desc = out of breath");
        let (_, result) = trickster.login("trickster", login("", "denied")).await;
        assert_eq!(refusal(result), "login stream error: rpc error: code = PermissionDenied desc = not you");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_status_than_an_ordinary_error_is_told_as_it_came() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        let account = Account { profile: Some("denied".to_owned()), hostname: None };
        let (call, name) = (Call::default(), HandlerName::new("trickster"));
        let status = generous(trickster.plugin.status(&call, &name, &account)).await;
        assert_eq!(refusal(status), "rpc error: code = PermissionDenied desc = not you");
        assert_matches!(trickster.logout("trickster").await, Err(CallError::Unimplemented));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn gos_zero_time_is_no_time_wherever_it_stands() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        // item 137
        let result = trickster.login("trickster", login("", "go-zero")).await.1?;
        let claims = result.claims.expect("a trickster has a name");
        assert_eq!((result.expires_at, claims.issued_at, claims.expires_at), (None, None, None));
        let status = trickster.status("trickster").await?;
        assert_eq!((status.expires_at, status.last_refresh), (None, None));
        let token = trickster.token("trickster", "go-zero").await?;
        assert_eq!((token.expires_at, token.cached_at), (None, None));
        let token = &trickster.tokens("trickster").await?[0];
        assert_eq!((token.expires_at, token.cached_at), (None, None));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_forgets_less_than_nothing() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        assert_matches!(trickster.purge("trickster").await, Err(CallError::Contract(_)));
        Ok(())
    }

    /// What arrived, in the JSON of protobuf: its names, and 64 bits as text.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_field_of_the_wire_arrives_later_ones_included() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let trickster = host.launch_auth("trickster").await?;
        let (call, name) = (Call::default(), HandlerName::new("trickster"));
        let some = |text: &str| Some(text.to_owned());
        let parsed = |text: &str| serde_json::from_str::<Value>(text);

        let claims =
            trickster.login("trickster", whole_login("t-1")).await.1?.claims.expect("a trickster has a name");
        let expected = json!({
            "handlerName": "trickster", "tenantId": "t-1", "scopes": ["a", "b"], "flow": "pat",
            "timeoutSeconds": "90", // item 129
            // item 130: not sent by upstream's hosts of that time; these are the fields of the later wire.
            "profile": "work", "hostname": "host", "callbackPort": 8400,
        });
        assert_eq!(parsed(&claims.name)?, expected);

        let account = Account { profile: some("work"), hostname: some("host") };
        let status = generous(trickster.plugin.status(&call, &name, &account)).await?;
        let expected = json!({"handlerName": "trickster", "profile": "work", "hostname": "host"});
        assert_eq!(parsed(&status.reason)?, expected);

        let token = trickster.access("trickster", whole_access("s")).await?;
        let expected = json!({
            "handlerName": "trickster", "scope": "s", "forceRefresh": true, "profile": "work",
            "minValidForSeconds": "60", // item 133
            "serverContext": "delegated", "caller": "user", "assertion": "bearer", "hostname": "host",
        });
        assert_eq!(parsed(&token.access_token)?, expected);

        let tokens = generous(trickster.plugin.list_cached_tokens(&call, &name, Some("work"))).await?;
        assert_eq!(tokens.iter().map(|t| t.handler.as_str()).collect::<Vec<_>>(), ["trickster", "work"]);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_configuration_arrives_whole_and_names_the_host_only_if_there_is_one() -> TestResult {
        let configuration = Configuration {
            quiet: true,
            no_color: true,
            binary_name: "portcullis".to_owned(),
            settings: [("one".to_owned(), Json::from_text("1.0"))].into(),
            profile: Some("work".to_owned()),
            prompts_for_response: true,
        };
        for offers in [true, false] {
            let mut host = TestHost::new(Door::Process);
            if offers {
                host.host = Some(Household::new(&[], Ok("")));
            }
            let trickster = host.launch_auth("trickster").await?;
            let mut seen: Value =
                serde_json::from_str(&refusal(trickster.configure("trickster", &configuration).await))?;
            let id = seen.as_object_mut().and_then(|seen| seen.remove("hostServiceId"));
            assert_eq!(id.is_some(), offers); // items 143 and 144
            let expected = json!({
                "handlerName": "trickster", "quiet": true, "noColor": true, "binaryName": "portcullis",
                "settings": {"one": "MS4w"}, "profile": "work",
                "protocolVersion": 2, // item 20
                "hostCapabilities": {"promptAuthResponse": true},
            });
            assert_eq!(seen, expected);

            let plain = refusal(trickster.configure("trickster", &Configuration::default()).await);
            assert!(!plain.contains("hostCapabilities"), "{plain}");
        }
        Ok(())
    }

    /// The one call of a host that fails with a status, so that a plugin can go on in another way.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_does_not_answer_fails_with_a_status_of_its_own() -> TestResult {
        for (error, status) in [
            (PromptError::Unimplemented, "code = Unimplemented desc = this host cannot ask a person"),
            (PromptError::Unavailable("not now".to_owned()), "code = Unavailable desc = not now"),
            (PromptError::Cancelled("no".to_owned()), "code = Canceled desc = no"),
        ] {
            let mut host = TestHost::new(Door::Process);
            host.host = Some(Household::new(&[], Err(error)));
            let doorman = host.launch_auth("doorman").await?;
            let configuration = Configuration { prompts_for_response: true, ..Configuration::default() };
            doorman.configure("door", &configuration).await?;
            let refused = refusal(doorman.login("door", login("interactive", "")).await.1);
            assert_eq!(refused, format!("host PromptAuthResponse: rpc error: {status}"));
        }
        Ok(())
    }

    /// A component is one instance and queues its calls; a child serves them side by side.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_do_not_wait_for_a_login() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let doorman = host.launch_auth("doorman").await?;
        let (call, name) = (Call::default(), HandlerName::new("door"));
        let mut events = doorman.plugin.login(&call, &name, login("", "never"));
        assert_matches!(generous(events.next()).await, Some(Ok(LoginEvent::Prompt(_))));
        assert!(!doorman.status("door").await?.authenticated);
        doorman.login("door", login("", "")).await.1?;
        assert!(doorman.status("door").await?.authenticated);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_child_that_died_under_a_login_answers_nothing_more() -> TestResult {
        let mut host = TestHost::new(Door::Process);
        let doorman = host.launch_auth("doorman").await?;
        let Err(CallError::Stopped(reason)) = doorman.login("door", login("", "crash")).await.1 else {
            panic!("it crashed")
        };
        let reason = reason.to_string();
        assert!(reason.contains("exit status: 3"), "{reason}");
        assert_matches!(doorman.status("door").await, Err(CallError::Stopped(_)));
        assert!(!doorman.plugin.is_running());
        Ok(())
    }
}
