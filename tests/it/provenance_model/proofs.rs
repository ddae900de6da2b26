//! Questions whose answers carry proofs: entries, growth, complete lists.

use std::collections::BTreeMap;

use rand::{RngExt as _, rngs::StdRng};
use tonic::{Code, Status};
use touchmark::{
    entry::leaf_hash,
    proof::{Outcome, Proven, verify},
    protocol::grpc::{
        path_from_pb,
        pb::{self, auditor_client::AuditorClient, prove_request},
        proof_from_pb, value_to_pb,
    },
    tlog::{
        empty_root,
        merkle::{TreeHead, is_consistent},
        note::VerifierKey,
        policy::Policy,
    },
    vindex::{Lookup, LookupKind},
};

use super::ledger::{Entry, Model, is_public, parse};
use crate::{support::*, vindex};

/// An auditor: its trusted key, and the proofs that it keeps.
pub struct Auditor {
    pub verifier: VerifierKey,
    policy: Policy,
    heads: Vec<TreeHead>,
    /// Proof files with their first outcome.
    files: Vec<(Vec<u8>, Outcome)>,
    /// Texts of entries, with their commitments.
    texts: BTreeMap<u64, String>,
}

async fn prove(running: &Running, request: pb::ProveRequest) -> Result<pb::ProveResponse, Status> {
    AuditorClient::new(running.channel()).prove(request).await.map(tonic::Response::into_inner)
}

/// Request for a proof of the entry at `index` that shows these values.
fn listed(index: u64, value_indexes: Vec<u32>) -> pb::ProveRequest {
    let disclosure = prove_request::Disclosure::Listed.into();
    pb::ProveRequest { entry: Some(prove_request::Entry::LedgerIndex(index)), disclosure, value_indexes }
}

impl Auditor {
    pub fn new(running: &Running) -> Self {
        let key = running.node.summary().verifier_key;
        let policy = Policy::of_log(key.parse().unwrap()).unwrap();
        let verifier = VerifierKey::of_log(&key).unwrap();
        Self { verifier, policy, heads: Vec::new(), files: Vec::new(), texts: BTreeMap::new() }
    }

    /// Keeps the checkpoint of a receipt; its tree must be that of the model.
    pub fn note(&mut self, model: &Model, checkpoint: &str) {
        let checkpoint = self.verifier.verify(checkpoint.as_bytes()).expect("the node's key signed it");
        let head = TreeHead { size: checkpoint.size, root: checkpoint.root };
        assert_eq!(model.root(head.size), head.root, "the tree over {} entries", head.size);
        self.heads.push(head);
    }

    /// Between any two checkpoints there is a consistency proof, which fails for any other tree.
    pub async fn compare_growth(&self, running: &Running, rng: &mut StdRng) {
        for _ in 0..12 {
            let mut pair = [0, 1].map(|_| self.heads[rng.random_range(0..self.heads.len())]);
            pair.sort_by_key(|head| head.size);
            let [mut old, mut new] = pair;
            if rng.random_bool(0.1) {
                old = TreeHead { size: 0, root: empty_root() };
            }
            let newest = rng.random_bool(0.3);
            let request = pb::ConsistencyRequest { old_size: old.size, new_size: (!newest).then_some(new.size) };
            let shown = AuditorClient::new(running.channel()).consistency(request).await.unwrap().into_inner();
            if newest {
                let checkpoint = self.verifier.verify(shown.checkpoint.as_bytes()).unwrap();
                new = TreeHead { size: checkpoint.size, root: checkpoint.root };
            }
            let path = path_from_pb(&shown.path).unwrap();
            assert!(is_consistent(old, new, &path), "{} to {}", old.size, new.size);
            let mut other = old;
            other.root.0[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
            assert!(!is_consistent(other, new, &path), "{} to {}", old.size, new.size);
        }
    }

    /// Compares the proof of an identifier's newest entry, or its absence, with the model.
    pub async fn compare_newest(&mut self, running: &Running, model: &Model, rng: &mut StdRng, asked: &str) {
        let entry = Some(prove_request::Entry::Identifier(asked.into()));
        let proof = prove(running, pb::ProveRequest { entry, ..Default::default() }).await;
        match (proof, model.versions(&parse(asked), model.entries.len()).pop()) {
            (Ok(proof), Some(entry)) => self.check_proof(&proof, model, entry, None, rng),
            (Err(status), None) => assert_eq!(status.code(), Code::NotFound),
            (proof, entry) => {
                panic!("{asked}: {proof:?}, and in the model {:?}", entry.map(|entry| &entry.receipt))
            }
        }
    }

    /// Compares proofs of a random entry: all public values, some of them, and refusals of the others.
    pub async fn compare_entry(&mut self, running: &Running, model: &Model, rng: &mut StdRng) {
        let index = rng.random_range(0..model.entries.len() as u64);
        let entry = &model.entries[index as usize];
        let public = pb::ProveRequest { disclosure: 0, ..listed(index, Vec::new()) };
        let proof = prove(running, public).await.unwrap();
        self.check_proof(&proof, model, entry, None, rng);
        let some: Vec<u32> = entry
            .values
            .values()
            .filter(|value| is_public(value) && rng.random_bool(0.5))
            .map(|value| value.index)
            .collect();
        let proof = prove(running, listed(index, some.clone())).await.unwrap();
        self.check_proof(&proof, model, entry, Some(&some), rng);
        for value in (1..=7).filter(|value| !some.contains(value)) {
            let code = match entry.values.get(&value) {
                Some(value) if is_public(value) => continue,
                Some(_) => Code::PermissionDenied,
                None => Code::InvalidArgument,
            };
            let refused = prove(running, listed(index, vec![value])).await.unwrap_err();
            assert_eq!(refused.code(), code, "value {value} of entry {index}");
        }
    }

    /// Checks a proof that shows all public values, or the listed ones; keeps some of the proofs.
    fn check_proof(
        &mut self,
        proof: &pb::ProveResponse,
        model: &Model,
        entry: &Entry,
        some: Option<&[u32]>,
        rng: &mut StdRng,
    ) {
        let file = proof_from_pb(proof).unwrap().write().into_bytes();
        let outcome = verify(&file, &self.policy);
        let is_shown = |value: &&pb::Value| is_public(value) && some.is_none_or(|some| some.contains(&value.index));
        let shown: Vec<&pb::Value> = entry.values.values().filter(is_shown).collect();
        let mut hidden: Vec<u32> = entry.values.keys().chain(entry.erased.keys()).copied().collect();
        hidden.retain(|index| shown.iter().all(|value| value.index != *index));
        hidden.sort_unstable();
        let proven = match &outcome {
            Outcome::Disclosed(proven) if hidden.is_empty() => proven,
            Outcome::Withheld { proven, indexes } if !hidden.is_empty() && *indexes == hidden => proven,
            outcome => panic!("values {hidden:?} are not to be shown: {outcome:?}"),
        };
        self.compare_proven(proven, model, entry);
        let values: Vec<pb::Value> = proven.values.iter().map(value_to_pb).collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), shown);
        for _ in 0..8 {
            let (mut flipped, at) = (file.clone(), rng.random_range(0..file.len()));
            flipped[at] ^= rng.random_range(1..=255_u8);
            assert!(matches!(verify(&flipped, &self.policy), Outcome::Invalid(_)), "byte {at} of {flipped:?}");
        }
        if rng.random_bool(0.3) {
            self.files.push((file, outcome));
        }
    }

    /// Compares a verified proof with the model, and with earlier proofs of the same entry.
    fn compare_proven(&mut self, proven: &Proven, model: &Model, entry: &Entry) {
        let index = entry.receipt.ledger_index;
        assert_eq!((proven.index, leaf_hash(proven.text.as_bytes()).0.as_slice()), (index, &*entry.receipt.leaf_hash));
        let without_commitment = |line: &str| match line.starts_with("value ") {
            true => line.rsplit_once(' ').unwrap().0.to_owned() + "\n",
            false => format!("{line}\n"),
        };
        assert_eq!(proven.text.lines().map(without_commitment).collect::<String>(), model.text(index));
        assert_eq!(*self.texts.entry(index).or_insert_with(|| proven.text.clone()), proven.text);
        assert_eq!((&proven.identifier, proven.time_ms), (&entry.identifier.to_string(), entry.receipt.time));
        assert!(proven.accepted.checkpoint.head.size > index);
    }

    /// Checks that the files of earlier rounds still have the same outcome, whatever was erased since; returns their
    /// number.
    pub fn compare_files(&self) -> usize {
        for (file, outcome) in &self.files {
            assert_eq!(verify(file, &self.policy), *outcome);
        }
        self.files.len()
    }

    /// Compares the lists of an identifier with the model; a changed list proves nothing.
    pub async fn compare_lists(&self, running: &Running, model: &Model, rng: &mut StdRng, asked: &str) {
        for kind in LookupKind::ALL {
            let found = vindex::lookup(running, asked, kind).await;
            let key = vindex::key(asked, kind);
            let verified = found.verify(&key, &self.verifier).unwrap();
            assert_eq!(verified.indices, model.indices(&parse(asked), kind), "{asked} {kind:?}");
            assert_eq!(verified.covers.size, model.entries.len() as u64);
            assert_eq!(model.root(verified.covers.size), verified.covers.root);
            for changed in [fewer(&found, rng), more(&found, rng), flipped(&found, rng)].into_iter().flatten() {
                assert!(changed.verify(&key, &self.verifier).is_err(), "{asked} {kind:?}: {changed:?}");
            }
        }
    }
}

fn fewer(found: &Lookup, rng: &mut StdRng) -> Option<Lookup> {
    let mut changed = found.clone();
    (!found.indices.is_empty()).then(|| changed.indices.remove(rng.random_range(0..found.indices.len())))?;
    Some(changed)
}

fn more(found: &Lookup, rng: &mut StdRng) -> Option<Lookup> {
    let mut changed = found.clone();
    let index = rng.random_range(0..=found.indices.last().copied().unwrap_or(8));
    let at = found.indices.binary_search(&index).err()?;
    changed.indices.insert(at, index);
    Some(changed)
}

fn flipped(found: &Lookup, rng: &mut StdRng) -> Option<Lookup> {
    let mut changed = found.clone();
    if rng.random_bool(0.5) && !changed.proof.is_empty() {
        let at = rng.random_range(0..changed.proof.len());
        changed.proof[at] ^= 1 << rng.random_range(0..8);
    } else {
        let mut leaf = found.leaf.to_vec();
        let at = rng.random_range(0..leaf.len());
        leaf[at] ^= 1 << rng.random_range(0..8);
        changed.leaf = leaf.into();
    }
    Some(changed)
}
