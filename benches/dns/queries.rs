//! Which names are asked, and how often.

use std::io::Write;

use clap::ValueEnum;
use rand::{RngExt as _, SeedableRng, rngs::StdRng};

use crate::{Outcome, zone};

/// The first number of records that are never registered for a zone; what lies below is.
pub const MISSING_FIRST: u64 = 1 << 40;
/// Ranks are spread over the records with this prime, so that popular records are no neighbours in the ledger.
const SPREAD: u64 = 2_654_435_761;

/// What to ask.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many records there are.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Which of them are asked for.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// How many queries; `each` has as many as there are records.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How the queries spread over the records.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Distribution {
    /// Every record once: fills a cache.
    Each,
    /// Each as likely as any other.
    Uniform,
    /// The one of rank k with a weight of 1/k (Zipf with an exponent of 1).
    Zipf,
    /// Names that do not exist, random, below the prefix of those that do.
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

/// For each rank the sum of its weight and of those before it.
fn zipf_weights(records: u64) -> Vec<f64> {
    let sum = |sum: &mut f64, rank: u64| {
        *sum += 1.0 / rank as f64;
        Some(*sum)
    };
    (1..=records).scan(0.0, sum).collect()
}

/// The record at a place from 0 to 1 among all weights.
fn zipf_number(weights: &[f64], place: f64) -> u64 {
    let target = place * weights.last().copied().unwrap_or_default();
    let rank = weights.partition_point(|&sum| sum <= target).min(weights.len() - 1);
    ((u128::from(SPREAD) * rank as u128) % weights.len() as u128) as u64
}
