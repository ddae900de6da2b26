//! The contract of [`Segments`], run on the files and on the model through a ledger over them.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    Appender, DataDir, EdgesAfter, KeySource, Keys, Ledger, LedgerError, Mark, Opening, Recovered, Segments,
    head::{OwnHead, contract::MemoryHead},
    memory::MemorySegments,
    tree::TreeHashes as _,
};
use crate::{
    entry::{Draft, EntryKind, ErasedValues, Erasure, Principal, Reason, Statement, leaf_hash},
    id::Identifier,
    record::{Permissions, Status, Value, Values},
    tlog::{LedgerKey, merkle},
};

pub(super) const SECRET: &[u8] = b"a-secret-that-goes";
const ORIGIN: &str = "id.test/ledger";
const SEED: [u8; 32] = [1; 32];

/// A ledger that is open.
struct Opened {
    ledger: Arc<Ledger>,
    appender: Appender,
    segments: Arc<dyn Segments>,
}

/// Segments that are opened again and again, each time as after the end of the process before.
trait Engine {
    fn open(&mut self) -> Opened;
}

struct Local(TempDir);

impl Engine for Local {
    fn open(&mut self) -> Opened {
        let data = DataDir::open_or_create(self.0.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: ORIGIN, seed: SEED }).unwrap();
        let replayed = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap();
        let Recovered { ledger, appender, segments } = replayed.sign().unwrap();
        Opened { ledger, appender, segments }
    }
}

#[derive(Default)]
struct Memory {
    segments: Arc<MemorySegments>,
    head: MemoryHead,
}

impl Engine for Memory {
    fn open(&mut self) -> Opened {
        let directory = tempfile::tempdir().unwrap();
        let key = LedgerKey::open_or_create(&directory.path().join("key"), ORIGIN, SEED).unwrap();
        let (writer, size) = self.segments.open();
        let frontier = self.segments.frontier(size).unwrap();
        let checkpoint = key.sign(size, frontier.root()).unwrap();
        let mut head = OwnHead::load(Box::new(self.head.clone())).unwrap();
        head.store(&checkpoint).unwrap();
        let segments: Arc<dyn Segments> = Arc::clone(&self.segments) as _;
        let ledger = Arc::new(Ledger::new(Arc::clone(&segments), Keys::Own(Box::new(key)), checkpoint));
        let last_time_ms = ledger.last_time_ms().unwrap().unwrap_or(0);
        let appender = Appender::new(Arc::clone(&ledger), Box::new(writer), frontier, head, last_time_ms);
        Opened { ledger, appender, segments }
    }
}

/// Runs a check on every implementation; what it returns must be the same for all.
fn on_both<T: PartialEq + std::fmt::Debug>(check: impl Fn(&mut dyn Engine) -> T) {
    let local = check(&mut Local(tempfile::tempdir().unwrap()));
    let model = check(&mut Memory::default());
    assert!(local == model, "the files and the model differ: {local:?}, {model:?}");
}

/// A change of the record with a number, which leaves values with these indexes.
pub(super) fn draft(number: usize, kind: EntryKind, values: &[u32], erasure: Option<&Erasure>) -> Draft {
    let value = |&index: &u32| Value {
        index,
        kind: "N".parse().unwrap(),
        data: SECRET.to_vec().into(),
        ttl: 60,
        timestamp: 0,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    let statement = Statement {
        kind,
        identifier: &Identifier::parse(&format!("88.1/{number}")).unwrap(),
        principal: &Principal::LOOPBACK,
        values: &Values::new(values.iter().map(value).collect()).unwrap(),
        edges: &[],
        outputs: None,
        request: None,
        erasure,
    };
    Draft::new(&statement, [number as u8; 32]).unwrap()
}

fn create(number: usize) -> Draft {
    draft(number, EntryKind::Create, &[1, 2], None)
}

/// Commits records with these numbers as one batch.
fn create_all(opened: &mut Opened, numbers: std::ops::Range<usize>) {
    let mut batch = opened.appender.begin(1).unwrap();
    for number in numbers {
        batch.push(&create(number), 1, None, EdgesAfter::None).unwrap();
    }
    batch.commit().unwrap();
}

/// Everything that a reader sees and that no engine may decide: the signed checkpoint, and the text of every entry.
fn seen(Opened { ledger, segments, .. }: &Opened) -> (String, Vec<Vec<u8>>) {
    let checkpoint = ledger.checkpoint();
    let (mut texts, mut index) = (Vec::new(), 0);
    while index < checkpoint.size {
        let together = segments.entries(index..checkpoint.size).unwrap();
        assert!(!together.is_empty());
        for bytes in together {
            let alone = segments.entry(index).unwrap();
            assert_eq!(bytes.as_bytes(), alone.as_bytes());
            let entry = bytes.decode().unwrap();
            assert_eq!(entry.index, index);
            if let Some((previous, locator)) = entry.previous {
                assert_eq!(segments.locator(previous).unwrap(), locator);
            }
            let mut text = Vec::new();
            ledger.put_text(&entry, &mut text).unwrap();
            assert_eq!(segments.leaf(index).unwrap(), leaf_hash(&text));
            texts.push(text);
            index += 1;
        }
    }
    let root = segments.frontier(checkpoint.size).unwrap().root();
    assert_eq!(root, checkpoint.root);
    if let Some(last) = checkpoint.size.checked_sub(1) {
        let path = ledger.inclusion_proof(last / 2, checkpoint.size).unwrap();
        let head = merkle::TreeHead { size: checkpoint.size, root };
        assert!(merkle::includes(head, last / 2, segments.leaf(last / 2).unwrap(), &path));
    }
    (checkpoint.note.to_string(), texts)
}

/// True if an entry holds the bytes that an erasure destroys.
fn holds_secret(opened: &Opened, index: u64) -> bool {
    opened.ledger.at(index).unwrap().as_bytes().windows(SECRET.len()).any(|part| part == SECRET)
}

#[test]
fn what_was_committed_is_there_for_good() {
    on_both(|engine| {
        let mut opened = engine.open();
        let mut all = vec![seen(&opened)];
        let mut number = 0;
        for count in [1, 1, 254, 3, 300, 1] {
            create_all(&mut opened, number..number + count);
            number += count;
            all.push(seen(&opened));
        }
        // A chain within one batch, and on from an entry of the ledger.
        let mut batch = opened.appender.begin(5).unwrap();
        let mut previous = 7;
        for version in 2..6 {
            let update = draft(7, EntryKind::Update, &[1], None);
            let pushed = batch.push(&update, version, Some(previous), EdgesAfter::None).unwrap();
            assert_eq!(
                batch.staged(pushed.index).map(<[u8]>::to_vec),
                batch.staged_entry(pushed.index).map(|e| e.as_bytes().into())
            );
            previous = pushed.index;
        }
        batch.commit().unwrap();
        all.push(seen(&opened));
        drop(opened);
        let opened = engine.open();
        assert_eq!(Some(&seen(&opened)), all.last(), "the same after the end of the process");
        all
    });
}

#[test]
fn what_was_not_committed_never_was() {
    on_both(|engine| {
        let mut opened = engine.open();
        create_all(&mut opened, 0..3);
        let before = seen(&opened);
        {
            let mut batch = opened.appender.begin(9).unwrap();
            for number in 10..300 {
                batch.push(&create(number), 1, None, EdgesAfter::None).unwrap();
            }
        }
        assert_eq!(seen(&opened), before);
        create_all(&mut opened, 3..5);
        let after = seen(&opened);
        drop(opened);
        let opened = engine.open();
        assert_eq!(seen(&opened), after);
        for missing in [5, 6, u64::MAX / 64] {
            let segments = &opened.segments;
            assert!(segments.entry(missing).is_err() && segments.entries(missing..missing + 1).is_err());
            assert!(segments.leaf(missing).is_err() && segments.locator(missing).is_err());
        }
        assert!(opened.segments.hashes(0, 4, 2).is_err() && opened.segments.hashes(1, 0, 1).is_err());
        after
    });
}

/// How far an erasure gets before the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Prepared,
    Abandoned,
    Staged,
    Committed,
    Finished,
}

/// Erases value 1 of record 1, whose newest entry is `newest`; gives the erased versions.
fn erase(opened: &mut Opened, value: u32, newest: u64, until: Until) -> u64 {
    let erasure = Erasure::of_value(value, Status::Active, Reason::new("r").unwrap()).unwrap();
    let mut erasing = opened.appender.begin_erasing(9, ErasedValues::One(value)).unwrap();
    erasing.redact_all(newest).unwrap();
    let redacted = erasing.redacted();
    match until {
        Until::Prepared => return redacted,
        Until::Abandoned => erasing.abandon().unwrap(),
        _ => {
            let entry = draft(1, EntryKind::Erase, &[], Some(&erasure));
            let staged = erasing.push(&entry, 9, newest, EdgesAfter::None).unwrap();
            assert!(!staged.stored().is_empty());
            match until {
                Until::Staged => staged.abandon().unwrap(),
                _ => drop(staged.commit().unwrap()),
            }
        }
    }
    if until == Until::Finished {
        opened.appender.finish_erasing().unwrap();
    }
    redacted
}

#[test]
fn an_erasure_counts_with_its_entry_and_not_without() {
    for until in [Until::Prepared, Until::Abandoned, Until::Staged, Until::Committed, Until::Finished] {
        on_both(|engine| {
            let mut opened = engine.open();
            create_all(&mut opened, 0..4);
            let mut batch = opened.appender.begin(5).unwrap();
            let update = draft(1, EntryKind::Update, &[1, 2], None);
            let newest = batch.push(&update, 2, Some(1), EdgesAfter::None).unwrap().index;
            batch.commit().unwrap();
            let before = seen(&opened);
            assert_eq!(erase(&mut opened, 1, newest, until), 2, "both versions held the value");
            let counts = matches!(until, Until::Committed | Until::Finished);
            assert_eq!(seen(&opened) == before, !counts, "{until:?}");
            assert_eq!(opened.ledger.erasures_finished(), u64::from(until == Until::Finished));
            drop(opened);

            let mut opened = engine.open();
            let (_, texts) = seen(&opened);
            assert_eq!(texts[..5], before.1[..5], "{until:?}: what was signed stays as it is");
            assert_eq!(texts.len(), 5 + usize::from(counts));
            if counts {
                // The value that is left holds the same bytes: erased for good when it goes, too.
                assert!(holds_secret(&opened, 1) && holds_secret(&opened, newest));
                erase(&mut opened, 2, newest + 1, Until::Finished);
                assert!(!holds_secret(&opened, 1) && !holds_secret(&opened, newest));
            } else {
                // What was dropped is in nobody's way.
                create_all(&mut opened, 10..12);
            }
            assert!(holds_secret(&opened, 0));
            let after = seen(&opened);
            drop(opened);
            assert_eq!(seen(&engine.open()), after);
            after
        });
    }
}
