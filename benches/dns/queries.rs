//! Names that are asked for, with the frequency of each.

use std::io::Write;

use clap::ValueEnum;
use rand::{RngExt as _, SeedableRng, rngs::StdRng};

use crate::{Outcome, zone};

/// Number of the first record that is never registered in a zone; records with lower numbers are.
pub const MISSING_FIRST: u64 = 1 << 40;
/// Prime that spreads ranks over the records, so that popular records are not adjacent in the ledger.
const SPREAD: u64 = 2_654_435_761;

/// Queries to write.
#[derive(clap::Args)]
pub struct Arguments {
    /// Number of records.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Distribution of the queries over the records.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Number of queries; ignored for `each`, which asks for every record once.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Distribution of queries over the records.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Distribution {
    /// Every record once, to fill a cache.
    Each,
    /// Every record with the same probability.
    Uniform,
    /// The record of rank k with a weight of 1/k (Zipf with an exponent of 1).
    Zipf,
    /// Random names that do not exist, below the prefix of the existing names.
    Missing,
}

/// Writes `name type` lines.
pub fn write(out: &mut impl Write, arguments: &Arguments) -> Outcome<()> {
    let Arguments { records, distribution, count, seed } = *arguments;
    if records == 0 {
        return Err("there must be a record to ask for".into());
    }
    let count = if distribution == Distribution::Each { records } else { count };
    let zipf = if distribution == Distribution::Zipf { zipf_weights(records) } else { Vec::new() };
    let mut random = StdRng::seed_from_u64(seed);
    for at in 0..count {
        let number = match distribution {
            Distribution::Each => at,
            Distribution::Uniform => random.random_range(0..records),
            Distribution::Zipf => zipf_number(&zipf, random.random()),
            Distribution::Missing => random.random_range(MISSING_FIRST..=u64::MAX),
        };
        writeln!(out, "{}.{} TXT", zone::relative_name(number)?, zone::ZONE)?;
    }
    Ok(())
}

/// For each rank the sum of the weights up to it.
fn zipf_weights(records: u64) -> Vec<f64> {
    let sum = |sum: &mut f64, rank: u64| {
        *sum += 1.0 / rank as f64;
        Some(*sum)
    };
    (1..=records).scan(0.0, sum).collect()
}

/// The record at a relative position, from 0 to 1, in the sum of weights.
fn zipf_number(weights: &[f64], place: f64) -> u64 {
    let target = place * weights.last().copied().unwrap_or_default();
    let rank = weights.partition_point(|&sum| sum <= target).min(weights.len() - 1);
    ((u128::from(SPREAD) * rank as u128) % weights.len() as u128) as u64
}
