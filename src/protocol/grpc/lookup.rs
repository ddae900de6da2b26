//! Lookups in the verifiable index as messages.

use super::pb::{self, lookup_request::Kind};
use crate::{
    tlog::Hash,
    vindex::{Lookup, LookupKind},
};

/// A lookup as a message.
pub fn lookup_to_pb(lookup: &Lookup) -> pb::LookupResponse {
    pb::LookupResponse {
        output_checkpoint: lookup.checkpoint.to_string(),
        output_leaf: lookup.leaf.to_vec().into(),
        output_path: lookup.leaf_path.iter().map(|hash| hash.0.to_vec().into()).collect(),
        indices: lookup.indices.clone(),
        map_proof: lookup.proof.clone().into(),
    }
}

/// The lookup in a message; `None` if one of its hashes is not 32 bytes long.
pub fn lookup_from_pb(message: pb::LookupResponse) -> Option<Lookup> {
    let path: Option<Vec<Hash>> =
        message.output_path.iter().map(|hash| <[u8; 32]>::try_from(&hash[..]).ok().map(Hash)).collect();
    Some(Lookup {
        indices: message.indices,
        proof: message.map_proof.into(),
        leaf: message.output_leaf[..].into(),
        leaf_path: path?.into(),
        checkpoint: message.output_checkpoint.into(),
    })
}

/// The kind that a message names; `None` for an unknown one.
pub fn lookup_kind(kind: i32) -> Option<LookupKind> {
    Some(match Kind::try_from(kind).ok()? {
        Kind::Unspecified | Kind::Id => LookupKind::Id,
        Kind::Out => LookupKind::Out,
        Kind::In => LookupKind::In,
    })
}

/// The name of a kind in messages.
pub fn lookup_kind_to_pb(kind: LookupKind) -> Kind {
    match kind {
        LookupKind::Id => Kind::Id,
        LookupKind::Out => Kind::Out,
        LookupKind::In => Kind::In,
    }
}
