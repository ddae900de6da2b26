//! The publisher: one thread that takes the newest checkpoint once a second, has witnesses cosign it, and publishes it.
//!
//! A witness that does not answer delays a publication by a few seconds at most and never keeps it back: the checkpoint goes out
//! with the cosignatures that there are. A witness that holds another history of the ledger, or more of it than there is, stops
//! the ledger for good: from then on every receipt would be one for a second history.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::witnesses::{Asked, Witness, ask_all};
use crate::ledger::{Ledger, Publication, SignedCheckpoint};

/// How often a checkpoint is published, at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// After how many rounds a silent witness is asked again about the same checkpoint, at most (a minute).
const ROUNDS_APART_MAX: u32 = 60;

/// The running thread.
#[derive(Debug)]
pub(super) struct Publisher {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Publisher {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(
        ledger: Arc<Ledger>,
        publication: Arc<Publication>,
        witnesses: Vec<Witness>,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let names = witnesses.iter().map(|_| Silence::default()).collect();
        let mut round = Round { ledger, publication, witnesses, silences: names, done: None, pause: 0, wait: 0 };
        let run = move || {
            loop {
                round.publish();
                if !matches!(stopped.recv_timeout(INTERVAL), Err(mpsc::RecvTimeoutError::Timeout)) {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("touchmark-pub".into()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; a question that is under way is waited for.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the publisher died; start the node again");
        }
    }
}

/// What was last the matter with a witness: it is said when it begins, and when it ends.
#[derive(Debug, Default)]
struct Silence(Option<String>);

struct Round {
    ledger: Arc<Ledger>,
    publication: Arc<Publication>,
    witnesses: Vec<Witness>,
    silences: Vec<Silence>,
    /// The size that every witness cosigned last.
    done: Option<u64>,
    /// Rounds to let by before the same checkpoint is tried again.
    pause: u32,
    /// How many are let by the next time.
    wait: u32,
}

impl Round {
    fn publish(&mut self) {
        let checkpoint = self.ledger.checkpoint();
        if self.done == Some(checkpoint.size) || self.ledger.halted().is_some() {
            return;
        }
        let published = self.publication.newest();
        let is_new = !published.starts_with(checkpoint.note.as_ref());
        if !is_new && self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let ledger = Arc::clone(&self.ledger);
        let asked = ask_all(&mut self.witnesses, &checkpoint, &|old, new| ledger.consistency_proof(old, new));
        let mut note = checkpoint.note.to_string();
        let mut count = 0;
        for (at, asked) in asked.iter().enumerate() {
            if let Asked::Cosigned { line } = asked {
                note += line;
                count += 1;
            }
            self.judge(at, asked);
        }
        let cosigned = SignedCheckpoint { note: note.into(), ..checkpoint };
        if count == self.witnesses.len() {
            (self.done, self.wait, self.pause) = (Some(cosigned.size), 0, 0);
            self.publication.publish_cosigned(cosigned);
        } else {
            self.wait = (2 * self.wait + 1).min(ROUNDS_APART_MAX);
            self.pause = self.wait;
            if is_new || count > 0 {
                self.publication.publish(cosigned);
            }
        }
    }

    /// What an answer means for the ledger.
    fn judge(&mut self, at: usize, asked: &Asked) {
        let name = self.witnesses[at].name();
        let entries = self.ledger.size();
        match asked {
            Asked::Cosigned { .. } => {
                if self.silences[at].0.take().is_some() {
                    tracing::info!(witness = name, "the witness cosigns again");
                }
            }
            Asked::Ahead { size } if *size <= entries => {}
            Asked::Ahead { size } => self.halt(format!(
                "was told by the witness {name} that it has cosigned {size} entries of this ledger, and there are {entries}: the data \
                 directory is an old copy; restore the newest one"
            )),
            Asked::OtherHistory { size } => self.halt(format!(
                "was told by the witness {name} that it has cosigned another history of this ledger, of {size} entries or less: the \
                 data directory is an old copy that was continued; restore the newest one"
            )),
            Asked::Nothing { reason } => {
                if self.silences[at].0.as_ref() != Some(reason) {
                    tracing::warn!(witness = name, %reason, "the witness does not cosign; checkpoints are published without it");
                    self.silences[at].0 = Some(reason.clone());
                }
            }
        }
    }

    fn halt(&self, reason: String) {
        tracing::error!(reason, "no more writes are accepted");
        self.ledger.halt(reason);
    }
}
