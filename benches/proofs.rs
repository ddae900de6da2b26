//! Proofs over the level files of a tree of 10,000,000 entries: `cargo bench --bench proofs`.
//!
//! Leaves are made up; the files have the format of a ledger's. The indexes are random, so that nearly every proof
//! reads a tile that no earlier proof has read (from the page cache of the system: 320 MB). The figures are CPU time of
//! the thread, including system calls, because other programs may share the machine.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use touchmark::{
    ledger::{
        LedgerError,
        tree::{Levels, NewHashes, Prover},
    },
    tlog::{
        Frontier, Hash,
        merkle::{self, TreeHead},
    },
};

/// Entries of the tree: not a power of two, so that the tree has a right edge.
const ENTRIES: u64 = 10_000_000;
/// Entries written at once.
const BATCH: u64 = 100_000;

fn leaf(index: u64) -> Hash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&index.to_le_bytes());
    Hash(hash)
}

/// Writes the files; returns them with the head of the tree.
fn grow(directory: &std::path::Path) -> Result<(Arc<Levels>, TreeHead), LedgerError> {
    let levels = Levels::open(directory)?;
    let mut frontier = Frontier::default();
    while frontier.size() < ENTRIES {
        let start = frontier.size();
        let mut new = NewHashes::default();
        for index in start..(start + BATCH).min(ENTRIES) {
            new.push(0, leaf(index));
            frontier.push(leaf(index), |level, hash| new.push(level, hash));
        }
        levels.append(start, &new)?;
    }
    Ok((Arc::new(levels), TreeHead { size: ENTRIES, root: frontier.root() }))
}

/// CPU time of `count` calls.
fn cpu_time<T>(count: u64, mut call: impl FnMut() -> T) -> Duration {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let began = now();
    for _ in 0..count {
        black_box(call());
    }
    now().saturating_sub(began)
}

fn proofs(c: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let Ok((levels, head)) = grow(directory.path()) else { return };
    let prover = Prover::new(levels);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut index = || {
        // Xorshift, for indexes that no cache can predict.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % ENTRIES
    };
    let mut group = c.benchmark_group("proof over 10,000,000 entries");
    group.bench_function("inclusion, made", |b| {
        b.iter_custom(|count| cpu_time(count, || prover.inclusion(index(), ENTRIES, ENTRIES)));
    });
    group.bench_function("consistency, made", |b| {
        b.iter_custom(|count| cpu_time(count, || prover.consistency(index(), ENTRIES, ENTRIES)));
    });
    let at = index();
    let path = prover.inclusion(at, ENTRIES, ENTRIES).unwrap_or_default();
    assert!(merkle::includes(head, at, leaf(at), &path));
    group.bench_function("inclusion, checked", |b| {
        b.iter_custom(|count| cpu_time(count, || merkle::includes(head, black_box(at), leaf(at), black_box(&path))));
    });
    group.finish();
}

criterion_group!(benches, proofs);
criterion_main!(benches);
