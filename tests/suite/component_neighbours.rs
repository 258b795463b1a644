//! Components that have others work for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use portcullis::contract::{AuthHandlers, CallError, Claims, IdentityGrant, Limits, Token, TokenRequest};
use portcullis::host::services::{IdentityError, IdentityService, IdentitySource};
use portcullis_tests::{Door, TestHost, TestResult, assert_matches};
use test_case::test_case;

/// Computes before it answers, as an auth handler that is a component does.
#[derive(Debug)]
struct Slow(Duration);

impl Slow {
    fn compute(&self) {
        let begun = Instant::now();
        while begun.elapsed() < self.0 {
            std::hint::spin_loop();
        }
    }
}

#[async_trait]
impl IdentitySource for Slow {
    fn offers(&self, _: IdentityService) -> bool {
        true
    }

    async fn handlers(&self) -> Result<AuthHandlers, IdentityError> {
        self.compute();
        Ok(AuthHandlers::default())
    }

    async fn identity(&self, _: &str, _: &str) -> Result<Option<Claims>, IdentityError> {
        self.compute();
        Ok(None)
    }

    async fn token(&self, _: &TokenRequest) -> Result<Token, IdentityError> {
        self.compute();
        Err(IdentityError("nobody is logged in".to_owned()))
    }

    async fn groups(&self, _: &str) -> Result<Vec<String>, IdentityError> {
        self.compute();
        Ok(Vec::new())
    }
}

#[test_case("handlers"; "handlers")]
#[test_case("identity"; "identity")]
#[test_case("token"; "token")]
#[test_case("groups"; "groups")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_auth_handler_computes_is_not_put_down_to_who_asks_it(operation: &str) -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { cpu: Some(Duration::from_millis(200)), ..Limits::default() };
    host.grants.identity = Some(IdentityGrant { handlers: vec!["door".to_owned()], token: true });
    host.offer("keeper", None, Some(Arc::new(Slow(Duration::from_secs(1)))));
    let plugin = host.launch("keeper").await?;
    let asked = plugin.execute("keeper", &format!(r#"{{"operation":"{operation}","handler":"door"}}"#)).await;
    // There is no token, which the guest is told as anybody else is.
    assert_matches!(asked, Ok(_) | Err(CallError::Refused(_)));
    Ok(())
}
