//! What a running node is to its ledger: the primary, which writes and publishes it, or a mirror, which follows its primary.

use std::sync::Arc;

use crate::{
    mirror::{Following, Lag},
    publish::Publisher,
    registry::SequencerHandle,
};

/// Who adds to the ledger of a running node, and publishes it.
pub(super) enum Role {
    /// Commands, in the order that the sequencer gives them.
    Primary {
        /// The sequencer's thread.
        sequencer: SequencerHandle,
        /// What publishes the ledger.
        publisher: Publisher,
    },
    /// The primary of a mirror, whose stream is followed.
    Mirror(Following),
}

impl Role {
    /// Where the primary is, when the node is a mirror.
    pub(super) fn primary(&self) -> Option<&str> {
        match self {
            Self::Primary { .. } => None,
            Self::Mirror(following) => Some(following.lag().primary()),
        }
    }

    /// How far behind its primary the node is, when it is a mirror.
    pub(super) fn lag(&self) -> Option<Arc<Lag>> {
        match self {
            Self::Primary { .. } => None,
            Self::Mirror(following) => Some(Arc::clone(following.lag())),
        }
    }

    /// Ends it; what waits is finished.
    pub(super) fn stop(self) {
        match self {
            Self::Primary { sequencer, publisher } => {
                publisher.stop();
                sequencer.join();
            }
            Self::Mirror(following) => following.stop(),
        }
    }
}
