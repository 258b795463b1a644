//! A store of secrets with none in it, whose callers wait.

use std::fmt::Debug;

use async_trait::async_trait;
use portcullis::secrets::{SecretStore, StoreError};
use tokio::sync::Barrier;

/// What whoever asks for a secret waits for.
#[async_trait]
pub trait Gate: Debug + Send + Sync {
    /// Waits.
    async fn pass(&self);
}

/// A store that has no secret, and says so once its gate has been passed. What is stored is gone.
#[derive(Debug, Default)]
pub struct Empty<G>(pub G);

#[async_trait]
impl<G: Gate> SecretStore for Empty<G> {
    async fn secret(&self, _: &str) -> Result<Option<String>, StoreError> {
        self.0.pass().await;
        Ok(None)
    }

    async fn set(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// Lets nobody pass before so many have come.
#[derive(Debug)]
pub struct Gathering(Barrier);

impl Gathering {
    /// Waits for so many.
    #[must_use]
    pub fn of(count: u16) -> Self {
        Self(Barrier::new(count.into()))
    }
}

#[async_trait]
impl Gate for Gathering {
    async fn pass(&self) {
        self.0.wait().await;
    }
}
