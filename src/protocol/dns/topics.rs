//! Topics of cached answers: which change invalidates which answers.
//!
//! An answer follows from one identifier, or from the absence of any at a name and below it. So a change invalidates
//! two kinds of topics ([`crate::cache::stamped`]): the name of the identifier that changed, and, if it is new, its
//! name and all names above it, whose absence may be cached. A change of a prefix changes who answers for all names
//! below it: it invalidates every cached answer, those of other nodes included, and is rare.

use std::hash::{BuildHasher as _, RandomState};

use super::wire::labels;
use crate::{
    cache::stamped::{Stamp, Topics},
    id::dns_name::RelativeName,
};

/// First label of the names that X.672 asks for.
const ORS_DUMMY: &[u8] = b"ors-dummy";

/// Basis of an answer, which decides what invalidates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// A record that exists, or the zone itself.
    Record,
    /// The absence of a record.
    NoRecord,
}

/// The topics of the names of a zone.
#[derive(Debug)]
pub(super) struct NameTopics {
    /// Topics of answers from records: the names of those.
    records: Topics,
    /// Topics of answers without a record: the absence of registrations at or below a name.
    absences: Topics,
    seed: u64,
}

/// Topic of an answer, with its state before the answer was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameStamp {
    basis: Basis,
    stamp: Stamp,
}

/// Both stamps of a name, until the basis of its answer is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameStamps {
    record: Stamp,
    absence: Stamp,
}

impl NameStamps {
    /// The stamp for an answer with this basis.
    pub(super) fn on(self, basis: Basis) -> NameStamp {
        let stamp = if basis == Basis::Record { self.record } else { self.absence };
        NameStamp { basis, stamp }
    }
}

impl Default for NameTopics {
    fn default() -> Self {
        Self { records: Topics::default(), absences: Topics::default(), seed: RandomState::new().hash_one(0) }
    }
}

impl NameTopics {
    /// The stamps of a name on the wire, without its zone: taken before its answer is read.
    pub(super) fn stamps(&self, relative: &[u8]) -> NameStamps {
        let topic = self.hash(relative);
        NameStamps { record: self.records.stamp(topic), absence: self.absences.stamp(topic) }
    }

    /// True if the topic has not changed since the stamp was taken.
    pub(super) fn is_current(&self, NameStamp { basis, stamp }: NameStamp) -> bool {
        match basis {
            Basis::Record => self.records.is_current(stamp),
            Basis::NoRecord => self.absences.is_current(stamp),
        }
    }

    /// Invalidates answers about the identifier with this name, and, if it is new, answers that say that the name does
    /// not exist.
    pub(super) fn outdate(&self, name: &RelativeName, created: bool) {
        let mut topic = self.seed;
        for label in name.labels().rev() {
            topic = next(topic, label.as_bytes());
            if created {
                self.absences.outdate(topic);
            }
        }
        self.records.outdate(topic);
    }

    /// Invalidates every answer.
    pub(super) fn outdate_all(&self) {
        self.records.outdate_all();
        self.absences.outdate_all();
    }

    /// The topic of a name on the wire, without its zone, in any case.
    pub(super) fn hash(&self, relative: &[u8]) -> u64 {
        // A name below `ors-dummy.` has the answer of the record of the name behind that label (X.672).
        let own = relative.strip_prefix(b"\x09").and_then(|rest| rest.split_at_checked(ORS_DUMMY.len()));
        let relative = match own {
            Some((label, rest)) if label.eq_ignore_ascii_case(ORS_DUMMY) => rest,
            _ => relative,
        };
        let labels: Vec<&[u8]> = labels(relative).collect();
        labels.iter().rev().fold(self.seed, |topic, label| next(topic, label))
    }
}

/// The topic of the name that has one more label than the name of `topic` (FNV-1a).
fn next(topic: u64, label: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(PRIME);
    // A dot stands for the end of a label; no name of ours has one within a label.
    let hash = label.iter().fold(step(topic, b'.'), |hash, octet| step(hash, octet.to_ascii_lowercase()));
    hash ^ hash >> 32
}
