//! Fuzz targets: knocks and their answers, and the frames of a session.

use futures_util::{FutureExt as _, StreamExt as _};
use portcullis_fuzz::{Outcome, fuzz};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::*;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Cuts an input into messages, as a stream of them would be; what is left over is none.
fn messages(mut input: &[u8]) -> Vec<ConnInfo> {
    std::iter::from_fn(|| ConnInfo::decode_length_delimited(&mut input).ok()).collect()
}

#[test]
fn whoever_is_let_in_has_knocked_and_is_told_once() {
    let runtime = runtime();
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/knocks"), |input| {
        let admitted = runtime.block_on(async {
            let admitted = knocking(messages(input));
            // What was abandoned goes at the next turn.
            tokio::task::yield_now().await;
            admitted
        });
        if admitted > 0 { Outcome::Taken } else { Outcome::Refused }
    });
}

/// Has a plugin that serves number 1 hear all this, and returns how often it let somebody in.
fn knocking(messages: Vec<ConnInfo>) -> usize {
    let (_there, here) = UnixStream::pair().unwrap();
    let queue = Queue::new();
    let (mux, _main) = Mux::new(Socket::Unix(here), Role::Plugin, queue.clone());
    let _served = mux.serve(1).now_or_never().unwrap().unwrap();
    let mut answers = queue.outgoing(pending());

    let mut admitted = 0;
    for ConnInfo { service_id: id, knock, .. } in messages {
        let Some(knock) = knock else { continue };
        let asks = !knock.ack;
        mux.heard(id, knock);
        match answers.next().now_or_never().flatten() {
            None => assert!(!asks || id != 1, "who knocked for a server was not answered"),
            Some(ConnInfo { service_id, knock, .. }) => {
                let Knock { knock, ack, error } = knock.unwrap();
                assert!(asks && knock && ack && service_id == id, "an answer that nobody asked for");
                if error.is_empty() {
                    assert_eq!(id, 1);
                    admitted += 1;
                } else {
                    assert_eq!(error, CROWDED);
                }
            }
        }
    }
    assert_eq!(answers.next().now_or_never(), None);
    // The rest of the rules is another test's: `knocks.rs` has a model of them.
    assert!(mux.0.acceptance.knocks().next_expiry().is_none_or(|at| at > Instant::now()));
    admitted
}

#[test]
fn any_frames_end_with_their_socket_and_are_answered_with_no_more() {
    let runtime = runtime();
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/session"), |input| {
        let mut outcome = Outcome::Refused;
        for role in [Role::Host, Role::Plugin] {
            let (main, mut streams) = mpsc::channel(BACKLOG);
            let answered = runtime.block_on(session(input, role, main));
            while streams.try_recv().is_ok() {
                outcome = Outcome::Taken;
            }
            // A header is twelve bytes; besides answers we ask how long one takes, and take leave.
            assert!(answered <= input.len() + 64, "{answered} for {}", input.len());
        }
        outcome
    });
}

/// Has one side of a session read this to its end, and returns how much it said to it.
async fn session(input: &[u8], role: Role, main: mpsc::Sender<Stream>) -> usize {
    let (there, here) = UnixStream::pair().unwrap();
    let (_opens, wanted) = mpsc::channel(1);
    let acceptance = Arc::new(Acceptance { knocks: Mutex::default(), held: Notify::new() });
    let main = (role == Role::Plugin).then_some(main);
    let driven = driver::drive(Socket::Unix(here), role, wanted, acceptance, main, Queue::new());
    let (mut answers, mut frames) = there.into_split();
    let say = async move {
        // It may end before it has heard all.
        let _early = frames.write_all(input).await;
        let _early = frames.shutdown().await;
    };
    let hear = async move {
        let mut answered = Vec::new();
        // What it had not heard when it ended is a reset; what came before was read.
        let _reset = answers.read_to_end(&mut answered).await;
        answered.len()
    };
    let all = async { tokio::join!(driven, say, hear) };
    let ((), (), answered) = timeout(LONG, all).await.expect("the session ends with its socket");
    answered
}
