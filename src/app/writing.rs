//! Who adds to a running node's ledger and publishes it: its own threads, or those that follow its primary.

use std::sync::Arc;

use super::{AppError, cores::Adding, entropy};
use crate::{
    ledger::{Ledger, Publication},
    mirror::{Follow, Following},
    publish::{Publisher, Witness},
    registry::SequencerHandle,
};

/// Who adds to a running node's ledger, and publishes it.
pub(super) enum Writing {
    /// Commands: the sequencer and the publisher.
    Commands(SequencerHandle, Publisher),
    /// The primary.
    Primary(Following),
}

impl Writing {
    /// Starts what is not running yet.
    ///
    /// # Errors
    ///
    /// [`AppError::System`] when the system gives no thread.
    pub(super) fn start(
        adding: Adding,
        ledger: &Arc<Ledger>,
        publication: &Arc<Publication>,
        witnesses: Vec<Witness>,
    ) -> Result<Self, AppError> {
        let (ledger, publication) = (Arc::clone(ledger), Arc::clone(publication));
        Ok(match adding {
            Adding::Commands(sequencer) => {
                let publisher = Publisher::start(ledger, publication, witnesses);
                let publisher = publisher.map_err(|error| AppError::system("cannot start the publisher", error))?;
                Self::Commands(sequencer, publisher)
            }
            Adding::Primary(applier, of, lag, seen) => {
                let follow = Follow { of: *of, applier: *applier, ledger, publication, lag, seen, entropy: entropy() };
                let following = Following::start(follow);
                Self::Primary(following.map_err(|error| AppError::system("cannot follow the primary", error))?)
            }
        })
    }

    /// Where the primary is, when there is one.
    pub(super) fn primary(&self) -> Option<&str> {
        match self {
            Self::Commands(..) => None,
            Self::Primary(following) => Some(following.primary()),
        }
    }

    /// Ends it; what waits is finished.
    pub(super) fn stop(self) {
        match self {
            Self::Commands(sequencer, publisher) => {
                publisher.stop();
                sequencer.join();
            }
            Self::Primary(following) => following.stop(),
        }
    }
}
