//! Edges with the data of their entries, and the state of the identifiers at their ends: for walks over the graph.
//!
//! A reader caches the entries that it has read: most edges of an identifier stand in one entry, and the entry of an
//! edge is usually the newest one of its identifier. One reader serves one walk, on one thread.

use std::{collections::HashMap, rc::Rc};

use super::{Direction, EdgeEnd, EdgeOrigin, EdgeQuery, PastPage, ReadError, Records};
use crate::{
    entry::{EntryKind, Locator, StoredEntry},
    id::{Identifier, Key},
    ledger::LedgerError,
    record::{Edge, EdgeChange, EdgeType, Permissions, Quantity, Status, Unit, stored::StoredValue},
};

/// Maximum number of entries and edges in the cache of a reader; beyond it the cache is cleared.
const CACHED_MAX: usize = 200_000;
/// The type of the value that names a record.
const NAME: &str = "NAME";

/// An edge with the data of its entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Identity of the edge among the edges of the identifier.
    pub end: EdgeEnd,
    /// The identifier at the other end, as the entry spells it.
    pub other: Identifier,
    /// Ledger index of the entry.
    pub index: u64,
    /// Quantity, with its unit if it has one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// Start of validity, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// Status of a registration, with events told apart from other records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// An active record.
    Active,
    /// An event, even if values of it were erased.
    Event,
    /// A retired record. Its edges remain valid.
    Retired,
    /// A retired event: its inputs and outputs are withdrawn.
    Withdrawn,
    /// An erased record. Its edges are no payload, and stay.
    Erased,
}

/// A version of a registration, as traces show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The identifier, spelled as it was first registered.
    pub identifier: Identifier,
    /// Number of the version.
    pub version: u64,
    /// Ledger index of the version.
    pub index: u64,
    /// Status.
    pub standing: Standing,
    /// The first value of type NAME that may be seen, if it is text.
    pub name: Option<Box<str>>,
}

/// The rule of which values are shown, by their permissions.
pub type IsSeen = fn(Permissions) -> bool;

/// Reader of edges and of the registrations at their ends.
pub struct LinkReader<'a> {
    records: &'a Records,
    is_seen: IsSeen,
    cache: HashMap<Locator, Rc<CachedEntry>>,
    /// Number of cached entries and their edges together.
    count: usize,
}

/// Cached part of an entry.
struct CachedEntry {
    registered: Registered,
    /// Edges in order of origin, type and the other end's key.
    edges: Vec<(EdgeOrigin, Edge)>,
}

impl<'a> LinkReader<'a> {
    /// A reader with an empty cache. Names are taken of values whose permissions pass `is_seen`: the caller decides what is shown.
    pub fn new(records: &'a Records, is_seen: IsSeen) -> Self {
        Self { records, is_seen, cache: HashMap::new(), count: 0 }
    }

    /// The registration under a key as of a ledger entry; `None` if there was none by then.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn registered(&mut self, key: &Key, upto: u64) -> Result<Option<Registered>, ReadError> {
        let Some(newest) = self.records.entries().newest_locator(key)? else { return Ok(None) };
        let newest = self.entry(newest)?;
        if newest.registered.index <= upto {
            return Ok(Some(newest.registered.clone()));
        }
        let page = PastPage { upto, entries_max: 1, bytes_max: 0 };
        match self.records.entries().past(key, page)?.pop() {
            Some(past) => Ok(Some(self.read(&past.decode()?)?.registered)),
            None => Ok(None),
        }
    }

    /// The edges of an identifier that match a query.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn links(&mut self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<Link>, ReadError> {
        let indexed = self.records.entries().edges(key, direction, query)?;
        let mut links = Vec::with_capacity(indexed.len());
        for edge in indexed {
            let entry = self.entry(edge.locator)?;
            // The entry belongs to this identifier or to the one at the other end, whichever states the edge.
            let is_own = (direction == Direction::Out) == (edge.end.origin == EdgeOrigin::Record);
            let end = &edge.end;
            // The entry names the end that is not its own.
            let said = entry.edge(end.origin, end.kind, if is_own { &end.other } else { key });
            let said = said.ok_or_else(|| LedgerError::Damaged {
                path: "index".into(),
                what: format!("has an edge of ledger entry {} that the entry does not have", edge.index),
            })?;
            let other = if is_own { said.to.clone() } else { entry.registered.identifier.clone() };
            let quantity = said.quantity.clone();
            let valid_from_ms = said.valid_from_ms;
            links.push(Link { end: edge.end, other, index: edge.index, quantity, valid_from_ms });
        }
        Ok(links)
    }

    fn entry(&mut self, locator: Locator) -> Result<Rc<CachedEntry>, ReadError> {
        if let Some(cached) = self.cache.get(&locator) {
            return Ok(Rc::clone(cached));
        }
        let bytes = self.records.entries().by_locator(locator)?;
        let cached = Rc::new(self.read(&bytes.decode()?)?);
        self.count += 1 + cached.edges.len();
        if self.count > CACHED_MAX {
            self.cache.clear();
            self.count = 1 + cached.edges.len();
        }
        self.cache.insert(locator, Rc::clone(&cached));
        Ok(cached)
    }

    fn read(&self, entry: &StoredEntry<'_>) -> Result<CachedEntry, ReadError> {
        let identifier = Identifier::parse(entry.identifier).map_err(|_| LedgerError::Damaged {
            path: "ledger".into(),
            what: format!("entry {} is about no identifier", entry.index),
        })?;
        let registered = Registered {
            identifier,
            version: entry.version,
            index: entry.index,
            standing: self.standing(entry)?,
            name: name(&entry.values, self.is_seen),
        };
        let mut edges = Vec::with_capacity(entry.edges.len());
        for change in &entry.edges {
            if let EdgeChange::Add(edge) = change {
                edges.push((EdgeOrigin::Record, edge.clone()));
            }
        }
        for output in entry.outputs.iter().flat_map(|outputs| &outputs.flows) {
            edges.push((EdgeOrigin::Event, output.edge()));
        }
        edges
            .sort_unstable_by(|(origin, a), (other, b)| (origin, a.kind, a.to.key()).cmp(&(other, b.kind, b.to.key())));
        Ok(CachedEntry { registered, edges })
    }

    fn standing(&self, entry: &StoredEntry<'_>) -> Result<Standing, ReadError> {
        let (kind, before) = self.change(entry)?;
        let withdrawn = match (kind, before) {
            (EntryKind::Retire, Some(index)) => {
                self.change(&self.records.entries().at(index)?.decode()?)?.0 == EntryKind::Event
            }
            _ => false,
        };
        Ok(match (entry.status(), kind) {
            _ if withdrawn => Standing::Withdrawn,
            (_, EntryKind::Event) => Standing::Event,
            (Status::Erased, _) => Standing::Erased,
            (Status::Retired, _) => Standing::Retired,
            (Status::Active, _) => Standing::Active,
        })
    }

    /// Kind of the last change that is no erasure, and the index of the entry before that change.
    fn change(&self, entry: &StoredEntry<'_>) -> Result<(EntryKind, Option<u64>), ReadError> {
        let Some(bytes) = self.records.beneath_erasures(entry)? else {
            return Ok((entry.kind, entry.previous_index()));
        };
        let beneath = bytes.decode()?;
        Ok((beneath.kind, beneath.previous_index()))
    }
}

impl CachedEntry {
    fn edge(&self, origin: EdgeOrigin, kind: EdgeType, to: &Key) -> Option<&Edge> {
        let found =
            self.edges.binary_search_by(|(other, edge)| (other, edge.kind, edge.to.key()).cmp(&(&origin, kind, to)));
        found.ok().and_then(|position| self.edges.get(position)).map(|(_, edge)| edge)
    }
}

fn name(values: &[StoredValue<'_>], is_seen: IsSeen) -> Option<Box<str>> {
    let named = values.iter().filter(|value| value.kind == NAME).filter_map(|value| value.view().ok());
    let mut seen = named.filter(|value| is_seen(value.permissions));
    seen.next().and_then(|value| std::str::from_utf8(value.data).ok().map(Into::into))
}
