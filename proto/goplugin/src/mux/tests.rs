//! Two ends of a session, and one end with a peer that is written here.

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::broker::Outgoing;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// Both ends, and what carries the knocks between them.
struct Pair {
    host: Mux,
    plugin: Mux,
    main: mpsc::Receiver<Stream>,
    _carriers: [Task; 2],
}

fn pair() -> Pair {
    let (there, here) = UnixStream::pair().unwrap();
    let (asks, answers) = (Queue::new(), Queue::new());
    let (host, _) = Mux::new(Socket::Unix(there), Role::Host, asks.clone());
    let (plugin, main) = Mux::new(Socket::Unix(here), Role::Plugin, answers.clone());
    let carriers = [carry(asks, plugin.clone()), carry(answers, host.clone())];
    Pair { host, plugin, main, _carriers: carriers }
}

/// Two ends of which the plugin answers by itself, and hears of the host's knocks what a test has it hear.
struct ByHand {
    host: Mux,
    plugin: Mux,
    main: mpsc::Receiver<Stream>,
    knocks: Outgoing,
    _carrier: Task,
}

fn by_hand() -> ByHand {
    let (there, here) = UnixStream::pair().unwrap();
    let (asks, answers) = (Queue::new(), Queue::new());
    let (host, _) = Mux::new(Socket::Unix(there), Role::Host, asks.clone());
    let (plugin, main) = Mux::new(Socket::Unix(here), Role::Plugin, answers.clone());
    let (knocks, carrier) = (asks.outgoing(pending()), carry(answers, host.clone()));
    ByHand { host, plugin, main, knocks, _carrier: carrier }
}

/// Has `from` knock for `id` and give up, and returns the knock.
async fn give_up(from: &Mux, id: u32, knocks: &mut Outgoing) -> Knock {
    tokio::select! {
        _ = from.dial(Some(id)) => panic!("nobody has answered"),
        said = knocks.next() => said.unwrap().knock.unwrap(),
    }
}

fn carry(queue: Queue, to: Mux) -> Task {
    let mut outgoing = queue.outgoing(std::future::pending());
    Task::spawn(async move {
        while let Some(info) = outgoing.next().await {
            to.heard(info.service_id, info.knock.unwrap());
        }
    })
}

async fn say(stream: &mut Stream, word: &[u8; 4]) {
    stream.write_all(word).await.unwrap();
    stream.flush().await.unwrap();
}

async fn hear(stream: &mut Stream) -> [u8; 4] {
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    word
}

/// Has `from` reach the server whose streams are `at`, by `dial`.
async fn reach(from: &Mux, id: Option<u32>, at: impl Future<Output = Option<Stream>>) {
    let dial = async {
        let mut dialled = from.dial(id).await.unwrap();
        say(&mut dialled, b"knew").await;
        assert_eq!(hear(&mut dialled).await, *b"well");
    };
    let accept = async {
        let mut accepted = at.await.unwrap();
        assert_eq!(hear(&mut accepted).await, *b"knew");
        say(&mut accepted, b"well").await;
        accepted
    };
    timeout(LONG, async { tokio::join!(dial, accept) }).await.unwrap();
}

#[tokio::test]
async fn every_stream_reaches_its_server() {
    let mut pair = pair();
    let mut ours = pair.host.serve(7).await.unwrap();
    let mut theirs = pair.plugin.serve(7).await.unwrap();
    reach(&pair.host, None, pair.main.recv()).await; // P-58
    reach(&pair.plugin, Some(7), ours.next()).await; // H-64, P-60
    reach(&pair.host, Some(7), theirs.next()).await; // H-59, H-62
    reach(&pair.host, None, pair.main.recv()).await;
}

#[tokio::test]
async fn a_dial_may_come_before_its_server() {
    let pair = pair();
    let dial = pair.host.dial(Some(7));
    let held = async {
        while pair.plugin.0.acceptance.knocks().next_expiry().is_none() {
            tokio::task::yield_now().await;
        }
        pair.plugin.serve(7).await.unwrap()
    };
    let (dialled, mut streams) = tokio::join!(dial, held); // H-63
    say(&mut dialled.unwrap(), b"here").await;
    assert!(streams.next().await.is_some());
}

#[tokio::test]
async fn a_dial_for_nobody_is_refused_and_leaves_no_trace() {
    let mut pair = pair();
    match pair.host.dial(Some(9)).await {
        Err(DialError::Refused { reason }) => assert_eq!(reason, NOT_SERVED), // H-63, P-59
        other => panic!("{other:?}"),
    }
    let mut streams = pair.plugin.serve(9).await.unwrap();
    reach(&pair.host, None, pair.main.recv()).await;
    reach(&pair.host, Some(9), streams.next()).await;
}

/// Go's peers say so in the moment before they serve what they have announced.
#[tokio::test]
async fn a_refusal_that_comes_at_once_is_not_the_last_word() {
    let ByHand { host, plugin, mut knocks, main: _main, _carrier } = by_hand();
    let mut streams = plugin.serve(7).await.unwrap();
    let knocking = async {
        let early = knocks.next().await.unwrap().service_id;
        host.heard(early, answer(early, "no listener yet").knock.unwrap());
        while let Some(info) = knocks.next().await {
            plugin.heard(info.service_id, info.knock.unwrap());
        }
    };
    tokio::select! {
        () = reach(&host, Some(7), streams.next()) => {}
        () = knocking => panic!("the host has ended"),
    }
}

/// Go's plugins answer no further knock before the stream has come that they have answered one for.
#[tokio::test]
async fn a_late_answer_is_made_good_while_another_dial_waits() {
    let ByHand { host, plugin, mut knocks, main: _main, _carrier } = by_hand();
    let mut late = plugin.serve(7).await.unwrap();
    let mut streams = plugin.serve(8).await.unwrap();
    let given_up = give_up(&host, 7, &mut knocks).await;
    let answering = async {
        let knock = knocks.next().await.unwrap().knock.unwrap();
        plugin.heard(7, given_up);
        assert!(late.next().await.is_some());
        plugin.heard(8, knock);
        pending::<()>().await;
    };
    tokio::select! {
        () = reach(&host, Some(8), streams.next()) => {}
        () = answering => panic!("it waits for ever"),
    }
}

#[tokio::test]
async fn a_late_answer_is_made_good_however_many_gave_up_meanwhile() {
    let ByHand { host, plugin, mut knocks, main: _main, _carrier } = by_hand();
    let mut late = plugin.serve(7).await.unwrap();
    let given_up = give_up(&host, 7, &mut knocks).await;
    for id in 100..200 {
        give_up(&host, id, &mut knocks).await;
    }
    plugin.heard(7, given_up);
    let made_good = timeout(LONG, late.next()).await.expect("it is made good");
    assert!(made_good.is_some());
}

#[tokio::test]
async fn a_late_refusal_is_nothing_to_make_good() {
    let ByHand { host, mut main, mut knocks, plugin: _plugin, _carrier } = by_hand();
    give_up(&host, 7, &mut knocks).await;
    host.heard(7, answer(7, "no").knock.unwrap());
    reach(&host, None, main.recv()).await;
}

#[tokio::test]
async fn a_dial_that_is_given_up_misleads_nobody() {
    let mut pair = pair();
    {
        let dial = pair.host.dial(Some(7));
        let held = async {
            while pair.plugin.0.acceptance.knocks().next_expiry().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = dial => panic!("nobody serves it"),
            () = held => {}
        }
    }
    // The answer comes late, and a stream is expected that nobody wants; it comes all the same, and goes.
    let mut streams = pair.plugin.serve(7).await.unwrap();
    let mut unwanted = timeout(LONG, streams.next()).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _reset = unwanted.read_to_end(&mut rest).await;
    reach(&pair.host, None, pair.main.recv()).await;
    reach(&pair.host, Some(7), streams.next()).await;
}

#[tokio::test]
async fn a_server_that_is_given_up_before_it_can_say_so_lets_nobody_in() {
    let (there, here) = UnixStream::pair().unwrap();
    let answers = Queue::new();
    let (host, _) = Mux::new(Socket::Unix(there), Role::Host, Queue::new());
    let (plugin, mut main) = Mux::new(Socket::Unix(here), Role::Plugin, answers.clone());
    plugin.heard(7, Knock { knock: true, ..Knock::default() });
    while let Some(room) = answers.room() {
        room.send(ConnInfo::default());
    }
    assert!(plugin.serve(7).now_or_never().is_none());
    reach(&host, None, main.recv()).await;
}

#[tokio::test]
async fn a_server_that_waits_for_room_to_say_so_ends_with_its_session() {
    let (there, here) = UnixStream::pair().unwrap();
    let answers = Queue::new();
    let (plugin, _main) = Mux::new(Socket::Unix(here), Role::Plugin, answers.clone());
    while let Some(room) = answers.room() {
        room.send(ConnInfo::default());
    }
    let mut serving = Box::pin(plugin.serve(7));
    assert!((&mut serving).now_or_never().is_none());
    drop(there);
    assert!(matches!(timeout(LONG, serving).await, Ok(Err(DialError::Closed))));
}

#[tokio::test]
async fn a_stream_that_nobody_knocked_for_is_refused_by_a_host() {
    let pair = pair();
    let mut dialled = pair.plugin.dial(None).await.unwrap();
    say(&mut dialled, b"helo").await;
    // It is reset.
    assert!(matches!(dialled.read(&mut [0; 4]).await, Ok(0) | Err(_))); // H-64
    let mut streams = pair.host.serve(1).await.unwrap();
    drop(dialled);
    reach(&pair.plugin, Some(1), streams.next()).await;
}

#[tokio::test]
async fn the_end_of_one_side_is_the_end_of_everything() {
    let pair = pair();
    let mut streams = pair.host.serve(1).await.unwrap();
    let Pair { host, plugin, _carriers, .. } = pair;
    drop((plugin, _carriers));
    host.ended().await; // P-61
    assert!(streams.next().await.is_none());
    assert!(matches!(host.dial(None).await, Err(DialError::Closed)));
    assert!(matches!(host.serve(2).await, Err(DialError::Closed)));
}

/// A frame's header: its kind, its flags, its stream and its last field.
async fn frame(socket: &mut UnixStream) -> (u8, u16, u32, u32) {
    let _version = socket.read_u8().await.unwrap();
    let kind = socket.read_u8().await.unwrap();
    let flags = socket.read_u16().await.unwrap();
    (kind, flags, socket.read_u32().await.unwrap(), socket.read_u32().await.unwrap())
}

#[tokio::test]
async fn a_ping_is_answered() {
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let (_mux, _) = Mux::new(Socket::Unix(socket), Role::Host, Queue::new());
    peer.write_all(&[0, 2, 0, 1, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]).await.unwrap();
    loop {
        // We ask as well, to know how long it takes.
        match frame(&mut peer).await {
            (2, 2, 0, 0xdead_beef) => return, // H-66, P-62
            (2, 1, 0, _) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_is_acknowledged_before_anything_is_said_on_it() {
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let (_mux, mut main) = Mux::new(Socket::Unix(socket), Role::Plugin, Queue::new());
    peer.write_all(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
    let _silent = main.recv().await.unwrap();
    let acknowledged = async {
        loop {
            match frame(&mut peer).await {
                (0, 2, 1, 0) => return, // H-66, P-62
                (2, 1, 0, _) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(LONG, acknowledged).await.expect("it is acknowledged");
}

#[tokio::test]
async fn a_stream_ends_once_however_often_that_is_said() {
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let (mux, _) = Mux::new(Socket::Unix(socket), Role::Host, Queue::new());
    let mut stream = mux.dial(None).await.unwrap();
    say(&mut stream, b"once").await;
    for _ in 0..3 {
        stream.shutdown().await.unwrap();
    }
    drop(stream);
    // Another one follows, so that nothing of the first can come later.
    let mut second = mux.dial(None).await.unwrap();
    say(&mut second, b"last").await;
    let mut ends = 0;
    loop {
        let (kind, flags, id, length) = frame(&mut peer).await;
        if kind == 0 {
            let mut data = vec![0; usize::try_from(length).unwrap()];
            peer.read_exact(&mut data).await.unwrap();
            if data == b"last" {
                break;
            }
        }
        if id == 1 && flags & 4 != 0 {
            ends += 1;
        }
    }
    assert_eq!(ends, 1); // P-62
}
