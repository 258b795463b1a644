//! Two brokers, with sockets in any order of serving and dialling, and over one session.

use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis_fuzz::Random;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tonic::service::Routes;

use super::*;
use crate::Health;
use crate::mux::Role;

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
    let carrier = carry(&serves, &dials);
    Pair { serves, dials, directory, _alive: alive, _carrier: carrier }
}

fn carry(from: &Broker, to: &Broker) -> Task {
    let (mut outgoing, to) = (from.outgoing(), to.clone());
    Task::spawn(async move {
        while let Some(info) = outgoing.next().await {
            to.arrived(info);
        }
    })
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

/// Go's servers give up on a connection that says nothing for two minutes.
#[tokio::test]
async fn who_dials_begins_to_speak_before_there_is_a_call() {
    let pair = pair();
    let address = pair.directory.path().join("elsewhere");
    let listener = UnixListener::bind(&address).unwrap();
    let address = address.to_str().unwrap().to_owned();
    pair.dials.arrived(ConnInfo { service_id: 1, network: "unix".to_owned(), address, knock: None });
    let _channel = pair.dials.dial(1).await.unwrap();

    let (mut link, _) = listener.accept().await.unwrap();
    let mut said = [0; 14];
    timeout(LONG, link.read_exact(&mut said)).await.expect("it says nothing").unwrap();
    assert_eq!(&said, b"PRI * HTTP/2.0");
}

/// A stream is not known to the other side before its first bytes, and would be taken for the next one.
#[tokio::test]
async fn a_dial_without_a_call_is_not_mistaken_for_the_next_in_a_session() {
    let (there, here) = UnixStream::pair().unwrap();
    let (_alive, ended) = Ended::new();
    let side = |socket, role| {
        let queue = Queue::new();
        let (mux, main) = Mux::new(Socket::Unix(socket), role, queue.clone());
        (Broker::new(queue, Medium::Mux(mux), None, ended.clone()), main)
    };
    let ((host, _nothing), (plugin, _main)) = (side(there, Role::Host), side(here, Role::Plugin));
    let _carriers = [carry(&host, &plugin), carry(&plugin, &host)];
    let _servings = [serve(&host, 1).await, serve(&host, 2).await];

    let first = plugin.dial(1).await.unwrap();
    let second = plugin.dial(2).await.unwrap();
    check_reaches(second, 2).await; // H-62
    check_reaches(first, 1).await;
}
