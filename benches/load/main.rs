//! Load generator: starts real nodes, loads them over gRPC, and prints rates, latencies and the node's CPU time per
//! operation.
//!
//! ```text
//! cargo bench --bench load -- all                       every case at its default size
//! cargo bench --bench load -- import --records 1000000   one case
//! ```
//!
//! Each case prints one line a round and the median at the end. CPU time is utime + stime of the node's process divided
//! by operations; wall-clock rates depend on what else the machine does.

mod cases;
mod floor;
mod mirror;
mod node;
mod provenance;
mod records;
mod tree;

use std::process::ExitCode;

use cases::Way;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    case: Case,
    /// Passed by `cargo bench`, and ignored.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Clone, Subcommand)]
enum Case {
    /// Every case at its default size.
    All,
    /// `touchmark import` of a file of random records: rate, memory, disk, restart times.
    Import {
        /// Number of records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
    },
    /// Single `Apply` calls from many clients, each durable.
    Apply {
        /// Number of concurrent clients.
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// Total number of calls.
        #[arg(long, default_value_t = 200_000)]
        calls: u64,
        /// Number of rounds.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// `ApplyBatch` calls, several under way at once: what an import costs the node, without reading a file.
    Batch {
        /// Number of records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Commands in one call.
        #[arg(long, default_value_t = 1_000)]
        commands: u64,
        /// Number of concurrent calls.
        #[arg(long, default_value_t = 4)]
        calls: usize,
    },
    /// `Resolve`, `ResolveBatch` and `ResolveStream` of warm records, beside empty calls with replies of the same size.
    Resolve {
        /// Number of records on the node.
        #[arg(long, default_value_t = 10_000)]
        records: u64,
        /// Number of identifiers resolved in each round and way.
        #[arg(long, default_value_t = 200_000)]
        calls: u64,
        /// Number of rounds.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only these ways.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = Way::ALL)]
        ways: Vec<Way>,
    },
    /// The history of an identifier with many versions: pages, and answers as of an index.
    History {
        /// Number of versions.
        #[arg(long, default_value_t = 100_000)]
        versions: u64,
    },
    /// Lag of the verifiable index behind the ledger, at a steady rate of registrations.
    Lag {
        /// Registrations per second, a multiple of 100.
        #[arg(long, default_value_t = 20_000)]
        per_second: u64,
        /// Duration in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Time from a receipt of the primary until its mirror shows the change, at a steady rate of registrations.
    Mirror {
        /// Registrations per second, a multiple of 100.
        #[arg(long, default_value_t = 5_000)]
        per_second: u64,
        /// Duration in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// A tree of nodes: walks beside hops, warm answers beside authoritative ones, questions upstream.
    Tree {
        /// Number of records.
        #[arg(long, default_value_t = 100_000)]
        records: u64,
        /// Number of questions in each round.
        #[arg(long, default_value_t = 200_000)]
        questions: u64,
        /// Number of rounds.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Prints the records that `import` loads as JSON lines, for other systems to load.
    Records {
        /// Number of records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
    },
    /// Answers empty calls; started by the other cases.
    #[command(hide = true)]
    Floor {
        /// Bytes of each reply.
        #[arg(long)]
        reply_bytes: usize,
    },
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow).and_then(|runtime| runtime.block_on(run(Arguments::parse().case)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn anyhow(error: std::io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    error.into()
}

async fn run(case: Case) -> Outcome<()> {
    match case {
        Case::All => {
            cases::resolve(10_000, 200_000, 5, &Way::ALL).await?;
            cases::apply(64, 200_000, 5).await?;
            cases::import(1_000_000).await?;
            provenance::history(100_000).await?;
            provenance::lag(20_000, 20).await?;
            mirror::lag(5_000, 20).await?;
            tree::run(100_000, 200_000, 5).await
        }
        Case::Import { records } => cases::import(records).await,
        Case::Apply { clients, calls, rounds } => cases::apply(clients, calls, rounds).await,
        Case::Batch { records, commands, calls } => cases::batch(records, commands, calls).await,
        Case::Resolve { records, calls, rounds, ways } => cases::resolve(records, calls, rounds, &ways).await,
        Case::History { versions } => provenance::history(versions).await,
        Case::Lag { per_second, seconds } => provenance::lag(per_second, seconds).await,
        Case::Tree { records, questions, rounds } => tree::run(records, questions, rounds).await,
        Case::Mirror { per_second, seconds } => mirror::lag(per_second, seconds).await,
        Case::Records { records } => {
            records::write_jsonl(&mut std::io::BufWriter::new(std::io::stdout().lock()), records)?;
            Ok(())
        }
        Case::Floor { reply_bytes } => floor::serve(reply_bytes).await,
    }
}
