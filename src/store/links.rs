//! Edges with all that their entries say, and what is registered at their ends: for whoever follows them.
//!
//! A reader keeps the entries that it has read: most edges of an identifier stand in one entry, and most often the entry
//! that says an edge is the newest one of its identifier. It is for one walk over the edges, on one thread.

use std::{collections::HashMap, rc::Rc};

use super::{Direction, EdgeEnd, EdgeOrigin, EdgeQuery, ReadError, Records};
use crate::{
    entry::{EntryKind, StoredEntry},
    id::{Identifier, Key},
    ledger::{LedgerError, Position, previous},
    record::{Edge, EdgeChange, EdgeType, Permissions, Quantity, Status, Unit, stored::StoredValue},
};

/// How many entries and edges of entries a reader keeps; then it begins anew.
const KEPT_MAX: usize = 200_000;
/// The type of the value that names a record.
const NAME: &str = "NAME";

/// An edge and what its entry says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// What tells it from the other edges of the identifier.
    pub end: EdgeEnd,
    /// The identifier at the other end, as the entry spells it.
    pub other: Identifier,
    /// Ledger index of the entry.
    pub index: u64,
    /// How much, with its unit if it has one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// From when on, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// How something that was registered stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A record that answers.
    Active,
    /// An event, whatever was erased of its values.
    Event,
    /// A record that was retired. What it was made of stays true.
    Retired,
    /// An event that was retired: what it said does not count any more.
    Withdrawn,
    /// A record that was erased. Its edges are no payload, and stay.
    Erased,
}

/// What is registered under an identifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// As it was first registered.
    pub identifier: Identifier,
    /// The version.
    pub version: u64,
    /// The ledger index of that version.
    pub index: u64,
    /// How it stands.
    pub standing: Standing,
    /// Its first value of type NAME that may be seen, if it is text.
    pub name: Option<Box<str>>,
}

/// The rule of which values are shown, by their permissions.
pub type IsSeen = fn(Permissions) -> bool;

/// Reads edges and what is registered at their ends.
pub struct LinkReader<'a> {
    records: &'a Records,
    is_seen: IsSeen,
    kept: HashMap<Position, Rc<Kept>>,
    /// Entries kept, and their edges.
    count: usize,
}

/// What a reader keeps of an entry.
struct Kept {
    registered: Registered,
    /// In order of origin, type and the other end's key.
    edges: Vec<(EdgeOrigin, Edge)>,
}

impl<'a> LinkReader<'a> {
    /// A reader that has read nothing. Names are taken of values whose permissions pass `is_seen`: the caller decides what is shown.
    pub fn new(records: &'a Records, is_seen: IsSeen) -> Self {
        Self { records, is_seen, kept: HashMap::new(), count: 0 }
    }

    /// What was registered under a key behind a ledger entry; `None` when nothing was.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn registered(&mut self, key: &Key, upto: u64) -> Result<Option<Registered>, ReadError> {
        let Some(position) = self.records.store().latest(key)? else { return Ok(None) };
        let newest = self.entry(position)?;
        if newest.registered.index <= upto {
            return Ok(Some(newest.registered.clone()));
        }
        match self.records.store().superseded(key, upto, 1)?.pop() {
            Some((_, position)) => Ok(Some(self.entry(position)?.registered.clone())),
            None => Ok(None),
        }
    }

    /// The edges of an identifier that a query asks for.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn links(&mut self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<Link>, ReadError> {
        let indexed = self.records.store().edges(key, direction, query)?;
        let mut links = Vec::with_capacity(indexed.len());
        for edge in indexed {
            let entry = self.entry(edge.position)?;
            // Whose entry it is, is at this end or at the other one.
            let is_own = (direction == Direction::Out) == (edge.end.origin == EdgeOrigin::Record);
            let end = &edge.end;
            let said = entry.edge(end.origin, end.kind, if is_own { &end.other } else { key });
            let said = said.ok_or_else(|| LedgerError::Damaged {
                path: "index".into(),
                what: format!("has an edge of ledger entry {} that the entry does not have", edge.index),
            })?;
            let other = if is_own { said.to.clone() } else { entry.registered.identifier.clone() };
            let (quantity, valid_from_ms) = (said.quantity.clone(), said.valid_from_ms);
            links.push(Link { end: edge.end, other, index: edge.index, quantity, valid_from_ms });
        }
        Ok(links)
    }

    fn entry(&mut self, position: Position) -> Result<Rc<Kept>, ReadError> {
        if let Some(kept) = self.kept.get(&position) {
            return Ok(Rc::clone(kept));
        }
        let bytes = self.records.entry(position)?;
        let kept = Rc::new(self.read(&bytes.decode()?)?);
        self.count += 1 + kept.edges.len();
        if self.count > KEPT_MAX {
            self.kept.clear();
            self.count = 1 + kept.edges.len();
        }
        self.kept.insert(position, Rc::clone(&kept));
        Ok(kept)
    }

    fn read(&self, entry: &StoredEntry<'_>) -> Result<Kept, ReadError> {
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
        Ok(Kept { registered, edges })
    }

    fn standing(&self, entry: &StoredEntry<'_>) -> Result<Standing, ReadError> {
        let (kind, before) = self.change(entry)?;
        let withdrawn = match (kind, before) {
            (EntryKind::Retire, Some((_, position))) => {
                self.change(&self.records.entry(position)?.decode()?)?.0 == EntryKind::Event
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

    /// What the last change was that is no erasure, and the entry before it.
    fn change(&self, entry: &StoredEntry<'_>) -> Result<(EntryKind, Option<(u64, Position)>), ReadError> {
        let Some(bytes) = self.records.beneath_erasures(entry)? else { return Ok((entry.kind, previous(entry))) };
        let beneath = bytes.decode()?;
        Ok((beneath.kind, previous(&beneath)))
    }
}

impl Kept {
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
