//! What a plugin announced, and who waits for it. Pure: it knows time only as it is told.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::wire::ConnInfo;

/// How many announcements are kept for a dial that may still come. A plugin that announces more loses
/// the oldest, which is what upstream's five seconds come to; a busy one has a handful.
const KEPT: usize = 1024;

/// Announcements without a dial, and dials without an announcement. A number is only ever in one.
#[derive(Default)]
pub(super) struct Announced {
    kept: VecDeque<ConnInfo>,
    waiting: HashMap<u32, VecDeque<oneshot::Sender<ConnInfo>>>,
}

impl Announced {
    /// Returns what resolves to the announcement of `id`, at once if it is already there.
    ///
    /// Who stops waiting just drops it.
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

    /// Takes an announcement to the first who waits for it, or keeps it.
    ///
    /// A second one for a number that nobody asked for replaces the first: the plugin has moved.
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
}
