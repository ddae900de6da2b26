//! The contract of [`PositionIndex`], run on every implementation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use proptest::{collection::vec, prelude::*};

use crate::store::{
    Applied, Direction, EdgeEnd, EdgeMove, EdgeOp, EdgeOrigin, EdgeQuery, IndexChange, IndexedEdge, PlacedChange,
    PositionIndex, memory::MemoryIndex,
};
use crate::{
    id::{Key, KeyPrefix},
    ledger::{Position, Resident},
    record::{EdgeType, EdgeTypes},
};

pub(crate) fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from_bytes(bytes.as_ref())
}

pub(crate) fn prefix(bytes: impl AsRef<[u8]>) -> KeyPrefix {
    KeyPrefix::from_bytes(bytes.as_ref())
}

/// A change by an entry whose position is its index.
pub(crate) fn change(bytes: impl AsRef<[u8]>, position: u64) -> PlacedChange {
    placed(IndexChange {
        index: position,
        key: key(bytes),
        superseded: None,
        name_hash: None,
        request: None,
        edges: Vec::new(),
    })
}

/// A change by entries whose positions are their indexes.
fn placed(change: IndexChange) -> PlacedChange {
    let (position, superseded) = (Position(change.index), change.superseded.map(Position));
    PlacedChange { change, position, superseded }
}

/// The state of an index after `entries` entries, each at a position equal to its index.
pub(crate) fn upto(entries: u64) -> Applied {
    Applied { entries, next: Position(entries) }
}

/// Runs every part of the contract that needs one empty store.
pub(crate) fn check(open: &mut dyn FnMut() -> Box<dyn PositionIndex>) {
    empty(&*open());
    visible_and_ordered(&*open());
    older_versions_stay(&*open());
    edges_come_and_go(&*open());
    edges_have_two_ends(&*open());
    edges_are_found_among_many_states(&*open());
    hashes_and_requests(&*open());
    scans_stretches(&*open());
    replays_change_nothing(&*open());
    concurrent_readers_never_go_back(Arc::from(open()));
}

fn empty(store: &dyn PositionIndex) {
    assert_eq!(store.latest(&key("a")), Ok(None));
    assert_eq!(store.by_name_hash(&[1; 20]), Ok(None));
    assert_eq!(store.by_request(&[1; 20]), Ok(None));
    assert_eq!(store.edges(&key("a"), Direction::In, &ALL), Ok(vec![]));
    assert_eq!(store.any_below(&prefix("")), Ok(false));
    assert_eq!(store.any_name_hash(), Ok(false));
    assert_eq!(store.scan(&prefix(""), None, 10), Ok(vec![]));
    assert_eq!(store.durable(), Applied::default());
    assert_eq!(store.close(), Ok(()));
    assert_eq!(store.close(), Ok(()), "closing again does nothing");
}

fn visible_and_ordered(store: &dyn PositionIndex) {
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

fn older_versions_stay(store: &dyn PositionIndex) {
    let after = |bytes: &str, before: u64, now: u64| {
        let one = change(bytes, now * 10);
        let change = IndexChange { index: now, superseded: Some(before), ..one.change };
        PlacedChange { change, superseded: Some(Position(before * 10)), ..one }
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

/// Query for all current edges.
const ALL: EdgeQuery<'static> =
    EdgeQuery { types: EdgeTypes::ALL, origin: None, upto: u64::MAX, after: None, limit: usize::MAX };

fn moved(kind: EdgeType, other: &str, op: EdgeOp) -> EdgeMove {
    EdgeMove { kind, origin: EdgeOrigin::Record, other: key(other), op }
}

fn with_edges(from: &str, entry: u64, edges: &[EdgeMove]) -> PlacedChange {
    placed(IndexChange { edges: edges.to_vec(), ..change(from, entry).change })
}

fn indexed(kind: EdgeType, other: &str, entry: u64) -> IndexedEdge {
    let end = EdgeEnd { origin: EdgeOrigin::Record, kind, other: key(other) };
    IndexedEdge { end, index: entry, locator: Position(entry).into() }
}

fn edges_come_and_go(store: &dyn PositionIndex) {
    use EdgeOp::{Add, Remove};
    use EdgeType::{MadeOf, PackedIn, Replaces};
    let out = |from: &str, query: &EdgeQuery<'_>| store.edges(&key(from), Direction::Out, query).unwrap();
    let first = ["z", "b", "", "\0", "b\0", "b\0c"].map(|to| moved(MadeOf, to, Add));
    let first = with_edges("a", 0, &[&[moved(PackedIn, "box", Add)], &first[..]].concat());
    // Keys that begin with each other, or with what a length looks like, have nothing to do with each other.
    let others =
        [with_edges("aa", 1, &[moved(Replaces, "x", Add)]), with_edges("\0\x01a", 2, &[moved(Replaces, "y", Add)])];
    store.apply([vec![first], others.to_vec()].concat(), upto(3)).unwrap();
    let all: Vec<_> = ["", "\0", "b", "b\0", "b\0c", "z"].map(|to| indexed(MadeOf, to, 0)).into();
    let all = [all, vec![indexed(PackedIn, "box", 0)]].concat();
    assert_eq!(out("a", &ALL), all);
    assert_eq!(out("a", &EdgeQuery { limit: 2, ..ALL }), all[..2]);
    assert_eq!(out("a", &EdgeQuery { limit: 0, ..ALL }), []);
    for (position, edge) in all.iter().enumerate() {
        let after = EdgeQuery { after: Some(&edge.end), limit: 2, ..ALL };
        assert_eq!(out("a", &after), all[position + 1..all.len().min(position + 3)]);
    }
    let packed: EdgeTypes = [PackedIn, Replaces].into_iter().collect();
    assert_eq!(out("a", &EdgeQuery { types: packed, ..ALL }), all[6..]);
    assert_eq!(out("a", &EdgeQuery { types: EdgeTypes::default(), ..ALL }), []);
    assert_eq!(out("aa", &ALL), [indexed(Replaces, "x", 1)]);
    assert_eq!(out("", &ALL), []);

    let second = [moved(MadeOf, "b", Remove), moved(MadeOf, "none", Remove), moved(PackedIn, "box", Add)];
    store.apply(vec![with_edges("a", 3, &second)], upto(4)).unwrap();
    let made_of = |all: &[IndexedEdge]| all.iter().filter(|edge| edge.end.other != key("b")).cloned().collect();
    let mut left: Vec<_> = made_of(&all);
    left[5] = indexed(PackedIn, "box", 3);
    assert_eq!(out("a", &ALL), left);
    assert_eq!(
        out("a", &EdgeQuery { after: Some(&all[2].end), limit: 1, ..ALL }),
        left[2..3],
        "after one that is gone"
    );
    for (upto, expected) in [(0, &all), (2, &all), (3, &left), (4, &left)] {
        assert_eq!(&out("a", &EdgeQuery { upto, ..ALL }), expected, "up to {upto}");
    }
    assert_eq!(out("aa", &EdgeQuery { upto: 0, ..ALL }), []);
    store.apply(vec![with_edges("a", 4, &[moved(MadeOf, "b", Add), moved(MadeOf, "", Remove)])], upto(5)).unwrap();
    assert_eq!(out("a", &EdgeQuery { limit: 2, ..ALL }), [indexed(MadeOf, "\0", 0), indexed(MadeOf, "b", 4)]);
    assert_eq!(out("a", &EdgeQuery { upto: 3, ..ALL }), left);
    store.close().unwrap();
}

fn edges_have_two_ends(store: &dyn PositionIndex) {
    use EdgeType::DerivedFrom;
    let from_event = |other: &str| EdgeMove { origin: EdgeOrigin::Event, ..moved(DerivedFrom, other, EdgeOp::Add) };
    let said = |edge: IndexedEdge| {
        let end = EdgeEnd { origin: EdgeOrigin::Event, ..edge.end };
        IndexedEdge { end, ..edge }
    };
    // An event of one input and two outputs, one of which says the same itself, and takes it back.
    let changes = [
        with_edges("event", 0, &[moved(DerivedFrom, "in", EdgeOp::Add), from_event("one"), from_event("two")]),
        with_edges("one", 1, &[moved(DerivedFrom, "event", EdgeOp::Add)]),
        with_edges("one", 2, &[moved(DerivedFrom, "event", EdgeOp::Remove)]),
    ];
    store.apply(changes.to_vec(), upto(3)).unwrap();
    let edges = |of: &str, direction, query: &EdgeQuery<'_>| store.edges(&key(of), direction, query).unwrap();
    assert_eq!(edges("event", Direction::Out, &ALL), [indexed(DerivedFrom, "in", 0)]);
    assert_eq!(edges("in", Direction::In, &ALL), [indexed(DerivedFrom, "event", 0)]);
    let outputs = ["one", "two"].map(|output| said(indexed(DerivedFrom, output, 0)));
    assert_eq!(edges("event", Direction::In, &ALL), outputs);
    assert_eq!(edges("two", Direction::Out, &ALL), [said(indexed(DerivedFrom, "event", 0))]);
    let own = indexed(DerivedFrom, "event", 1);
    let both = EdgeQuery { upto: 1, ..ALL };
    assert_eq!(edges("one", Direction::Out, &both), [own.clone(), said(indexed(DerivedFrom, "event", 0))]);
    assert_eq!(edges("one", Direction::Out, &EdgeQuery { origin: Some(EdgeOrigin::Record), ..both }), [own]);
    assert_eq!(edges("one", Direction::Out, &ALL), [said(indexed(DerivedFrom, "event", 0))]);
    store.close().unwrap();
}

fn edges_are_found_among_many_states(store: &dyn PositionIndex) {
    use EdgeType::{DerivedFrom, MadeOf};
    const STATES: u64 = 300;
    for entry in 0..STATES {
        let op = if entry % 3 == 2 { EdgeOp::Remove } else { EdgeOp::Add };
        let edges = [moved(MadeOf, "often", op), moved(DerivedFrom, "often", EdgeOp::Add), moved(MadeOf, "too", op)];
        store.apply(vec![with_edges("a", entry, &edges)], upto(entry + 1)).unwrap();
    }
    for upto in [0, 1, 2, 150, 152, STATES - 1, u64::MAX] {
        let entry = upto.min(STATES - 1);
        let made_of = ["often", "too"].map(|to| indexed(MadeOf, to, entry));
        let made_of = if entry % 3 == 2 { vec![] } else { made_of.to_vec() };
        let expected = [made_of, vec![indexed(DerivedFrom, "often", entry)]].concat();
        assert_eq!(store.edges(&key("a"), Direction::Out, &EdgeQuery { upto, ..ALL }), Ok(expected), "up to {upto}");
        let derived: EdgeTypes = [DerivedFrom].into_iter().collect();
        let query = EdgeQuery { upto, types: derived, limit: 1, ..ALL };
        assert_eq!(store.edges(&key("often"), Direction::In, &query), Ok(vec![indexed(DerivedFrom, "a", entry)]));
    }
    store.close().unwrap();
}

fn hashes_and_requests(store: &dyn PositionIndex) {
    let hashed = |request, entry| {
        placed(IndexChange { name_hash: Some([7; 20]), request: Some(request), ..change("long", entry).change })
    };
    let both = hashed([8; 20], 0);
    store.apply(vec![both], upto(1)).unwrap();
    assert_eq!(store.by_name_hash(&[7; 20]), Ok(Some(Position(0))));
    assert_eq!(store.by_request(&[8; 20]), Ok(Some(Position(0))));
    assert_eq!(store.by_name_hash(&[8; 20]), Ok(None));
    assert_eq!(store.by_request(&[7; 20]), Ok(None));
    assert_eq!(store.any_name_hash(), Ok(true));
    let again = hashed([9; 20], 1);
    store.apply(vec![again], upto(2)).unwrap();
    assert_eq!(store.by_name_hash(&[7; 20]), Ok(Some(Position(1))));
    assert_eq!(store.by_request(&[8; 20]), Ok(Some(Position(0))), "an older request keeps its entry");
    assert_eq!(store.by_request(&[9; 20]), Ok(Some(Position(1))));
    assert_eq!(store.scan(&prefix(""), None, 10), Ok(vec![(key("long"), Position(1))]), "only identifiers are scanned");
    store.close().unwrap();
}

fn scans_stretches(store: &dyn PositionIndex) {
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

fn replays_change_nothing(store: &dyn PositionIndex) {
    let changes: Vec<_> = (0..300).map(|entry| numbered(entry, entry % 100)).collect();
    for from in [0, 150, 299, 0] {
        store.apply(changes[from..].to_vec(), upto(300)).unwrap();
        same_as_model(store, &model(&changes), 300);
    }
    store.close().unwrap();
}

fn concurrent_readers_never_go_back(store: Arc<dyn PositionIndex>) {
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
                    let position = store.latest(&numbered(0, number).change.key).unwrap().expect("never missed").0;
                    assert!(position >= *seen, "{position} after {seen}");
                    *seen = position;
                }
                assert_eq!(store.scan(&prefix(""), None, 1_000).unwrap().len(), KEYS as usize);
                let edges = store.edges(&numbered(0, 0).change.key, Direction::Out, &ALL).unwrap();
                assert_eq!(edges.len(), 1);
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for entry in KEYS..ENTRIES {
        store.apply(vec![numbered(entry, entry % KEYS)], upto(entry + 1)).unwrap();
        assert_eq!(store.latest(&numbered(0, entry % KEYS).change.key), Ok(Some(Position(entry))));
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    store.close().unwrap();
}

/// A change of identifier `number` that uses every field of a change.
pub(crate) fn numbered(entry: u64, number: u64) -> PlacedChange {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&spread);
    placed(IndexChange {
        name_hash: Some(hash),
        request: Some(hash),
        edges: vec![EdgeMove {
            kind: EdgeType::MadeOf,
            origin: EdgeOrigin::Record,
            other: key(spread),
            op: EdgeOp::Add,
        }],
        ..change(spread, entry).change
    })
}

pub(crate) fn model(changes: &[PlacedChange]) -> MemoryIndex {
    let model = MemoryIndex::new();
    model.apply(changes.to_vec(), upto(changes.len() as u64)).unwrap();
    model
}

/// Compares a store with a model: every answer about [`numbered`] identifiers, and all scans.
pub(crate) fn same_as_model(store: &dyn PositionIndex, model: &MemoryIndex, numbers: u64) {
    assert_eq!(store.scan(&prefix(""), None, usize::MAX), model.scan(&prefix(""), None, usize::MAX));
    assert_eq!(store.any_name_hash(), model.any_name_hash());
    for number in 0..numbers {
        let IndexChange { key, name_hash, request, .. } = numbered(0, number).change;
        assert_eq!(store.latest(&key), model.latest(&key));
        if let Resident::Here(position) = store.latest_resident(&key).unwrap() {
            assert_eq!(position, model.latest(&key).unwrap());
        }
        for direction in [Direction::Out, Direction::In] {
            assert_eq!(store.edges(&key, direction, &ALL), model.edges(&key, direction, &ALL));
        }
        assert_eq!(store.by_name_hash(&name_hash.unwrap()), model.by_name_hash(&name_hash.unwrap()));
        assert_eq!(store.by_request(&request.unwrap()), model.by_request(&request.unwrap()));
    }
}

/// Keys over few letters, so that many collide or begin with each other; some are long.
fn any_key() -> impl Strategy<Value = Key> {
    let few = vec(prop_oneof![Just(0u8), Just(b'a'), Just(0xff)], 0..6);
    prop_oneof![9 => few, 1 => vec(any::<u8>(), 0..2_304)].prop_map(Key::from_bytes)
}

/// Changes in the order of a ledger.
pub(crate) fn any_changes(count_max: usize) -> impl Strategy<Value = Vec<PlacedChange>> {
    let kind = proptest::sample::select(&EdgeType::ALL[..]);
    let op = proptest::sample::select(&[EdgeOp::Add, EdgeOp::Remove][..]);
    let hash = proptest::option::of(proptest::array::uniform20(0u8..3));
    let origin = proptest::sample::select(&[EdgeOrigin::Record, EdgeOrigin::Event][..]);
    let edges = vec((kind, origin, any_key(), op), 0..4).prop_map(|edges| {
        let mut once = BTreeMap::new();
        for (kind, origin, other, op) in edges {
            once.insert((kind, origin, other.clone()), EdgeMove { kind, origin, other, op });
        }
        once.into_values().collect::<Vec<_>>()
    });
    let one = (any_key(), hash.clone(), hash, edges);
    vec(one, 0..count_max).prop_map(|changes| {
        let numbered = changes.into_iter().zip(0..);
        let mut newest = BTreeMap::new();
        let change = |((key, name_hash, request, edges), entry): ((Key, _, _, _), u64)| {
            let superseded = newest.insert(key.clone(), entry);
            placed(IndexChange { index: entry, superseded, key, name_hash, request, edges })
        };
        numbered.map(change).collect()
    })
}

/// Compares a store's answers about all keys in `changes` with those of a model.
pub(crate) fn answers_alike(store: &dyn PositionIndex, model: &MemoryIndex, changes: &[PlacedChange]) {
    assert_eq!(store.scan(&prefix(""), None, usize::MAX), model.scan(&prefix(""), None, usize::MAX));
    assert_eq!(store.any_name_hash(), model.any_name_hash());
    for PlacedChange { change, position, .. } in changes {
        let under = prefix(change.key.as_bytes());
        assert_eq!(store.latest(&change.key), model.latest(&change.key));
        for upto in [u64::MAX, position.0, position.0 / 2] {
            assert_eq!(store.superseded(&change.key, upto, 3), model.superseded(&change.key, upto, 3));
        }
        for (of, direction) in
            [(Some(&change.key), Direction::Out), (change.edges.first().map(|edge| &edge.other), Direction::In)]
        {
            let Some(of) = of else { continue };
            let mut page = model.edges(of, direction, &ALL).unwrap();
            assert_eq!(store.edges(of, direction, &ALL).as_ref(), Ok(&page));
            page.truncate(1);
            let after = page.first().map(|edge| &edge.end);
            let types: EdgeTypes = change.edges.iter().map(|edge| edge.kind).collect();
            for query in [EdgeQuery { after, limit: 2, ..ALL }, EdgeQuery { upto: change.index / 2, types, ..ALL }] {
                assert_eq!(store.edges(of, direction, &query), model.edges(of, direction, &query));
            }
        }
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
    check(&mut || Box::new(MemoryIndex::new()));
}
