//! Verification of a whole proof, and its outcomes.

use super::opening::{self, OpeningError};
use crate::{
    entry::{EntryKind, EntryText, EntryTextError, Erasure, commitment, leaf_hash},
    record::{Value, stored::StoredValue},
    tlog::{
        merkle,
        policy::{Accepted, Policy, PolicyRefusal},
        tlog_proof::{TlogProof, TlogProofError},
    },
};

/// Outcome of a verification.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The entry is in the ledger, and all its values are shown.
    Disclosed(Proven),
    /// The entry is in the ledger, and some of its values are not shown: they were withheld, or erased.
    Withheld {
        /// The proven entry.
        proven: Proven,
        /// Indexes of the values that are not shown.
        indexes: Vec<u32>,
    },
    /// The file proves nothing.
    Invalid(Defect),
}

/// Proven facts about an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// Index of the entry in the ledger.
    pub index: u64,
    /// Text of the entry, which the leaf hash covers.
    pub text: String,
    /// Kind of change.
    pub kind: EntryKind,
    /// The identifier, or the prefix.
    pub identifier: String,
    /// Time at which the ledger took the entry, as the ledger says, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Principal of the change.
    pub principal: String,
    /// Index of the previous entry of the same identifier.
    pub previous: Option<u64>,
    /// Values that are shown, in order of index.
    pub values: Vec<Value>,
    /// Extent and reason of the erasure, for an erase entry.
    pub erasure: Option<Erasure>,
    /// The checkpoint that covers the entry, with the witnesses that cosigned it.
    pub accepted: Accepted,
}

impl Proven {
    /// Arguments of the entry's lines with this keyword, as they are written (`entry::EntryText`).
    pub fn lines_of(&self, keyword: &str) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(move |line| line.strip_prefix(keyword)?.strip_prefix(' '))
    }
}

/// Reason why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The file is no proof.
    #[error(transparent)]
    File(#[from] TlogProofError),
    /// The content of `extra` cannot be read.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// The text of the entry is no entry.
    #[error(transparent)]
    Entry(#[from] EntryTextError),
    /// The policy does not accept the checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] PolicyRefusal),
    /// Entry, path and checkpoint do not belong together.
    #[error("the path does not lead from entry {index} to the root of the checkpoint, which covers {size} entries")]
    NotIncluded {
        /// Index of the entry.
        index: u64,
        /// Size of the checkpoint's tree.
        size: u64,
    },
    /// An opened value is not in the entry.
    #[error("the proof opens value {index}, which the entry does not have")]
    NoSuchValue {
        /// Index of the value.
        index: u32,
    },
    /// An opened value is not the one that the entry commits to.
    #[error("value {index} is not what the entry commits to")]
    Commitment {
        /// Index of the value.
        index: u32,
    },
    /// The entry commits to bytes that this version cannot read as a value.
    #[error("value {index} is what the entry commits to, and not a value that this version can read")]
    Unreadable {
        /// Index of the value.
        index: u32,
    },
}

/// Verifies a proof file (C2SP tlog-proof, "Verifying a tlog proof") under an auditor's policy.
pub fn verify(file: &[u8], policy: &Policy) -> Outcome {
    match TlogProof::parse(file) {
        Ok(proof) => check(&proof, policy),
        Err(error) => Outcome::Invalid(error.into()),
    }
}

/// Verifies a proof (C2SP tlog-proof, "Verifying a tlog proof") under an auditor's policy.
pub fn check(proof: &TlogProof, policy: &Policy) -> Outcome {
    match proven(proof, policy) {
        Ok((proven, withheld)) if withheld.is_empty() => Outcome::Disclosed(proven),
        Ok((proven, indexes)) => Outcome::Withheld { proven, indexes },
        Err(defect) => Outcome::Invalid(defect),
    }
}

fn proven(proof: &TlogProof, policy: &Policy) -> Result<(Proven, Vec<u32>), Defect> {
    let TlogProof { extra, index, path, checkpoint } = proof;
    let (index, (text, openings)) = (*index, opening::read(extra)?);
    let accepted = policy.check(checkpoint.as_bytes())?;
    let head = accepted.checkpoint.head;
    if !merkle::includes(head, index, leaf_hash(text), path) {
        return Err(Defect::NotIncluded { index, size: head.size });
    }
    let entry = EntryText::parse(text)?;
    let mut values = Vec::with_capacity(openings.len());
    for opening in &openings {
        let index = opening.index;
        let line = entry.values.iter().find(|line| line.index == index).ok_or(Defect::NoSuchValue { index })?;
        if commitment(&opening.salt, line.kind, &opening.canonical) != line.commitment {
            return Err(Defect::Commitment { index });
        }
        let stored = StoredValue { index, kind: line.kind, canonical: &opening.canonical };
        let mut value = stored.decode().map_err(|_| Defect::Unreadable { index })?;
        // A value without a time of its own has that of the entry.
        if value.timestamp == 0 {
            value.timestamp = entry.time_ms / 1_000;
        }
        values.push(value);
    }
    let is_shown = |index: u32| openings.iter().any(|opening| opening.index == index);
    let withheld = entry.values.iter().map(|line| line.index).filter(|&index| !is_shown(index)).collect();
    let proven = Proven {
        index,
        text: String::from_utf8_lossy(text).into_owned(),
        kind: entry.kind,
        identifier: entry.identifier.to_string(),
        time_ms: entry.time_ms,
        principal: entry.principal.to_string(),
        previous: entry.previous.map(|(index, _)| index),
        values,
        erasure: entry.erasure,
        accepted,
    };
    Ok((proven, withheld))
}

#[cfg(test)]
mod tests {
    use super::{super::opening::Opening, *};
    use crate::{
        entry::{Draft, Place, Principal, Statement, StoredEntry},
        id::Identifier,
        record::{Permissions, Values},
        tlog::{
            Hash, LedgerKey,
            note::{CosignerKey, VerifierKey, verify_checkpoint},
        },
    };

    const INDEX: u64 = 5;
    const SIZE: u64 = 11;

    fn log() -> LedgerKey {
        LedgerKey::new("log.test", [9; 32]).unwrap()
    }

    fn witness() -> CosignerKey {
        CosignerKey::new("witness.test", [3; 32]).unwrap()
    }

    fn policy(lines: &str) -> Policy {
        let text = format!("log {}\nwitness w {}\n{lines}\n", log().verifier_key(), witness().verifier());
        Policy::parse(text.as_bytes()).unwrap()
    }

    /// A proof of an entry with values 1, 2 and 300, some of which are shown.
    fn proof(shown: &[u32]) -> TlogProof {
        let identifier = Identifier::parse("88.118/Pump 7").unwrap();
        let value = |index: u32| Value {
            index,
            kind: "NAME".parse().unwrap(),
            data: format!("value {index}").into(),
            ttl: 7,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        };
        let values = Values::new([1, 2, 300].map(value).into()).unwrap();
        let (kind, principal) = (EntryKind::Create, &Principal::LOOPBACK);
        let statement = Statement {
            kind,
            identifier: &identifier,
            principal,
            values: &values,
            edges: &[],
            outputs: None,
            request: None,
            erasure: None,
        };
        let draft = Draft::new(&statement, [8; 32]).unwrap();
        let place = Place { index: INDEX, time_ms: 1_763_820_000_123, version: 1, previous: None, has_edges: false };
        let (mut text, mut stored) = (Vec::new(), Vec::new());
        draft.put_text(&mut text, &place);
        draft.put_stored(&mut stored, &place);
        let entry = StoredEntry::read(&stored).unwrap();
        let openings: Vec<Opening> = shown
            .iter()
            .map(|&index| {
                let opening = entry.opening(index).unwrap();
                Opening { index, salt: opening.salt, canonical: opening.canonical.into() }
            })
            .collect();
        // Entry 5 of 11: its sibling, the two before, the four before... of a tree whose other hashes are made up.
        let other = |number: u8| Hash([number; 32]);
        let path: Vec<Hash> = [1, 2, 3, 4].map(other).into();
        let node = crate::tlog::node_hash;
        let leaf = leaf_hash(&text);
        let root = node(node(path[2], node(node(path[0], leaf), path[1])), path[3]);
        let note = log().sign(SIZE, root).unwrap().note.to_string();
        let key: VerifierKey = log().verifier_key().parse().unwrap();
        let signed = verify_checkpoint(note.as_bytes(), [&key]).unwrap().text;
        let checkpoint = note + &witness().cosign(&signed, 1_763_820_009);
        TlogProof { extra: opening::write(&text, &openings), index: INDEX, path, checkpoint }
    }

    fn outcome(proof: &TlogProof) -> Outcome {
        verify(proof.write().as_bytes(), &policy("quorum w"))
    }

    #[test]
    fn the_three_outcomes() {
        let Outcome::Disclosed(proven) = outcome(&proof(&[1, 2, 300])) else { panic!("{:?}", outcome(&proof(&[1]))) };
        assert_eq!((proven.index, proven.identifier.as_str(), proven.kind), (5, "88.118/Pump 7", EntryKind::Create));
        assert_eq!((proven.principal.as_str(), proven.time_ms, proven.previous), ("loopback", 1_763_820_000_123, None));
        let data: Vec<&[u8]> = proven.values.iter().map(|value| &value.data[..]).collect();
        assert_eq!(data, [&b"value 1"[..], b"value 2", b"value 300"]);
        assert_eq!(proven.values[0].timestamp, 1_763_820_000);
        assert_eq!(proven.accepted.witnesses, [("w".to_owned(), 1_763_820_009)]);
        let Outcome::Withheld { proven, indexes } = outcome(&proof(&[2])) else { panic!() };
        assert_eq!((proven.values.len(), indexes), (1, vec![1, 300]));
        let Outcome::Withheld { proven, indexes } = outcome(&proof(&[])) else { panic!() };
        assert_eq!((proven.values.len(), indexes), (0, vec![1, 2, 300]));
    }

    #[test]
    fn defects_are_named() {
        let whole = proof(&[1, 2, 300]);
        let is = |change: &dyn Fn(&mut TlogProof), expected: &str| {
            let mut changed = whole.clone();
            change(&mut changed);
            match outcome(&changed) {
                Outcome::Invalid(defect) => assert!(format!("{defect:?}").starts_with(expected), "{defect:?}"),
                other => panic!("{expected}: {other:?}"),
            }
        };
        let extra = |proof: &mut TlogProof, from: &str, to: &str| {
            let text = String::from_utf8(proof.extra.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            proof.extra = text.replacen(from, to, 1).into();
        };
        is(&|proof| proof.index = 4, "NotIncluded");
        is(&|proof| proof.index = 11, "NotIncluded");
        is(&|proof| proof.path.swap(0, 1), "NotIncluded");
        is(&|proof| _ = proof.path.pop(), "NotIncluded");
        is(&|proof| extra(proof, "at 17", "at 18"), "NotIncluded");
        is(&|proof| proof.extra.clear(), "NotIncluded");
        is(&|proof| extra(proof, "open 1 ", "open 3 "), "Opening");
        is(&|proof| extra(proof, "open 300 ", "open 301 "), "NoSuchValue { index: 301 }");
        is(&|proof| extra(proof, "open 300 ", "open 302 "), "NoSuchValue { index: 302 }");
        is(&|proof| proof.checkpoint = proof.checkpoint.replace("\n11\n", "\n12\n"), "Checkpoint(Checkpoint(Signature");
        is(&|proof| proof.checkpoint = proof.checkpoint.replace("witness.test", "witness.tess"), "Checkpoint(Quorum");
        let mut swapped = whole.clone();
        let text = String::from_utf8(swapped.extra.clone()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("open ")).collect();
        let value = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
        swapped.extra = text.replace(&value(lines[0]), &value(lines[1])).into();
        assert_eq!(outcome(&swapped), Outcome::Invalid(Defect::Commitment { index: 1 }));
    }

    /// Every byte matters: a file with another byte is refused, or shows exactly the same.
    #[test]
    fn every_byte_counts() {
        let file = proof(&[1, 300]).write().into_bytes();
        let shown = |file: &[u8], lines: &str| match verify(file, &policy(lines)) {
            Outcome::Invalid(_) => None,
            outcome => Some(outcome),
        };
        let witnessed = shown(&file, "quorum w").unwrap();
        let mut unnoticed = 0;
        for at in 0..file.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff] {
                let mut flipped = file.clone();
                flipped[at] ^= mask;
                assert_eq!(shown(&flipped, "quorum w"), None, "byte {at}, {:?}", file[at] as char);
                // Without a quorum, a changed cosignature may pass for one by an unknown key, which proves nothing; no
                // other change passes.
                if let Some(Outcome::Withheld { proven, indexes }) = shown(&flipped, "quorum none") {
                    unnoticed += 1;
                    let Outcome::Withheld { proven: whole, indexes: whole_indexes } = &witnessed else { panic!() };
                    assert_eq!((&proven.text, &proven.values, &indexes), (&whole.text, &whole.values, whole_indexes));
                    assert_eq!(proven.accepted.checkpoint.text, whole.accepted.checkpoint.text);
                    assert_eq!(proven.accepted.witnesses, []);
                }
            }
        }
        // Name of the key, and key id in base64.
        assert!(unnoticed > 0 && unnoticed < 9 * 24, "{unnoticed}");
    }
}
