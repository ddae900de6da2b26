//! Publication: the published checkpoints of the ledger, with the cosignatures of witnesses.
//!
//! A node signs a checkpoint for every batch; of these, at most one a second is published, after the witnesses were
//! asked. A proof is given for a published checkpoint if that covers the entry, because only such a checkpoint has
//! cosignatures. The witnesses are asked in `publish`.

use std::sync::{Arc, PoisonError, RwLock};

use crate::tlog::SignedCheckpoint;

/// The published checkpoints. Cheap to read, from any thread.
#[derive(Debug)]
pub struct Publication(RwLock<Checkpoints>);

#[derive(Debug)]
struct Checkpoints {
    newest: SignedCheckpoint,
    /// The newest checkpoint that every witness cosigned, if there are witnesses.
    cosigned: Option<SignedCheckpoint>,
}

impl Publication {
    /// Publishes a first checkpoint.
    pub fn new(newest: SignedCheckpoint) -> Self {
        Self(RwLock::new(Checkpoints { newest, cosigned: None }))
    }

    /// Note of the newest published checkpoint, with its cosignatures (C2SP tlog-checkpoint).
    pub fn newest(&self) -> Arc<str> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).newest.note)
    }

    /// As [`Publication::newest`], with size and root.
    pub fn newest_checkpoint(&self) -> SignedCheckpoint {
        self.0.read().unwrap_or_else(PoisonError::into_inner).newest.clone()
    }

    /// The best published checkpoint that covers entry `index`: the one that every witness cosigned, else the newest;
    /// `None` while none covers the entry.
    pub fn covering(&self, index: u64) -> Option<SignedCheckpoint> {
        let checkpoints = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let candidates = [checkpoints.cosigned.as_ref(), Some(&checkpoints.newest)];
        candidates.into_iter().flatten().find(|checkpoint| checkpoint.size > index).cloned()
    }

    /// Publishes a checkpoint. A checkpoint smaller than the newest is ignored.
    pub fn publish(&self, checkpoint: SignedCheckpoint) {
        let mut checkpoints = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if checkpoint.size >= checkpoints.newest.size {
            checkpoints.newest = checkpoint;
        }
    }

    /// Publishes a checkpoint that every witness cosigned.
    pub fn publish_cosigned(&self, checkpoint: SignedCheckpoint) {
        self.publish(checkpoint.clone());
        let mut checkpoints = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if checkpoints.cosigned.as_ref().is_none_or(|cosigned| cosigned.size <= checkpoint.size) {
            checkpoints.cosigned = Some(checkpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Hash;

    fn checkpoint(size: u64, note: &str) -> SignedCheckpoint {
        SignedCheckpoint { size, root: Hash([0; 32]), note: note.into() }
    }

    #[test]
    fn cosigned_checkpoints_are_preferred_where_they_cover() {
        let publication = Publication::new(checkpoint(3, "first"));
        let covering = |index| publication.covering(index).map(|found| found.note.to_string());
        assert_eq!((covering(2), covering(3)), (Some("first".into()), None));
        publication.publish_cosigned(checkpoint(5, "cosigned"));
        publication.publish(checkpoint(9, "newest"));
        publication.publish(checkpoint(8, "late"));
        assert_eq!(&*publication.newest(), "newest");
        assert_eq!([4, 5].map(covering), [Some("cosigned".into()), Some("newest".into())]);
    }
}
