//! The store behind the secret calls.
//!
//! A [`SecretStore`] keeps texts under names and knows nothing of plugins: which plugin may ask for which secret is
//! decided before, in [`host::services`](crate::host::services). No value ever appears in a `Debug`, an error or a log
//! line.

mod file;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

pub use file::{FileError, FileStore, Malformed};

/// A store of texts under names. Implementations promise:
///
/// - Calls may overlap. What one call has set, every later call sees.
/// - A change happens as a whole or not at all; if it fails, nothing is lost.
/// - Dropping the future of a call only stops waiting for it. A change that has begun is still made.
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
/// The plugin gets the message, so it says nothing about this machine; the source may.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[source] Box<dyn Error + Send + Sync>),
    /// The store cannot be changed, and was not.
    #[error("the store cannot be written")]
    Write(#[source] Box<dyn Error + Send + Sync>),
}
