//! Horizon of followers: the end of the entries that the index has applied.

use tokio::sync::watch;

/// Horizon for all followers of one ledger.
#[derive(Debug)]
pub struct Horizon(watch::Sender<Reach>);

/// View of the horizon for one follower.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Reach>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    /// Entries that the index has applied.
    entries: u64,
    is_open: bool,
}

impl Horizon {
    /// The horizon of a ledger; `entries` is the number that the index has applied.
    pub fn new(entries: u64) -> Self {
        Self(watch::Sender::new(Reach { entries, is_open: true }))
    }

    /// Moves the horizon to the number of entries that the index has applied.
    pub fn advance(&self, entries: u64) {
        self.0.send_modify(|reach| reach.entries = entries);
    }

    /// Ends every follower, as the node stops.
    pub fn close(&self) {
        self.0.send_modify(|reach| reach.is_open = false);
    }

    /// A view of the horizon for one follower.
    pub fn subscribe(&self) -> Watch {
        Watch(self.0.subscribe())
    }
}

impl Watch {
    /// Number of entries that the index has applied.
    pub fn entries(&self) -> u64 {
        self.0.borrow().entries
    }

    /// Number of entries that the index has applied, which counts as seen from now on; `None` if the node stops.
    pub fn look(&mut self) -> Option<u64> {
        let reach = *self.0.borrow_and_update();
        reach.is_open.then_some(reach.entries)
    }

    /// Waits until there are more entries than last seen. Returns false if the node stops.
    pub async fn changed(&mut self) -> bool {
        if !self.0.borrow().is_open {
            return false;
        }
        self.0.changed().await.is_ok() && self.0.borrow_and_update().is_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_sees_what_is_new_and_the_end() {
        let horizon = Horizon::new(3);
        let mut watch = horizon.subscribe();
        assert_eq!((watch.entries(), watch.look()), (3, Some(3)));
        horizon.advance(5);
        assert!(watch.changed().await);
        assert_eq!(watch.entries(), 5);
        // Nothing is lost between a look and the wait for more.
        horizon.advance(6);
        horizon.close();
        assert!(!watch.changed().await);
        assert_eq!(watch.look(), None);
        assert!(!horizon.subscribe().changed().await);
        let mut orphan = horizon.subscribe();
        drop(horizon);
        assert!(!orphan.changed().await);
    }
}
