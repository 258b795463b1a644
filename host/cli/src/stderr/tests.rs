//! Several who print, one who writes.

use std::sync::{Mutex, mpsc as blocking};
use std::time::Duration;

use super::*;

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

fn name(text: &str) -> PluginName {
    PluginName::new(text)
}

async fn has_room(prints: &dyn Prints) -> bool {
    tokio::select! {
        biased;
        () = prints.room() => true,
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn pieces_appear_in_order_and_nobodys_line_goes_on_with_anothers() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let printing = Printing::to({
        let shown = Arc::clone(&shown);
        move |bytes: &[u8]| shown.lock().unwrap().extend_from_slice(bytes)
    });
    let prints = printing.prints();
    let both = [PrintStream::Stdout, PrintStream::Stderr];
    prints.take(&name("a"), both[0], Bytes::from_static(b"one, "));
    prints.take(&name("a"), both[0], Bytes::from_static(b"two"));
    prints.take(&name("b"), both[0], Bytes::from_static(b"three\n"));
    prints.take(&name("a"), both[1], Bytes::from_static(b"four"));
    prints.take(&name("a"), both[0], Bytes::from_static(b"five"));
    printing.finish().await;
    let shown = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
    assert_eq!(shown, "a: one, two\nb: three\na: four\na: five\n");
}

#[tokio::test]
async fn a_slow_reader_stops_who_prints_and_a_quick_one_lets_them_go_on() {
    let (read, turns) = blocking::channel::<()>();
    let turns = Arc::new(Mutex::new(turns));
    let printing = Printing::to(move |_: &[u8]| turns.lock().unwrap().recv().unwrap_or_default());
    let prints = printing.prints();
    let mut printed = 0;
    while has_room(prints.as_ref()).await {
        prints.take(&name("a"), PrintStream::Stdout, Bytes::from(vec![b'x'; 64 << 10]));
        printed += 64 << 10;
        assert!(printed <= ROOM, "nothing is held back");
        tokio::task::yield_now().await;
    }
    assert_eq!(printed, ROOM);
    // Whoever reads lets go of everything: the sender's end counts as a turn from then on.
    drop(read);
    tokio::time::timeout(LONG, prints.room()).await.unwrap();
    printing.finish().await;
}
