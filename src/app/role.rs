//! Role of a running node: primary, which writes and publishes its ledger, or mirror, which follows its primary.

use std::sync::Arc;

use crate::{
    mirror::{Following, Lag},
    publish::Publisher,
    registry::SequencerHandle,
};

/// Writer and publisher of a running node's ledger.
pub(super) enum Role {
    /// A primary: commands, in the order of the sequencer.
    Primary {
        /// The sequencer's thread.
        sequencer: SequencerHandle,
        /// The publisher.
        publisher: Publisher,
    },
    /// A mirror, which follows the stream of its primary.
    Mirror(Following),
}

impl Role {
    /// URL of the primary's log, if the node is a mirror.
    pub(super) fn primary(&self) -> Option<&str> {
        match self {
            Self::Primary { .. } => None,
            Self::Mirror(following) => Some(following.lag().primary()),
        }
    }

    /// Lag behind the primary, if the node is a mirror.
    pub(super) fn lag(&self) -> Option<Arc<Lag>> {
        match self {
            Self::Primary { .. } => None,
            Self::Mirror(following) => Some(Arc::clone(following.lag())),
        }
    }

    /// Stops writer and publisher after all queued work.
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
