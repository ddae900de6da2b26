//! The publisher: one thread that takes the newest checkpoint once a second, has witnesses cosign it, and publishes it.
//!
//! A witness that does not answer delays a publication by a few seconds, is then left alone for longer and longer, and never keeps
//! a publication back: the checkpoint goes out with the cosignatures that there are. A witness that shows another history of the ledger, or more of it than there is, stops
//! the ledger for good: from then on every receipt would be one for a second history. Its word is not enough for that, only a
//! checkpoint that the ledger's own key signed: anyone can say 409.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::witnesses::{Asked, Witness, ask_all};
use crate::{
    ledger::{Ledger, Publication, SignedCheckpoint},
    proof::merkle::{TreeHead, is_consistent},
};

/// How often a checkpoint is published, at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// For how many rounds a witness that did not answer is left alone, at most (half a minute).
const ROUNDS_APART_MAX: u32 = 30;

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
        let seats = witnesses.into_iter().map(Seat::new).collect();
        let mut rounds = Rounds { ledger, publication, seats, current: None };
        let run = move || {
            loop {
                rounds.publish();
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

/// A witness, and how it stands with the current checkpoint.
struct Seat {
    witness: Witness,
    /// Its signature line.
    line: Option<String>,
    /// What was the matter when it was asked last: it is said when it begins, and when it ends.
    trouble: Option<String>,
    /// For how many rounds it is left alone still.
    pause: u32,
    /// For how many it was the last time.
    paused: u32,
}

impl Seat {
    fn new(witness: Witness) -> Self {
        Self { witness, line: None, trouble: None, pause: 0, paused: 0 }
    }

    /// Whether it is to be asked in this round.
    fn is_due(&mut self) -> bool {
        if self.line.is_some() || self.pause == 0 {
            return self.line.is_none();
        }
        self.pause -= 1;
        false
    }

    /// Takes an answer in; gives the reason when the ledger must sign no more.
    fn take(&mut self, asked: Asked, ledger: &Ledger) -> Option<String> {
        let name = self.witness.name();
        match asked {
            Asked::Cosigned { line } => {
                self.line = Some(line);
                self.paused = 0;
                if self.trouble.take().is_some() {
                    tracing::info!(witness = name, "the witness cosigns again");
                }
                None
            }
            // A newer checkpoint than this one was under way.
            Asked::Ahead { size } if size <= ledger.size() => None,
            Asked::Ahead { size } => self.check(&format!("has cosigned {size} entries of this ledger"), ledger),
            Asked::OtherHistory { .. } => self.check("has cosigned another history of this ledger", ledger),
            Asked::Nothing { reason } => self.miss(reason),
        }
    }

    /// Takes the word of a witness against the ledger: it counts as far as the witness shows it.
    fn check(&mut self, word: &str, ledger: &Ledger) -> Option<String> {
        match contradiction(&self.witness, ledger) {
            Ok(Some(reason)) => Some(reason),
            Ok(None) => self.miss(format!("it says that it {word}, and shows a checkpoint that fits this one")),
            Err(why) => self.miss(format!("it says that it {word}, and does not show it: {why}")),
        }
    }

    fn miss(&mut self, reason: String) -> Option<String> {
        self.paused = (2 * self.paused + 1).min(ROUNDS_APART_MAX);
        self.pause = self.paused;
        if self.trouble.as_ref() != Some(&reason) {
            let name = self.witness.name();
            tracing::warn!(witness = name, %reason, "the witness does not cosign; checkpoints are published without it");
            self.trouble = Some(reason);
        }
        None
    }
}

/// What a witness shows that contradicts the ledger, as a reason to sign no more; an error says why it shows nothing.
fn contradiction(witness: &Witness, ledger: &Ledger) -> Result<Option<String>, String> {
    let theirs = witness.shown(ledger.key())?;
    // Read later than theirs: what this process signed is in it.
    let ours = ledger.checkpoint();
    let (name, size, entries) = (witness.name(), theirs.size, ours.size);
    if size > entries {
        return Ok(Some(format!(
            "was shown by the witness {name} that it has cosigned {size} entries of this ledger, signed with its key, and there are \
             {entries}: the data directory is an old copy; restore the newest one"
        )));
    }
    let proof = ledger.consistency_proof(size, entries).map_err(|error| error.to_string())?;
    let ours = TreeHead { size: entries, root: ours.root };
    Ok((!is_consistent(theirs, ours, &proof)).then(|| {
        format!(
            "was shown by the witness {name} that it has cosigned another history of this ledger, of {size} entries, signed with \
             its key: the data directory is an old copy that was continued; restore the newest one"
        )
    }))
}

struct Rounds {
    ledger: Arc<Ledger>,
    publication: Arc<Publication>,
    seats: Vec<Seat>,
    /// The size of the checkpoint that the witnesses were asked about last.
    current: Option<u64>,
}

impl Rounds {
    fn publish(&mut self) {
        if self.ledger.halted().is_some() {
            return;
        }
        let checkpoint = self.ledger.checkpoint();
        let is_new = self.current != Some(checkpoint.size);
        if is_new {
            self.current = Some(checkpoint.size);
            self.seats.iter_mut().for_each(|seat| seat.line = None);
        }
        let mut due: Vec<&mut Seat> = self.seats.iter_mut().filter_map(|seat| seat.is_due().then_some(seat)).collect();
        if due.is_empty() && !is_new {
            return;
        }
        let ledger = &self.ledger;
        let witnesses = due.iter_mut().map(|seat| &mut seat.witness);
        let asked = ask_all(witnesses, &checkpoint, &|old, new| ledger.consistency_proof(old, new));
        let reasons = due.into_iter().zip(asked).filter_map(|(seat, asked)| seat.take(asked, ledger));
        if let Some(reason) = reasons.fold(None, |first, next| first.or(Some(next))) {
            tracing::error!(reason, "no more writes are accepted");
            ledger.halt(reason);
        }
        let lines: Vec<&str> = self.seats.iter().filter_map(|seat| seat.line.as_deref()).collect();
        let note = format!("{}{}", checkpoint.note, lines.concat()).into();
        let cosigned = SignedCheckpoint { note, ..checkpoint };
        match lines.len() == self.seats.len() {
            true => self.publication.publish_cosigned(cosigned),
            false => self.publication.publish(cosigned),
        }
    }
}
