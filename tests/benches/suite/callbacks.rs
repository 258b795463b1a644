//! What a plugin pays for asking its host: for a secret that is in memory.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis::contract::{Call, Configuration, Execute, Json, Provider, ProviderName};
use portcullis::policy::every_secret;
use portcullis::secrets::{SecretStore, StoreError};
use portcullis_tests::{Door, TestHost};
use tokio::runtime::Runtime;

use crate::measure::{Times, alternate, median, micros};
use crate::report::{Report, figure};

/// How many callbacks the longer of the two calls makes more.
const MORE: u32 = 100;

/// One secret.
#[derive(Debug)]
struct Secret;

#[async_trait]
impl SecretStore for Secret {
    async fn secret(&self, _: &str) -> Result<Option<String>, StoreError> {
        Ok(Some("hush".to_owned()))
    }

    async fn set(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(vec!["a".to_owned()])
    }
}

/// Its fields are in the order in which they have to end.
struct Keeper {
    name: &'static str,
    provider: Arc<dyn Provider>,
    _host: TestHost,
}

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    let mut keepers = [(Door::Process, "Go plugin, over the broker"), (Door::Component, "component")].map(
        |(door, name)| {
            let mut host = TestHost::new(door);
            host.grants.secrets = every_secret();
            host.offer("keeper", Some(Arc::new(Secret)), None);
            let provider = runtime.block_on(async {
                let plugin = host.launch("keeper").await.expect("the plugin starts");
                plugin.configure("keeper", &Configuration::default()).await.expect("it is configured");
                plugin.provider
            });
            Keeper { name, provider, _host: host }
        },
    );
    let rounds = alternate(&mut keepers, |keeper| runtime.block_on(round(Arc::clone(&keeper.provider))));
    let figures: Vec<_> = rounds.iter().map(|rounds| median(rounds.iter().map(Times::p50))).collect();
    let row =
        |(keeper, own): (&Keeper, &f64)| vec![keeper.name.to_owned(), figure(*own), figure(figures[0] / own)];
    let rows: Vec<_> = keepers.iter().zip(&figures).map(row).collect();
    report.table("One callback, us", &["from", "p50", "the broker takes so many times as long"], &rows);
}

/// Returns what each callback took in some calls: how much longer a call with many takes than one with one, divided by
/// how many more those are.
async fn round(provider: Arc<dyn Provider>) -> Times {
    let ask = async move || {
        let mut each = Vec::new();
        for _ in 0..10 {
            let [one, many] = [1, 1 + MORE].map(|times| {
                let input = format!(r#"{{"operation":"get","name":"a","times":{times}}}"#);
                Execute::new(ProviderName::new("keeper"), Json::from_text(input))
            });
            let begun = std::time::Instant::now();
            provider.execute(&Call::default(), one).await.expect("a benchmarked call works");
            let between = std::time::Instant::now();
            provider.execute(&Call::default(), many).await.expect("a benchmarked call works");
            each.push((micros(between.elapsed()) - micros(between - begun)) / f64::from(MORE));
        }
        Times::new(each, 1.0)
    };
    tokio::spawn(async move { ask().await }).await.expect("a caller comes to its end")
}
