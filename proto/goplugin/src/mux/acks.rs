//! The answer to the knock that is on its way. Pure.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// How many knocks are remembered that we gave up on. A guess; there is one in five seconds at most.
const GIVEN_UP: usize = 64;

/// The one knock that is on its way, and those whose answer would be late.
#[derive(Debug, Default)]
pub(super) struct Acks {
    asked: Option<(u32, oneshot::Sender<Option<String>>)>,
    given_up: VecDeque<u32>,
    closed: bool,
}

impl Acks {
    /// Returns what resolves to the answer for `id`: nothing, or why not. There is one at a time.
    pub(super) fn expect(&mut self, id: u32) -> oneshot::Receiver<Option<String>> {
        let (sender, receiver) = oneshot::channel();
        self.asked = (!self.closed).then_some((id, sender));
        receiver
    }

    /// Stops waiting, if nothing came.
    pub(super) fn give_up(&mut self) {
        if let Some((id, _)) = self.asked.take() {
            if self.given_up.len() == GIVEN_UP {
                self.given_up.pop_front();
            }
            self.given_up.push_back(id);
        }
    }

    /// Takes an answer, and tells whether it lets in somebody who has gone.
    pub(super) fn arrived(&mut self, id: u32, refused: Option<String>) -> bool {
        if let Some((_, sender)) = self.asked.take_if(|(asked, _)| *asked == id) {
            let admitted = refused.is_none();
            return sender.send(refused).is_err() && admitted;
        }
        match self.given_up.iter().position(|given_up| *given_up == id) {
            Some(at) => self.given_up.remove(at).is_some() && refused.is_none(),
            None => false,
        }
    }

    /// Answers nothing any more.
    pub(super) fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_who_asked() {
        let mut acks = Acks::default();
        let mut answer = acks.expect(7);
        assert!(!acks.arrived(8, None));
        assert!(answer.try_recv().is_err());
        assert!(!acks.arrived(7, Some("no".to_owned())));
        assert_eq!(answer.try_recv(), Ok(Some("no".to_owned())));
    }

    #[test]
    fn an_answer_that_lets_in_who_has_gone_is_told() {
        let mut acks = Acks::default();
        drop(acks.expect(7));
        acks.give_up();
        assert!(acks.arrived(7, None));
        // Once: the next one that says so makes it up.
        assert!(!acks.arrived(7, None));
        drop(acks.expect(8));
        acks.give_up();
        assert!(!acks.arrived(8, Some("no".to_owned())));
    }

    #[test]
    fn nobody_waits_for_a_session_that_ended() {
        let mut acks = Acks::default();
        let mut answer = acks.expect(7);
        acks.close();
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(acks.expect(7).try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
