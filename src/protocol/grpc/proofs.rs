//! Decoding of proofs from messages. The result is well-formed, but not verified.

use bytes::Bytes;

use super::pb;
use crate::{
    proof::opening::{self, Opening},
    tlog::{Hash, tlog_proof::TlogProof},
};

/// A proof in the form of proof files; `None` if a hash or a salt has the wrong length.
pub fn proof_from_pb(response: &pb::ProveResponse) -> Option<TlogProof> {
    let opening = |opening: &pb::Opening| {
        let salt = opening.salt.as_ref().try_into().ok()?;
        Some(Opening { index: opening.index, salt, canonical: opening.canonical.to_vec() })
    };
    let openings = response.openings.iter().map(opening).collect::<Option<Vec<_>>>()?;
    Some(TlogProof {
        extra: opening::write(&response.entry, &openings),
        index: response.ledger_index,
        path: path_from_pb(&response.path)?,
        checkpoint: response.checkpoint.clone(),
    })
}

/// The hashes of a proof; `None` if one of them is not 32 bytes long.
pub fn path_from_pb(path: &[Bytes]) -> Option<Vec<Hash>> {
    path.iter().map(|hash| hash.as_ref().try_into().ok().map(Hash)).collect()
}
