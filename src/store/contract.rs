//! The contract of [`Store`], run on every implementation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use proptest::{collection::vec, prelude::*};

use super::{Applied, EdgeOp, IndexChange, IndexedEdge, Store, memory::MemoryStore};
use crate::{
    id::{Key, KeyPrefix},
    ledger::{Position, Resident},
    record::EdgeType,
};

pub(crate) fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from_bytes(bytes.as_ref())
}

pub(crate) fn prefix(bytes: impl AsRef<[u8]>) -> KeyPrefix {
    KeyPrefix::from_bytes(bytes.as_ref())
}

pub(crate) fn change(bytes: impl AsRef<[u8]>, position: u64) -> IndexChange {
    IndexChange {
        key: key(bytes),
        position: Position(position),
        superseded: None,
        name_hash: None,
        request: None,
        edges: Vec::new(),
    }
}

/// How far the ledger is applied after `entries` entries, when each lies at its own number.
pub(crate) fn upto(entries: u64) -> Applied {
    Applied { entries, next: Position(entries) }
}

/// Runs every part of the contract that needs one empty store.
pub(crate) fn check(open: &mut dyn FnMut() -> Box<dyn Store>) {
    empty(&*open());
    visible_and_ordered(&*open());
    older_versions_stay(&*open());
    edges_come_and_go(&*open());
    hashes_and_requests(&*open());
    scans_stretches(&*open());
    replays_change_nothing(&*open());
    concurrent_readers_never_go_back(Arc::from(open()));
}

fn empty(store: &dyn Store) {
    assert_eq!(store.latest(&key("a")), Ok(None));
    assert_eq!(store.by_name_hash(&[1; 20]), Ok(None));
    assert_eq!(store.by_request(&[1; 20]), Ok(None));
    assert_eq!(store.edges_out(&key("a"), 10), Ok(vec![]));
    assert_eq!(store.any_below(&prefix("")), Ok(false));
    assert_eq!(store.any_name_hash(), Ok(false));
    assert_eq!(store.scan(&prefix(""), None, 10), Ok(vec![]));
    assert_eq!(store.durable(), Applied::default());
    assert_eq!(store.close(), Ok(()));
    assert_eq!(store.close(), Ok(()), "closing again does nothing");
}

fn visible_and_ordered(store: &dyn Store) {
    store.apply(vec![change("a", 0), change("b", 1), change("a", 2)], upto(3)).unwrap();
    assert_eq!(store.latest(&key("a")), Ok(Some(Position(2))));
    assert_eq!(store.latest(&key("b")), Ok(Some(Position(1))));
    store.apply(vec![], upto(3)).unwrap();
    store.apply(vec![change("b", 3), change("", 4), change([0xff; 2_304], 5)], upto(6)).unwrap();
    assert_eq!(store.latest(&key("b")), Ok(Some(Position(3))));
    assert_eq!(store.latest(&key("")), Ok(Some(Position(4))));
    assert_eq!(store.latest(&key([0xff; 2_304])), Ok(Some(Position(5))));
    assert_eq!(store.latest(&key([0xff; 2_303])), Ok(None));
    assert!(store.durable().entries <= 6);
    store.close().unwrap();
}

fn older_versions_stay(store: &dyn Store) {
    let after = |bytes: &str, before: u64, now: u64| IndexChange {
        superseded: Some((before, Position(before * 10))),
        ..change(bytes, now * 10)
    };
    let first = [change("a", 0), after("a", 0, 1), change("aa", 20), change("", 30), after("a", 1, 300)];
    store.apply(first.to_vec(), upto(301)).unwrap();
    let version = |index: u64| (index, Position(index * 10));
    assert_eq!(store.superseded(&key("a"), u64::MAX, 10), Ok(vec![version(1), version(0)]));
    assert_eq!(store.superseded(&key("aa"), u64::MAX, 10), Ok(vec![]));
    store.apply(vec![after("a", 300, 400), after("aa", 2, 401), after("", 3, 402)], upto(403)).unwrap();
    assert_eq!(store.superseded(&key("a"), u64::MAX, 2), Ok(vec![version(300), version(1)]));
    assert_eq!(store.superseded(&key("a"), 300, 1), Ok(vec![version(300)]));
    assert_eq!(store.superseded(&key("a"), 299, 1), Ok(vec![version(1)]));
    assert_eq!(store.superseded(&key("a"), 0, 5), Ok(vec![version(0)]));
    assert_eq!(store.superseded(&key("aa"), 1, 5), Ok(vec![]));
    assert_eq!(store.superseded(&key(""), u64::MAX, 5), Ok(vec![version(3)]));
    assert_eq!(store.latest(&key("a")), Ok(Some(Position(4_000))));
    assert_eq!(store.scan(&prefix(""), None, 10).unwrap().len(), 3, "only the newest ones are scanned");
    store.close().unwrap();
}

fn edges_come_and_go(store: &dyn Store) {
    let edge = |kind, to: &str, position| IndexedEdge { kind, to: key(to), position: Position(position) };
    let with = |from: &str, position, edges: &[(EdgeType, &str, EdgeOp)]| IndexChange {
        edges: edges.iter().map(|(kind, to, op)| (*kind, key(to), *op)).collect(),
        ..change(from, position)
    };
    use EdgeOp::{Add, Remove};
    use EdgeType::{MadeOf, PackedIn, Replaces};
    let first = with("a", 0, &[(PackedIn, "box", Add), (MadeOf, "z", Add), (MadeOf, "b", Add), (MadeOf, "", Add)]);
    // Keys that begin with each other, or with what a length looks like, have nothing to do with each other.
    let others = [with("aa", 1, &[(Replaces, "x", Add)]), with("\0\x01a", 2, &[(Replaces, "y", Add)])];
    store.apply([vec![first], others.to_vec()].concat(), upto(3)).unwrap();
    let all = vec![edge(MadeOf, "", 0), edge(MadeOf, "b", 0), edge(MadeOf, "z", 0), edge(PackedIn, "box", 0)];
    assert_eq!(store.edges_out(&key("a"), 10), Ok(all.clone()));
    assert_eq!(store.edges_out(&key("a"), 2), Ok(all[..2].to_vec()));
    assert_eq!(store.edges_out(&key("a"), 0), Ok(vec![]));
    assert_eq!(store.edges_out(&key("aa"), 10), Ok(vec![edge(Replaces, "x", 1)]));
    assert_eq!(store.edges_out(&key(""), 10), Ok(vec![]));

    let second = with("a", 3, &[(MadeOf, "b", Remove), (MadeOf, "none", Remove), (PackedIn, "box", Add)]);
    store.apply(vec![second], upto(4)).unwrap();
    let left = vec![edge(MadeOf, "", 0), edge(MadeOf, "z", 0), edge(PackedIn, "box", 3)];
    assert_eq!(store.edges_out(&key("a"), 10), Ok(left));
    let third = with("a", 4, &[(MadeOf, "b", Add), (MadeOf, "b", Remove), (MadeOf, "b", Add), (MadeOf, "", Remove)]);
    store.apply(vec![third], upto(5)).unwrap();
    assert_eq!(store.edges_out(&key("a"), 1), Ok(vec![edge(MadeOf, "b", 4)]));
    store.close().unwrap();
}

fn hashes_and_requests(store: &dyn Store) {
    let both = IndexChange { name_hash: Some([7; 20]), request: Some([8; 20]), ..change("long", 0) };
    store.apply(vec![both], upto(1)).unwrap();
    assert_eq!(store.by_name_hash(&[7; 20]), Ok(Some(Position(0))));
    assert_eq!(store.by_request(&[8; 20]), Ok(Some(Position(0))));
    assert_eq!(store.by_name_hash(&[8; 20]), Ok(None));
    assert_eq!(store.by_request(&[7; 20]), Ok(None));
    assert_eq!(store.any_name_hash(), Ok(true));
    let again = IndexChange { name_hash: Some([7; 20]), request: Some([9; 20]), ..change("long", 1) };
    store.apply(vec![again], upto(2)).unwrap();
    assert_eq!(store.by_name_hash(&[7; 20]), Ok(Some(Position(1))));
    assert_eq!(store.by_request(&[8; 20]), Ok(Some(Position(0))), "an older request keeps its entry");
    assert_eq!(store.by_request(&[9; 20]), Ok(Some(Position(1))));
    assert_eq!(store.scan(&prefix(""), None, 10), Ok(vec![(key("long"), Position(1))]), "only identifiers are scanned");
    store.close().unwrap();
}

fn scans_stretches(store: &dyn Store) {
    let keys = ["88.118", "88.118.8", "88.118.8/a", "88.118.8/b", "88.118.9", "88.2", "9"];
    let changes = keys.iter().rev().zip(0..).map(|(key, position)| change(key, position)).collect();
    store.apply(changes, upto(keys.len() as u64)).unwrap();
    let found = |under: &str, after: Option<&str>, limit| {
        let found = store.scan(&prefix(under), after.map(key).as_ref(), limit).unwrap();
        found.into_iter().map(|(key, _)| String::from_utf8(key.as_bytes().to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found("", None, 100), keys);
    assert_eq!(found("", None, 3), keys[..3]);
    assert_eq!(found("", Some("88.118.8"), 2), keys[2..4]);
    assert_eq!(found("", Some("88.118.8/"), 2), keys[2..4], "after may be no identifier");
    assert_eq!(found("88.118.8", None, 100), keys[1..4]);
    assert_eq!(found("88.118.8", Some("88.118.8"), 100), keys[2..4]);
    assert_eq!(found("88.118.8", Some("1"), 100), keys[1..4], "after may lie before the prefix");
    assert_eq!(found("88.118.8", Some("9"), 100), [""; 0], "after may lie behind the prefix");
    assert_eq!(found("88.118.8", None, 0), [""; 0]);
    assert_eq!(found("7", None, 100), [""; 0]);
    for (under, any) in [("", true), ("88.118.8", true), ("88.118.8/a", false), ("88.118.", true), ("88.2", false)] {
        assert_eq!(store.any_below(&prefix(under)), Ok(any), "{under}");
    }
    store.close().unwrap();
}

fn replays_change_nothing(store: &dyn Store) {
    let changes: Vec<_> = (0..300).map(|entry| numbered(entry, entry % 100)).collect();
    for from in [0, 150, 299, 0] {
        store.apply(changes[from..].to_vec(), upto(300)).unwrap();
        same_as_model(store, &model(&changes), 300);
    }
    store.close().unwrap();
}

fn concurrent_readers_never_go_back(store: Arc<dyn Store>) {
    const KEYS: u64 = 40;
    const ENTRIES: u64 = 1_000;
    let done = Arc::new(AtomicBool::new(false));
    store.apply((0..KEYS).map(|entry| numbered(entry, entry)).collect(), upto(KEYS)).unwrap();
    let readers = (0..2).map(|_| {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        thread::spawn(move || {
            let mut seen = [0; KEYS as usize];
            while !done.load(Ordering::Relaxed) {
                for (number, seen) in (0..KEYS).zip(&mut seen) {
                    let position = store.latest(&numbered(0, number).key).unwrap().expect("never missed").0;
                    assert!(position >= *seen, "{position} after {seen}");
                    *seen = position;
                }
                assert_eq!(store.scan(&prefix(""), None, 1_000).unwrap().len(), KEYS as usize);
                assert_eq!(store.edges_out(&numbered(0, 0).key, 10).unwrap().len(), 1);
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for entry in KEYS..ENTRIES {
        store.apply(vec![numbered(entry, entry % KEYS)], upto(entry + 1)).unwrap();
        assert_eq!(store.latest(&numbered(0, entry % KEYS).key), Ok(Some(Position(entry))));
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    store.close().unwrap();
}

/// A change of identifier `number` with everything that a change may have.
pub(crate) fn numbered(entry: u64, number: u64) -> IndexChange {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&spread);
    IndexChange {
        name_hash: Some(hash),
        request: Some(hash),
        edges: vec![(EdgeType::MadeOf, key(spread), EdgeOp::Add)],
        ..change(spread, entry)
    }
}

pub(crate) fn model(changes: &[IndexChange]) -> MemoryStore {
    let model = MemoryStore::new();
    model.apply(changes.to_vec(), upto(changes.len() as u64)).unwrap();
    model
}

/// Compares all that a store knows about [`numbered`] identifiers, and all of its scans, with a model.
pub(crate) fn same_as_model(store: &dyn Store, model: &MemoryStore, numbers: u64) {
    assert_eq!(store.scan(&prefix(""), None, usize::MAX), model.scan(&prefix(""), None, usize::MAX));
    assert_eq!(store.any_name_hash(), model.any_name_hash());
    for number in 0..numbers {
        let IndexChange { key, name_hash, request, .. } = numbered(0, number);
        assert_eq!(store.latest(&key), model.latest(&key));
        if let Resident::Here(position) = store.latest_resident(&key).unwrap() {
            assert_eq!(position, model.latest(&key).unwrap());
        }
        assert_eq!(store.edges_out(&key, 100), model.edges_out(&key, 100));
        assert_eq!(store.by_name_hash(&name_hash.unwrap()), model.by_name_hash(&name_hash.unwrap()));
        assert_eq!(store.by_request(&request.unwrap()), model.by_request(&request.unwrap()));
    }
}

/// Keys over few letters, so that they meet and begin with each other; some are long.
fn any_key() -> impl Strategy<Value = Key> {
    let few = vec(prop_oneof![Just(0u8), Just(b'a'), Just(0xff)], 0..6);
    prop_oneof![9 => few, 1 => vec(any::<u8>(), 0..2_304)].prop_map(Key::from_bytes)
}

/// Changes in the order of a ledger.
pub(crate) fn any_changes(count_max: usize) -> impl Strategy<Value = Vec<IndexChange>> {
    let kind = proptest::sample::select(&EdgeType::ALL[..]);
    let op = proptest::sample::select(&[EdgeOp::Add, EdgeOp::Remove][..]);
    let hash = proptest::option::of(proptest::array::uniform20(0u8..3));
    let one = (any_key(), hash.clone(), hash, vec((kind, any_key(), op), 0..4));
    vec(one, 0..count_max).prop_map(|changes| {
        let numbered = changes.into_iter().zip(0..);
        let mut newest = BTreeMap::new();
        let change = |((key, name_hash, request, edges), entry): ((Key, _, _, _), u64)| IndexChange {
            superseded: newest.insert(key.clone(), entry).map(|before| (before, Position(before))),
            key,
            position: Position(entry),
            name_hash,
            request,
            edges,
        };
        numbered.map(change).collect()
    })
}

/// Compares answers about all keys in `changes` with the model's.
pub(crate) fn answers_alike(store: &dyn Store, model: &MemoryStore, changes: &[IndexChange]) {
    assert_eq!(store.scan(&prefix(""), None, usize::MAX), model.scan(&prefix(""), None, usize::MAX));
    assert_eq!(store.any_name_hash(), model.any_name_hash());
    for change in changes {
        let under = prefix(change.key.as_bytes());
        assert_eq!(store.latest(&change.key), model.latest(&change.key));
        for upto in [u64::MAX, change.position.0, change.position.0 / 2] {
            assert_eq!(store.superseded(&change.key, upto, 3), model.superseded(&change.key, upto, 3));
        }
        assert_eq!(store.edges_out(&change.key, 3), model.edges_out(&change.key, 3));
        assert_eq!(store.any_below(&under), model.any_below(&under));
        assert_eq!(store.scan(&under, Some(&change.key), 2), model.scan(&under, Some(&change.key), 2));
        for hash in [change.name_hash, change.request].into_iter().flatten() {
            assert_eq!(store.by_name_hash(&hash), model.by_name_hash(&hash));
            assert_eq!(store.by_request(&hash), model.by_request(&hash));
        }
    }
}

#[test]
fn memory_keeps_the_contract() {
    check(&mut || Box::new(MemoryStore::new()));
}
