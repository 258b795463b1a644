//! What the other side announced, and who waits for it. Pure: it reads no clock.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::wire::ConnInfo;

/// How many announcements are kept for a dial that may still come. Past that the oldest is lost, which has the
/// effect of upstream's five seconds; a busy plugin has a handful.
const KEPT: usize = 1024;

/// Announcements without a dial, and dials without an announcement. A number is only ever in one.
#[derive(Default)]
pub(super) struct Announced {
    kept: VecDeque<ConnInfo>,
    waiting: HashMap<u32, VecDeque<oneshot::Sender<ConnInfo>>>,
}

impl Announced {
    /// Returns a receiver of the announcement of `id`, which resolves at once if it is there already.
    ///
    /// To stop waiting, drop it.
    pub(super) fn expect(&mut self, id: u32) -> oneshot::Receiver<ConnInfo> {
        let (sender, receiver) = oneshot::channel();
        match self.kept.iter().position(|info| info.service_id == id).and_then(|at| self.kept.remove(at)) {
            // The receiver is right here, so this arrives.
            Some(info) => drop(sender.send(info)),
            None => {
                self.waiting.retain(|_, senders| {
                    senders.retain(|sender| !sender.is_closed());
                    !senders.is_empty()
                });
                self.waiting.entry(id).or_default().push_back(sender);
            }
        }
        receiver
    }

    /// Hands an announcement to the dial that has waited longest for it, or keeps it.
    ///
    /// A second one for a number that nobody has dialled replaces the first: the server has moved.
    pub(super) fn arrived(&mut self, info: ConnInfo) {
        let mut info = info;
        let id = info.service_id;
        while let Some(sender) = self.waiting.get_mut(&id).and_then(VecDeque::pop_front) {
            match sender.send(info) {
                Ok(()) => return self.forget_if_empty(id),
                Err(unclaimed) => info = unclaimed,
            }
        }
        self.forget_if_empty(id);
        self.kept.retain(|kept| kept.service_id != id);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(info);
    }

    fn forget_if_empty(&mut self, id: u32) {
        if self.waiting.get(&id).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::Random;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn info(id: u32, address: &str) -> ConnInfo {
        ConnInfo { service_id: id, network: "unix".to_owned(), address: address.to_owned(), knock: None }
    }

    #[test]
    fn an_announcement_is_found_whichever_comes_first() {
        let mut announced = Announced::default(); // H-57
        announced.arrived(info(1, "early"));
        assert_eq!(announced.expect(1).try_recv(), Ok(info(1, "early")));

        let mut late = announced.expect(2);
        assert!(late.try_recv().is_err());
        announced.arrived(info(2, "late"));
        assert_eq!(late.try_recv(), Ok(info(2, "late")));
        assert!(announced.kept.is_empty() && announced.waiting.is_empty());
    }

    #[test]
    fn an_announcement_serves_one_dial() {
        let mut announced = Announced::default();
        let (mut first, mut second) = (announced.expect(1), announced.expect(1));
        announced.arrived(info(1, "a"));
        assert_eq!(first.try_recv(), Ok(info(1, "a")));
        assert!(second.try_recv().is_err());
        announced.arrived(info(1, "b"));
        assert_eq!(second.try_recv(), Ok(info(1, "b")));
    }

    #[test]
    fn who_stopped_waiting_is_passed_over() {
        let mut announced = Announced::default();
        drop(announced.expect(1));
        announced.arrived(info(1, "a"));
        assert_eq!(announced.expect(1).try_recv(), Ok(info(1, "a")));
    }

    #[test]
    fn the_last_word_on_a_number_counts() {
        let mut announced = Announced::default();
        announced.arrived(info(1, "old"));
        announced.arrived(info(1, "new"));
        assert_eq!(announced.expect(1).try_recv(), Ok(info(1, "new")));
        assert!(announced.kept.is_empty());
    }

    #[test]
    fn a_flood_costs_the_oldest() {
        let mut announced = Announced::default();
        for id in 0..=u32::try_from(KEPT).unwrap() {
            announced.arrived(info(id, ""));
        }
        assert_eq!(announced.kept.len(), KEPT);
        assert!(announced.expect(0).try_recv().is_err());
        assert!(announced.expect(1).try_recv().is_ok());
    }

    /// The same rules said differently: every event is kept, and questions are answered by looking at all of them.
    #[test]
    fn any_course_of_events_goes_as_the_rules_say() {
        for seed in 0..200 {
            course(&mut Random::from_name(&format!("announced {seed}")));
        }
    }

    /// Somebody who dialled: for which number, and what they hold until they are answered or give up.
    struct Dial {
        id: u32,
        answer: oneshot::Receiver<ConnInfo>,
    }

    fn course(random: &mut Random) {
        let mut announced = Announced::default();
        // The model: who waits, longest first, and what nobody asked for yet, oldest first.
        let mut dials: VecDeque<Dial> = VecDeque::new();
        let mut unclaimed: VecDeque<ConnInfo> = VecDeque::new();
        for step in 0..400_u32 {
            let id = u32::try_from(random.below(5)).unwrap();
            match random.below(8) {
                0..=2 => {
                    let said = info(id, &step.to_string());
                    announced.arrived(said.clone());
                    match dials.iter().position(|dial| dial.id == id).and_then(|at| dials.remove(at)) {
                        Some(mut first) => assert_eq!(first.answer.try_recv(), Ok(said), "step {step}"),
                        None => {
                            unclaimed.retain(|old| old.service_id != id);
                            unclaimed.push_back(said);
                        }
                    }
                }
                3..=5 => {
                    let mut answer = announced.expect(id);
                    match unclaimed.iter().position(|old| old.service_id == id) {
                        Some(at) => assert_eq!(answer.try_recv().ok(), unclaimed.remove(at), "step {step}"),
                        None => dials.push_back(Dial { id, answer }),
                    }
                }
                // Somebody gives up, whoever it is.
                6 => drop(dials.remove(random.below(dials.len()))),
                // The other side goes, or a flood comes from it: now and then.
                _ if random.below(40) == 0 => {
                    announced = Announced::default();
                    unclaimed.clear();
                    for mut dial in dials.drain(..) {
                        assert_eq!(dial.answer.try_recv(), Err(TryRecvError::Closed), "step {step}");
                    }
                }
                _ if random.below(40) == 0 => {
                    for id in (1000..).take(KEPT) {
                        announced.arrived(info(id, "flood"));
                    }
                    for id in (1000..).take(KEPT) {
                        assert!(announced.expect(id).try_recv().is_ok(), "step {step}, {id}");
                    }
                    unclaimed.clear();
                }
                _ => {}
            }
            for dial in &mut dials {
                assert_eq!(dial.answer.try_recv(), Err(TryRecvError::Empty), "step {step}");
            }
            assert_eq!(announced.kept, unclaimed, "step {step}");
            // Who gave up is forgotten with the next dial that has to wait, and none is kept for nothing.
            let open = announced.waiting.values().flatten().filter(|sender| !sender.is_closed()).count();
            assert_eq!(open, dials.len(), "step {step}");
            assert!(announced.waiting.len() <= 5, "step {step}");
        }
        dials.clear();
        drop(announced.expect(u32::MAX));
        assert_eq!(announced.waiting.len(), 1, "who gave up is still remembered");
    }
}
