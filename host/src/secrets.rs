//! The store behind the secret calls.
//!
//! A [`SecretStore`] keeps texts under names and knows nothing of plugins: who may ask for what is
//! decided before it is asked, in [`host::services`](crate::host::services). No value ever appears
//! in a `Debug`, an error or a log line.

mod file;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

pub use file::{FileError, FileStore, Malformed};

/// Texts under names.
///
/// - Calls may overlap, and what one has set every later call sees.
/// - A change happens as a whole or not at all; a failed one loses nothing.
/// - Dropping the future of a call gives up waiting for it. A change that has begun is still made.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync {
    /// Returns a secret, or `None` when there is none of that name.
    async fn secret(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Stores a secret, replacing one of the same name.
    async fn set(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// Forgets a secret. Forgetting what is not there succeeds.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Returns the names of all secrets, sorted by their bytes.
    async fn names(&self) -> Result<Vec<String>, StoreError>;
}

/// Why a store did not do what it was asked.
///
/// A plugin reads the message, so that it says nothing of this machine; the source does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What is stored cannot be had.
    #[error("the store cannot be read")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored cannot be changed, and was not.
    #[error("the store cannot be written")]
    Write(#[source] Box<dyn Error + Send + Sync>),
}
