//! Sizes of caches and number of workers for the value "auto", by the machine.
//!
//! ```text
//! for caches    = 3 % of the memory less 128 MiB for the rest of the process; on a small machine at least an eighth of
//!                 the memory, up to 192 MiB
//! index         = a sixth of that;   recursion = a sixth of that, on a recursive node only
//! shared        = the rest: answers over gRPC and HTTP, and encoded DNS answers, as needed
//! UDP workers   = half of the cores, on each address
//! ```
//!
//! A configured size counts towards the total, so that the automatic sizes get smaller. Pure: the machine is a
//! parameter ([`Machine`]).

use std::fmt;

use super::{CACHE_BYTES_MAX, CACHE_BYTES_MIN, Config, DNS_WORKERS_MAX, Machine};

/// Share of the memory for the process, in percent.
const MEMORY_PERCENT: u64 = 3;
/// Memory of the process beside its caches, in bytes, with a million identifiers: the program, the table of the index
/// and its overlay, the verifiable index.
const PROCESS_BYTES: u64 = 128 << 20;
/// Divisor of the memory, and upper bound in bytes (192 MiB), for caches on a small machine, where 3 % are too little.
const SMALL_MEMORY_PART: u64 = 8;
const SMALL_BYTES_MAX: u64 = 192 << 20;
/// Memory assumed for a machine of unknown memory, in bytes (2 GiB).
const UNKNOWN_MEMORY_BYTES: u64 = 2 << 30;
/// Divisors of the memory for caches: one part for index blocks, one for answers of other nodes.
const INDEX_PART: usize = 6;
const RECURSION_PART: usize = 6;
/// Minimum size of the shared part, in bytes (16 MiB).
const SHARED_BYTES_MIN: usize = 16 << 20;
/// Cores per UDP worker: each worker has a thread for reads beside it, and the other listeners need cores, too.
const CORES_PER_WORKER: usize = 2;

/// Configured value, or the choice of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// The choice of the node, by the machine.
    Auto,
    /// The configured value.
    Set(T),
}

impl<T> Auto<T> {
    /// The configured value, or else `fitting`.
    pub fn or(self, fitting: T) -> T {
        match self {
            Self::Auto => fitting,
            Self::Set(set) => set,
        }
    }
}

impl<T> From<T> for Auto<T> {
    fn from(set: T) -> Self {
        Self::Set(set)
    }
}

/// Sizes of a node on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Size of all caches, in bytes.
    pub caches_bytes: usize,
    /// Size shared by those caches of answers that have no configured size, in bytes.
    pub shared_bytes: usize,
    /// Configured size of the cache for answers over gRPC and HTTP, in bytes.
    pub answers_bytes: Option<usize>,
    /// Configured size of the cache for encoded DNS answers, in bytes.
    pub dns_bytes: Option<usize>,
    /// Size of the cache for index blocks, in bytes.
    pub index_bytes: usize,
    /// Size of the caches for answers and delegations of other nodes, in bytes.
    pub recursion_bytes: usize,
    /// Number of threads that answer over UDP on each address.
    pub dns_workers: usize,
}

impl Sizes {
    /// Sizes on the machine of this process.
    pub fn here(config: &Config) -> Self {
        Self::on(config, &Machine::here())
    }

    /// Sizes on a machine.
    pub fn on(config: &Config, machine: &Machine) -> Self {
        let cache = &config.cache;
        let caches_bytes = cache.memory_bytes_max.or(caches_bytes(machine));
        let index_bytes = cache.index_bytes_max.or(within(caches_bytes / INDEX_PART));
        let recursion_bytes = cache.recursion_bytes_max.or(within(caches_bytes / RECURSION_PART));
        let said = |size: Auto<usize>| match size {
            Auto::Auto => None,
            Auto::Set(bytes) => Some(bytes),
        };
        let (answers_bytes, dns_bytes) = (said(cache.answers_bytes_max), said(cache.dns_bytes_max));
        let recursion = if config.recursion.enabled { recursion_bytes } else { 0 };
        let taken = [index_bytes, recursion, answers_bytes.unwrap_or(0), dns_bytes.unwrap_or(0)];
        let shared_bytes = taken.into_iter().fold(caches_bytes, usize::saturating_sub).max(SHARED_BYTES_MIN);
        let fitting = (machine.cores.count / CORES_PER_WORKER).clamp(1, DNS_WORKERS_MAX);
        Self {
            caches_bytes,
            shared_bytes,
            answers_bytes,
            dns_bytes,
            index_bytes,
            recursion_bytes,
            dns_workers: config.dns.workers.or(fitting),
        }
    }

    /// Value of "auto" for a key, as a noun phrase; `None` for a key without "auto".
    pub(super) fn chosen(&self, table: &str, name: &str, machine: &Machine) -> Option<String> {
        let shared = || format!("a share of {}", mebibytes(self.shared_bytes));
        Some(match (table, name) {
            ("cache", "memory_bytes_max") => format!("{}, from {}", mebibytes(self.caches_bytes), machine.memory),
            ("cache", "answers_bytes_max" | "dns_bytes_max") => shared(),
            ("cache", "index_bytes_max") => mebibytes(self.index_bytes),
            ("cache", "recursion_bytes_max") => mebibytes(self.recursion_bytes),
            ("dns", "workers") => format!("{}, from {}", threads(self.dns_workers), machine.cores),
            _ => return None,
        })
    }

    /// The sizes and their sources, as a log line.
    pub fn explained(&self, config: &Config, machine: &Machine) -> String {
        let how = |auto: bool, from: &dyn fmt::Display| match auto {
            true => format!("from {from}"),
            false => "as configured".into(),
        };
        let mut said = format!("caches may take {}", mebibytes(self.caches_bytes));
        said += &format!(" ({})", how(config.cache.memory_bytes_max == Auto::Auto, &machine.memory));
        let own = |size: Option<usize>| size.map_or_else(|| mebibytes(self.shared_bytes) + " shared", mebibytes);
        said += &format!(
            ": answers {}, answers of the DNS {}, index {}",
            own(self.answers_bytes),
            own(self.dns_bytes),
            mebibytes(self.index_bytes)
        );
        if config.recursion.enabled {
            said += &format!(", answers of other nodes {}", mebibytes(self.recursion_bytes));
        }
        let workers = how(config.dns.workers == Auto::Auto, &machine.cores);
        said + &format!("; {} over UDP on each address ({workers})", threads(self.dns_workers))
    }
}

/// Memory for all caches on a machine, in bytes.
fn caches_bytes(machine: &Machine) -> usize {
    let memory = machine.memory.bytes.unwrap_or(UNKNOWN_MEMORY_BYTES);
    let part = (memory / 100).saturating_mul(MEMORY_PERCENT).saturating_sub(PROCESS_BYTES);
    let small = (memory / SMALL_MEMORY_PART).min(SMALL_BYTES_MAX);
    usize::try_from(part.max(small)).unwrap_or(CACHE_BYTES_MAX).clamp(SHARED_BYTES_MIN, CACHE_BYTES_MAX)
}

fn within(bytes: usize) -> usize {
    bytes.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX)
}

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

fn threads(count: usize) -> String {
    if count == 1 { "1 thread".into() } else { format!("{count} threads") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cores, Memory};

    fn machine(mebibytes: Option<u64>, cores: usize) -> Machine {
        let memory = Memory { bytes: mebibytes.map(|mebibytes| mebibytes << 20), limit: None };
        Machine { memory, cores: Cores { count: cores, quota: None } }
    }

    #[test]
    fn defaults_fit_the_machine() {
        // Memory in MiB and cores; then all caches, the shared part and the index in MiB, and workers.
        for (memory, cores, expected) in [
            (Some(64), 1, [16, 16, 2, 1]),
            (Some(512), 1, [64, 53, 10, 1]),
            (Some(2_048), 2, [192, 160, 32, 1]),
            (Some(8_192), 4, [192, 160, 32, 2]),
            (Some(24_105), 2, [595, 495, 99, 1]),
            (Some(65_536), 16, [1_838, 1_531, 306, 8]),
            (Some(1_048_576), 256, [31_329, 26_107, 5_221, 64]),
            (None, 3, [192, 160, 32, 1]),
        ] {
            let sizes = Sizes::on(&Config::default(), &machine(memory, cores));
            let mebibytes = [sizes.caches_bytes, sizes.shared_bytes, sizes.index_bytes].map(|bytes| bytes >> 20);
            let found = [mebibytes[0], mebibytes[1], mebibytes[2], sizes.dns_workers];
            assert_eq!(found, expected, "{memory:?} MiB, {cores} cores");
            assert_eq!((sizes.answers_bytes, sizes.dns_bytes), (None, None));
        }
    }

    #[test]
    fn what_is_said_counts_into_the_whole() {
        let mut config = Config::default();
        config.cache.memory_bytes_max = Auto::Set(600 << 20);
        config.cache.dns_bytes_max = Auto::Set(100 << 20);
        config.cache.index_bytes_max = Auto::Set(50 << 20);
        config.dns.workers = Auto::Set(5);
        let sizes = Sizes::on(&config, &machine(Some(1), 1));
        assert_eq!((sizes.shared_bytes >> 20, sizes.dns_bytes, sizes.dns_workers), (450, Some(100 << 20), 5));
        config.recursion.enabled = true;
        assert_eq!(Sizes::on(&config, &machine(None, 1)).shared_bytes >> 20, 350);
        // The shared part has a minimum.
        config.cache.dns_bytes_max = Auto::Set(1 << 40);
        assert_eq!(Sizes::on(&config, &machine(None, 1)).shared_bytes, SHARED_BYTES_MIN);
    }

    #[test]
    fn what_was_chosen_is_explained() {
        let mut config = Config::default();
        let machine = machine(Some(8_192), 4);
        let explained = |config: &Config| Sizes::on(config, &machine).explained(config, &machine);
        assert_eq!(
            explained(&config),
            "caches may take 192 MiB (from 8192 MiB of the machine): answers 160 MiB shared, answers of the DNS 160 MiB shared, \
             index 32 MiB; 2 threads over UDP on each address (from 4 cores)"
        );
        config.cache.memory_bytes_max = Auto::Set(60 << 20);
        config.cache.answers_bytes_max = Auto::Set(1 << 20);
        config.dns.workers = Auto::Set(1);
        config.recursion.enabled = true;
        assert_eq!(
            explained(&config),
            "caches may take 60 MiB (as configured): answers 1 MiB, answers of the DNS 39 MiB shared, index 10 MiB, \
             answers of other nodes 10 MiB; 1 thread over UDP on each address (as configured)"
        );
    }
}
