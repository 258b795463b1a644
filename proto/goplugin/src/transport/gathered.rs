//! A connection in turns: one write for all that is said in a turn, and a bound on what is read in it.
//!
//! HTTP/2 writes and flushes every frame of 16 KiB by itself. The reader at the other end is woken for each, and reads
//! it in two system calls. Here everything that is written in a turn leaves in one piece.
//!
//! HTTP/2 also reads for as long as something comes. While large answers arrive, nobody takes them and nothing is
//! written, and the first of them have left the processor's caches by the time somebody does. So a turn ends after so
//! many bytes.
//!
//! It also ends after a few calls. If many short answers were read in one turn, their callers would make the next calls
//! together, and each side would wait while the other works.

mod ends;

use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use self::ends::Ends;
use super::busy_poll::BusyPoll;
use crate::lock::lock;

/// The most bytes that wait to be written.
const PIECE: usize = 64 << 10;

/// The most bytes that are read in a turn. Calls of 1 MiB, 64 at a time, are a tenth quicker with this bound than
/// without.
const TURN: usize = 128 << 10;

/// The most calls that are read in a turn, judging by the length of those before. A guess: with many more the other
/// side waits, and with many fewer, system calls cost more than what they carry.
const CALLS: usize = 16;

/// Splits a link in two: HTTP/2 reads and writes the first, and whoever polls HTTP/2 ends a turn by the second after
/// each poll.
pub(crate) fn gathered<L>(link: L) -> (Gathered<L>, Turns<L>) {
    let shared = Shared {
        link,
        turn: TURN,
        read: 0,
        ended: 0,
        since: 0,
        ends: Ends::default(),
        waiting: Vec::new(),
        written: 0,
        failed: None,
    };
    let shared = Arc::new(Mutex::new(shared));
    (Gathered(Arc::clone(&shared)), Turns { shared, busy: BusyPoll::default() })
}

/// A link on which a flush does nothing; see [`Turns`].
pub(crate) struct Gathered<L>(Arc<Mutex<Shared<L>>>);

/// What ends the turns of a [`Gathered`] link, and so flushes it.
pub(crate) struct Turns<L> {
    shared: Arc<Mutex<Shared<L>>>,
    busy: BusyPoll,
}

struct Shared<L> {
    link: L,
    /// How much may be read in this turn, how much has been, and how many calls ended in that.
    turn: usize,
    read: usize,
    ended: usize,
    /// How much was read in earlier turns, since the last one in which a call ended.
    since: usize,
    ends: Ends,
    waiting: Vec<u8>,
    /// How much of what is waiting has been written.
    written: usize,
    /// Why a write failed. The next one to write is told.
    failed: Option<io::Error>,
}

impl<L: AsyncWrite + Unpin> Shared<L> {
    /// Ends a turn of reading, and returns how much was read in it. The next turn has room for calls of the last ones'
    /// length; once a whole turn passes in which none ends, it has all there is.
    fn end_reading(&mut self) -> usize {
        let (read, ended) = (take(&mut self.read), take(&mut self.ended));
        self.since += read;
        if let Some(length) = self.since.checked_div(ended) {
            self.since = 0;
            self.turn = length.saturating_mul(CALLS).min(TURN);
        } else if self.since >= self.turn {
            self.turn = TURN;
        }
        read
    }

    /// Writes all that is waiting.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.link).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes all that is waiting, and what the link itself holds back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.link).poll_flush(cx)
    }

    /// Makes room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.waiting.len() < PIECE {
            return Poll::Ready(Ok(()));
        }
        match self.poll_write_out(cx) {
            Poll::Ready(Err(error)) => {
                self.fail(error, cx);
                Poll::Pending
            }
            written => written,
        }
    }

    /// Keeps a failure for the next turn, in which HTTP/2 reads before it writes: a peer that has closed may have
    /// answered first.
    fn fail(&mut self, error: io::Error, cx: &Context<'_>) {
        self.failed = Some(error);
        cx.waker().wake_by_ref();
    }
}

impl<L: AsyncWrite + Unpin> Turns<L> {
    /// Ends a turn: writes what has been gathered, as far as the link takes it. The task is woken when the link takes
    /// more, and at once while polling is worth it.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>) {
        let mut shared = lock(&self.shared);
        let (read, said) = (shared.end_reading(), shared.waiting.len());
        if let Poll::Ready(Err(error)) = shared.poll_flush(cx) {
            shared.fail(error, cx);
        }
        if self.busy.goes_on(read, said, Instant::now()) {
            // The task is polled again once the runtime has looked for events.
            _ = pin!(yield_now()).poll(cx);
        }
    }
}

impl<L: AsyncRead + Unpin> AsyncRead for Gathered<L> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *lock(&self.0);
        let left = shared.turn.saturating_sub(shared.read);
        if left == 0 {
            // It goes on in the next turn, behind whoever waits for this one.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let mut link = AsyncReadExt::take(&mut shared.link, left as u64);
        ready!(Pin::new(&mut link).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        shared.read += came.len();
        shared.ended += shared.ends.count(came);
        Poll::Ready(Ok(()))
    }
}

impl<L: AsyncWrite + Unpin> AsyncWrite for Gathered<L> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_room(cx))?;
        let before = shared.waiting.len();
        for buf in bufs {
            let taken = buf.len().min(PIECE - shared.waiting.len());
            shared.waiting.extend_from_slice(&buf[..taken]);
        }
        Poll::Ready(Ok(shared.waiting.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).failed.take().map_or(Poll::Ready(Ok(())), |error| Poll::Ready(Err(error)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        ready!(shared.poll_flush(cx))?;
        Pin::new(&mut shared.link).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    /// Generous: it is only ever waited out by a test that fails.
    const LONG: Duration = Duration::from_secs(60);

    async fn end<L: AsyncWrite + Unpin>(turns: &mut Turns<L>) {
        poll_fn(|cx| {
            turns.end(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_written_at_once_leaves_in_one_piece() {
        let (ours, mut theirs) = duplex(1024);
        let (mut link, mut turns) = gathered(ours);
        for piece in ["one ", "two ", "three"] {
            link.write_all(piece.as_bytes()).await.unwrap();
            link.flush().await.unwrap();
        }
        let mut read = [0; 1024];
        assert!(theirs.read(&mut read).now_or_never().is_none());

        end(&mut turns).await;
        let length = theirs.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"one two three");
    }

    #[tokio::test]
    async fn little_is_held_for_who_does_not_read_and_nothing_is_lost() {
        let (ours, mut theirs) = duplex(1024);
        let (mut link, mut turns) = gathered(ours);
        let text: Vec<u8> = (0..3 * PIECE).map(|at| at.to_le_bytes()[1]).collect();
        let mut rest = &text[..];
        while let Some(taken) = link.write(rest).now_or_never() {
            rest = &rest[taken.unwrap()..];
            end(&mut turns).await;
        }
        let held = text.len() - rest.len();
        assert!((PIECE..=2 * PIECE).contains(&held), "{held} bytes are held");

        let writing = async {
            link.write_all(rest).await.unwrap();
            link.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let (_, all) = tokio::join!(writing, theirs.read_to_end(&mut read));
        all.unwrap();
        assert!(read == text, "{} of {} bytes have come", read.len(), text.len());
    }

    #[tokio::test]
    async fn a_turn_of_reading_ends_and_another_goes_on() {
        let (ours, mut theirs) = duplex(2 * TURN);
        let (mut link, mut turns) = gathered(ours);
        theirs.write_all(&[0; 2 * TURN]).await.unwrap();
        let mut piece = [0; 8 << 10];
        for _ in 0..2 {
            let mut read = 0;
            while let Some(taken) = link.read(&mut piece).now_or_never() {
                read += taken.unwrap();
            }
            assert_eq!(read, TURN);
            end(&mut turns).await;
        }
    }

    #[tokio::test]
    async fn who_reads_on_is_called_for_the_next_turn() {
        let (ours, mut theirs) = duplex(2 * TURN);
        let (mut link, mut turns) = gathered(ours);
        theirs.write_all(&[0; 2 * TURN]).await.unwrap();
        drop(theirs);
        let mut read = Vec::new();
        let mut reading = Box::pin(link.read_to_end(&mut read));
        let all = poll_fn(|cx| {
            let read = reading.as_mut().poll(cx);
            turns.end(cx);
            read
        });
        timeout(LONG, all).await.expect("it is called").unwrap();
        drop(reading);
        assert_eq!(read.len(), 2 * TURN);
    }

    #[tokio::test]
    async fn calls_that_are_many_and_short_are_answered_in_turns_and_long_ones_are_read_as_ever() {
        const LENGTH: usize = 20;
        let (ours, mut theirs) = duplex(2 * TURN);
        let (mut link, mut turns) = gathered(ours);
        let mut turn = async || {
            let mut piece = vec![0; TURN];
            let mut read = 0;
            while let Some(taken) = link.read(&mut piece).now_or_never() {
                read += taken.unwrap();
            }
            end(&mut turns).await;
            read
        };
        let mut answer = [0; LENGTH];
        answer[..5].copy_from_slice(&[0, 0, 11, 1, 5]);
        theirs.write_all(&answer.repeat(64)).await.unwrap();
        assert_eq!(turn().await, 64 * LENGTH, "nobody knows yet");
        theirs.write_all(&answer.repeat(64)).await.unwrap();
        for _ in 0..64 / CALLS {
            assert_eq!(turn().await, CALLS * LENGTH);
        }

        // As data is that no call ends with.
        theirs.write_all(&[0; TURN + CALLS * LENGTH]).await.unwrap();
        assert_eq!(turn().await, CALLS * LENGTH);
        assert_eq!(turn().await, TURN);
    }

    /// Outside of a runtime, who yields is woken at once.
    #[test]
    fn it_looks_again_where_that_is_quicker_until_it_has_an_answer() {
        #[derive(Default)]
        struct Woken(AtomicBool);

        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let looks_again = |turns: &mut Turns<DuplexStream>| {
            turns.end(&mut Context::from_waker(&waker));
            woken.0.swap(false, Ordering::Relaxed)
        };
        for sleeping_is_slow in [false, true] {
            let (ours, mut theirs) = duplex(1024);
            let (mut link, mut turns) = gathered(ours);
            if sleeping_is_slow {
                let said = Instant::now();
                turns.busy.goes_on(0, 1, said);
                turns.busy.goes_on(1, 0, said + Duration::from_micros(100));
            }
            link.write_all(b"question").now_or_never().unwrap().unwrap();
            assert_eq!(looks_again(&mut turns), sleeping_is_slow);

            theirs.write_all(b"answer").now_or_never().unwrap().unwrap();
            link.read(&mut [0; 64]).now_or_never().unwrap().unwrap();
            assert!(!looks_again(&mut turns));
        }
    }

    #[tokio::test]
    async fn that_it_could_not_be_written_is_said_to_the_next_who_writes() {
        let (ours, theirs) = duplex(1024);
        let (mut link, mut turns) = gathered(ours);
        drop(theirs);
        link.write_all(b"nobody hears this").await.unwrap();
        end(&mut turns).await;
        let error = link.flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_has_come_is_read_before_it_is_said_that_nothing_can_be_written() {
        let (ours, mut theirs) = duplex(1024);
        let (mut link, _turns) = gathered(ours);
        theirs.write_all(b"no more, please").await.unwrap();
        drop(theirs);
        link.write_all(&[0; PIECE]).await.unwrap();
        assert!(link.write(b"more").now_or_never().is_none());

        let mut read = Vec::new();
        link.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"no more, please");
        let error = link.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
