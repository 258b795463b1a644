//! Which services a plugin offers, if it says so.
//!
//! gRPC's server reflection exists under two names that differ in nothing else; servers from before 2023 know only the
//! older one. Nothing in go-plugin needs it, so a plugin without it has no fault.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{Channel, is_unknown_call, timeout};

/// How many names are kept. No plugin has nearly as many.
const NAMES: usize = 1000;

/// The services that a plugin says it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceList {
    /// The version of server reflection that it answered: `v1` or `v1alpha`.
    pub reflection: &'static str,
    /// The full names of the services, sorted.
    pub names: Vec<String>,
}

/// Writes what asks one version of reflection; the two differ in the package alone.
macro_rules! asks {
    ($version:ident) => {
        mod $version {
            use std::future::ready;

            use futures_util::stream::{StreamExt as _, once, pending};
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            use super::{Answer, Channel, Status};

            pub(super) async fn ask(channel: Channel, message_limit: usize) -> Result<Answer, Status> {
                let mut client =
                    ServerReflectionClient::new(channel).max_decoding_message_size(message_limit);
                let question = ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(MessageRequest::ListServices(String::new())),
                };
                // The stream is left open until the answer has come: a server may take its end for a goodbye.
                let questions = once(ready(question)).chain(pending());
                let mut answers = client.server_reflection_info(questions).await?.into_inner();
                let answer = answers.message().await?.and_then(|answer| answer.message_response);
                Ok(match answer {
                    Some(MessageResponse::ListServicesResponse(list)) => {
                        Answer::Names(list.service.into_iter().map(|service| service.name).collect())
                    }
                    Some(MessageResponse::ErrorResponse(error)) => Answer::Refused(error.error_message),
                    _ => Answer::Refused("it answered something else".to_owned()),
                })
            }
        }
    };
}

asks!(v1);
asks!(v1alpha);

enum Answer {
    Names(Vec<String>),
    Refused(String),
}

/// Asks by the newer version, and by the older one if that does not exist.
pub(crate) async fn services(
    channel: Channel,
    message_limit: usize,
    limit: Duration,
) -> Result<Option<ServiceList>, ReflectionError> {
    let until = timeout::end(Instant::now(), limit);
    let asked = timeout_at(until, v1::ask(channel.clone(), message_limit)).await;
    let (reflection, asked) = match asked {
        Ok(Err(status)) if is_unknown_call(&status) => {
            ("v1alpha", timeout_at(until, v1alpha::ask(channel, message_limit)).await)
        }
        asked => ("v1", asked),
    };
    match asked {
        Ok(Ok(Answer::Names(mut names))) => {
            names.sort();
            names.truncate(NAMES);
            Ok(Some(ServiceList { reflection, names }))
        }
        Ok(Ok(Answer::Refused(words))) => Err(ReflectionError::Refused { words }),
        Ok(Err(status)) if is_unknown_call(&status) => Ok(None),
        Ok(Err(status)) => Err(ReflectionError::Failed(Box::new(status))),
        Err(_elapsed) => Err(ReflectionError::TimedOut { limit }),
    }
}

/// Why a plugin that has server reflection does not say what it offers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReflectionError {
    /// It understood the question and does not answer it.
    #[error("the plugin does not say which services it offers: {words}")]
    Refused {
        /// Its words.
        words: String,
    },
    /// It answered with an error, or its connection is lost.
    #[error("the plugin cannot be asked for its services")]
    Failed(#[source] Box<Status>),
    /// It did not answer.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// How long it was waited for.
        limit: Duration,
    },
}
