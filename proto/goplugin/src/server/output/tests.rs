//! What is printed, by whom, and who takes it.

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep};

use super::*;

/// Takes what is there, as the host would see it.
fn taken(stream: &mut Pieces) -> Vec<(Origin, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some(Some(piece)) = stream.next().now_or_never() {
        let piece = piece.unwrap();
        assert!((1..=PIECE).contains(&piece.data.len())); // P-49
        found.push((piece.channel(), piece.data.to_vec()));
    }
    found
}

#[test]
fn what_is_printed_arrives_in_order() {
    let prints = Prints::new(1 << 20);
    let (mut out, mut err) = (prints.output(Stdio::Stdout), prints.output(Stdio::Stderr));
    out.write_all(b"early ").unwrap();
    let mut stream = prints.stream();
    out.write_all(&[b'x'; 3000]).unwrap();
    out.write_all(b"").unwrap();
    err.write_all(b"two").unwrap();
    out.write_all(b"three").unwrap();
    let found = taken(&mut stream);
    let lengths: Vec<_> = found.iter().map(|(origin, data)| (*origin, data.len())).collect();
    let (o, e) = (Origin::Stdout, Origin::Stderr);
    assert_eq!(lengths, [(o, 1024), (o, 1024), (o, 958), (e, 3), (o, 5)]);
    let out: Vec<u8> = found.into_iter().filter(|(origin, _)| *origin == o).flat_map(|(_, d)| d).collect();
    assert!(out.starts_with(b"early x") && out.ends_with(b"xthree"));
    assert_eq!(taken(&mut stream), []);
}

#[test]
fn nobody_who_prints_waits_for_a_host_that_does_not_read() {
    let prints = Prints::new(2000);
    let mut out = prints.output(Stdio::Stdout);
    for _ in 0..100 {
        out.write_all(&[b'y'; 100]).unwrap(); // P-50
    }
    let mut stream = prints.stream();
    let total: usize = taken(&mut stream).iter().map(|(_, data)| data.len()).sum();
    assert_eq!(total, 2000);
    out.write_all(b"again").unwrap();
    assert_eq!(taken(&mut stream), [(Origin::Stdout, b"again".to_vec())]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_loses_nothing_while_the_host_reads() {
    let prints = Prints::new(2000);
    let out = prints.output(Stdio::Stdout);
    let waits = || out.room().now_or_never().is_none();
    out.take(&[b'a'; 3000]);
    assert!(!waits(), "nobody has asked for it");
    let mut stream = prints.stream();
    assert!(waits());
    out.take(&[b'b'; 500]);

    let mut arrived = 0;
    let reading = async {
        while arrived < 2500 {
            arrived += stream.next().await.unwrap().unwrap().data.len();
        }
    };
    tokio::join!(out.room(), reading);
    assert_eq!(arrived, 2500);

    out.take(&[b'c'; 2000]);
    let begun = Instant::now();
    out.room().await;
    assert_eq!(begun.elapsed(), PATIENCE, "it takes nothing");
    assert!(!waits(), "it may take nothing ever again");
    assert!(stream.next().await.is_some());
    out.take(&[b'd'; 2000]);
    assert!(waits(), "it reads again");
    drop(stream);
    assert!(!waits(), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_is_waited_for_as_long_as_it_takes_something() {
    const SLOW: Duration = Duration::from_secs(4);
    let prints = Prints::new(2000);
    let out = prints.output(Stdio::Stdout);
    let mut stream = prints.stream();
    // Five pieces, of which four have to go before there is room.
    out.take(&[b'a'; 5 * PIECE]);
    let begun = Instant::now();
    let reading = async {
        for _ in 0..4 {
            sleep(SLOW).await;
            assert!(stream.next().await.is_some());
        }
    };
    let waiting = async {
        out.room().await;
        begun.elapsed()
    };
    assert_eq!(tokio::join!(waiting, reading).0, 4 * SLOW);
}

/// There may be too many pieces long before there are too many bytes.
#[tokio::test(start_paused = true)]
async fn who_prints_by_turns_goes_on_as_soon_as_the_host_takes_something() {
    let prints = Prints::new(LEAST * 10);
    let (out, err) = (prints.output(Stdio::Stdout), prints.output(Stdio::Stderr));
    let mut stream = prints.stream();
    while out.room().now_or_never().is_some() {
        out.take(b"o");
        err.take(b"e");
    }
    let begun = Instant::now();
    let reading = async { while stream.next().now_or_never().is_some() {} };
    tokio::join!(out.room(), reading);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[test]
fn a_thread_waits_for_room_until_there_is_some_or_an_end() {
    let prints = Prints::new(2000);
    let out = prints.output(Stdio::Stdout);
    let mut stream = prints.stream();
    for _ in 0..2 {
        out.take(&[b'a'; 2000]);
        let waits = std::thread::spawn({
            let out = out.clone();
            move || out.wait_for_room()
        });
        while stream.next().now_or_never().is_some() {}
        waits.join().unwrap();
    }
    out.take(&[b'a'; 2000]);
    out.hurry();
    out.wait_for_room();
    assert!(!prints.state().in_vain, "nobody was waited for");
}

#[test]
fn what_is_printed_by_turns_takes_little_more_room_than_it_is_given() {
    const LIMIT: usize = 1 << 16;
    let prints = Prints::new(LIMIT);
    let (mut out, mut err) = (prints.output(Stdio::Stdout), prints.output(Stdio::Stderr));
    for _ in 0..LIMIT / 2 {
        out.write_all(b"o").unwrap();
        err.write_all(b"e").unwrap();
    }
    let kept = taken(&mut prints.stream()).len();
    assert!((1..=LIMIT / LEAST + 1).contains(&kept), "{kept} pieces");
    out.write_all(b"again").unwrap();
    assert_eq!(taken(&mut prints.stream()), [(Origin::Stdout, b"again".to_vec())]);
}

#[test]
fn a_later_stream_takes_over() {
    let prints = Prints::new(100);
    let mut out = prints.output(Stdio::Stdout);
    let mut first = prints.stream();
    assert_eq!(first.next().now_or_never().map(|item| item.is_none()), None);
    let mut second = prints.stream();
    out.write_all(b"once").unwrap();
    assert!(first.next().now_or_never().unwrap().is_none());
    assert_eq!(taken(&mut second).len(), 1);
}

#[tokio::test]
async fn the_end_comes_after_what_was_printed() {
    let prints = Prints::new(100);
    let mut stream = prints.stream();
    prints.output(Stdio::Stderr).write_all(b"last words").unwrap();
    prints.close();
    assert_eq!(stream.next().await.unwrap().unwrap().data, &b"last words"[..]);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_waits_is_woken() {
    let prints = Prints::new(100);
    let mut stream = prints.stream();
    let next = tokio::spawn(async move { stream.next().await });
    tokio::task::yield_now().await;
    prints.output(Stdio::Stdout).write_all(b"now").unwrap();
    assert!(next.await.unwrap().unwrap().is_ok());
}
