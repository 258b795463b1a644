//! Instances that are made before a call comes for them.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis::component::{ComponentBackend, ComponentOptions, PrepareAhead};
use portcullis::contract::{
    Backend as _, Call, Configuration, Grants, Json, Limits, PluginName, PluginSpec, ProviderName,
};
use portcullis::host::services::Services;
use portcullis::policy::every_secret;
use portcullis_tests::{A_WHILE, Empty, Gate, TestResult, assert_matches, fixtures, generous, request};
use tokio::sync::Notify;

tokio::task_local! {
    /// Set where a test makes a call, and not where an instance is made ahead of one.
    static CALLING: ();
}

/// Answers calls, and has everybody else wait for ever.
#[derive(Debug, Default)]
struct ForCalls {
    waits: Notify,
    given_up: Notify,
}

/// Somebody who waits. Tells when that is over.
struct Waits<'a>(&'a Notify);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Gate for ForCalls {
    async fn pass(&self) {
        if CALLING.try_with(|_| ()).is_err() {
            self.waits.notify_one();
            let _waits = Waits(&self.given_up);
            pending::<()>().await;
        }
    }
}

/// There is no caller who would lose patience with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_made_ahead_that_never_gets_ready_ends_at_its_wall() -> TestResult {
    let store = Arc::new(Empty(ForCalls::default()));
    let name = PluginName::new("acrobat");
    let grants = Grants { secrets: every_secret(), ..Grants::default() };
    let services = Services::new(name.clone(), &grants, Some(Arc::clone(&store) as _), None);
    let spec = PluginSpec {
        grants,
        limits: Limits { wall: Some(A_WHILE), ..Limits::default() },
        host: Some(Arc::new(services)),
        ..PluginSpec::new(name, fixtures::guest("acrobat"))
    };
    let options = ComponentOptions { prepared: PrepareAhead::Always, ..fixtures::component_options() };
    let plugin = generous(ComponentBackend::new(options)?.launch_provider(spec)).await?;
    let (call, acrobat) = (Call::default(), ProviderName::new("acrobat"));

    let settings = [("secret".to_owned(), Json::from_text(r#""a""#))].into();
    let told = Configuration { settings, ..Configuration::default() };
    generous(CALLING.scope((), plugin.configure(&call, &acrobat, &told))).await?;

    let ok = || CALLING.scope((), plugin.execute(&call, request("acrobat", r#"{"operation":"ok"}"#)));
    let mut waits = pin!(generous(store.0.waits.notified()));
    loop {
        tokio::select! {
            biased;
            () = &mut waits => break,
            answer = ok() => assert_matches!(answer, Ok(_)),
        }
    }
    // Calls do not wait for it.
    assert_matches!(generous(ok()).await, Ok(_));
    generous(store.0.given_up.notified()).await;
    Ok(())
}
