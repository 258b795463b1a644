//! What a guest may ask of us, as component imports.
//!
//! Each call goes straight to the [`HostService`] that the plugin was launched with, which decides what was granted,
//! once for both backends. Dropping the guest's call drops the request.
//!
//! Identities come from auth handlers. One that is a component runs within the poll of the guest that asks, but its
//! processor time is charged to itself. Everything else that the host does for a guest is charged to the guest.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use portcullis_contract::{HostError, HostService};

use crate::component::bindings::portcullis::plugin::identity::{
    HandlerList, Host as IdentityHost, TokenRequest,
};
use crate::component::bindings::portcullis::plugin::secrets::Host as SecretsHost;
use crate::component::bindings::portcullis::plugin::types::{Claims, Token};
use crate::component::clock::Meter;
use crate::component::state::State;

impl State {
    fn ask(&self, without: HostError) -> Result<&Arc<dyn HostService>, HostError> {
        self.host().ok_or(without)
    }
}

/// Waits for another plugin's answer, on that plugin's processor time.
async fn elsewhere<T>(meter: &Meter, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    poll_fn(|cx| meter.aside(|| answer.as_mut().poll(cx))).await
}

/// An answer for the guest: the host's sentence is all that it sees of an error.
fn answer<T, U: From<T>>(result: Result<T, HostError>) -> wasmtime::Result<Result<U, String>> {
    Ok(result.map(U::from).map_err(|error| error.to_string()))
}

impl SecretsHost for State {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<Option<String>, String>> {
        answer(match self.ask(HostError::NO_SECRETS) {
            Ok(host) => host.get_secret(&name).await,
            Err(error) => Err(error),
        })
    }

    async fn set(&mut self, name: String, value: String) -> wasmtime::Result<Result<(), String>> {
        answer(match self.ask(HostError::NO_SECRETS) {
            Ok(host) => host.set_secret(&name, &value).await,
            Err(error) => Err(error),
        })
    }

    async fn delete(&mut self, name: String) -> wasmtime::Result<Result<(), String>> {
        answer(match self.ask(HostError::NO_SECRETS) {
            Ok(host) => host.delete_secret(&name).await,
            Err(error) => Err(error),
        })
    }

    async fn list(&mut self, pattern: String) -> wasmtime::Result<Result<Vec<String>, String>> {
        answer(match self.ask(HostError::NO_SECRETS) {
            Ok(host) => host.list_secrets(&pattern).await,
            Err(error) => Err(error),
        })
    }
}

impl IdentityHost for State {
    async fn get_claims(
        &mut self,
        handler: String,
        scope: String,
    ) -> wasmtime::Result<Result<Option<Claims>, String>> {
        let claims = match self.ask(HostError::NO_IDENTITY) {
            Ok(host) => elsewhere(self.meter(), host.auth_identity(&handler, &scope)).await,
            Err(error) => Err(error),
        };
        answer(claims.map(|claims| claims.map(Claims::from)))
    }

    async fn get_token(&mut self, request: TokenRequest) -> wasmtime::Result<Result<Token, String>> {
        answer(match self.ask(HostError::NO_TOKENS) {
            Ok(host) => elsewhere(self.meter(), host.auth_token(&request.into())).await,
            Err(error) => Err(error),
        })
    }

    async fn get_groups(&mut self, handler: String) -> wasmtime::Result<Result<Vec<String>, String>> {
        answer(match self.ask(HostError::NO_GROUPS) {
            Ok(host) => elsewhere(self.meter(), host.auth_groups(&handler)).await,
            Err(error) => Err(error),
        })
    }

    async fn list_handlers(&mut self) -> wasmtime::Result<HandlerList> {
        Ok(match self.host() {
            // This may start handlers, to ask what they offer.
            Some(host) => elsewhere(self.meter(), host.auth_handlers()).await.into(),
            None => HandlerList { names: Vec::new(), default: String::new() },
        })
    }
}
