//! Batches that are rewound: entries pushed behind a mark leave no trace.

use super::*;
use crate::{
    entry::{EntryKind, Principal, Statement},
    id::Identifier,
    ledger::{DataDir, KeySource, Mark, Opening, Recovered},
    record::Values,
};

fn draft(identifier: &str) -> Draft {
    let statement = Statement {
        kind: EntryKind::Create,
        identifier: &Identifier::parse(identifier).unwrap(),
        principal: &Principal::LOOPBACK,
        values: &Values::default(),
        edges: &[],
        outputs: None,
        request: None,
        erasure: None,
    };
    Draft::new(&statement, [7; 32]).unwrap()
}

fn push(batch: &mut Batch<'_>, name: &str) -> Pushed {
    batch.push(&draft(&format!("88.1/{name}")), 1, None, EdgesAfter::None).unwrap()
}

fn push_all(batch: &mut Batch<'_>, name: &str, count: usize) -> Vec<u64> {
    (0..count).map(|nth| push(batch, &format!("{name}-{nth}")).index).collect()
}

/// A ledger that has `before` entries.
fn ledger(directory: &std::path::Path, before: usize) -> Recovered {
    let data = DataDir::open_or_create(directory).unwrap();
    let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
    let mut recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
    let mut batch = recovered.appender.begin(1).unwrap();
    push_all(&mut batch, "before", before);
    batch.commit().unwrap();
    recovered
}

/// Whatever was pushed behind a mark, and however many subtrees and tiles it completed, the ledger is as if it never
/// was.
#[test]
fn what_was_taken_back_never_was() {
    for (before, kept, taken, after) in [(0, 0, 1, 1), (0, 1, 3, 2), (255, 0, 2, 1), (250, 3, 600, 5), (511, 1, 1, 0)] {
        let [with, without] = [true, false].map(|with| {
            let directory = tempfile::tempdir().unwrap();
            let Recovered { ledger, mut appender, .. } = ledger(directory.path(), before);
            let mut batch = appender.begin(2).unwrap();
            push_all(&mut batch, "kept", kept);
            if with {
                let (mark, bytes) = (batch.mark(), batch.bytes());
                let first = push(&mut batch, "taken");
                push_all(&mut batch, "more", taken - 1);
                assert!(batch.staged(first.index).is_some() && batch.len() == kept + taken);
                batch.rewind(mark);
                assert_eq!((batch.len(), batch.bytes(), batch.staged(first.index)), (kept, bytes, None));
            }
            let pushed = push_all(&mut batch, "after", after);
            batch.commit().unwrap();
            let checkpoint = ledger.checkpoint();
            let entries: Vec<_> =
                ledger.entries(0, 2_000).unwrap().iter().map(|entry| entry.as_bytes().to_vec()).collect();
            assert_eq!(entries.len(), before + kept + after);
            drop((ledger, appender));
            let read = |name: &str| std::fs::read(directory.path().join("ledger").join(name)).unwrap();
            let files = ["tree/0", "tree/1", "tree/positions", "segments/00000000000000000000.seg"].map(read);
            (checkpoint.note, pushed, entries, files)
        });
        assert!(with == without, "{before} {kept} {taken} {after}");
    }
}

#[test]
fn a_batch_with_nothing_left_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let Recovered { ledger, mut appender, .. } = ledger(directory.path(), 3);
    let mut batch = appender.begin(2).unwrap();
    let mark = batch.mark();
    push(&mut batch, "a");
    batch.rewind(mark);
    assert!(batch.is_empty());
    let before = ledger.checkpoint();
    assert_eq!(batch.commit().unwrap().checkpoint, before);
    assert_eq!((ledger.size(), ledger.checkpoint()), (3, before));
}
