//! A connection of ours, with servers of `h2` that answer as peers may.

use std::time::Duration;

use h2::server::Connection;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt as _, DuplexStream, copy_bidirectional, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// More than is ever under way here, so that a server never waits for its client to read.
pub(super) const PIPE: usize = 4 << 20;

/// A server, which does what it does when it is polled.
pub(super) type Server = Connection<DuplexStream, Bytes>;

async fn pair() -> (Sender, Server) {
    let (ours, theirs) = duplex(PIPE);
    let (sender, server) = tokio::join!(Sender::begin(ours), h2::server::handshake(theirs));
    (sender.unwrap(), server.unwrap())
}

pub(super) fn request() -> http::Request<TonicBody> {
    http::Request::builder().uri("http://localhost/a.Service/Call").body(TonicBody::empty()).unwrap()
}

/// Takes a call, and sends the head of its answer.
pub(super) async fn begin_answer(server: &mut Server) -> SendStream<Bytes> {
    let (_request, mut respond) = server.accept().await.unwrap().unwrap();
    let body = respond.send_response(Response::new(()), false).unwrap();
    write(server);
    body
}

/// Makes a call, and waits for the head of its answer.
pub(super) async fn call(sender: &Sender, server: &mut Server) -> (Incoming, SendStream<Bytes>) {
    let (answer, theirs) = tokio::join!(sender.exchange(request()), begin_answer(server));
    (answer.unwrap().into_body(), theirs)
}

/// Has the server write what it has to say.
pub(super) fn write(server: &mut Server) {
    assert!(server.accept().now_or_never().is_none(), "the connection has ended, or somebody else calls");
}

pub(super) async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, h2::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// A request that goes on for ever.
pub(in crate::channel) struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn an_answer_that_is_called_off_halfway_is_no_whole_one() {
    let (sender, mut server) = pair().await;
    let (mut ours, mut theirs) = call(&sender, &mut server).await;
    theirs.send_data(Bytes::from_static(b"half"), false).unwrap();
    write(&mut server);
    let half = next(&mut ours).await.unwrap().unwrap();
    assert_eq!(half.into_data().unwrap(), "half");

    theirs.send_reset(Reason::CANCEL);
    write(&mut server);
    let error = next(&mut ours).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn an_answer_may_be_whole_before_its_request_is() {
    let (sender, mut server) = pair().await;
    let request = request().map(|_| TonicBody::new(Endless));
    let (answer, mut theirs) = tokio::join!(sender.exchange(request), begin_answer(&mut server));
    let mut ours = answer.unwrap().into_body();
    theirs.send_trailers(HeaderMap::new()).unwrap();
    write(&mut server);
    theirs.send_reset(Reason::NO_ERROR);
    write(&mut server);

    let trailers = next(&mut ours).await.unwrap().unwrap();
    assert!(trailers.is_trailers());
    assert!(next(&mut ours).await.is_none());
}

#[tokio::test]
async fn the_last_piece_of_a_request_says_that_it_is() {
    let (sender, mut server) = pair().await;
    let request = request().map(|_| TonicBody::new(Whole(Some(Bytes::from_static(b"all")))));
    let taking = async {
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let mut body = request.into_body();
        let piece = tokio::select! {
            piece = body.data() => piece.unwrap().unwrap(),
            _ = server.accept() => panic!("the connection has ended"),
        };
        assert_eq!(piece, "all");
        assert!(body.is_end_stream());
    };
    tokio::select! {
        () = taking => (),
        answer = sender.exchange(request) => panic!("an answer: {:?}", answer.map(drop)),
    }
}

#[tokio::test]
async fn a_request_leaves_with_its_head() {
    let (ours, mut theirs) = duplex(PIPE);
    let sender = Sender::begin(ours).await.unwrap();
    let request = request().map(|_| TonicBody::new(Whole(Some(Bytes::from_static(b"all of it")))));
    let mut call = Box::pin(sender.exchange(request));
    assert!((&mut call).now_or_never().is_none());
    // The connection's task runs once.
    yield_now().await;

    let mut said = vec![0; PIPE];
    let length = theirs.read(&mut said).now_or_never().unwrap().unwrap();
    assert!(said[..length].ends_with(b"all of it"), "{:?}", &said[..length]);
}

#[tokio::test]
async fn a_request_goes_on_behind_the_most_that_leaves_at_once() {
    const LENGTH: usize = FIRST_PIECE + (1 << 20);
    let (sender, mut server) = pair().await;
    let piece = Bytes::from(vec![b'x'; LENGTH]);
    let request = request().map(|_| TonicBody::new(Whole(Some(piece))));
    let taking = async {
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let mut body = request.into_body();
        let reading = async {
            let mut read = 0;
            while let Some(piece) = body.data().await {
                let length = piece.unwrap().len();
                body.flow_control().release_capacity(length).unwrap();
                read += length;
            }
            read
        };
        tokio::select! {
            read = reading => read,
            _ = server.accept() => panic!("the connection has ended"),
        }
    };
    let taking = timeout(LONG, taking);
    tokio::select! {
        read = taking => assert_eq!(read.expect("it goes on"), LENGTH),
        answer = sender.exchange(request) => panic!("an answer: {:?}", answer.map(drop)),
    }
}

#[tokio::test]
async fn small_pieces_wait_for_who_reads_them_late() {
    const PIECES: usize = 20_000;
    let (sender, mut server) = pair().await;
    let (mut ours, mut theirs) = call(&sender, &mut server).await;
    for _ in 0..PIECES {
        theirs.send_data(Bytes::from_static(b"0123456789"), false).unwrap();
    }
    theirs.send_trailers(HeaderMap::new()).unwrap();
    for _ in 0..8 {
        write(&mut server);
        yield_now().await;
    }

    let reading = async {
        let mut read = 0;
        while let Some(frame) = next(&mut ours).await {
            read += frame.unwrap().into_data().map_or(0, |piece| piece.len());
        }
        read
    };
    let read = tokio::select! {
        read = reading => read,
        _ = server.accept() => panic!("the connection has ended"),
    };
    assert_eq!(read, 10 * PIECES);
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_no_reason_to_end_others() {
    let (sender, mut server) = pair().await;
    for _ in 0..1_200 {
        let answer = async {
            let (_request, mut respond) = server.accept().await.unwrap().unwrap();
            let head = Response::builder().header(CONTENT_LENGTH, 1).body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"more than that"), true).unwrap();
            write(&mut server);
        };
        let (answer, ()) = tokio::join!(sender.exchange(request()), answer);
        // What is wrong with it may be known before its head is looked at.
        if let Ok(answer) = answer {
            assert!(next(&mut answer.into_body()).await.unwrap().is_err());
        }
    }
    call(&sender, &mut server).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_in_no_others_way() {
    let (sender, mut server) = pair().await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let (ours, mut theirs) = call(&sender, &mut server).await;
        let all = vec![0; usize::try_from(STREAM_WINDOW).unwrap()];
        theirs.send_data(all.into(), false).unwrap();
        unread.push((ours, theirs));
    }

    let (mut ours, mut theirs) = call(&sender, &mut server).await;
    theirs.send_data(Bytes::from_static(b"read"), false).unwrap();
    let piece = tokio::select! {
        piece = timeout(LONG, next(&mut ours)) => piece.expect("it comes"),
        _ = server.accept() => panic!("the connection has ended"),
    };
    assert_eq!(piece.unwrap().unwrap().into_data().unwrap(), "read");
}

/// Works while bytes pass between the two sides. Before and after, they wait on their way.
async fn connected<T>(link: &mut (DuplexStream, DuplexStream), work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        ended = copy_bidirectional(&mut link.0, &mut link.1) => panic!("the link has ended: {ended:?}"),
    }
}

#[tokio::test]
async fn calls_that_are_given_up_at_once_leave_the_connection_to_others() {
    let ((ours, left), (right, theirs)) = (duplex(PIPE), duplex(PIPE));
    let mut link = (left, right);
    let both = async { tokio::join!(Sender::begin(ours), h2::server::handshake(theirs)) };
    let (sender, server) = connected(&mut link, both).await;
    let (sender, mut server) = (sender.unwrap(), server.unwrap());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..1_200 {
        let (answer, body) = connected(&mut link, call(&sender, &mut server)).await;
        ours.push(answer);
        theirs.push(body);
    }

    // These cross with the resets: when they arrive, the calls are forgotten.
    for body in &mut theirs {
        body.send_data(Bytes::from_static(b"too late"), false).unwrap();
    }
    write(&mut server);
    drop(ours);
    for _ in 0..8 {
        yield_now().await;
    }

    for _ in 0..2 {
        connected(&mut link, call(&sender, &mut server)).await;
    }
}

/// Has the peer end a call in this way, and returns what comes of it.
async fn ended(reason: Reason) -> Unanswered {
    let (sender, mut server) = pair().await;
    let request = request().map(|_| TonicBody::new(Whole(Some(Bytes::from_static(b"all of it")))));
    let ending = async {
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        respond.send_reset(reason);
        server.accept().await.is_some()
    };
    tokio::select! {
        answer = sender.exchange(request) => answer.unwrap_err(),
        _ = ending => panic!("the connection has ended, or somebody else calls"),
    }
}

#[tokio::test]
async fn a_call_that_is_refused_comes_back_as_it_was() {
    let Unanswered::Refused(request, _) = ended(Reason::REFUSED_STREAM).await else {
        panic!("it may have been looked at")
    };
    assert_eq!(request.uri().path(), "/a.Service/Call");
    let mut body = request.into_body();
    let piece = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    assert_eq!(piece.unwrap().unwrap().into_data().unwrap(), "all of it");
    assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
}

#[tokio::test]
async fn a_call_that_is_called_off_does_not_come_back() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        assert!(matches!(ended(reason).await, Unanswered::Failed(_)), "{reason}");
    }
}
