//! The contract of a head: where the last checkpoint that a log signed is kept, behind a compare-and-swap.
//!
//! A checkpoint is stored here after its entries are durable and before anybody sees it. So of two writers with one key,
//! one stores its checkpoint and the other is told that the head moved: no two histories are ever signed. The local
//! head is a file (`signed_head`); a head that several machines share is one row that their engine replaces on
//! condition.

use std::fmt;

use super::LedgerError;
use crate::tlog::SignedCheckpoint;

/// The last checkpoint that a log signed.
///
/// Every implementation guarantees:
///
/// * **On condition**: [`Head::replace`] stores the new checkpoint only if the head is still the old one, whoever else
///   has the head open.
/// * **Whole**: after a crash the head is one of the two checkpoints that were stored last, and never a part of one.
/// * **Durable**: a checkpoint survives the end of the process once [`Head::replace`] has returned, and the loss of power
///   once [`Head::sync`] has.
pub trait Head: fmt::Debug + Send + Sync {
    /// The checkpoint stored last, read again; `None` if none ever was.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if something is stored, and no checkpoint.
    fn load(&self) -> Result<Option<SignedCheckpoint>, LedgerError>;

    /// Stores a checkpoint in the place of the one that the caller stored or loaded last.
    ///
    /// # Errors
    ///
    /// [`LedgerError::HeadMoved`] if the head is another one: somebody else signs, and the caller must sign nothing more.
    /// [`LedgerError::Io`]: it is unknown which of the two the head is now. In both cases the new checkpoint must not be
    /// published.
    fn replace(&mut self, old: Option<&SignedCheckpoint>, new: &SignedCheckpoint) -> Result<(), LedgerError>;

    /// Makes the checkpoint that was stored last durable against the loss of power, if it is not yet.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    fn sync(&mut self) -> Result<(), LedgerError>;
}

/// A head, with the checkpoint that this process loaded or stored last.
#[derive(Debug)]
pub(super) struct OwnHead {
    head: Box<dyn Head>,
    newest: Option<SignedCheckpoint>,
}

impl OwnHead {
    /// Loads the newest checkpoint of a head.
    ///
    /// # Errors
    ///
    /// As for [`Head::load`].
    pub(super) fn load(head: Box<dyn Head>) -> Result<Self, LedgerError> {
        let newest = head.load()?;
        Ok(Self { head, newest })
    }

    /// The newest checkpoint; `None` if none was ever stored.
    pub(super) fn newest(&self) -> Option<&SignedCheckpoint> {
        self.newest.as_ref()
    }

    /// Stores the next checkpoint.
    ///
    /// # Errors
    ///
    /// As for [`Head::replace`].
    pub(super) fn store(&mut self, next: &SignedCheckpoint) -> Result<(), LedgerError> {
        self.head.replace(self.newest.as_ref(), next)?;
        self.newest = Some(next.clone());
        Ok(())
    }

    /// Makes the newest checkpoint durable against the loss of power.
    ///
    /// # Errors
    ///
    /// As for [`Head::sync`].
    pub(super) fn sync(&mut self) -> Result<(), LedgerError> {
        self.head.sync()
    }
}

/// The contract, run on every implementation, and the model of it.
#[cfg(test)]
pub(super) mod contract {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::tlog::{Hash, LedgerKey};

    /// The reference model: a head in memory, which all that share the cell have open.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct MemoryHead {
        cell: Arc<Mutex<Option<SignedCheckpoint>>>,
    }

    impl Head for MemoryHead {
        fn load(&self) -> Result<Option<SignedCheckpoint>, LedgerError> {
            Ok(self.cell.lock().unwrap().clone())
        }

        fn replace(&mut self, old: Option<&SignedCheckpoint>, new: &SignedCheckpoint) -> Result<(), LedgerError> {
            let mut head = self.cell.lock().unwrap();
            if head.as_ref() != old {
                return Err(LedgerError::head_moved(old, head.as_ref()));
            }
            *head = Some(new.clone());
            Ok(())
        }

        fn sync(&mut self) -> Result<(), LedgerError> {
            Ok(())
        }
    }

    /// Runs the contract on a head that nothing was stored in; `open` opens it once more.
    pub(crate) fn check(key: &LedgerKey, open: &mut dyn FnMut() -> Box<dyn Head>) {
        let sign = |size: u64, root: u8| key.sign(size, Hash([root; 32])).unwrap();
        let size = |head: &dyn Head| head.load().unwrap().map(|head| head.size);
        let (first, second, third, other) = (sign(1, 1), sign(2, 2), sign(3, 3), sign(3, 4));
        let mut head = open();
        head.sync().unwrap();
        assert_eq!(size(&*head), None);
        let moved = |result: Result<(), LedgerError>, expected: Option<u64>, found: Option<u64>| {
            let error = result.unwrap_err();
            let is_so =
                matches!(&error, LedgerError::HeadMoved { expected: e, found: f } if (*e, *f) == (expected, found));
            assert!(is_so, "{error}");
        };
        moved(head.replace(Some(&first), &second), Some(1), None);
        head.replace(None, &first).unwrap();
        moved(head.replace(None, &second), None, Some(1));
        head.sync().unwrap();
        assert_eq!(open().load().unwrap().as_ref(), Some(&first), "whoever opens it finds what was stored");
        head.replace(Some(&first), &second).unwrap();
        head.replace(Some(&second), &third).unwrap();
        assert_eq!(open().load().unwrap().as_ref(), Some(&third));
        moved(head.replace(Some(&other), &sign(4, 4)), Some(3), Some(3));

        // Two writers with one key: the slower one signs nothing.
        let (mut one, mut two) = (open(), open());
        one.replace(Some(&third), &sign(5, 5)).unwrap();
        moved(two.replace(Some(&third), &sign(5, 6)), Some(3), Some(5));
        assert_eq!(open().load().unwrap(), Some(sign(5, 5)));
        assert_eq!(size(&*two), Some(5));
    }

    #[test]
    fn memory_keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let key = LedgerKey::open_or_create(&directory.path().join("key"), "example.test/log", [7; 32]).unwrap();
        let cell = Arc::default();
        check(&key, &mut || Box::new(MemoryHead { cell: Arc::clone(&cell) }));
    }
}
