//! The verifiable index and the audit: `cargo bench --bench vindex -- [keys …]` (1,000,000 and 10,000,000 when none are given).
//!
//! For each number of keys: CPU and time of building the map, its memory a key (resident memory of the process, before and
//! after: of the first number in a run alone, for the allocator keeps what the map before gave back), the CPU of taking in a second of 20,000 registrations with three keys each, and of a lookup with its proof. Then the rate
//! of `touchmark audit` over a data directory of 500,000 entries with a leaf of the output log for every 20,000.

use std::{
    error::Error,
    fs,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use touchmark::{
    app,
    id::Identifier,
    ledger::{
        DataDir, Draft, EdgesAfter, EntryKind, KeySource, LeafLog, LedgerError, Mark, Opening, Principal, Statement,
    },
    record::{Permissions, Value, Values},
    vindex::{
        OutputLeaf,
        keys::{LookupKind, ORIGIN_SUFFIX},
        map::{Found, Hashing, Map, Update},
    },
};

/// As the node has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Updates that are put into the map at once while it is built.
const BUILD_BATCH: u64 = 262_144;
/// What a second of 20,000 registrations with three keys each brings.
const SECOND_UPDATES: u64 = 60_000;
const SECONDS: u64 = 20;
const LOOKUPS: u64 = 200_000;
/// Entries of the ledger that is audited, and how many lie between two leaves of its output log.
const AUDITED: u64 = 500_000;
const ENTRIES_A_LEAF: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let keys: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    for keys in if keys.is_empty() { vec![1_000_000, 10_000_000] } else { keys } {
        map(keys)?;
    }
    audit()
}

fn key(number: u64) -> [u8; 32] {
    Sha256::digest(number.to_be_bytes()).into()
}

fn map(keys: u64) -> Result<(), Box<dyn Error>> {
    println!("{keys} keys with one entry each");
    let resident = resident_bytes()?;
    let mut map = Map::default();
    let clock = Clock::start()?;
    for start in (0..keys).step_by(BUILD_BATCH as usize) {
        let updates = (start..keys.min(start + BUILD_BATCH)).map(|index| Update { key: key(index), index });
        map.update(updates.collect(), Hashing::Later);
    }
    map.rehash();
    clock.report("  build, hashing of keys with it", keys, "key")?;
    println!("  memory: {:.1} bytes a key", (resident_bytes()? - resident) as f64 / keys as f64);
    let clock = Clock::start()?;
    let mut swap_max = Duration::ZERO;
    for second in 0..SECONDS {
        let first = keys + second * SECOND_UPDATES;
        let updates = (first..first + SECOND_UPDATES).map(|index| Update { key: key(index), index });
        let prepared = map.prepare(updates.collect());
        let swap = Instant::now();
        map.apply(prepared);
        swap_max = swap_max.max(swap.elapsed());
    }
    clock.report("  a second of 60,000 new keys", SECONDS, "second")?;
    println!("  lookups wait at most {swap_max:?} for the swap");
    let clock = Clock::start()?;
    let mut bytes = 0;
    for number in 0..LOOKUPS {
        match map.prove(&key(number * 7_919 % (2 * keys)), u64::MAX) {
            Found::Present { proof, .. } | Found::Absent { proof } => bytes += proof.len() as u64,
            Found::TooMany { .. } => {}
        }
    }
    clock.report("  lookup with proof", LOOKUPS, "lookup")?;
    println!("  a proof takes {} bytes", bytes / LOOKUPS);
    Ok(())
}

fn audit() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    make(&data.path().join("data"))?;
    let clock = Clock::start()?;
    let report = app::audit_directory(&data.path().join("data"), None, &mut |_| {})?;
    let leaves = report.index.map_or(0, |index| index.leaves);
    println!("audit of {} entries with four values each, {leaves} leaves of the output log", report.entries);
    clock.report("  audit", report.entries, "entry")
}

/// A ledger, and an output log as a node would have written it.
fn make(data: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let directory = DataDir::open_or_create(data)?;
    let opening = Opening::new(&directory, KeySource { origin: "bench.test/ledger", seed: [7; 32] })?;
    let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(()))?.sign()?;
    let (ledger, mut appender) = (recovered.ledger, recovered.appender);
    let key = ledger.key().with_suffix(ORIGIN_SUFFIX)?;
    let (_, mut output) = LeafLog::open(&directory.vindex(), key)?;
    let (values, mut map) = (values()?, Map::default());
    for first in (0..AUDITED).step_by(ENTRIES_A_LEAF as usize) {
        let mut batch = appender.begin(first)?;
        let mut updates = Vec::new();
        for index in first..first + ENTRIES_A_LEAF {
            let identifier = Identifier::parse(&format!("88.118.8/JXDY{index:012}"))?;
            updates.push(Update { key: LookupKind::Id.key(&identifier), index });
            let (kind, principal) = (EntryKind::Create, Principal::Loopback);
            let statement = Statement {
                kind,
                identifier: &identifier,
                principal,
                values: &values,
                edges: &[],
                outputs: None,
                request: None,
                erasure: None,
            };
            batch.push(&Draft::new(&statement, [3; 32])?, 1, None, EdgesAfter::None)?;
        }
        let checkpoint = batch.commit()?.checkpoint;
        map.update(updates, Hashing::Now);
        output.append(&OutputLeaf { root: map.root(), checkpoint: &checkpoint.note }.to_bytes())?;
    }
    appender.sync_head()?;
    Ok(())
}

fn values() -> Result<Values, Box<dyn Error>> {
    let data = ["Ball bearing 6205-2RS", "6205-2RSH-00000001", "000000000001", "https://example.com/p/0001"];
    let kinds = ["NAME", "PART_NUMBER", "SERIAL", "URL"];
    let mut values = Vec::new();
    for (index, (kind, data)) in (1..).zip(kinds.into_iter().zip(data)) {
        values.push(Value {
            index,
            kind: kind.parse()?,
            data: data.into(),
            ttl: Value::TTL_SECONDS_DEFAULT,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        });
    }
    Ok(Values::new(values)?)
}

/// Time and CPU of this process.
struct Clock {
    began: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self { began: Instant::now(), cpu: cpu()? })
    }

    fn report(&self, what: &str, count: u64, unit: &str) -> Result<(), Box<dyn Error>> {
        let (wall, cpu) = (self.began.elapsed(), cpu()? - self.cpu);
        let each = cpu.as_secs_f64() * 1e6 / count as f64;
        let rate = count as f64 / wall.as_secs_f64();
        println!("{what}: {each:.2} µs of CPU a {unit}, {rate:.0}/s");
        Ok(())
    }
}

/// User and system time of this process, in steps of 10 ms (proc(5), fields 14 and 15).
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis(10 * (ticks(14) + ticks(15))))
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().next().unwrap_or("0").parse::<u64>()? << 10)
}
