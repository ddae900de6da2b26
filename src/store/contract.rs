//! The contract of [`Entries`], run on every implementation over a ledger in a temporary directory.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tempfile::TempDir;

use crate::{
    entry::{Draft, EntryKind, Principal, RequestId, Statement},
    id::{Identifier, Key, KeyPrefix},
    ledger::{Appender, DataDir, EdgesAfter, EntryBytes, KeySource, Ledger, Mark, Opening, Recovered, Resident},
    record::{Edge, EdgeChange, EdgeType, EdgeTypes, Permissions, Value, Values},
    registry::{apply::change_of, request_key},
    store::{
        Direction, EdgeOrigin, EdgeQuery, Entries, IndexChange, PastPage, ReadError,
        local::{LocalEntries, LocalIndex, LocalOptions},
        memory::MemoryEntries,
    },
};

/// An engine that was opened over a ledger, with the ledger's writer.
struct Opened {
    ledger: Arc<Ledger>,
    appender: Appender,
    engine: Arc<dyn Entries>,
}

/// Opens the ledger of a directory and an engine over it, and applies to the engine what it lacks.
type Open = fn(&Path) -> Opened;

fn opening(directory: &Path) -> Opening {
    let data = DataDir::open_or_create(directory).unwrap();
    Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap()
}

/// The local engine with an index so small that most of it is merged.
fn local(directory: &Path) -> Opened {
    let options = LocalOptions { overlay_entries_max: 20, block_entries_max: 4, ..LocalOptions::default() };
    let opening = opening(directory);
    let index = Arc::new(LocalIndex::open(&directory.join("index"), options).unwrap());
    let replayed = opening.recover::<ReadError>(index.mark(), |frame| index.replay(frame, change_of));
    let Recovered { ledger, appender, segments } = replayed.unwrap().sign().unwrap();
    let engine = Arc::new(LocalEntries::new(index, segments));
    Opened { ledger, appender, engine }
}

fn memory(directory: &Path) -> Opened {
    let mut changes: Vec<IndexChange> = Vec::new();
    let replayed = opening(directory).recover::<ReadError>(Mark::START, |frame| {
        for item in frame.entries() {
            changes.push(change_of(&item?.1)?);
        }
        Ok(())
    });
    let Recovered { ledger, appender, .. } = replayed.unwrap().sign().unwrap();
    let engine = Arc::new(MemoryEntries::new(Arc::clone(&ledger)));
    engine.apply(changes, 0..ledger.size()).unwrap();
    Opened { ledger, appender, engine }
}

/// A change of a record that is written as an entry: its identifier, the edges it adds, and a client's request.
#[derive(Clone, Copy)]
struct Change<'a> {
    identifier: &'a str,
    edges: &'a [&'a str],
    request: Option<&'a str>,
    data_bytes: usize,
}

const fn change(identifier: &str) -> Change<'_> {
    Change { identifier, edges: &[], request: None, data_bytes: 1 }
}

impl Change<'_> {
    fn draft(&self, kind: EntryKind) -> Draft {
        let value = Value {
            index: 1,
            kind: "N".parse().unwrap(),
            data: vec![b'x'; self.data_bytes].into(),
            ttl: 60,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        };
        let edge = |to: &&str| {
            let to = Identifier::parse(to).unwrap();
            EdgeChange::Add(Edge { kind: EdgeType::MadeOf, to, quantity: None, valid_from_ms: None })
        };
        let request = self.request.map(|request| RequestId::new(request.as_bytes()).unwrap());
        let statement = Statement {
            kind,
            identifier: &Identifier::parse(self.identifier).unwrap(),
            principal: &Principal::LOOPBACK,
            values: &Values::new(vec![value]).unwrap(),
            edges: &self.edges.iter().map(edge).collect::<Vec<_>>(),
            outputs: None,
            request: request.as_ref(),
            erasure: None,
        };
        Draft::new(&statement, [7; 32]).unwrap()
    }
}

fn key(identifier: &str) -> Key {
    Identifier::parse(identifier).unwrap().key().clone()
}

fn index(found: Result<Option<EntryBytes>, ReadError>) -> Option<u64> {
    found.unwrap().map(|bytes| bytes.decode().unwrap().index)
}

fn indexes(found: Vec<EntryBytes>) -> Vec<u64> {
    found.iter().map(|bytes| bytes.decode().unwrap().index).collect()
}

impl Opened {
    /// Writes changes as one batch and applies it; gives the changes of the index.
    fn write(&mut self, changes: &[Change<'_>]) -> Vec<IndexChange> {
        let mut batch = self.appender.begin(1).unwrap();
        let mut newest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut applied = Vec::new();
        for change in changes {
            let staged = newest.get(change.identifier).copied();
            let before = staged.or_else(|| {
                let bytes = self.engine.newest(&key(change.identifier)).unwrap()?;
                let entry = bytes.decode().unwrap();
                Some((entry.index, entry.version))
            });
            let kind = if before.is_some() { EntryKind::Update } else { EntryKind::Create };
            let version = before.map_or(1, |(_, version)| version + 1);
            let edges = if change.edges.is_empty() { EdgesAfter::None } else { EdgesAfter::Some };
            let pushed = batch.push(&change.draft(kind), version, before.map(|(index, _)| index), edges).unwrap();
            newest.insert(change.identifier, (pushed.index, version));
            let bytes = batch.staged_entry(pushed.index).unwrap();
            applied.push(change_of(&bytes.decode().unwrap()).unwrap());
        }
        let committed = batch.commit().unwrap();
        self.engine.apply(applied.clone(), committed.entries).unwrap();
        applied
    }

    fn past(&self, identifier: &str, page: PastPage) -> Vec<u64> {
        indexes(self.engine.past(&key(identifier), page).unwrap())
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<u64> {
        let prefix = KeyPrefix::from_bytes(prefix.as_bytes());
        let found = self.engine.scan(&prefix, after.map(key).as_ref(), limit).unwrap();
        indexes(found.into_iter().map(|(_, bytes)| bytes).collect())
    }
}

const ALL: PastPage = PastPage { upto: u64::MAX, entries_max: usize::MAX, bytes_max: usize::MAX };
const EVERY_EDGE: EdgeQuery<'static> =
    EdgeQuery { types: EdgeTypes::ALL, origin: None, upto: u64::MAX, after: None, limit: usize::MAX };

fn nothing_is_there(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let Opened { engine, .. } = open(directory.path());
    let none = key("88.1/a");
    assert_eq!(index(engine.newest(&none)), None);
    assert!(matches!(engine.newest_resident(&none).unwrap(), Resident::Here(None) | Resident::OnDisk));
    assert!(engine.at(0).is_err());
    assert!(engine.past(&none, ALL).unwrap().is_empty());
    assert_eq!((index(engine.by_name_hash(&[1; 20])), index(engine.by_request(&[1; 20]))), (None, None));
    assert!(engine.edges(&none, Direction::In, &EVERY_EDGE).unwrap().is_empty());
    assert!(!engine.any_below(&KeyPrefix::from_bytes([])).unwrap() && !engine.any_name_hash().unwrap());
    assert_eq!(engine.durable(), 0);
    engine.ready().unwrap();
    engine.apply(Vec::new(), 0..0).unwrap();
    engine.close().unwrap();
    engine.close().unwrap();
}

fn what_is_applied_is_found(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path());
    let long = format!("https://example.com/{}", "a".repeat(400));
    let first = [
        change("88.1/a"),
        Change { edges: &["88.1/a", "88.1/c"], ..change("88.1/b") },
        Change { request: Some("r1"), ..change("88.1/a") },
        change(&long),
        change("88.2/x"),
    ];
    opened.write(&first);
    opened.write(&[Change { edges: &["88.2/x"], request: Some("r2"), ..change("88.1/a") }]);
    let check = |opened: &Opened| {
        let engine = &opened.engine;
        let newest = |identifier: &str| index(engine.newest(&key(identifier)));
        assert_eq!(
            [newest("88.1/a"), newest("88.1/b"), newest(&long), newest("88.1/c")],
            [Some(5), Some(1), Some(3), None]
        );
        match engine.newest_resident(&key("88.1/a")).unwrap() {
            Resident::Here(found) => assert_eq!(found.unwrap().decode().unwrap().index, 5),
            Resident::OnDisk => {}
        }
        assert_eq!((0..6).map(|at| engine.at(at).unwrap().index().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert!(engine.at(6).is_err());
        assert_eq!(opened.past("88.1/a", ALL), [2, 0]);
        assert_eq!(opened.past("88.1/a", PastPage { upto: 1, ..ALL }), [0]);
        assert_eq!(opened.past("88.1/a", PastPage { entries_max: 1, ..ALL }), [2]);
        assert_eq!(opened.past("88.1/b", ALL), [0; 0]);
        let by_request = |identifier: &str, request: &str| {
            index(engine.by_request(&request_key(&key(identifier), request.as_bytes())))
        };
        assert_eq!([by_request("88.1/a", "r1"), by_request("88.1/a", "r2")], [Some(2), Some(5)]);
        assert_eq!(by_request("88.1/b", "r1"), None);
        let hash = change_of(&engine.at(3).unwrap().decode().unwrap()).unwrap().name_hash.unwrap();
        assert_eq!(index(engine.by_name_hash(&hash)), Some(3));
        assert!(engine.any_name_hash().unwrap());
        let edges = |of: &str, direction, query: &EdgeQuery<'_>| {
            let found = engine.edges(&key(of), direction, query).unwrap();
            for edge in &found {
                assert_eq!((edge.end.origin, edge.end.kind), (EdgeOrigin::Record, EdgeType::MadeOf));
                assert_eq!(index(engine.by_locator(edge.locator).map(Some)), Some(edge.index));
            }
            found.into_iter().map(|edge| (edge.end.other, edge.index)).collect::<Vec<_>>()
        };
        assert_eq!(edges("88.1/b", Direction::Out, &EVERY_EDGE), [(key("88.1/a"), 1), (key("88.1/c"), 1)]);
        assert_eq!(edges("88.1/a", Direction::In, &EVERY_EDGE), [(key("88.1/b"), 1)]);
        assert_eq!(edges("88.1/a", Direction::Out, &EVERY_EDGE), [(key("88.2/x"), 5)]);
        assert_eq!(edges("88.1/a", Direction::Out, &EdgeQuery { upto: 4, ..EVERY_EDGE }), []);
        let below = Identifier::parse("88.1/a").unwrap();
        let below = String::from_utf8_lossy(&below.key().as_bytes()[..below.key().as_bytes().len() - 1]).into_owned();
        assert_eq!(opened.scan(&below, None, 9), [5, 1]);
        assert_eq!(opened.scan(&below, Some("88.1/a"), 9), [1]);
        assert_eq!(opened.scan("", None, 9).len(), 4);
        assert_eq!(opened.scan("", None, 2).len(), 2);
        assert!(engine.any_below(&KeyPrefix::from_bytes(below.as_bytes())).unwrap());
    };
    check(&opened);
    opened.engine.close().unwrap();
    let error = opened.engine.apply(Vec::new(), 6..6).and(opened.engine.ready().map_err(Into::into));
    assert!(error.is_err(), "nothing is applied to a closed engine");
    drop(opened);
    check(&open(directory.path()));
}

fn pages_of_the_past_are_bounded(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path());
    for _ in 0..6 {
        opened.write(&[Change { data_bytes: 1_000, ..change("88.1/a") }]);
    }
    let page = |bytes_max| opened.past("88.1/a", PastPage { bytes_max, ..ALL });
    assert_eq!(page(0), [4], "one at least");
    assert_eq!(page(1_500), [4, 3], "the one that passes the bound belongs to the page");
    assert_eq!(page(usize::MAX), [4, 3, 2, 1, 0]);
}

fn applying_again_changes_nothing(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path());
    let mut batches = Vec::new();
    for round in 0..40_u64 {
        let identifiers: Vec<String> = (0..3).map(|nth| format!("88.1/{}", (round * 7 + nth * 5) % 17)).collect();
        let to = [identifiers[1].as_str()];
        let changes: Vec<_> =
            identifiers.iter().map(|identifier| Change { edges: &to, ..change(identifier) }).collect();
        batches.push(opened.write(&changes));
    }
    let said = |opened: &Opened| {
        let mut said = vec![format!("{:?}", opened.scan("", None, 100))];
        for number in 0..17 {
            let (name, page) = (format!("88.1/{number}"), PastPage { entries_max: 5, ..ALL });
            let edges = [Direction::Out, Direction::In].map(|direction| {
                opened.engine.edges(&key(&name), direction, &EdgeQuery { limit: 4, ..EVERY_EDGE }).unwrap()
            });
            said.push(format!(
                "{:?} {:?} {edges:?}",
                index(opened.engine.newest(&key(&name))),
                opened.past(&name, page)
            ));
        }
        said
    };
    let before = said(&opened);
    for from in [0, 20, 39] {
        for (nth, changes) in batches.iter().enumerate().skip(from) {
            let first = nth as u64 * 3;
            opened.engine.apply(changes.clone(), first..first + 3).unwrap();
        }
        assert_eq!(said(&opened), before, "again from batch {from}");
    }
    drop(opened);
    assert_eq!(said(&open(directory.path())), before, "after the process ended");
}

fn a_batch_that_is_not_in_the_ledger_is_the_last_one(open: Open, places: Places) {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path());
    let [applied] = <[_; 1]>::try_from(opened.write(&[change("88.1/a")])).unwrap();
    let size = opened.ledger.size();
    let unknown = IndexChange { index: size + 7, superseded: None, ..applied.clone() };
    let refused = opened.engine.apply(vec![unknown], size..size + 8).is_err();
    assert_eq!(refused, places == Places::Looked, "an engine that looks places up finds none");
    if refused {
        assert!(opened.engine.ready().is_err());
        assert!(opened.engine.apply(vec![applied], 0..1).is_err(), "the engine would hold a ledger with a gap");
        assert!(opened.engine.close().is_err());
    }
    drop(opened);
    let mut opened = open(directory.path());
    assert_eq!(index(opened.engine.newest(&key("88.1/a"))), Some(0));
    opened.write(&[change("88.1/a")]);
    assert_eq!(index(opened.engine.newest(&key("88.1/a"))), Some(1));
}

/// How an engine learns where the entries of a batch lie.
#[derive(Clone, Copy, PartialEq)]
enum Places {
    /// Their indexes say it.
    Known,
    /// It looks them up in the ledger.
    Looked,
}

fn check(open: Open, places: Places) {
    nothing_is_there(open);
    what_is_applied_is_found(open);
    pages_of_the_past_are_bounded(open);
    applying_again_changes_nothing(open);
    a_batch_that_is_not_in_the_ledger_is_the_last_one(open, places);
}

#[test]
fn the_local_engine_keeps_the_contract() {
    check(local, Places::Looked);
}

#[test]
fn the_model_keeps_the_contract() {
    check(memory, Places::Known);
}

/// Both engines over one ledger say the same of everything, for whatever was written.
#[test]
fn both_engines_say_the_same() {
    let directory: TempDir = tempfile::tempdir().unwrap();
    let mut opened = local(directory.path());
    let model = MemoryEntries::new(Arc::clone(&opened.ledger));
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..60 {
        let names: Vec<[String; 2]> = (0..1 + next(6))
            .map(|_| [next(12), next(12)].map(|number| format!("88.{}/{number}", number % 3)))
            .collect();
        let edges: Vec<[&str; 1]> = names.iter().map(|[_, to]| [to.as_str()]).collect();
        let changes: Vec<_> = names
            .iter()
            .zip(&edges)
            .map(|([identifier, to], edges)| Change {
                edges: if to == identifier { &[] } else { edges },
                ..change(identifier)
            })
            .collect();
        let first = opened.ledger.size();
        let applied = opened.write(&changes);
        model.apply(applied, first..opened.ledger.size()).unwrap();
        let upto = next(opened.ledger.size());
        for number in 0..12 {
            let key = key(&format!("88.{}/{number}", number % 3));
            assert_eq!(index(opened.engine.newest(&key)), index(model.newest(&key)));
            let located = opened.engine.newest_locator(&key).unwrap();
            let located = located.map(|locator| opened.engine.by_locator(locator)).transpose();
            assert_eq!(index(located), index(opened.engine.newest(&key)));
            let page = PastPage { upto, entries_max: 3, bytes_max: 200 };
            let past = |engine: &dyn Entries| indexes(engine.past(&key, page).unwrap());
            assert_eq!(past(&*opened.engine), past(&model));
            for direction in [Direction::Out, Direction::In] {
                let query = EdgeQuery { upto, limit: 3, ..EVERY_EDGE };
                let edges = |engine: &dyn Entries| {
                    let found = engine.edges(&key, direction, &query).unwrap();
                    found.into_iter().map(|edge| (edge.end, edge.index)).collect::<Vec<_>>()
                };
                assert_eq!(edges(&*opened.engine), edges(&model));
            }
        }
    }
}
