//! The parts of `benches/dns_peers.sh`: the same identifiers as records, as a zone and as queries, an empty responder,
//! a UDP client, and a writer. Each prints its figures as `name=value` on one line, for the script.
//!
//! ```text
//! cargo bench --bench dns -- zone --records 1000 > id.test.zone
//! cargo bench --bench dns -- queries --records 1000 --distribution zipf --count 100000 > zipf.txt
//! cargo bench --bench dns -- empty --listen 127.0.0.1:5399 --reply-octets 300
//! cargo bench --bench dns -- load --server 127.0.0.1:5399 --queries zipf.txt --seconds 5
//! ```

mod empty;
mod load;
mod queries;
#[path = "../load/records.rs"]
mod records;
mod register;
mod zone;

use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
    /// Passed by `cargo bench`, and ignored.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Part {
    /// Prints records as JSON lines for `touchmark import`; the same as those of `load -- records`.
    Records {
        /// Number of records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
    },
    /// Prints the same records as a zone in a master file (RFC 1035 section 5), which NSD, Knot and BIND all read.
    Zone {
        /// Number of records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
    },
    /// Prints queries for dnsperf and for `load`: a name and a type on each line.
    Queries(queries::Arguments),
    /// Answers every datagram with its question and padding: the cost of the kernel.
    Empty(empty::Arguments),
    /// Asks the queries of a file over UDP; prints rate, losses, response codes and latency.
    Load(load::Arguments),
    /// Registers records beyond those of the zone at a given rate, in batches.
    Register(register::Arguments),
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run(Arguments::parse().part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dns: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(part: Part) -> Outcome<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match part {
        Part::Records { records } => {
            records::write_jsonl(&mut out, records)?;
        }
        Part::Zone { records } => zone::write(&mut out, records)?,
        Part::Queries(arguments) => queries::write(&mut out, &arguments)?,
        Part::Empty(arguments) => empty::serve(&arguments)?,
        Part::Load(arguments) => load::run(&mut out, &arguments)?,
        Part::Register(arguments) => register::run(&mut out, &arguments)?,
    }
    out.flush()?;
    Ok(())
}
