//! Prefixes: which identifiers this node answers for, and who does for the others.
//!
//! What the ledger says of prefixes is little beside the identifiers below them, and every question that is not in a cache asks for
//! it: it is kept in memory, read from the index at start and changed with every entry. The longest prefix that covers an
//! identifier counts, label by label.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{ReadError, Records, records::damaged};
use crate::{
    entry::{EntrySubject, Principal, StoredEntry},
    id::{Key, Prefix, Subtree},
    record::{Delegation, PrefixChange, Version},
};

/// Prefixes read from the index at once.
const SCAN_PREFIXES: usize = 1_000;

/// What an entry said of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixVersion {
    /// The prefix.
    pub prefix: Prefix,
    /// What was said.
    pub change: PrefixChange,
    /// Where it stands in the ledger.
    pub version: Version,
    /// Who said it.
    pub principal: Principal,
}

impl PrefixVersion {
    /// What an entry says of a prefix; `None` when it is about an identifier.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when it is about nothing that can be read.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Option<Self>, ReadError> {
        let Some(change) = entry.prefix_change() else { return Ok(None) };
        let Some(EntrySubject::Prefix(prefix)) = entry.subject() else {
            return Err(damaged(entry, "is about no prefix").into());
        };
        let version = Version { number: entry.version, ledger_index: entry.index, time_ms: entry.time_ms };
        Ok(Some(Self { prefix, change, version, principal: entry.principal }))
    }

    /// Who answers for the prefix, when others do.
    pub fn delegation(&self) -> Option<&Delegation> {
        match &self.change {
            PrefixChange::Delegate(delegation) => Some(delegation),
            PrefixChange::Home | PrefixChange::Revoke => None,
        }
    }
}

/// Whether a node answers for what it was told nothing about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImplicitHome {
    /// As long as no prefix is homed on it, it answers for everything that it does not delegate.
    UntilHomed,
    /// It answers for what is homed on it, and for nothing else.
    Never,
    /// It keeps these subtrees of another node's identifiers, and answers for nothing else whatever the ledger says.
    Within(Vec<Subtree>),
}

/// Who answers for an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responsibility {
    /// This node.
    Home,
    /// Others, to whom the prefix was delegated.
    Delegated(Arc<PrefixVersion>),
    /// Whoever it is, this node does not know them.
    Elsewhere,
}

/// All prefixes that are homed or delegated, by their paths.
#[derive(Debug)]
pub struct Prefixes {
    implicit: ImplicitHome,
    table: RwLock<Table>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_path: BTreeMap<Box<[u8]>, Arc<PrefixVersion>>,
    homed: usize,
}

impl Prefixes {
    /// Reads what the index has of prefixes.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn load(records: &Records, implicit: ImplicitHome) -> Result<Self, ReadError> {
        let (mut table, keys) = (Table::default(), Prefix::keys());
        let mut after: Option<Key> = None;
        loop {
            let page = records.store().scan(&keys, after.as_ref(), SCAN_PREFIXES)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, position) in page {
                if let Some(version) = PrefixVersion::of(&records.entry(position)?.decode()?)? {
                    table.put(version);
                }
            }
        }
        Ok(Self { implicit, table: RwLock::new(table), generation: AtomicU64::new(0) })
    }

    /// Who answers for an identifier.
    pub fn responsibility(&self, key: &Key) -> Responsibility {
        self.responsibility_for(key.as_bytes())
    }

    /// Who answers for all identifiers whose keys begin with these bytes, which end with a label.
    pub fn responsibility_for(&self, path: &[u8]) -> Responsibility {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let within = match &self.implicit {
            ImplicitHome::Within(kept) => kept.iter().any(|subtree| subtree.covers_bytes(path)),
            ImplicitHome::UntilHomed | ImplicitHome::Never => true,
        };
        if !within {
            return Responsibility::Elsewhere;
        }
        match table.closest(path) {
            Some(version) if version.delegation().is_some() => Responsibility::Delegated(Arc::clone(version)),
            Some(_) => Responsibility::Home,
            None if table.homed > 0 || self.implicit == ImplicitHome::Never => Responsibility::Elsewhere,
            None => Responsibility::Home,
        }
    }

    /// The closest prefix that is homed here and covers these bytes, which end with a label.
    pub fn home_of(&self, path: &[u8]) -> Option<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.closest(path).filter(|version| version.delegation().is_none()).cloned()
    }

    /// What is said of a prefix itself; `None` when nothing is, or it was revoked.
    pub fn get(&self, prefix: &Prefix) -> Option<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_path.get(prefix.path()).cloned()
    }

    /// Prefixes in order of their paths, after one, at most `limit`.
    pub fn list(&self, after: Option<&Prefix>, limit: usize) -> Vec<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.path()));
        let range = table.by_path.range::<[u8], _>((start, Bound::Unbounded));
        range.take(limit).map(|(_, version)| Arc::clone(version)).collect()
    }

    /// True when a prefix is homed or delegated whose path begins with these bytes, and is longer.
    pub fn any_below(&self, path: &[u8]) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let next = table.by_path.range::<[u8], _>((Bound::Excluded(path), Bound::Unbounded)).next();
        next.is_some_and(|(found, _)| found.starts_with(path))
    }

    /// How many prefixes are homed, and how many delegated.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        (table.homed, table.by_path.len() - table.homed)
    }

    /// Takes note of what the newest entry about a prefix says.
    pub fn put(&self, version: PrefixVersion) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).put(version);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// How often something was said since the start.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Table {
    fn put(&mut self, version: PrefixVersion) {
        let path = version.prefix.path().into();
        let is_home = version.change == PrefixChange::Home;
        let before = match version.change {
            PrefixChange::Revoke => self.by_path.remove(&path),
            PrefixChange::Home | PrefixChange::Delegate(_) => self.by_path.insert(path, Arc::new(version)),
        };
        let was_home = before.is_some_and(|before| before.change == PrefixChange::Home);
        self.homed = self.homed + usize::from(is_home) - usize::from(was_home);
    }

    /// The longest prefix that covers a path: the one before it in order, or one above both of them.
    fn closest(&self, path: &[u8]) -> Option<&Arc<PrefixVersion>> {
        let mut upto = path;
        loop {
            let (found, version) =
                self.by_path.range::<[u8], _>((Bound::Unbounded, Bound::Included(upto))).next_back()?;
            if version.prefix.contains_path(path) {
                return Some(version);
            }
            let shared = found.iter().zip(upto).take_while(|(a, b)| a == b).count();
            // Whatever covers the path and lies further up is no longer than what both share; what was found does not cover it.
            let shorter = if shared == found.len() { shared.checked_sub(1)? } else { shared };
            upto = upto.get(..shorter)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Identifier;

    fn version(prefix: &str, change: PrefixChange) -> PrefixVersion {
        let version = Version { number: 1, ledger_index: 0, time_ms: 0 };
        PrefixVersion { prefix: Prefix::parse(prefix).unwrap(), change, version, principal: Principal::Loopback }
    }

    fn delegate() -> PrefixChange {
        let site = "grpc://192.0.2.1:1".parse().unwrap();
        PrefixChange::Delegate(Delegation::new(60, vec![site], Vec::new()).unwrap())
    }

    fn prefixes(implicit: ImplicitHome, versions: &[(&str, PrefixChange)]) -> Prefixes {
        let prefixes = Prefixes { implicit, table: RwLock::default(), generation: AtomicU64::new(0) };
        versions.iter().for_each(|(prefix, change)| prefixes.put(version(prefix, change.clone())));
        prefixes
    }

    fn said(prefixes: &Prefixes, identifier: &str) -> String {
        match prefixes.responsibility(Identifier::parse(identifier).unwrap().key()) {
            Responsibility::Home => "home".into(),
            Responsibility::Delegated(version) => version.prefix.to_string(),
            Responsibility::Elsewhere => "elsewhere".into(),
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let all =
            [("88.118", delegate()), ("88.118.8", PrefixChange::Home), ("88.118.8.7", delegate()), ("1.3", delegate())];
        let prefixes = prefixes(ImplicitHome::UntilHomed, &all);
        for (identifier, expected) in [
            ("88.118/x", "hdl:88.118"),
            ("88.118.9/x", "hdl:88.118"),
            ("88.118.8/x", "home"),
            ("88.118.8.7/x", "hdl:88.118.8.7"),
            ("88.118.8.70/x", "home"),
            ("88.1180/x", "elsewhere"),
            ("1.3.6", "urn:oid:1.3"),
            ("1.30", "elsewhere"),
        ] {
            assert_eq!(said(&prefixes, identifier), expected, "{identifier}");
        }
        assert_eq!(prefixes.count(), (1, 3));
        prefixes.put(version("88.118.8", PrefixChange::Revoke));
        assert_eq!((said(&prefixes, "88.118.8/x"), prefixes.count()), ("hdl:88.118".into(), (0, 3)));
        assert_eq!(said(&prefixes, "88.1180/x"), "home");
    }

    #[test]
    fn what_lies_below_a_path() {
        let prefixes = prefixes(ImplicitHome::Never, &[("88.118", delegate()), ("1.3.6", PrefixChange::Home)]);
        for (path, expected) in
            [(".", true), ("88", true), ("88.118", false), ("88.118.8", false), ("87", false), ("1.3", true)]
        {
            assert_eq!(prefixes.any_below(Prefix::parse(path).unwrap().path()), expected, "{path}");
        }
    }

    #[test]
    fn who_was_told_nothing() {
        assert_eq!(said(&prefixes(ImplicitHome::UntilHomed, &[]), "88/x"), "home");
        assert_eq!(said(&prefixes(ImplicitHome::Never, &[]), "88/x"), "elsewhere");
        assert_eq!(said(&prefixes(ImplicitHome::Never, &[(".", PrefixChange::Home)]), "88/x"), "home");
        let uri = [("https://a.example/p", delegate()), ("https://a.example/p/q", PrefixChange::Home)];
        let uri = prefixes(ImplicitHome::UntilHomed, &uri);
        assert_eq!(said(&uri, "https://a.example/p/q/r"), "home");
        assert_eq!(said(&uri, "https://a.example/p/qr"), "https://a.example/p");
        assert_eq!(said(&uri, "https://a.example/pq"), "elsewhere");
    }

    proptest! {
        #[test]
        fn as_a_search_through_all_of_them(
            held in prop::collection::vec(prop::collection::vec("[0-2a]{1,2}", 1..4), 0..12),
            asked in prop::collection::vec("[0-2a]{1,2}", 1..5),
        ) {
            let held: Vec<String> = held.iter().map(|labels| format!("hdl:{}", labels.join("."))).collect();
            let all: Vec<_> = held.iter().map(|prefix| (prefix.as_str(), delegate())).collect();
            let prefixes = prefixes(ImplicitHome::Never, &all);
            let identifier = Identifier::parse(&format!("{}/x", asked.join("."))).unwrap();
            let covering = held.iter().map(|text| Prefix::parse(text).unwrap());
            let covering = covering.filter(|prefix| prefix.covers(identifier.key()));
            let longest = covering.max_by_key(|prefix| prefix.path().len());
            let expected = longest.map_or("elsewhere".into(), |prefix| prefix.to_string());
            prop_assert_eq!(said(&prefixes, identifier.as_str()), expected);
        }
    }
}
