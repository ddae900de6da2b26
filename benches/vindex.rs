//! The verifiable index and the audit: `cargo bench --bench vindex -- [keys …] [audit]` (without arguments 1,000,000
//! and 10,000,000 keys, and the audit).
//!
//! For each number of keys: CPU and time of building the map, its memory per key (resident memory of the process before
//! and after; valid for the first map of a run, because the allocator keeps the memory of earlier ones), CPU of
//! applying a second of 20,000 registrations with three keys each, and CPU of a lookup with its proof. Then `touchmark
//! audit` over a data directory of 500,000 entries with four values each and a leaf of the output log for every 20,000
//! entries, and over the same log served by a node on loopback: each round, and the medians.

use std::{
    error::Error,
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use touchmark::{
    app,
    entry::{Draft, EntryKind, Principal, Statement},
    id::Identifier,
    ledger::{DataDir, EdgesAfter, KeySource, LeafLog, LedgerError, Mark, Opening},
    record::{Permissions, Value, Values},
    vindex::{
        OutputLeaf,
        keys::{LookupKind, ORIGIN_SUFFIX},
        map::{Found, Hashing, Map, Update},
    },
};

/// The allocator of the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of updates applied to the map at once while it is built.
const BUILD_BATCH: u64 = 65_536;
/// Updates by a second of 20,000 registrations with three keys each.
const SECOND_UPDATES: u64 = 60_000;
const SECONDS: u64 = 20;
const LOOKUPS: u64 = 200_000;
/// Entries of the audited ledger, and number of entries between two leaves of its output log.
const AUDITED: u64 = 500_000;
const ENTRIES_A_LEAF: u64 = 20_000;
const AUDIT_ROUNDS: usize = 5;
/// Name of the audited log.
const ORIGIN: &str = "bench.test/ledger";
/// Maximum time until the node's index is up to date.
const NODE_WAIT_MAX: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let keys: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    for keys in if arguments.is_empty() { vec![1_000_000, 10_000_000] } else { keys } {
        map(keys)?;
    }
    match arguments.is_empty() || arguments.iter().any(|argument| argument == "audit") {
        true => audit(),
        false => Ok(()),
    }
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
    let built = resident_bytes()?;
    // The allocator returns free memory only some time later, when it is called again.
    thread::sleep(Duration::from_millis(200));
    map.update(vec![Update { key: key(0), index: 0 }], Hashing::Now);
    let (built, left) = ((built - resident) as f64 / keys as f64, (resident_bytes()? - resident) as f64 / keys as f64);
    println!("  memory: {built:.1} bytes a key at the end of that, {left:.1} a moment later");
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
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    make(&data)?;
    println!("audit of {AUDITED} entries with four values each, a leaf of the output log for every {ENTRIES_A_LEAF}");
    let mut costs = Vec::new();
    for _ in 0..AUDIT_ROUNDS {
        let clock = Clock::start()?;
        let report = app::audit_directory(&data, None, &mut |_| {})?;
        costs.push(clock.cost(report.entries)?);
        costs.last().iter().for_each(|cost| cost.print("  directory", "entry"));
    }
    median(costs).print("  directory, median", "entry");
    over_http(&data)
}

/// Audits the same log over HTTP, from a node on loopback.
fn over_http(data: &Path) -> Result<(), Box<dyn Error>> {
    let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut node = Command::new(env!("CARGO_BIN_EXE_touchmark"))
        .args(["serve", "--dns", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--http", &http, "--data"])
        .arg(data)
        .env("TOUCHMARK_ORIGIN", ORIGIN)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()?;
    let rounds = rounds_over_http(&http, node.id());
    node.kill()?;
    node.wait()?;
    let (ours, of_node) = rounds?;
    median(ours).print("  HTTP, median", "entry");
    median(of_node).print("  HTTP, the node, median", "entry");
    Ok(())
}

/// Costs of each audit, for the auditor and for the node.
fn rounds_over_http(http: &str, node: u32) -> Result<(Vec<Cost>, Vec<Cost>), Box<dyn Error>> {
    let (log, index) = (format!("http://{http}/log"), format!("http://{http}/vindex"));
    let began = Instant::now();
    while TcpStream::connect(http).is_err() {
        if began.elapsed() > NODE_WAIT_MAX {
            return Err("the node does not listen".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    // While the node builds its own map, it uses the processors.
    thread::sleep(Duration::from_secs(5));
    let (mut ours, mut of_node) = (Vec::new(), Vec::new());
    for _ in 0..AUDIT_ROUNDS {
        let (clock, node_clock) = (Clock::start()?, Clock::of(&node.to_string())?);
        let report = app::audit_url(&log, Some(&index), None, &mut |_| {})?;
        ours.push(clock.cost(report.entries)?);
        of_node.push(node_clock.cost(report.entries)?);
        ours.last().iter().for_each(|cost| cost.print("  HTTP", "entry"));
    }
    Ok((ours, of_node))
}

/// Makes a ledger, with an output log as a node writes it.
fn make(data: &Path) -> Result<(), Box<dyn Error>> {
    let directory = DataDir::open_or_create(data)?;
    let opening = Opening::new(&directory, KeySource { origin: ORIGIN, seed: [7; 32] })?;
    let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(()))?.sign()?;
    let (ledger, mut appender) = (recovered.ledger, recovered.appender);
    let key = ledger.signer()?.with_suffix(ORIGIN_SUFFIX)?;
    let (_, mut output) = LeafLog::open(&directory.vindex(), key)?;
    let (values, mut map) = (values()?, Map::default());
    for first in (0..AUDITED).step_by(ENTRIES_A_LEAF as usize) {
        let mut batch = appender.begin(first)?;
        let mut updates = Vec::new();
        for index in first..first + ENTRIES_A_LEAF {
            let identifier = Identifier::parse(&format!("88.118.8/JXDY{index:012}"))?;
            updates.push(Update { key: LookupKind::Id.key(&identifier), index });
            let (kind, principal) = (EntryKind::Create, &Principal::LOOPBACK);
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

/// Clock for time and CPU of a process.
struct Clock {
    process: String,
    began: Instant,
    cpu: Duration,
}

/// Cost of one operation.
#[derive(Clone, Copy)]
struct Cost {
    cpu_us: f64,
    per_second: f64,
}

impl Clock {
    fn start() -> Result<Self, Box<dyn Error>> {
        Self::of("self")
    }

    fn of(process: &str) -> Result<Self, Box<dyn Error>> {
        Ok(Self { process: process.into(), began: Instant::now(), cpu: cpu(process)? })
    }

    fn cost(&self, count: u64) -> Result<Cost, Box<dyn Error>> {
        let (wall, cpu) = (self.began.elapsed(), cpu(&self.process)? - self.cpu);
        let (cpu_us, per_second) = (cpu.as_secs_f64() * 1e6 / count as f64, count as f64 / wall.as_secs_f64());
        Ok(Cost { cpu_us, per_second })
    }

    fn report(&self, what: &str, count: u64, unit: &str) -> Result<(), Box<dyn Error>> {
        self.cost(count)?.print(what, unit);
        Ok(())
    }
}

impl Cost {
    fn print(self, what: &str, unit: &str) {
        println!("{what}: {:.2} µs of CPU a {unit}, {:.0}/s", self.cpu_us, self.per_second);
    }
}

/// Medians of CPU and of rate, each taken separately.
fn median(costs: Vec<Cost>) -> Cost {
    let median = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Cost { cpu_us: median(|cost| cost.cpu_us), per_second: median(|cost| cost.per_second) }
}

/// User and system time of a process, in steps of 10 ms (proc(5), fields 14 and 15).
fn cpu(process: &str) -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis(10 * (ticks(14) + ticks(15))))
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().next().unwrap_or("0").parse::<u64>()? << 10)
}
