//! The publisher: one thread that takes the newest checkpoint once a second and publishes it, and one for each witness, which has
//! it cosigned.
//!
//! Witnesses have a moment for their answers. Who is slower keeps nothing back: the checkpoint goes out with the cosignatures that
//! there are, and once more with those that come. A witness that fails is left alone for longer and longer. A witness that shows
//! another history of the ledger, or more of it than there is, stops the ledger for good: from then on every receipt would be
//! one for a second history. Its word is not enough for that, only a checkpoint that the ledger's own key signed: anyone can say
//! 409. Nothing waits without bound: a witness has one question at most, and each question has a time.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::witnesses::{Asked, Witness};
use crate::{
    ledger::{Ledger, Publication},
    tlog::{
        SignedCheckpoint,
        merkle::{TreeHead, is_consistent},
    },
};

/// How often a checkpoint is published, at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a checkpoint waits for its cosignatures.
const PATIENCE: Duration = Duration::from_millis(300);
/// For how many rounds a witness that did not answer is left alone, at most (half a minute).
const ROUNDS_APART_MAX: u32 = 30;
/// Of how many checkpoints the cosignatures are collected at once, for witnesses that take longer than a round.
const COLLECTED_MAX: usize = 16;

/// The running threads.
#[derive(Debug)]
pub struct Publisher {
    stopping: Arc<AtomicBool>,
    events: mpsc::SyncSender<Event>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What the publisher is woken for.
#[derive(Debug)]
enum Event {
    /// A witness answered a question about the checkpoint of this size.
    Answer { seat: usize, size: u64, answer: Answer },
    /// It is to end.
    Stop,
}

/// What came of a question.
#[derive(Debug)]
enum Answer {
    /// The witness cosigned, with this signature line.
    Cosigned { line: String },
    /// It holds a newer checkpoint of this ledger, of this size.
    Newer { size: u64 },
    /// It showed that the ledger must sign no more, and why.
    Contradiction { reason: String },
    /// Nothing that helps.
    Nothing { reason: String },
}

impl Publisher {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(ledger: Arc<Ledger>, publication: Arc<Publication>, witnesses: Vec<Witness>) -> io::Result<Self> {
        let stopping = Arc::<AtomicBool>::default();
        // Room for an answer of each, and the end: nobody waits to put one in.
        let (events, woken) = mpsc::sync_channel(witnesses.len() + 1);
        let (mut seats, mut threads) = (Vec::new(), Vec::new());
        for (seat, mut witness) in witnesses.into_iter().enumerate() {
            let name = witness.name().to_owned();
            let (questions, asked) = mpsc::sync_channel::<SignedCheckpoint>(1);
            let (ledger, events, stopping) = (Arc::clone(&ledger), events.clone(), Arc::clone(&stopping));
            let run = move || {
                for checkpoint in asked {
                    let answer = ask(&mut witness, &checkpoint, &ledger, &stopping);
                    if events.send(Event::Answer { seat, size: checkpoint.size, answer }).is_err() {
                        break;
                    }
                }
            };
            threads.push(thread::Builder::new().name("touchmark-wit".into()).spawn(run)?);
            seats.push(Seat::new(name, questions));
        }
        let rounds = Rounds { ledger, publication, seats, collected: VecDeque::new() };
        threads.push(thread::Builder::new().name("touchmark-pub".into()).spawn(move || rounds.run(&woken))?);
        Ok(Self { stopping, events, threads })
    }

    /// Ends the threads; a request that is under way is waited for, and none is begun.
    pub fn stop(mut self) {
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the publisher died; start the node again");
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // There is room for it; when nobody takes it, the publisher has ended.
        let _ = self.events.try_send(Event::Stop);
    }
}

/// Asks a witness, and for evidence where it speaks against the ledger.
fn ask(witness: &mut Witness, checkpoint: &SignedCheckpoint, ledger: &Ledger, stopping: &AtomicBool) -> Answer {
    let prove = |old, new| match stopping.load(Ordering::Relaxed) {
        true => Err("the node stops".into()),
        false => ledger.consistency_proof(old, new).map_err(|error| error.to_string()),
    };
    let word = match witness.ask(checkpoint, &prove) {
        Asked::Cosigned { line } => return Answer::Cosigned { line },
        Asked::Nothing { reason } => return Answer::Nothing { reason },
        Asked::Ahead { size } if size <= ledger.size() => return Answer::Newer { size },
        Asked::Ahead { size } => format!("has cosigned {size} entries of this ledger"),
        Asked::OtherHistory { .. } => "has cosigned another history of this ledger".into(),
    };
    let shown = match stopping.load(Ordering::Relaxed) {
        true => Err("the node stops".into()),
        false => contradiction(witness, ledger),
    };
    match shown {
        Ok(Some(reason)) => Answer::Contradiction { reason },
        Ok(None) => {
            Answer::Nothing { reason: format!("it says that it {word}, and shows a checkpoint that fits this one") }
        }
        Err(why) => Answer::Nothing { reason: format!("it says that it {word}, and does not show it: {why}") },
    }
}

/// What a witness shows that contradicts the ledger, as a reason to sign no more; an error says why it shows nothing.
fn contradiction(witness: &Witness, ledger: &Ledger) -> Result<Option<String>, String> {
    let theirs = witness.shown(ledger.verifier())?;
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

/// A witness, and how it stands.
struct Seat {
    name: String,
    questions: mpsc::SyncSender<SignedCheckpoint>,
    /// The size that it is being asked about.
    busy: Option<u64>,
    /// The size that it needs not be asked about any more, nor about smaller ones.
    done: Option<u64>,
    /// What was the matter when it was asked last: it is said when it begins, and when it ends.
    trouble: Option<String>,
    /// For how many rounds it is left alone still.
    pause: u32,
    /// For how many it was the last time.
    paused: u32,
}

impl Seat {
    fn new(name: String, questions: mpsc::SyncSender<SignedCheckpoint>) -> Self {
        Self { name, questions, busy: None, done: None, trouble: None, pause: 0, paused: 0 }
    }

    /// Whether it is to be asked in this round.
    fn is_due(&mut self, size: u64) -> bool {
        if self.busy.is_some() || self.done >= Some(size) {
            return false;
        }
        let is_due = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        is_due
    }

    fn ask(&mut self, checkpoint: &SignedCheckpoint) {
        match self.questions.try_send(checkpoint.clone()) {
            Ok(()) => self.busy = Some(checkpoint.size),
            Err(_) => self.miss("its thread died; start the node again".into()),
        }
    }

    fn hit(&mut self, size: u64) {
        (self.done, self.paused) = (Some(size), 0);
        if self.trouble.take().is_some() {
            tracing::info!(witness = self.name, "the witness cosigns again");
        }
    }

    fn miss(&mut self, reason: String) {
        self.paused = (2 * self.paused + 1).min(ROUNDS_APART_MAX);
        self.pause = self.paused;
        if self.trouble.as_ref() != Some(&reason) {
            let witness = &self.name;
            tracing::warn!(witness, %reason, "the witness does not cosign; checkpoints are published without it");
            self.trouble = Some(reason);
        }
    }
}

/// A checkpoint, and what witnesses put under it so far.
struct Collected {
    checkpoint: SignedCheckpoint,
    /// One for each seat.
    lines: Vec<Option<String>>,
    /// Until when it waits for more before it is published.
    waits: Option<Instant>,
}

struct Rounds {
    ledger: Arc<Ledger>,
    publication: Arc<Publication>,
    seats: Vec<Seat>,
    /// In order of size, the newest last.
    collected: VecDeque<Collected>,
}

impl Rounds {
    fn run(mut self, woken: &mpsc::Receiver<Event>) {
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next {
                self.begin(now);
                next = now + INTERVAL;
            }
            let waits = self.collected.back().and_then(|newest| newest.waits);
            let until = waits.map_or(next, |waits| waits.min(next));
            match woken.recv_timeout(until.saturating_duration_since(now)) {
                Ok(Event::Answer { seat, size, answer }) => self.take(seat, size, answer),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if waits.is_some_and(|waits| waits <= Instant::now()) {
                        self.publish(self.collected.len() - 1);
                    }
                }
                Ok(Event::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Takes the newest checkpoint, and asks for cosignatures that are missing.
    fn begin(&mut self, now: Instant) {
        if self.ledger.halted().is_some() {
            return;
        }
        let checkpoint = self.ledger.checkpoint();
        let size = checkpoint.size;
        let is_new = self.collected.back().is_none_or(|newest| newest.checkpoint.size != size);
        if is_new {
            let lines = vec![None; self.seats.len()];
            self.collected.push_back(Collected { checkpoint, lines, waits: Some(now + PATIENCE) });
            if self.collected.len() > COLLECTED_MAX {
                self.collected.pop_front();
            }
        }
        for at in 0..self.seats.len() {
            if self.seats[at].is_due(size)
                && let Some(checkpoint) = self.asked_for(at)
            {
                self.seats[at].ask(&checkpoint);
            }
        }
        if is_new && !self.seats.iter().any(|seat| seat.busy == Some(size)) {
            self.publish(self.collected.len() - 1);
        }
    }

    /// What a witness is asked about: the newest checkpoint, or an older one that another witness is being asked about, so that
    /// slow ones come to cosign the same.
    fn asked_for(&self, seat: usize) -> Option<SignedCheckpoint> {
        let done = self.seats[seat].done;
        let is_asked = |size: u64| self.seats.iter().any(|other| other.busy == Some(size));
        let mut shared = self.collected.iter().map(|collected| &collected.checkpoint);
        let shared = shared.find(|checkpoint| Some(checkpoint.size) > done && is_asked(checkpoint.size));
        let newest = self.collected.back().map(|collected| &collected.checkpoint);
        shared.or(newest).cloned()
    }

    fn take(&mut self, seat: usize, size: u64, answer: Answer) {
        let Some(witness) = self.seats.get_mut(seat) else { return };
        witness.busy = None;
        let at = self.collected.iter().position(|collected| collected.checkpoint.size == size);
        let mut is_more = false;
        match answer {
            Answer::Cosigned { line } => {
                witness.hit(size);
                if let Some(collected) = at.and_then(|at| self.collected.get_mut(at)) {
                    collected.lines[seat] = Some(line);
                    is_more = true;
                }
            }
            Answer::Newer { size } => witness.done = witness.done.max(size.checked_sub(1)),
            Answer::Nothing { reason } => witness.miss(reason),
            Answer::Contradiction { reason } => {
                tracing::error!(reason, "no more writes are accepted");
                self.ledger.halt(reason);
            }
        }
        let Some(at) = at else { return };
        let is_over = !self.seats.iter().any(|seat| seat.busy == Some(size));
        let waits = self.collected[at].waits.is_some();
        if (waits && is_over) || (!waits && is_more) {
            self.publish(at);
        }
    }

    fn publish(&mut self, at: usize) {
        let Some(collected) = self.collected.get_mut(at) else { return };
        collected.waits = None;
        let lines: Vec<&str> = collected.lines.iter().filter_map(Option::as_deref).collect();
        let checkpoint = &collected.checkpoint;
        let note = format!("{}{}", checkpoint.note, lines.concat()).into();
        let cosigned = SignedCheckpoint { note, ..checkpoint.clone() };
        match lines.len() == self.seats.len() {
            true => self.publication.publish_cosigned(cosigned),
            false => self.publication.publish(cosigned),
        }
    }
}
