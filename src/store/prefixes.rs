//! The prefix table: the identifiers that this node answers for, and the delegations of the others.
//!
//! Prefixes are few beside the identifiers below them, and every cache miss asks for them: the table is kept in memory,
//! read from the index at start and updated with every entry. The longest prefix that covers an identifier decides,
//! label by label.

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

/// Prefixes read from the index at a time.
const SCAN_PREFIXES: usize = 1_000;

/// A version of a prefix: the change made by one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixVersion {
    /// The prefix.
    pub prefix: Prefix,
    /// The change.
    pub change: PrefixChange,
    /// Number, ledger index and time of the version.
    pub version: Version,
    /// Principal of the change.
    pub principal: Principal,
}

impl PrefixVersion {
    /// The change of a prefix that an entry makes; `None` if the entry is about an identifier.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the subject of the entry cannot be read.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Option<Self>, ReadError> {
        let Some(change) = entry.prefix_change() else { return Ok(None) };
        let Some(EntrySubject::Prefix(prefix)) = entry.subject() else {
            return Err(damaged(entry, "is about no prefix").into());
        };
        let version = Version { number: entry.version, ledger_index: entry.index, time_ms: entry.time_ms };
        Ok(Some(Self { prefix, change, version, principal: entry.principal.clone() }))
    }

    /// The delegation, if the prefix is delegated.
    pub fn delegation(&self) -> Option<&Delegation> {
        match &self.change {
            PrefixChange::Delegate(delegation) => Some(delegation),
            PrefixChange::Home | PrefixChange::Revoke => None,
        }
    }
}

/// Responsibility of a node for identifiers that no prefix covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImplicitHome {
    /// As long as no prefix is homed on the node, it answers for everything that it does not delegate.
    UntilHomed,
    /// The node answers for the prefixes homed on it, and for nothing else.
    Never,
    /// The node mirrors these subtrees of another node's identifiers, and answers for nothing else whatever the ledger
    /// says.
    Within(Vec<Subtree>),
}

/// Responsibility for an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responsibility {
    /// This node answers.
    Home,
    /// The sites of the delegation answer.
    Delegated(Arc<PrefixVersion>),
    /// This node does not know who answers.
    Elsewhere,
}

/// All homed and delegated prefixes, by their paths.
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
    /// Reads all prefixes from the index.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn load(records: &Records, implicit: ImplicitHome) -> Result<Self, ReadError> {
        let mut table = Table::default();
        let keys = Prefix::keys();
        let mut after: Option<Key> = None;
        loop {
            let page = records.entries().scan(&keys, after.as_ref(), SCAN_PREFIXES)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, bytes) in page {
                if let Some(version) = PrefixVersion::of(&bytes.decode()?)? {
                    table.put(version);
                }
            }
        }
        Ok(Self { implicit, table: RwLock::new(table), generation: AtomicU64::new(0) })
    }

    /// Responsibility for an identifier, by its key.
    pub fn responsibility(&self, key: &Key) -> Responsibility {
        self.responsibility_for(key.as_bytes())
    }

    /// Responsibility for all identifiers whose keys begin with `path`, which ends at the end of a label.
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

    /// The closest prefix that is homed here and covers `path`, which ends at the end of a label.
    pub fn home_of(&self, path: &[u8]) -> Option<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.closest(path).filter(|version| version.delegation().is_none()).cloned()
    }

    /// The version of exactly this prefix; `None` if it is neither homed nor delegated.
    pub fn get(&self, prefix: &Prefix) -> Option<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_path.get(prefix.path()).cloned()
    }

    /// Prefixes in order of their paths, after `after`, at most `limit`.
    pub fn list(&self, after: Option<&Prefix>, limit: usize) -> Vec<Arc<PrefixVersion>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.path()));
        let range = table.by_path.range::<[u8], _>((start, Bound::Unbounded));
        range.take(limit).map(|(_, version)| Arc::clone(version)).collect()
    }

    /// True if a homed or delegated prefix has a path that begins with `path` and is longer.
    pub fn any_below(&self, path: &[u8]) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let next = table.by_path.range::<[u8], _>((Bound::Excluded(path), Bound::Unbounded)).next();
        next.is_some_and(|(found, _)| found.starts_with(path))
    }

    /// Number of homed prefixes, and of delegated ones.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        (table.homed, table.by_path.len() - table.homed)
    }

    /// Applies the newest version of a prefix.
    pub fn put(&self, version: PrefixVersion) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).put(version);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Number of changes since the start; a cached answer with another generation is stale.
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
        // Added first, so that the sum never passes below zero.
        self.homed = self.homed + usize::from(is_home) - usize::from(was_home);
    }

    /// The closest prefix that covers a path: the longest one in the table.
    fn closest(&self, path: &[u8]) -> Option<&Arc<PrefixVersion>> {
        let mut upto = path;
        loop {
            // The greatest path not above `upto`. If it does not cover `path`, only a prefix of what both share can.
            let (found, version) =
                self.by_path.range::<[u8], _>((Bound::Unbounded, Bound::Included(upto))).next_back()?;
            if version.prefix.contains_path(path) {
                return Some(version);
            }
            let shared = found.iter().zip(upto).take_while(|(a, b)| a == b).count();
            // A shorter cover of the path is a prefix of the bytes that both share; `found` itself is none.
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
        PrefixVersion { prefix: Prefix::parse(prefix).unwrap(), change, version, principal: Principal::LOOPBACK }
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
