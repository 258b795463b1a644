//! Work that has to come to an end.
//!
//! What takes the square of its input's size takes hours where a second is enough, and a test of it would say so to nobody.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long work may take. Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// Does some work on a thread of its own, and returns what came of it.
///
/// # Panics
///
/// When the work does, and when it is not done within a minute. It goes on then, until the process ends.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, came_of_it) = channel();
    let worker = thread::spawn(move || drop(done.send(work())));
    match came_of_it.recv_timeout(LONG) {
        Ok(came_of_it) => came_of_it,
        Err(RecvTimeoutError::Timeout) => panic!("it takes far longer than there is to do"),
        Err(RecvTimeoutError::Disconnected) => {
            resume_unwind(worker.join().expect_err("what is done says so"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_is_done_in_time_is_returned_as_it_is() {
        assert_eq!(in_time(|| 1 + 1), 2);
        let panicked = catch_unwind(|| in_time(|| -> u8 { panic!("not like this") })).unwrap_err();
        assert_eq!(panicked.downcast_ref::<&str>(), Some(&"not like this"));
    }
}
