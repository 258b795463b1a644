//! Two brokers with sockets, in any order of serving and dialling.

use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis_fuzz::Random;
use tokio::time::timeout;
use tonic::service::Routes;

use super::*;
use crate::Health;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// One side that serves and one that dials, and what carries the announcements.
struct Pair {
    serves: Broker,
    dials: Broker,
    directory: tempfile::TempDir,
    _alive: watch::Sender<bool>,
    _carrier: Task,
}

fn pair() -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let (alive, ended) = Ended::new();
    let broker = || {
        let place = Place::shared(directory.path().to_owned(), None);
        Broker::new(Queue::new(), Medium::Sockets { place, strays: None }, None, ended.clone())
    };
    let (serves, dials) = (broker(), broker());
    let mut outgoing = serves.outgoing();
    let to = dials.clone();
    let carrier = Task::spawn(async move {
        while let Some(info) = outgoing.next().await {
            to.arrived(info);
        }
    });
    Pair { serves, dials, directory, _alive: alive, _carrier: carrier }
}

/// Serves something that can be told from what is served under every other number.
async fn serve(broker: &Broker, id: u32) -> Serving {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(id.to_string(), tonic_health::ServingStatus::Serving).await;
    broker.serve_as(id, Routes::new(health)).await.unwrap()
}

async fn check_reaches(channel: Channel, id: u32) {
    let health = crate::health::check(channel, &id.to_string(), LONG).await.unwrap();
    assert_eq!(health, Health::Serving, "server {id}");
}

#[tokio::test]
async fn any_order_of_serving_and_dialling_meets_and_leaves_nothing() {
    for seed in 0..20 {
        let mut random = Random::from_name(&format!("broker {seed}"));
        timeout(LONG, course(&mut random)).await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
    }
}

async fn course(random: &mut Random) {
    let pair = pair();
    let mut servings = Vec::new();
    let mut dialled = Vec::new();
    for _ in 0..12 {
        let id = pair.serves.next_id();
        // Somebody may have given up before it is served.
        if random.below(3) == 0 {
            let dial = pair.dials.dial(id);
            tokio::select! {
                biased;
                _ = dial => panic!("nobody serves {id} yet"),
                () = std::future::ready(()) => {}
            }
        }
        let dial = {
            let dials = pair.dials.clone();
            async move { (id, dials.dial(id).await) }
        };
        if random.below(2) == 0 {
            dialled.push(tokio::spawn(dial));
            if random.below(2) == 0 {
                tokio::task::yield_now().await;
            }
            servings.push(serve(&pair.serves, id).await);
        } else {
            servings.push(serve(&pair.serves, id).await);
            if random.below(3) == 0 {
                // It moves, before anybody came: the last word counts.
                servings.push(serve(&pair.serves, id).await);
            }
            dialled.push(tokio::spawn(dial));
        }
    }
    while !dialled.is_empty() {
        let (id, channel) = dialled.swap_remove(random.below(dialled.len())).await.unwrap();
        check_reaches(channel.unwrap(), id).await;
    }

    drop(servings);
    while std::fs::read_dir(pair.directory.path()).unwrap().next().is_some() {
        tokio::task::yield_now().await;
    }
    pair.dials.close();
    assert!(matches!(pair.dials.dial(1).await, Err(BrokerError::Closed)));
    pair.serves.close();
    assert!(matches!(pair.serves.serve(Routes::default()).await, Err(BrokerError::Closed)));
}
