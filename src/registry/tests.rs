//! Tests of the write core's promises: the index agrees with the ledger, jobs are whole or never were, a stop waits for
//! no one.

use std::{
    mem,
    ops::Range,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{apply::change_of, *};
use crate::{
    entry::{ErasedValues, Locator, Reason, RequestId},
    id::{Identifier, KeyPrefix, Prefix, dns_name::NameHash},
    ledger::{DataDir, EntryBytes, KeySource, Ledger, LedgerError, Mark, Opening, Recovered},
    record::{Delegation, Edge, EdgeChange, EdgeType, Event, Flow, Outputs, Permissions, PrefixChange, Value, Values},
    store::{
        Direction, EdgeQuery, Entries, ImplicitHome, IndexChange, IndexedEdge, PastPage, Prefixes, ReadError, Records,
        Resident, StoreError, memory::MemoryEntries,
    },
};

/// A model of an engine that keeps what was applied to it.
struct Recording {
    engine: MemoryEntries,
    applied: Mutex<Vec<IndexChange>>,
}

impl Entries for Recording {
    fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, ReadError> {
        self.engine.newest(key)
    }

    fn newest_resident(&self, key: &Key) -> Result<Resident<Option<EntryBytes>>, ReadError> {
        self.engine.newest_resident(key)
    }

    fn newest_locator(&self, key: &Key) -> Result<Option<Locator>, ReadError> {
        self.engine.newest_locator(key)
    }

    fn by_locator(&self, locator: Locator) -> Result<EntryBytes, ReadError> {
        self.engine.by_locator(locator)
    }

    fn at(&self, index: u64) -> Result<EntryBytes, ReadError> {
        self.engine.at(index)
    }

    fn past(&self, key: &Key, page: PastPage) -> Result<Vec<EntryBytes>, ReadError> {
        self.engine.past(key, page)
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<EntryBytes>, ReadError> {
        self.engine.by_name_hash(hash)
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, ReadError> {
        self.engine.by_request(request)
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, ReadError> {
        self.engine.edges(key, direction, query)
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        self.engine.any_below(prefix)
    }

    fn any_name_hash(&self) -> Result<bool, ReadError> {
        self.engine.any_name_hash()
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, EntryBytes)>, ReadError> {
        self.engine.scan(prefix, after, limit)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.engine.ready()
    }

    fn apply(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError> {
        self.applied.lock().unwrap().extend(changes.iter().cloned());
        self.engine.apply(changes, batch)
    }

    fn durable(&self) -> u64 {
        self.engine.durable()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.engine.close()
    }
}

/// Holds the sequencer back before it begins a batch.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    turned: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.turned.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.turned.wait_while(shut, |shut| *shut).unwrap());
    }
}

/// A write core over a ledger in a temporary directory.
struct Core {
    registry: Registry,
    sequencer: SequencerHandle,
    ledger: Arc<Ledger>,
    store: Arc<Recording>,
    gate: Arc<Gate>,
    runtime: Runtime,
    directory: TempDir,
}

fn opening(directory: &Path) -> Opening {
    let data = DataDir::open_or_create(directory).unwrap();
    Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap()
}

impl Core {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let recovered = opening(directory.path()).recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap();
        let Recovered { ledger, appender, .. } = recovered.sign().unwrap();
        let (engine, applied) = (MemoryEntries::new(Arc::clone(&ledger)), Mutex::default());
        let store = Arc::new(Recording { engine, applied });
        let records = Records::new(store.clone(), Arc::clone(&ledger));
        let prefixes = Arc::new(Prefixes::load(&records, ImplicitHome::UntilHomed).unwrap());
        let (gate, now) = (Arc::<Gate>::default(), AtomicU64::new(1_000));
        let runtime = Runtime::new().unwrap();
        let _within = runtime.enter();
        let sequencer = Sequencer {
            appender,
            records,
            prefixes,
            committer: Box::new(|_| {}),
            clock: {
                let gate = Arc::clone(&gate);
                Arc::new(move || {
                    gate.pass();
                    now.fetch_add(1, Ordering::Relaxed)
                })
            },
            entropy: Arc::new(|| [7; 32]),
        };
        let (registry, sequencer) = sequencer.spawn().unwrap();
        drop(_within);
        Self { registry, sequencer, ledger, store, gate, runtime, directory }
    }

    fn prepare(&self, command: Command) -> Result<Prepared, Refusal> {
        self.registry.prepare(command, Principal::LOOPBACK)
    }

    fn enqueue(&self, commands: Vec<Command>, atomicity: Atomicity) -> Enqueued {
        let prepared = commands.into_iter().map(|command| self.prepare(command)).collect();
        self.runtime.block_on(self.registry.enqueue(prepared, atomicity, WhenFull::Wait))
    }

    fn submit(&self, commands: Vec<Command>, atomicity: Atomicity) -> Vec<Result<Receipt, Refusal>> {
        self.runtime.block_on(self.enqueue(commands, atomicity).results())
    }

    fn each(&self, command: Command) -> Receipt {
        self.submit(vec![command], Atomicity::Each).remove(0).unwrap()
    }

    /// Submits jobs so that they share one batch, in their order.
    fn together(&self, jobs: Vec<(Vec<Command>, Atomicity)>) -> Vec<Vec<Result<Receipt, Refusal>>> {
        self.gate.set(true);
        // The sequencer takes this job alone and waits with it at the gate; the others gather behind it.
        let first = self.enqueue(vec![create("88.1/gate", "x")], Atomicity::Each);
        while self.registry.stats().queued().commands == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        let jobs: Vec<_> = jobs.into_iter().map(|(commands, atomicity)| self.enqueue(commands, atomicity)).collect();
        self.gate.set(false);
        self.runtime.block_on(async {
            first.results().await;
            let mut results = Vec::new();
            for job in jobs {
                results.push(job.results().await);
            }
            results
        })
    }

    fn say(&self, prefix: &str, change: PrefixChange) -> Receipt {
        let said = format!("{prefix} {change:?}");
        let request = RequestId::new(&said.as_bytes()[..said.len().min(20)]);
        let prefix = Prefix::parse(prefix).unwrap();
        let command = PrefixCommand { prefix, change, expected_version: None, request };
        self.runtime.block_on(self.registry.apply_prefix(command, Principal::LOOPBACK)).unwrap()
    }

    /// Ends the core; returns the changes derived by a replay of its ledger and those applied to the index.
    fn replay(self) -> (Vec<IndexChange>, Vec<IndexChange>) {
        let Self { sequencer, ledger, store, directory, registry, .. } = self;
        sequencer.join();
        drop((ledger, registry));
        let mut replayed = Vec::new();
        let replay = opening(directory.path()).recover::<LedgerError>(Mark::START, |frame| {
            for entry in frame.entries() {
                let (_, entry) = entry?;
                replayed.push(change_of(&entry)?);
            }
            Ok(())
        });
        replay.unwrap();
        (replayed, mem::take(&mut *store.applied.lock().unwrap()))
    }
}

fn values(values: &[(u32, &str)]) -> Values {
    let value = |&(index, data): &(u32, &str)| Value {
        index,
        kind: "NAME".parse().unwrap(),
        data: data.as_bytes().to_vec().into(),
        ttl: 60,
        timestamp: 0,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    Values::new(values.iter().map(value).collect()).unwrap()
}

fn command(identifier: &str, operation: Operation) -> Command {
    Command { identifier: Identifier::parse(identifier).unwrap(), operation, expected_version: None, request: None }
}

fn requested(request: &str, command: Command) -> Command {
    Command { request: RequestId::new(request.as_bytes()), ..command }
}

fn create(identifier: &str, data: &str) -> Command {
    command(identifier, Operation::Create { values: values(&[(1, data)]), edges: Vec::new() })
}

fn edge(kind: EdgeType, to: &str) -> Edge {
    Edge { kind, to: Identifier::parse(to).unwrap(), quantity: None, valid_from_ms: None }
}

fn replace(identifier: &str, data: &str) -> Command {
    let values = ValueChange::Replace(values(&[(1, data)]));
    command(identifier, Operation::Update { values, edges: Vec::new() })
}

fn merge(identifier: &str, index: u32, data: &str) -> Command {
    let values = ValueChange::Merge(Merging { set: values(&[(index, data)]), remove: Vec::new() });
    command(identifier, Operation::Update { values, edges: Vec::new() })
}

fn erase(identifier: &str, values: ErasedValues) -> Command {
    command(identifier, Operation::Erase { values, reason: Reason::new("r").unwrap() })
}

/// One or two words for a result.
fn word(result: &Result<Receipt, Refusal>) -> String {
    match result {
        Ok(receipt) if receipt.replayed => "replayed".into(),
        Ok(receipt) => format!("version {}", receipt.version.number),
        Err(Refusal::Withdrawn { number, .. }) => format!("withdrawn for {number}"),
        Err(refusal) => format!("{refusal:?}").split([' ', '(', '{']).next().unwrap().into(),
    }
}

fn words(results: &[Result<Receipt, Refusal>]) -> Vec<String> {
    results.iter().map(word).collect()
}

#[test]
fn what_the_sequencer_applied_is_what_a_replay_derives() {
    let core = Core::start();
    let long = format!("https://example.com/{}", "a".repeat(400));
    let flow = |to: &str| Flow::from(edge(EdgeType::DerivedFrom, to));
    let event = Event {
        inputs: vec![flow("88.1/coil"), flow("1.3.6.1")],
        outputs: Outputs { flows: vec![flow("88.1/sheet"), flow(&long)], balance: None },
    };
    let with_edges = Operation::Create {
        values: values(&[(1, "a"), (2, "b")]),
        edges: vec![edge(EdgeType::MadeOf, "88.1/part"), edge(EdgeType::PackedIn, &long)],
    };
    let changes = vec![
        EdgeChange::Add(edge(EdgeType::Replaces, "urn:oid:1.3")),
        EdgeChange::Remove(EdgeType::MadeOf, Identifier::parse("88.1/part").unwrap()),
    ];
    let merged = ValueChange::Merge(Merging { set: values(&[(3, "c")]), remove: vec![2] });
    let batch = vec![
        create("88.1/plain", "x"),
        requested("r1", command("88.1/Record", with_edges)),
        // The same request again, and another spelling, all in one batch.
        requested("r2", replace("88.1/RECORD", "y")),
        requested("r2", replace("88.1/RECORD", "y")),
        requested("r3", command("88.1/record", Operation::Update { values: merged, edges: changes })),
        create(&long, "z"),
        requested("r4", command("88.1/event", Operation::Event { values: values(&[]), event })),
    ];
    // The merge removes a value that the replacement took away: it is refused and leaves nothing.
    let told = ["version 1", "version 1", "version 2", "replayed", "Invalid", "version 1", "version 1"];
    assert_eq!(words(&core.submit(batch, Atomicity::Each)), told);
    let edges = vec![EdgeChange::Add(edge(EdgeType::TransferredTo, "88.1/owner"))];
    let merged = ValueChange::Merge(Merging { set: values(&[(3, "c")]), remove: vec![] });
    core.each(requested("r5", command("88.1/record", Operation::Update { values: merged, edges })));
    core.each(requested("r6", erase("88.1/record", ErasedValues::One(3))));
    core.each(command("88.1/plain", Operation::Retire));
    core.each(erase("88.1/plain", ErasedValues::All));
    core.each(erase("88.1/event", ErasedValues::All));
    let site = "2 primary example.com/log+1a2b3c4d+AQ== grpc://192.0.2.1:50051".parse().unwrap();
    core.say("88.2", PrefixChange::Delegate(Delegation::new(60, vec![site], Vec::new()).unwrap()));
    core.say("88.1", PrefixChange::Home);
    core.say("88.2", PrefixChange::Revoke);
    // A batch of which a part is taken back.
    let jobs = vec![
        (vec![create("88.1/before", "x")], Atomicity::Each),
        (vec![requested("r7", create("88.1/gone", "x")), create("88.1/plain", "x")], Atomicity::All),
        (vec![requested("r7", create("88.1/behind", "x")), merge("88.1/before", 2, "y")], Atomicity::All),
    ];
    let told: Vec<_> = core.together(jobs).iter().map(|results| words(results)).collect();
    assert_eq!(told, [vec!["version 1"], vec!["withdrawn for 2", "Erased"], vec!["version 1", "version 2"]]);

    let (replayed, applied) = core.replay();
    let kinds = |changes: &[IndexChange]| changes.iter().filter(|change| change.superseded.is_some()).count();
    assert_eq!(kinds(&replayed), 8);
    assert_eq!(replayed, applied);
}

#[test]
fn a_job_is_carried_out_whole_or_not_at_all() {
    let core = Core::start();
    core.each(create("88.1/there", "x"));
    let all = vec![create("88.1/a", "x"), replace("88.1/a", "y"), create("88.1/there", "z"), create("88.1/b", "x")];
    let results = core.submit(all, Atomicity::All);
    assert_eq!(words(&results), ["withdrawn for 3", "withdrawn for 3", "AlreadyExists", "withdrawn for 3"]);
    let told = results[0].as_ref().unwrap_err().to_string();
    assert!(told.contains("command 3 of it was refused: `88.1/there` is already registered"), "{told}");
    assert_eq!(core.ledger.size(), 1);
    // Nothing is left of the refused commands, in the index or for later ones.
    let results =
        core.submit(vec![create("88.1/a", "x"), replace("88.1/a", "y"), create("88.1/b", "x")], Atomicity::All);
    assert_eq!(words(&results), ["version 1", "version 2", "version 1"]);
    let checkpoints: Vec<_> = results.iter().map(|result| &result.as_ref().unwrap().checkpoint).collect();
    assert!(checkpoints.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(core.ledger.size(), 4);
    // A refusal from before the job is the command's own.
    let itself = Operation::Create { values: values(&[]), edges: vec![edge(EdgeType::MadeOf, "88.1/c")] };
    let results = core.submit(vec![create("88.1/d", "x"), command("88.1/c", itself)], Atomicity::All);
    assert_eq!(words(&results), ["withdrawn for 2", "Invalid"]);
    assert_eq!(core.ledger.size(), 4);
}

#[test]
fn what_a_job_took_back_never_was_for_the_jobs_behind_it() {
    let core = Core::start();
    let expecting = |version, command| Command { expected_version: Some(version), ..command };
    let bad = || replace("88.1/missing", "x");
    let jobs = vec![
        (vec![create("88.1/a", "1")], Atomicity::Each),
        (vec![replace("88.1/a", "2"), requested("r", create("88.1/b", "x")), bad()], Atomicity::All),
        (vec![expecting(1, replace("88.1/a", "3")), requested("r", create("88.1/b", "y"))], Atomicity::Each),
        (vec![expecting(2, replace("88.1/a", "4")), bad(), create("88.1/c", "x")], Atomicity::Each),
    ];
    let told: Vec<_> = core.together(jobs).iter().map(|results| words(results)).collect();
    let withdrawn = "withdrawn for 3";
    assert_eq!(
        told,
        [
            vec!["version 1"],
            vec![withdrawn, withdrawn, "NotFound"],
            vec!["version 2", "version 1"],
            vec!["version 3", "NotFound", "version 1"],
        ]
    );
    let (replayed, applied) = core.replay();
    assert_eq!((replayed.len(), &replayed), (6, &applied));
}

#[test]
fn an_atomic_job_may_be_sent_again() {
    let core = Core::start();
    let job = || vec![requested("1", create("88.1/a", "x")), requested("2", replace("88.1/A", "y"))];
    // The same job twice within one submission, too.
    let twice = || [job(), job()].concat();
    assert_eq!(words(&core.submit(twice(), Atomicity::All)), ["version 1", "version 2", "replayed", "replayed"]);
    assert_eq!(words(&core.submit(twice(), Atomicity::All)), ["replayed"; 4]);
    assert_eq!(core.ledger.size(), 2);
    // A request that was withdrawn was not carried out: sent again, it is new.
    let bad = || vec![requested("3", create("88.1/b", "x")), create("88.1/a", "x")];
    assert_eq!(words(&core.submit(bad(), Atomicity::All)), ["withdrawn for 2", "AlreadyExists"]);
    assert_eq!(words(&core.submit(vec![requested("3", create("88.1/b", "x"))], Atomicity::All)), ["version 1"]);
    // A request that was carried out counts as carried out, beside new ones.
    let more = vec![requested("3", create("88.1/b", "x")), requested("4", create("88.1/c", "x"))];
    assert_eq!(words(&core.submit(more, Atomicity::All)), ["replayed", "version 1"]);
    // Another change under a used request id is in the way.
    let other = vec![create("88.1/d", "x"), requested("4", create("88.1/c", "other"))];
    assert_eq!(words(&core.submit(other, Atomicity::All)), ["withdrawn for 2", "RequestReused"]);
}

#[test]
fn an_erasure_is_no_part_of_an_atomic_job() {
    let core = Core::start();
    core.each(create("88.1/a", "x"));
    let results = core.submit(vec![create("88.1/b", "x"), erase("88.1/a", ErasedValues::All)], Atomicity::All);
    assert_eq!(words(&results), ["withdrawn for 2", "Invalid"]);
    let results = core.submit(vec![erase("88.1/a", ErasedValues::All), create("88.1/b", "x")], Atomicity::All);
    assert_eq!(words(&results), ["Invalid", "withdrawn for 1"]);
    assert_eq!(core.ledger.size(), 1);
    assert_eq!(words(&core.submit(vec![erase("88.1/a", ErasedValues::All)], Atomicity::All)), ["version 2"]);
    // In a job whose commands stand on their own, commands behind an erasure come behind it in the ledger.
    let mixed = vec![create("88.1/b", "x"), erase("88.1/b", ErasedValues::One(1)), replace("88.1/b", "y")];
    assert_eq!(words(&core.submit(mixed, Atomicity::Each)), ["version 1", "version 2", "version 3"]);
}

/// A merge is short and its entry long: the size of a batch does not follow from the size of its commands.
#[test]
fn a_batch_ends_before_a_frame_is_too_long() {
    let core = Core::start();
    let large = "x".repeat(65_000);
    let all: Vec<_> = (1..=15).map(|index| (index, large.as_str())).collect();
    core.each(command("88.1/a", Operation::Create { values: values(&all), edges: Vec::new() }));
    let merges = |count| (0..count).map(|_| merge("88.1/a", 16, "y")).collect::<Vec<_>>();
    let results = core.submit(merges(60), Atomicity::All);
    assert_eq!(words(&results)[59], "withdrawn for 52");
    assert_eq!((word(&results[51]).as_str(), core.ledger.size()), ("BatchTooLong", 1));
    let results = core.submit(merges(80), Atomicity::Each);
    let checkpoints: std::collections::BTreeSet<_> =
        results.iter().map(|result| result.as_ref().unwrap().checkpoint.to_string()).collect();
    assert_eq!((checkpoints.len(), core.ledger.size()), (2, 81));
    let (replayed, applied) = core.replay();
    assert_eq!((replayed.len(), replayed == applied), (81, true));
}

#[test]
fn a_clone_that_is_left_over_does_not_hold_up_a_stop() {
    let core = Core::start();
    let left_over = core.registry.clone();
    let waiting = core.enqueue(vec![create("88.1/a", "x")], Atomicity::Each);
    let Core { registry, sequencer, runtime, ledger, .. } = core;
    drop(registry);
    // Commands in the queue are carried out; then the sequencer ends.
    sequencer.join();
    assert_eq!(words(&runtime.block_on(waiting.results())), ["version 1"]);
    assert_eq!(ledger.size(), 1);
    let prepared = || vec![left_over.prepare(create("88.1/b", "x"), Principal::LOOPBACK)];
    for when_full in [WhenFull::Refuse, WhenFull::Wait] {
        let refused = runtime.block_on(left_over.submit(prepared(), Atomicity::Each, when_full));
        assert!(
            matches!(&refused[0], Err(Refusal::Unavailable { reason }) if reason.contains("stopping")),
            "{refused:?}"
        );
    }
    left_over.close();
    assert!(left_over.stats().ready().is_err());
}

#[test]
fn who_waits_for_room_is_let_go_when_the_queue_closes() {
    let core = Core::start();
    core.gate.set(true);
    // As many commands as the queue takes, and one more.
    let full = |from: usize, to: usize| (from..to).map(|nth| create(&format!("88.1/{nth}"), "x")).collect::<Vec<_>>();
    let mut enqueued = Vec::new();
    for start in (0..QUEUE_COMMANDS_MAX).step_by(BATCH_COMMANDS_MAX) {
        enqueued.push(core.enqueue(full(start, QUEUE_COMMANDS_MAX.min(start + BATCH_COMMANDS_MAX)), Atomicity::Each));
    }
    let registry = core.registry.clone();
    let more = vec![core.prepare(create("88.2/more", "x"))];
    let waiting = core.runtime.spawn(async move { registry.submit(more, Atomicity::Each, WhenFull::Wait).await });
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!waiting.is_finished());
    core.registry.close();
    let refused = core.runtime.block_on(waiting).unwrap();
    assert_eq!(words(&refused), ["Unavailable"]);
    core.gate.set(false);
    let Core { sequencer, ledger, .. } = core;
    sequencer.join();
    assert_eq!(ledger.size(), QUEUE_COMMANDS_MAX as u64);
}
