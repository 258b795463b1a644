//! Calls that are made again, by servers of `h2` that answer as peers may.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::*;
use crate::Address;
use crate::channel::exchange::Whole;
use crate::channel::exchange::tests::Endless;
use crate::transport::Socket;

fn request(number: usize) -> http::Request<TonicBody> {
    let body = TonicBody::new(Whole(Some(Bytes::from_static(b"all of it"))));
    http::Request::builder().uri(format!("/{number}")).body(body).unwrap()
}

/// Returns a connection whose first link is this one, and what comes after it.
fn connection(ours: UnixStream, path: &Path) -> (Arc<Reconnect>, watch::Sender<bool>) {
    let (has_ended, ended) = Ended::new();
    let route = Route::to_address(Address::Unix(path.to_owned()), None);
    (Reconnect::new(Link::Plain(Socket::Unix(ours)), route, ended), has_ended)
}

async fn serve(link: UnixStream, limit: u32) -> Connection<UnixStream, Bytes> {
    h2::server::Builder::new().max_concurrent_streams(limit).handshake(link).await.unwrap()
}

/// Takes the next call, and returns its number.
async fn take(server: &mut Connection<UnixStream, Bytes>) -> (usize, SendResponse<Bytes>) {
    let (request, respond) = server.accept().await.unwrap().unwrap();
    (request.uri().path().trim_start_matches('/').parse().unwrap(), respond)
}

fn answer(mut respond: SendResponse<Bytes>) {
    respond.send_response(http::Response::new(()), true).unwrap();
}

#[tokio::test]
async fn calls_that_wait_are_made_on_the_next_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, _has_ended) = connection(ours, &path);
    connection.begin().await;
    let mut first = serve(theirs, 1).await;
    let mut under_way = Box::pin(connection.call(request(0), None));
    let (number, respond) = tokio::select! {
        taken = take(&mut first) => taken,
        _ = &mut under_way => panic!("nobody has answered"),
    };
    assert_eq!(number, 0);
    let endless = request(1).map(|_| TonicBody::new(Endless));
    let waiting = [endless, request(2), request(3)];
    let waiting = waiting.map(|request| async { connection.call(request, None).await.map(drop) });
    let mut waiting = pin!(join_all(waiting));
    assert!((&mut waiting).now_or_never().is_none());

    first.graceful_shutdown();
    let serving = async {
        let (link, _) = listener.accept().await.unwrap();
        let (mut second, mut numbers) = (serve(link, 1).await, Vec::new());
        for _ in 0..3 {
            let (number, respond) = take(&mut second).await;
            answer(respond);
            numbers.push(number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        second.accept().await.is_some()
    };
    tokio::select! {
        answers = waiting => assert!(answers.iter().all(Result::is_ok)),
        _ = serving => panic!("the second connection has ended"),
        _ = first.accept() => panic!("the first connection has ended, or somebody calls"),
    }
    answer(respond);
    let (answer, ()) = tokio::join!(under_way, async { while first.accept().await.is_some() {} });
    answer.unwrap();
}

#[tokio::test]
async fn calls_that_are_refused_are_made_again_and_looked_at_once() {
    const CALLS: usize = 12;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, _has_ended) = connection(ours, Path::new("/nobody/listens/here"));
    let calls = (0..CALLS).map(|number| connection.call(request(number), None));
    let mut refused = [0; CALLS];
    let mut looked_at = [0; CALLS];
    let serving = async {
        let mut server = serve(theirs, 5).await;
        loop {
            let (number, mut respond) = take(&mut server).await;
            if refused[number] < REFUSALS.min(number) {
                refused[number] += 1;
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                looked_at[number] += 1;
                answer(respond);
            }
        }
    };
    tokio::select! {
        answers = join_all(calls) => assert!(answers.iter().all(Result::is_ok)),
        () = serving => {}
    }
    assert_eq!(looked_at, [1; CALLS]);
}

#[tokio::test]
async fn a_call_that_is_refused_for_ever_fails() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, _has_ended) = connection(ours, Path::new("/nobody/listens/here"));
    let mut refused = 0;
    let serving = async {
        let mut server = serve(theirs, 5).await;
        loop {
            take(&mut server).await.1.send_reset(Reason::REFUSED_STREAM);
            refused += 1;
        }
    };
    let error = tokio::select! {
        answer = connection.call(request(0), None) => answer.unwrap_err(),
        () = serving => return,
    };
    assert!(chain(&*error).contains("refused stream"), "{error}");
    assert_eq!(refused, 1 + REFUSALS);
}

#[tokio::test]
async fn a_call_that_came_after_the_last_one_taken_is_made_on_the_next_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (connection, _has_ended) = connection(ours, &path);
    let serving = async {
        let mut said = Vec::new();
        while !said.ends_with(b"all of it") {
            theirs.read_buf(&mut said).await.unwrap();
        }
        // Its settings, and a GOAWAY after which no call was taken.
        theirs.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        theirs.write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await.unwrap();
        let (link, _) = listener.accept().await.unwrap();
        let mut second = serve(link, 1).await;
        answer(take(&mut second).await.1);
        second.accept().await.is_some()
    };
    tokio::select! {
        answer = connection.call(request(0), None) => drop(answer.unwrap()),
        _ = serving => panic!("the second connection has ended, or somebody calls"),
    }
}

#[tokio::test]
async fn a_call_that_was_taken_and_lost_is_not_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, _has_ended) = connection(ours, &path);
    let serving = async {
        let mut server = serve(theirs, 1).await;
        let (_number, respond) = take(&mut server).await;
        // It says that there can be no more calls, and breaks.
        server.graceful_shutdown();
        poll_fn(|cx| Poll::Ready(server.poll_accept(cx).is_pending())).await;
        drop((respond, server));
    };
    let (answer, ()) = tokio::join!(connection.call(request(0), None), serving);
    assert!(answer.is_err());
    assert!(listener.accept().now_or_never().is_none());
}
