//! Valid records and every way to alter them, on a small ledger.

use std::{collections::HashMap, sync::Arc};

use super::*;
use crate::{
    entry::{Draft, Erasure, Principal, Reason, Statement, without_place},
    id::Identifier,
    ledger::{Appender, DataDir, EdgesAfter, KeySource, Ledger, Mark, Opening, Pushed, Recovered},
    record::{Edge, EdgeType, Permissions, Value, Values},
};

/// A mirror's ledger, in memory.
#[derive(Default)]
struct Memory {
    leaves: Vec<Hash>,
    newest: HashMap<Key, HeldEntry>,
}

impl Held for Memory {
    fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        Ok(self.leaves[index as usize])
    }

    fn newest(&self, key: &Key) -> Result<Option<HeldEntry>, ReadError> {
        Ok(self.newest.get(key).copied())
    }
}

impl Memory {
    fn apply(&mut self, batch: &VerifiedBatch) {
        for (index, checked) in (batch.start..).zip(&batch.entries) {
            match checked {
                Checked::Outside(outside) => self.leaves.push(outside.leaf_hash),
                Checked::Entry(entry) => {
                    self.leaves.push(entry.leaf_hash);
                    let stored = StoredEntry::read(&entry.stored).unwrap();
                    let key = Identifier::parse(stored.identifier).unwrap().key().clone();
                    let (version, has_edges) = (stored.version, entry.has_edges);
                    self.newest.insert(key, HeldEntry { index, version, has_edges });
                }
            }
        }
    }
}

struct Primary {
    _directory: tempfile::TempDir,
    ledger: Arc<Ledger>,
}

/// Six entries: two registrations, one with an edge; two changes of the first; an erasure of its value; another
/// registration.
fn primary(seed: u8) -> Primary {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open_or_create(directory.path()).unwrap();
    let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [seed; 32] }).unwrap();
    let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
    let Recovered { ledger, mut appender, .. } = recovered;
    let draft = |kind, name: &str, data: &str, edges: &[EdgeChange], erasure: Option<&Erasure>| {
        let value = Value {
            index: 1,
            kind: "N".parse().unwrap(),
            data: data.as_bytes().to_vec().into(),
            ttl: 60,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        };
        let statement = Statement {
            kind,
            identifier: &Identifier::parse(name).unwrap(),
            principal: &Principal::LOOPBACK,
            values: &Values::new(if data.is_empty() { Vec::new() } else { vec![value] }).unwrap(),
            edges,
            outputs: None,
            request: None,
            erasure,
        };
        Draft::new(&statement, [7; 32]).unwrap()
    };
    let push = |appender: &mut Appender, at, draft: &Draft, version, previous: Option<&Pushed>, edges| {
        let mut batch = appender.begin(at).unwrap();
        let previous = previous.map(|pushed| pushed.index);
        let pushed = batch.push(draft, version, previous, edges).unwrap();
        batch.commit().unwrap();
        pushed
    };
    let to = Identifier::parse("88.1/a").unwrap();
    let edge = EdgeChange::Add(Edge { kind: EdgeType::MadeOf, to, quantity: None, valid_from_ms: None });
    let (create, update, none) = (EntryKind::Create, EntryKind::Update, EdgesAfter::None);
    let a1 = push(&mut appender, 10, &draft(create, "88.1/a", "one", &[], None), 1, None, none);
    push(&mut appender, 11, &draft(create, "88.2/b", "two", &[edge], None), 1, None, EdgesAfter::Some);
    let a2 = push(&mut appender, 12, &draft(update, "88.1/a", "three", &[], None), 2, Some(&a1), none);
    let a3 = push(&mut appender, 13, &draft(update, "88.1/a", "four", &[], None), 3, Some(&a2), none);
    let erasure = Erasure::of_record(Reason::new("r").unwrap());
    let gone = draft(EntryKind::Erase, "88.1/a", "", &[], Some(&erasure));
    // Earlier versions keep their values here, for the mirror to destroy.
    push(&mut appender, 14, &gone, 4, Some(&a3), none);
    push(&mut appender, 15, &draft(create, "88.2/c", "five", &[], None), 1, None, none);
    Primary { _directory: directory, ledger }
}

impl Primary {
    fn entry(&self, index: u64) -> Record {
        let bytes = self.ledger.at(index).unwrap();
        Record::Entry(without_place(bytes.as_bytes()).unwrap())
    }

    fn outside(&self, index: u64) -> Record {
        let bytes = self.ledger.at(index).unwrap();
        let mut text = Vec::new();
        self.ledger.put_text(&bytes.decode().unwrap(), &mut text).unwrap();
        Record::Outside(text)
    }

    fn checkpoint(&self, size: u64) -> Record {
        let signed = self.ledger.signer().unwrap().sign(size, self.ledger.root(size).unwrap()).unwrap();
        Record::Checkpoint(signed.note.as_bytes().into())
    }

    /// The stream of a whole mirror: four entries, the erasure alone, the last.
    fn stream(&self) -> Vec<Record> {
        let mut records: Vec<_> = (0..4).map(|index| self.entry(index)).collect();
        records.push(self.checkpoint(4));
        records.extend([self.entry(4), self.checkpoint(5), self.entry(5), self.checkpoint(6)]);
        records
    }

    fn checker(&self, only: &[&str]) -> Checker {
        let only = only.iter().map(|prefix| Subtree::parse(prefix).unwrap()).collect();
        Checker::new(self.ledger.verifier().clone(), only, Frontier::default(), 0)
    }
}

/// Feeds records to a checker; returns the verified entries, and the rejection.
fn feed(mut checker: Checker, records: Vec<Record>) -> (Memory, Option<Rejected>) {
    let mut memory = Memory::default();
    for record in records {
        match checker.take(record, &memory) {
            Ok(Some(batch)) => memory.apply(&batch),
            Ok(None) => {}
            Err(rejected) => return (memory, Some(rejected)),
        }
    }
    (memory, None)
}

#[test]
fn a_whole_stream_is_taken() {
    let primary = primary(1);
    let (memory, rejected) = feed(primary.checker(&[]), primary.stream());
    assert!(rejected.is_none(), "{rejected:?}");
    assert_eq!(memory.leaves.len(), 6);
    let newest = |name: &str| memory.newest[Identifier::parse(name).unwrap().key()];
    assert_eq!(newest("88.1/a"), HeldEntry { index: 4, version: 4, has_edges: false });
    assert_eq!(newest("88.2/b"), HeldEntry { index: 1, version: 1, has_edges: true });
}

#[test]
fn an_edge_takes_its_own_and_the_texts_of_others() {
    let primary = primary(1);
    let records = || {
        let mut records = vec![primary.outside(0), primary.entry(1), primary.outside(2), primary.outside(3)];
        records.extend([primary.checkpoint(4), primary.outside(4), primary.checkpoint(5)]);
        records.extend([primary.entry(5), primary.checkpoint(6)]);
        records
    };
    let (memory, rejected) = feed(primary.checker(&["88.2"]), records());
    assert!(rejected.is_none(), "{rejected:?}");
    assert_eq!((memory.leaves.len(), memory.newest.len()), (6, 2));
    let table: [(usize, Record, &str); 3] = [
        (1, primary.outside(1), "came without its values"),
        (0, primary.entry(0), "outside the prefixes"),
        (2, Record::Outside(b"touchmark/1 create\nid x".to_vec()), "has a text that cannot be read"),
    ];
    for (at, other, expected) in table {
        let mut records = records();
        records[at] = other;
        let (memory, rejected) = feed(primary.checker(&["88.2"]), records);
        let rejected = rejected.unwrap().to_string();
        assert!(rejected.contains(expected) && memory.leaves.is_empty(), "{rejected}");
    }
    // The text of another entry of the same identifier: it does not follow on what is there.
    let (_, rejected) = feed(primary.checker(&["88.2"]), vec![primary.outside(3)]);
    assert!(rejected.unwrap().to_string().contains("does not follow on"));
}

#[test]
fn what_is_altered_left_out_or_moved_is_not_taken() {
    let (primary, other) = (primary(1), self::primary(2));
    type Alter = fn(&mut Vec<Record>, &Primary, &Primary);
    let flip = |record: &mut Record, needle: &[u8]| {
        let Record::Entry(bytes) = record else { panic!("an entry") };
        let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[at] ^= 1;
    };
    let table: [(&str, Alter, u64, &str); 12] = [
        ("nothing came", |records, _, _| records.clear(), 0, ""),
        ("an entry is missing", |records, _, _| drop(records.remove(1)), 0, "should come, and 2 does"),
        ("the last entry is missing", |records, _, _| drop(records.remove(7)), 5, "covers 6"),
        ("two are swapped", |records, _, _| records.swap(0, 1), 0, "should come, and 1 does"),
        ("a checkpoint is missing", |records, _, _| drop(records.remove(4)), 0, "is not alone"),
        ("another's checkpoint", |records, _, other| records[4] = other.checkpoint(4), 0, "is not signed"),
        ("an older checkpoint", |records, primary, _| records[4] = primary.checkpoint(3), 0, "covers 3"),
        ("no checkpoint", |records, _, _| records[4] = Record::Checkpoint(b"x".to_vec()), 0, "is not signed"),
        ("no entry", |records, _, _| records[0] = Record::Entry(vec![1, 0, 0]), 0, "cannot be read"),
        ("its text alone", |records, primary, _| records[0] = primary.outside(0), 0, "came without its values"),
        (
            "the tail of another stream",
            |records, primary, _| {
                records.truncate(5);
                records.push(primary.checkpoint(3));
            },
            4,
            "covers 3",
        ),
        (
            "too much",
            |records, primary, _| {
                records.truncate(1);
                let long = vec![0; BATCH_BYTES_MAX / 2 + 1];
                records.extend([Record::Outside(long.clone()), Record::Outside(long)]);
                records.swap(0, 1);
                let _ = primary;
            },
            0,
            "",
        ),
    ];
    for (name, alter, taken, expected) in table {
        let mut records = primary.stream();
        alter(&mut records, &primary, &other);
        let (memory, rejected) = feed(primary.checker(&[]), records);
        assert_eq!(memory.leaves.len() as u64, taken, "{name}");
        let rejected = rejected.map_or_else(String::new, |rejected| rejected.to_string());
        assert!(rejected.contains(expected) && rejected.is_empty() == (name == "nothing came"), "{name}: {rejected}");
    }
    for (at, needle, taken) in [(0, "one", 0), (1, "two", 0), (3, "four", 0), (7, "five", 5)] {
        let mut records = primary.stream();
        flip(&mut records[at], needle.as_bytes());
        let (memory, rejected) = feed(primary.checker(&[]), records);
        assert_eq!(memory.leaves.len(), taken, "{needle}");
        assert!(matches!(rejected, Some(Rejected::Tree { .. })), "{needle}: {rejected:?}");
    }
}

#[test]
fn any_flipped_bit_is_found_or_changes_nothing_that_counts() {
    let primary = primary(1);
    let Record::Entry(whole) = primary.entry(2) else { panic!("an entry") };
    for bit in 0..whole.len() * 8 {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut records = primary.stream();
        records[2] = Record::Entry(altered);
        let (memory, rejected) = feed(primary.checker(&[]), records);
        // Whether edges leave the record, and the position of the previous entry, are not believed; all else is in the
        // text.
        assert!(
            rejected.is_some() || memory.leaves == feed(primary.checker(&[]), primary.stream()).0.leaves,
            "bit {bit}"
        );
        let is_blank = bit / 8 == 1 && bit % 8 == 0;
        assert!(rejected.is_some() || is_blank || whole[bit / 8] == 0, "bit {bit} of byte {}", bit / 8);
    }
}

#[test]
fn a_mirror_that_holds_something_finds_a_fork() {
    let (primary, other) = (primary(1), self::primary(1));
    let held = |primary: &Primary, size: u64| {
        let mut frontier = Frontier::default();
        (0..size).for_each(|index| frontier.push(primary.ledger.leaf_hash(index).unwrap(), |_, _| {}));
        Checker::new(primary.ledger.verifier().clone(), Vec::new(), frontier, 0)
    };
    let memory = Memory::default();
    for size in 1..=6 {
        let batch = held(&primary, size).take(primary.checkpoint(size), &memory).unwrap().unwrap();
        assert!(batch.entries.is_empty() && batch.start == size);
        let rejected = held(&primary, size).take(primary.checkpoint(size % 6 + 1), &memory).unwrap_err();
        assert!(matches!(rejected, Rejected::Tree { .. }), "{rejected}");
    }
    // The same key signed another tree.
    let root = primary.ledger.root(2).unwrap();
    let signed = other.ledger.signer().unwrap().sign(3, root).unwrap();
    let rejected = held(&primary, 3).take(Record::Checkpoint(signed.note.as_bytes().into()), &memory).unwrap_err();
    assert!(matches!(rejected, Rejected::Fork { size: 3 }), "{rejected}");
}
