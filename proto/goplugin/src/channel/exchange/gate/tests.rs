//! Calls that wait for a place. The clock stands still while anything happens: where it moves, somebody was not woken.

use std::pin::pin;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, Response};
use tokio::io::duplex;
use tokio::task::yield_now;
use tonic::body::Body as TonicBody;

use super::super::Unanswered;
use super::super::tests::{Endless, PIPE, Server, begin_answer, call, next, request, write};
use super::*;

/// Returns a connection to a server that lets so many calls run at once.
async fn limited(limit: u32) -> (Sender, Server) {
    let (ours, theirs) = duplex(PIPE);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(limit);
    let (sender, server) = tokio::join!(Sender::begin(ours), builder.handshake(theirs));
    (sender.unwrap(), server.unwrap())
}

/// Answers one call at once, and makes sure that no other has come meanwhile.
async fn answer_alone(server: &mut Server) {
    let (_request, mut respond) = server.accept().await.unwrap().unwrap();
    for _ in 0..8 {
        write(server);
        yield_now().await;
    }
    respond.send_response(Response::new(()), true).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_lets_calls_through_one_by_one() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let calls = (0..4).map(|_| async { drop(sender.exchange(request()).await.unwrap()) });
    let serving = async {
        for _ in 0..4 {
            answer_alone(&mut server).await;
        }
        server.accept().await.is_some()
    };
    tokio::select! {
        _ = join_all(calls) => {}
        _ = serving => panic!("the connection has ended, or somebody else calls"),
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_allows_is_known_before_a_second_call_leaves() {
    let (ours, theirs) = duplex(PIPE);
    let sender = Sender::begin(ours).await.unwrap();
    let mut calls = pin!(join_all((0..6).map(|_| async { drop(sender.exchange(request()).await.unwrap()) })));
    assert!((&mut calls).now_or_never().is_none());
    yield_now().await;

    let serving = async {
        let mut server =
            h2::server::Builder::new().max_concurrent_streams(2).handshake(theirs).await.unwrap();
        while let Some(call) = server.accept().await {
            let (_request, mut respond): (_, h2::server::SendResponse<Bytes>) = call.unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    };
    tokio::select! {
        _ = calls => {}
        () = serving => panic!("the connection has ended"),
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_learn_that_there_can_be_no_more_calls() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let (_ours, _theirs) = call(&sender, &mut server).await;
    let endless = request().map(|_| TonicBody::new(Endless));
    let mut waiting = pin!(join_all([request(), endless, request()].map(|request| sender.exchange(request))));
    assert!((&mut waiting).now_or_never().is_none());

    server.graceful_shutdown();
    let outcomes = tokio::select! {
        outcomes = waiting => outcomes,
        _ = server.accept() => panic!("the connection has ended, or somebody else calls"),
    };
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Unanswered::Unsent(_))));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_learn_that_the_connection_is_lost() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let (_ours, _theirs) = call(&sender, &mut server).await;
    let mut waiting = pin!(join_all([request(), request()].map(|request| sender.exchange(request))));
    assert!((&mut waiting).now_or_never().is_none());

    drop(server);
    for outcome in waiting.await {
        assert!(matches!(outcome, Err(Unanswered::Unsent(_))));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_its_place_to_the_next() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let (ours, _theirs) = call(&sender, &mut server).await;
    let mut first = Box::pin(sender.exchange(request()));
    assert!((&mut first).now_or_never().is_none());
    let mut second = Box::pin(sender.exchange(request()));
    assert!((&mut second).now_or_never().is_none());

    // One that waits, and one that is under way.
    drop(first);
    drop(ours);
    let (answer, _theirs) = tokio::join!(second, begin_answer(&mut server));
    answer.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_read_leaves_its_place_to_the_next() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let (mut ours, mut theirs) = call(&sender, &mut server).await;
    theirs.send_trailers(HeaderMap::new()).unwrap();
    write(&mut server);
    let mut waiting = pin!(sender.exchange(request()));
    assert!((&mut waiting).now_or_never().is_none());
    for _ in 0..8 {
        yield_now().await;
    }

    assert!((&mut waiting).now_or_never().is_none());
    // From here on the connection has nothing to do, and nothing to tell.
    assert!(next(&mut ours).await.unwrap().unwrap().is_trailers());
    let (answer, _theirs) = tokio::join!(waiting, begin_answer(&mut server));
    answer.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_come_and_that_nobody_reads_keeps_no_call_for_ever() {
    let (begun, (sender, mut server)) = (Instant::now(), limited(1).await);
    let (_ours, mut theirs) = call(&sender, &mut server).await;
    theirs.send_trailers(HeaderMap::new()).unwrap();
    write(&mut server);
    let endless = request().map(|_| TonicBody::new(Endless));
    let (answer, _theirs) = tokio::join!(sender.exchange(endless), begin_answer(&mut server));
    answer.unwrap();
    assert_eq!(begun.elapsed(), PATIENCE);
}

/// The second waits for the first to leave, and loses its patience after that.
#[tokio::test(start_paused = true)]
async fn a_call_that_has_lost_its_patience_comes_back_if_it_never_left() {
    let (sender, mut server) = limited(1).await;
    let (_ours, _theirs) = call(&sender, &mut server).await;
    let endless = request().map(|_| TonicBody::new(Endless));
    let mut late = Box::pin(sender.exchange(endless));
    let mut behind = Box::pin(sender.exchange(request()));
    assert!((&mut late).now_or_never().is_none() && (&mut behind).now_or_never().is_none());
    tokio::time::advance(PATIENCE).await;
    assert!((&mut late).now_or_never().is_none() && (&mut behind).now_or_never().is_none());

    server.graceful_shutdown();
    let (late, behind) = tokio::select! {
        outcomes = async { tokio::join!(late, behind) } => outcomes,
        _ = server.accept() => panic!("the connection has ended, or somebody else calls"),
    };
    assert!(matches!(late, Err(Unanswered::Refused(..))));
    assert!(matches!(behind, Err(Unanswered::Unsent(_))));
}
