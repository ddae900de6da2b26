//! Entries about prefixes: a prefix is delegated, homed on this node, or neither any more.

use super::{
    Draft, EntryKind, EntryTooLong, Principal, RequestId, StoredEntry,
    text::{put_head, put_request_line},
};
use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::{Identifier, Key, Prefix, Subtree},
    record::{Delegation, PrefixChange},
};

/// Content of an entry about a prefix, without its place in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct PrefixStatement<'a> {
    /// The prefix.
    pub prefix: &'a Prefix,
    /// The statement.
    pub change: &'a PrefixChange,
    /// Principal of the statement.
    pub principal: &'a Principal,
    /// The client's id of the change.
    pub request: Option<&'a RequestId>,
}

/// Subject of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntrySubject {
    /// An identifier.
    Identifier(Identifier),
    /// A prefix.
    Prefix(Prefix),
}

impl EntrySubject {
    /// Subject of an entry of a kind, from its text; `None` if this version cannot parse it.
    pub fn of(kind: EntryKind, text: &str) -> Option<Self> {
        match kind.is_about_prefix() {
            true => Prefix::parse(text).ok().map(Self::Prefix),
            false => Identifier::parse(text).ok().map(Self::Identifier),
        }
    }

    /// True if the subject is an identifier in the subtree, or a prefix below or above any of its identifiers.
    pub fn concerns(&self, subtree: &Subtree) -> bool {
        match self {
            Self::Identifier(identifier) => subtree.covers(identifier.key()),
            Self::Prefix(prefix) => {
                subtree.covers_bytes(prefix.path()) || prefix.contains_path(subtree.key_prefix().as_bytes())
            }
        }
    }

    /// Key of the subject in the index.
    pub fn key(&self) -> Key {
        match self {
            Self::Identifier(identifier) => identifier.key().clone(),
            Self::Prefix(prefix) => prefix.key(),
        }
    }

    /// As [`EntrySubject::key`], without a copy.
    pub fn into_key(self) -> Key {
        match self {
            Self::Identifier(identifier) => identifier.into_key(),
            Self::Prefix(prefix) => prefix.key(),
        }
    }
}

impl Draft {
    /// As [`Draft::new`], for a statement about a prefix. The salt belongs to no value; every entry has one.
    ///
    /// # Errors
    ///
    /// [`EntryTooLong`].
    pub fn of_prefix(statement: &PrefixStatement<'_>, salt: [u8; 32]) -> Result<Self, EntryTooLong> {
        let PrefixStatement { prefix, change, principal, request } = *statement;
        let (kind, delegation) = match change {
            PrefixChange::Delegate(delegation) => (EntryKind::Delegate, Some(delegation.to_text())),
            PrefixChange::Home => (EntryKind::Home, None),
            PrefixChange::Revoke => (EntryKind::Revoke, None),
        };
        let (mut text_head, mut text_tail, mut stored_tail) = (Vec::new(), Vec::new(), Vec::new());
        put_head(&mut text_head, kind, prefix.as_str());
        put_bytes(&mut stored_tail, prefix.as_str().as_bytes());
        put_bytes(&mut stored_tail, principal.as_str().as_bytes());
        stored_tail.extend_from_slice(&salt);
        // No values, no edges.
        put_varint(&mut stored_tail, 0);
        put_varint(&mut stored_tail, 0);
        if let Some(delegation) = &delegation {
            text_tail.extend_from_slice(delegation.as_bytes());
            put_bytes(&mut stored_tail, delegation.as_bytes());
        }
        let request = request.map_or(&[][..], RequestId::as_bytes);
        put_request_line(&mut text_tail, request);
        put_bytes(&mut stored_tail, request);
        Self::checked(kind, principal.clone(), text_head, text_tail, stored_tail)
    }
}

impl StoredEntry<'_> {
    /// Subject of the entry; `None` if this version cannot parse it.
    pub fn subject(&self) -> Option<EntrySubject> {
        EntrySubject::of(self.kind, self.identifier)
    }

    /// Statement of the entry about a prefix, if it is about one.
    pub fn prefix_change(&self) -> Option<PrefixChange> {
        match self.kind {
            EntryKind::Delegate => self.delegation.clone().map(PrefixChange::Delegate),
            EntryKind::Home => Some(PrefixChange::Home),
            EntryKind::Revoke => Some(PrefixChange::Revoke),
            _ => None,
        }
    }
}

/// Reads the delegation of a stored entry.
pub(super) fn read_delegation(reader: &mut Reader<'_>) -> Result<Delegation, Torn> {
    Delegation::from_text(reader.text()?).ok_or(Torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{EntryText, Place};

    fn delegation() -> Delegation {
        let site = "2 primary example.com/log+1a2b3c4d+AQ== grpc://192.0.2.1:50051 dns://192.0.2.1:53".parse().unwrap();
        Delegation::new(60, vec![site], vec!["1 13 2 00ff".parse().unwrap()]).unwrap()
    }

    #[test]
    fn what_is_said_of_a_prefix_is_written_stored_and_read() {
        let prefix = Prefix::parse("88.118").unwrap();
        let request = RequestId::new(b"r");
        for (change, tail) in [
            (PrefixChange::Delegate(delegation()), delegation().to_text()),
            (PrefixChange::Home, String::new()),
            (PrefixChange::Revoke, String::new()),
        ] {
            let principal = &Principal::LOOPBACK;
            let statement = PrefixStatement { prefix: &prefix, change: &change, principal, request: request.as_ref() };
            let draft = Draft::of_prefix(&statement, [1; 32]).unwrap();
            let place = Place { index: 4, time_ms: 7, version: 1, previous: None, has_edges: false };
            let (mut stored, mut text, mut derived) = (Vec::new(), Vec::new(), Vec::new());
            draft.put_stored(&mut stored, &place);
            draft.put_text(&mut text, &place);
            let entry = StoredEntry::read(&stored).unwrap();
            entry.put_text(&mut derived, None);
            assert_eq!(text, derived);
            let kind = entry.kind.as_str();
            let expected = format!("touchmark/1 {kind}\nns hdl:88.118\nat 7\nby loopback\n{tail}request cg==\n");
            assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            assert_eq!(entry.subject(), Some(EntrySubject::Prefix(prefix.clone())));
            assert_eq!(entry.prefix_change(), Some(change));
            let read = EntryText::parse(&text).unwrap();
            assert_eq!((read.kind, &*read.identifier, read.delegation), (entry.kind, "hdl:88.118", entry.delegation));
            for end in 0..stored.len() {
                assert!(StoredEntry::read(&stored[..end]).is_err(), "cut at {end}");
            }
            for (from, to) in [
                ("\nns ", "\nid "),
                ("request", "value 1 NAME q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\nrequest"),
                ("request", "ttl 61\nrequest"),
                ("ns hdl:88.118\nat 7\nby loopback\nttl 60\n", "ns hdl:88.118\nat 7\nby loopback\n"),
                ("site 2", "site 02"),
            ] {
                if expected.contains(from) {
                    assert!(EntryText::parse(expected.replacen(from, to, 1).as_bytes()).is_err(), "{from} -> {to}");
                }
            }
        }
    }
}
