//! Makes proofs and lookups that the real verifier accepts, without a ledger: signed with a real key, over trees in
//! which only the leaf is real.

use std::path::Path;

use sha2::{Digest, Sha256};
use touchmark::{
    entry::{Draft, EntryKind, Place, PrefixStatement, Principal, Statement, StoredEntry, leaf_hash},
    id::{Identifier, Prefix},
    proof::opening::{self, Opening},
    record::{PrefixChange, Values},
    tlog::{Hash, LedgerKey, empty_root, tlog_proof::TlogProof},
    vindex::{
        Lookup, OutputLeaf,
        keys::ORIGIN_SUFFIX,
        trie::{Path as TriePath, leaf_hash as trie_leaf, value_of},
    },
};

/// Key of a ledger, and key of its verifiable index.
pub struct Prover {
    ledger: LedgerKey,
    index: LedgerKey,
}

/// Text of an entry, and openings of its public values.
#[derive(Clone)]
pub struct Entry {
    pub text: Vec<u8>,
    pub openings: Vec<Opening>,
}

impl Prover {
    pub fn new(directory: &Path, name: &str, seed: [u8; 32]) -> Self {
        let ledger = LedgerKey::open_or_create(&directory.join(name), name, seed).unwrap();
        let index = ledger.with_suffix(ORIGIN_SUFFIX).unwrap();
        Self { ledger, index }
    }

    pub fn key(&self) -> &str {
        self.ledger.verifier_key()
    }

    /// Inclusion proof of an entry at `index` in a tree of `size` entries.
    pub fn inclusion(&self, entry: &Entry, index: u64, size: u64) -> TlogProof {
        let (path, root) = path(leaf_hash(&entry.text), index, size);
        let checkpoint = self.ledger.sign(size, root).unwrap().note.to_string();
        let extra = opening::write(&entry.text, &entry.openings);
        TlogProof { extra, index, path, checkpoint }
    }

    /// A lookup that finds these indexes under a key, in a map with one key.
    pub fn lookup(&self, key: &[u8; 32], indices: &[u64], size: u64) -> Lookup {
        let other = [7; 32];
        let (root, proof) = match indices {
            [] => (trie_leaf(&other, &[1; 32]), TriePath::default().absence(&other, &[1; 32])),
            indices => (trie_leaf(key, &value_of(indices)), TriePath::default().presence()),
        };
        // Any root; only the root of the empty tree is known to everyone.
        let root_of_ledger = if size == 0 { empty_root() } else { Hash([1; 32]) };
        let checkpoint = self.ledger.sign(size, root_of_ledger).unwrap().note;
        let leaf: std::sync::Arc<[u8]> = OutputLeaf { root, checkpoint: &checkpoint }.to_bytes().into();
        let output = self.index.sign(1, leaf_hash(&leaf)).unwrap();
        Lookup { indices: indices.into(), proof, leaf, leaf_path: [].into(), checkpoint: output.note }
    }
}

/// Inclusion path of a leaf in a tree whose other hashes are made up, and its root (RFC 9162 section 2.1.3.2).
fn path(leaf: Hash, index: u64, size: u64) -> (Vec<Hash>, Hash) {
    let node = |left: Hash, right: Hash| Hash(Sha256::digest([&[1], &left.0[..], &right.0[..]].concat()).into());
    let (mut first, mut second, mut root, mut path) = (index, size - 1, leaf, Vec::new());
    while second > 0 {
        let sibling = Hash([path.len() as u8; 32]);
        path.push(sibling);
        if first & 1 == 1 || first == second {
            root = node(sibling, root);
            while first & 1 == 0 && first != 0 {
                (first, second) = (first >> 1, second >> 1);
            }
        } else {
            root = node(root, sibling);
        }
        (first, second) = (first >> 1, second >> 1);
    }
    (path, root)
}

/// The entry of a record, with openings of its public values.
pub fn record_entry(kind: EntryKind, identifier: &Identifier, values: &Values, index: u64, time_ms: u64) -> Entry {
    let principal = &Principal::LOOPBACK;
    let (edges, outputs, request, erasure) = (&[], None, None, None);
    let statement = Statement { kind, identifier, principal, values, edges, outputs, request, erasure };
    let draft = Draft::new(&statement, [8; 32]).unwrap();
    let place = place(index, time_ms);
    let (mut text, mut stored) = (Vec::new(), Vec::new());
    draft.put_text(&mut text, &place);
    draft.put_stored(&mut stored, &place);
    let entry = StoredEntry::read(&stored).unwrap();
    let public = values.iter().filter(|value| value.permissions.public_read());
    let openings = public.map(|value| {
        let opening = entry.opening(value.index).unwrap();
        Opening { index: value.index, salt: opening.salt, canonical: opening.canonical.into() }
    });
    let openings = openings.collect();
    Entry { text, openings }
}

/// The entry of a change of a prefix.
pub fn prefix_entry(prefix: &Prefix, change: &PrefixChange, index: u64, time_ms: u64) -> Entry {
    let statement = PrefixStatement { prefix, change, principal: &Principal::LOOPBACK, request: None };
    let draft = Draft::of_prefix(&statement, [8; 32]).unwrap();
    let mut text = Vec::new();
    draft.put_text(&mut text, &place(index, time_ms));
    Entry { text, openings: Vec::new() }
}

fn place(index: u64, time_ms: u64) -> Place {
    Place { index, time_ms, version: 1, previous: None, has_edges: false }
}
