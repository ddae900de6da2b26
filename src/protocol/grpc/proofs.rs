//! Proofs out of messages. What comes out is well-formed and proves nothing yet.

use bytes::Bytes;

use super::pb;
use crate::{
    proof::opening::{self, Opening},
    tlog::{Hash, tlog_proof::TlogProof},
};

/// A proof as a file; `None` when a hash or a salt has not its length.
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

/// The hashes of a proof; `None` when one of them has not 32 bytes.
pub fn path_from_pb(path: &[Bytes]) -> Option<Vec<Hash>> {
    path.iter().map(|hash| hash.as_ref().try_into().ok().map(Hash)).collect()
}
