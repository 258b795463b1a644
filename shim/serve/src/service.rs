//! What the services of both kinds of plugins share: the plugin or why there is none, its host, and how the outcome of
//! a call is answered.

use std::num::NonZeroU32;
use std::sync::Arc;

use portcullis_contract::proto::Answer;
use portcullis_contract::{CallError, Refusal, chain};
use tonic::{Response, Status};

use crate::host_service::RemoteHost;
use crate::status;

/// What a call of the wire is answered with.
pub(crate) type Responded<M> = Result<Response<M>, Status>;

/// A plugin, or one that could not say what it offers, and its host.
pub(crate) struct Service<P: ?Sized> {
    pub(crate) plugin: Result<Arc<P>, CallError>,
    pub(crate) host: RemoteHost,
}

impl<P: ?Sized> Service<P> {
    /// Returns the plugin, or the status for one that could not say what it offers, with `words` before its text.
    pub(crate) fn plugin(&self, words: &str) -> Result<&Arc<P>, Status> {
        self.plugin.as_ref().map_err(|error| status::of(error, words))
    }

    /// Connects to the host that a configuration names, or refuses the configuration.
    pub(crate) async fn bind(&self, host: Option<NonZeroU32>) -> Result<(), Refusal> {
        let bound = self.host.bind(host).await;
        bound.map_err(|error| Refusal::new(format!("failed to dial host service: {}", chain(&error))))
    }
}

/// Returns the answer of a call whose refusals have a field of their own.
pub(crate) fn answered<T, M: From<Answer<T>>>(method: &str, answer: Result<T, CallError>) -> Responded<M> {
    match answer {
        Ok(value) => Ok(Response::new(Answer(Ok(value)).into())),
        Err(CallError::Refused(refusal)) => Ok(refused(refusal)),
        Err(CallError::Unimplemented) => Err(status::unimplemented(method)),
        Err(error) => Err(status::of(&error, "")),
    }
}

/// Returns the answer for a refusal.
pub(crate) fn refused<T, M: From<Answer<T>>>(refusal: Refusal) -> Response<M> {
    Response::new(Answer(Err(refusal)).into())
}
