//! Several who have something to say, one who writes.

use std::sync::mpsc as blocking;
use std::time::Duration;

use super::*;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

fn name(text: &str) -> PluginName {
    PluginName::new(text)
}

fn note(lines: u64) -> String {
    format!("{lines} lines\n")
}

async fn has_room(prints: &dyn Prints) -> bool {
    tokio::select! {
        biased;
        () = prints.room() => true,
        () = std::future::ready(()) => false,
    }
}

/// Waits until something is written.
async fn finish(written: oneshot::Receiver<()>) {
    tokio::time::timeout(LONG, written).await.unwrap().unwrap();
}

/// Returns what writes into memory, and what was written there.
fn kept() -> (Stderr, Arc<Mutex<Vec<u8>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let stderr = Stderr::to({
        let shown = Arc::clone(&shown);
        move |bytes: &[u8]| shown.lock().unwrap().extend_from_slice(bytes)
    });
    (stderr, shown)
}

/// Returns what writes when it is let, and what lets it: a message once, its end for good.
fn held() -> (Stderr, blocking::Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (read, turns) = blocking::channel();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let stderr = Stderr::to({
        let shown = Arc::clone(&shown);
        move |bytes: &[u8]| {
            turns.recv().unwrap_or_default();
            shown.lock().unwrap().extend_from_slice(bytes);
        }
    });
    (stderr, read, shown)
}

#[tokio::test]
async fn things_appear_in_order_and_nobodys_line_goes_on_with_anothers() {
    // All of it is there before any is written, so that no line waits for so long that it is shown without its end.
    let (stderr, read, shown) = held();
    drop(stderr.text(b"zero\n".to_vec()));
    let both = [PrintStream::Stdout, PrintStream::Stderr];
    stderr.take(&name("a"), both[0], Bytes::from_static(b"one, "));
    stderr.take(&name("a"), both[0], Bytes::from_static(b"two"));
    stderr.take(&name("b"), both[0], Bytes::from_static(b"three\n"));
    stderr.take(&name("a"), both[1], Bytes::from_static(b"four"));
    stderr.log(b"WARN five\n".to_vec(), note);
    stderr.take(&name("a"), both[0], Bytes::from_static(b"six"));
    let ended = stderr.end_prints();
    drop(read);
    finish(ended).await;
    finish(stderr.text(b"seven\n".to_vec())).await;
    let shown = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
    assert_eq!(shown, "zero\nb: three\nWARN five\na: one, twosix\na: four\nseven\n");
    assert!(stderr.is_written());
}

/// A question, say, that the plugin's own user is to answer; however much others print meanwhile.
#[tokio::test]
async fn a_line_that_does_not_end_is_shown_without_its_end() {
    let (seen, mut shown) = mpsc::unbounded_channel();
    let stderr = Stderr::to(move |bytes: &[u8]| drop(seen.send(bytes.to_vec())));
    stderr.take(&name("a"), PrintStream::Stdout, Bytes::from_static(b"sure? "));
    let mut all = String::new();
    let asked = async {
        while !all.contains("a: sure? ") {
            stderr.take(&name("b"), PrintStream::Stdout, Bytes::from_static(b"more\n"));
            all += &String::from_utf8(shown.recv().await.unwrap()).unwrap();
        }
    };
    tokio::time::timeout(LONG, asked).await.unwrap();
}

#[tokio::test]
async fn what_is_drawn_has_its_turn_and_nobody_waits_for_it() {
    let (stderr, shown) = kept();
    let (read, terminal) = blocking::channel::<()>();
    drop(stderr.text(b"one\n".to_vec()));
    stderr.draw({
        let shown = Arc::clone(&shown);
        move || {
            terminal.recv().unwrap_or_default();
            shown.lock().unwrap().extend_from_slice(b"two\n");
        }
    });
    let three = stderr.text(b"three\n".to_vec());
    assert!(!stderr.is_written());
    drop(read);
    finish(three).await;
    assert_eq!(shown.lock().unwrap().as_slice(), b"one\ntwo\nthree\n");
    assert!(stderr.is_written());
}

#[tokio::test]
async fn a_slow_reader_stops_who_prints_and_a_quick_one_lets_them_go_on() {
    let (stderr, read, _) = held();
    let mut printed = 0;
    while has_room(&stderr).await {
        stderr.take(&name("a"), PrintStream::Stdout, Bytes::from(vec![b'x'; 64 << 10]));
        printed += 64 << 10;
        assert!(printed <= ROOM, "nothing is held back");
        tokio::task::yield_now().await;
    }
    assert_eq!(printed, ROOM);
    drop(read);
    tokio::time::timeout(LONG, stderr.room()).await.unwrap();
    finish(stderr.end_prints()).await;
}

/// What is being written when the room ends, and what fills it, is all that is kept.
#[tokio::test]
async fn lines_of_the_log_that_find_no_room_are_counted_where_they_would_stand() {
    let (stderr, read, shown) = held();
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    let lines = LOG_ROOM / line.len();
    for _ in 0..lines + 10 {
        stderr.log(line.clone(), note);
    }
    assert!(!stderr.is_written());
    let error = stderr.text(b"error\n".to_vec());
    drop(read);
    finish(error).await;
    let shown = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
    let (log, end) = shown.split_at(lines * line.len());
    assert!(log.lines().all(|line| line.len() == 1023));
    assert_eq!(end, "10 lines\nerror\n");

    stderr.log(b"more\n".to_vec(), note);
    finish(stderr.text(Vec::new())).await;
    assert!(stderr.is_written());
}

#[tokio::test]
async fn what_a_plugin_said_last_is_known() {
    let (stderr, _) = kept();
    stderr.take(&name("a"), PrintStream::Stdout, Bytes::from_static(b"the end\n"));
    assert!(!stderr.has_shown("the end"));
    stderr.take(&name("a"), PrintStream::Stderr, Bytes::from(vec![b'x'; 2 * TAIL]));
    stderr.take(&name("a"), PrintStream::Stderr, Bytes::from_static(b"\nthe e"));
    stderr.take(&name("b"), PrintStream::Stderr, Bytes::from_static(b"something else\n"));
    stderr.take(&name("a"), PrintStream::Stderr, Bytes::from_static(b"nd\n\n"));
    assert!(stderr.has_shown("x\nthe end"));
    assert!(!stderr.has_shown("the e"));
    assert!(!stderr.has_shown(""));
}

/// Where the system gives no thread to write.
#[test]
fn what_is_written_alone_is_as_safe_and_as_whole() {
    let piece = Bytes::from_static(b"\x1b[2Jgone");
    let shown = alone(Job::Piece(name("evil"), PrintStream::Stdout, piece));
    assert_eq!(String::from_utf8(shown).unwrap(), "evil: \\u{1b}[2Jgone\n");
    assert_eq!(alone(Job::Line(b"two lines".to_vec())), b"two lines\n");
}
