//! The publisher: one thread that takes and publishes the newest checkpoint once a second, and one thread for each
//! witness.
//!
//! Witnesses have 300 ms for their answers. A slower witness delays nothing: the checkpoint is published with the
//! cosignatures that there are, and again with late ones. A witness that fails is asked again with exponential
//! back-off. A witness that shows another history of the ledger, or more of it than there is, stops the ledger for
//! good: from then on every receipt would belong to a second history. The word of a witness is not enough for that,
//! only a checkpoint that the ledger's own key signed: anyone can say 409. Nothing waits without bound: a witness has
//! one request at most, and each request has a timeout.

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

/// Interval at which the newest checkpoint is taken.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for which a checkpoint waits for cosignatures.
const PATIENCE: Duration = Duration::from_millis(300);
/// Longest back-off of a witness, in rounds (half a minute).
const ROUNDS_APART_MAX: u32 = 30;
/// Maximum number of checkpoints whose cosignatures are collected at once, for witnesses that take longer than a round.
const COLLECTED_MAX: usize = 16;

/// The running threads.
#[derive(Debug)]
pub struct Publisher {
    stopping: Arc<AtomicBool>,
    events: mpsc::SyncSender<Event>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Event that wakes the publisher.
#[derive(Debug)]
enum Event {
    /// A witness answered about the checkpoint of this size.
    Answer { seat: usize, size: u64, answer: Answer },
    /// The publisher is to end.
    Stop,
}

/// Answer of a witness.
#[derive(Debug)]
enum Answer {
    /// A cosignature: its signature line.
    Cosigned { line: String },
    /// The witness holds a newer checkpoint of this ledger, of this size.
    Newer { size: u64 },
    /// The witness showed that the ledger must sign no more; the reason.
    Contradiction { reason: String },
    /// No cosignature; the reason.
    Nothing { reason: String },
}

impl Publisher {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if a thread cannot be started.
    pub fn start(ledger: Arc<Ledger>, publication: Arc<Publication>, witnesses: Vec<Witness>) -> io::Result<Self> {
        let stopping = Arc::<AtomicBool>::default();
        // Room for one answer of each witness, and for the end: no sender ever waits.
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

    /// Ends the threads; a request that is under way is awaited, and none is begun.
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
        // There is room; if nobody receives the event, the publisher has ended.
        let _ = self.events.try_send(Event::Stop);
    }
}

/// Asks a witness for a cosignature, and for evidence if its answer contradicts the ledger.
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

/// Compares the ledger with the checkpoint that a witness shows. Returns the contradiction, if there is one, as a
/// reason to sign no more; the error is the reason for showing nothing.
fn contradiction(witness: &Witness, ledger: &Ledger) -> Result<Option<String>, String> {
    let theirs = witness.shown(ledger.verifier())?;
    // Read after theirs, so that it covers everything that this process signed before.
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

/// State of one witness.
struct Seat {
    name: String,
    questions: mpsc::SyncSender<SignedCheckpoint>,
    /// Size of the checkpoint in the open request.
    busy: Option<u64>,
    /// Largest size that needs no further request; smaller ones need none either.
    done: Option<u64>,
    /// Last error, for the log: logged when it begins and when it ends.
    trouble: Option<String>,
    /// Remaining rounds of the back-off.
    pause: u32,
    /// Rounds of the last back-off.
    paused: u32,
}

impl Seat {
    fn new(name: String, questions: mpsc::SyncSender<SignedCheckpoint>) -> Self {
        Self { name, questions, busy: None, done: None, trouble: None, pause: 0, paused: 0 }
    }

    /// True if the witness is to be asked in this round. Counts the back-off down.
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

/// A checkpoint, with its cosignatures so far.
struct Collected {
    checkpoint: SignedCheckpoint,
    /// One line for each seat.
    lines: Vec<Option<String>>,
    /// Time until which the first publication waits for cosignatures; `None` once published.
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

    /// Takes the newest checkpoint, and asks for missing cosignatures.
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

    /// The checkpoint to ask a witness about: an older one that another witness is being asked about, so that slow
    /// witnesses cosign the same checkpoint, else the newest.
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
