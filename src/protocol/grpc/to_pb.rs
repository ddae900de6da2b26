//! Conversion of the cores' types to messages.

use bytes::Bytes;

use super::{lookup_to_pb, pb, prefix_to_pb};
use crate::{
    entry::{EntryKind, ErasedValues, Erasure},
    proof::opening::Opening,
    protocol::outcome::Outcome,
    record::{Edge, EdgeChange, EdgeType, Flow, Outputs, Quantity, Record, Status, Unit, Value},
    registry::{Receipt, Refusal},
    resolver::{
        Change, Difference, EntryProof, History, Proofs, ProvenPrefix,
        feed::{Fed, Shown},
    },
    store::PastVersion,
    tlog::Hash,
};

/// A record as a message.
pub fn record_to_pb(record: &Record) -> pb::Record {
    let status = match record.status {
        Status::Active => pb::Status::Active,
        Status::Retired => pb::Status::Retired,
        Status::Erased => pb::Status::Erased,
    };
    pb::Record {
        identifier: record.identifier.to_string(),
        status: status.into(),
        values: record.values.iter().map(value_to_pb).collect(),
        edges: record.edges.iter().map(edge_to_pb).collect(),
        version: record.version.number,
        ledger_index: record.version.ledger_index,
        time: record.version.time_ms,
        edges_truncated: record.edges_truncated,
        event: record.outputs.as_ref().map(outputs_to_pb),
        values_erased: record.values_erased.clone(),
    }
}

fn outputs_to_pb(outputs: &Outputs) -> pb::EventOutputs {
    let flow = |flow: &Flow| {
        let (quantity, unit) = quantity_to_pb(flow.quantity.as_ref());
        pb::Flow { identifier: flow.identifier.to_string(), quantity, unit, valid_from: flow.valid_from_ms }
    };
    pb::EventOutputs {
        outputs: outputs.flows.iter().map(flow).collect(),
        balance: outputs.balance.as_ref().map_or_else(String::new, |unit| unit.as_str().to_owned()),
    }
}

/// A quantity and its unit as texts; each is empty if there is none.
pub(super) fn quantity_to_pb(quantity: Option<&(Quantity, Option<Unit>)>) -> (String, String) {
    quantity.map_or_else(Default::default, |(quantity, unit)| {
        (quantity.as_str().to_owned(), unit.as_ref().map_or_else(String::new, |unit| unit.as_str().to_owned()))
    })
}

/// A value as a message.
pub fn value_to_pb(value: &Value) -> pb::Value {
    let reference = |reference: &crate::record::Reference| pb::Reference {
        identifier: reference.identifier.to_string(),
        index: reference.index,
    };
    pb::Value {
        index: value.index,
        r#type: value.kind.as_str().to_owned(),
        data: value.data.clone(),
        ttl: Some(value.ttl),
        timestamp: value.timestamp,
        permissions: Some(u32::from(value.permissions.bits())),
        references: value.references.iter().map(reference).collect(),
    }
}

/// An edge as a message.
pub fn edge_to_pb(edge: &Edge) -> pb::Edge {
    let (quantity, unit) = quantity_to_pb(edge.quantity.as_ref());
    let kind = edge_type_to_pb(edge.kind).into();
    pb::Edge { r#type: kind, to: edge.to.to_string(), quantity, unit, valid_from: edge.valid_from_ms }
}

pub(super) fn edge_type_to_pb(kind: EdgeType) -> pb::EdgeType {
    match kind {
        EdgeType::MadeOf => pb::EdgeType::MadeOf,
        EdgeType::DerivedFrom => pb::EdgeType::DerivedFrom,
        EdgeType::PackedIn => pb::EdgeType::PackedIn,
        EdgeType::TransferredTo => pb::EdgeType::TransferredTo,
        EdgeType::Replaces => pb::EdgeType::Replaces,
    }
}

/// A page of a history as a message.
pub fn history_to_pb(history: &History) -> pb::HistoryResponse {
    pb::HistoryResponse { versions: history.versions.iter().map(change_to_pb).collect(), next_before: history.before }
}

fn change_to_pb(change: &Change) -> pb::VersionChange {
    use pb::value_difference::Kind;
    let difference = |(index, difference): &(u32, Difference)| {
        let kind = match difference {
            Difference::Added => Kind::Added,
            Difference::Changed => Kind::Changed,
            Difference::Removed => Kind::Removed,
        };
        pb::ValueDifference { index: *index, kind: kind.into() }
    };
    let differences = change.differences.iter().map(difference).collect();
    pb::VersionChange { differences, ..past_to_pb(&change.past, change.withheld) }
}

/// An event of a feed as a message.
pub fn fed_to_pb(fed: &Fed) -> pb::ChangeEvent {
    use pb::change_event::Event;
    let event = match fed {
        Fed::Change(shown) => Event::Change(shown_to_pb(shown)),
        Fed::Prefix(version) => Event::Prefix(prefix_to_pb(version)),
        Fed::Upto(next_index) => Event::Progress(pb::Progress { next_index: *next_index }),
    };
    pb::ChangeEvent { event: Some(event) }
}

/// A change as a message, without its differences from the previous version.
pub fn shown_to_pb(shown: &Shown) -> pb::VersionChange {
    past_to_pb(&shown.past, shown.withheld)
}

fn past_to_pb(past: &PastVersion, withheld: usize) -> pb::VersionChange {
    use pb::version_change;
    let kind = match past.kind {
        EntryKind::Create => version_change::Kind::Create,
        EntryKind::Update => version_change::Kind::Update,
        EntryKind::Retire => version_change::Kind::Retire,
        EntryKind::Event => version_change::Kind::Event,
        EntryKind::Erase => version_change::Kind::Erase,
        // A change of a prefix makes no version of a record.
        EntryKind::Delegate | EntryKind::Home | EntryKind::Revoke => version_change::Kind::Unspecified,
    };
    let (mut edges_added, mut edges_removed) = (Vec::new(), Vec::new());
    for edge in &past.edges {
        match edge {
            EdgeChange::Add(edge) => edges_added.push(edge_to_pb(edge)),
            EdgeChange::Remove(kind, to) => {
                let kind = edge_type_to_pb(*kind).into();
                edges_removed.push(pb::Edge { r#type: kind, to: to.to_string(), ..pb::Edge::default() });
            }
        }
    }
    pb::VersionChange {
        kind: kind.into(),
        record: Some(record_to_pb(&past.record)),
        by: past.principal.as_str().into(),
        values_withheld: u32::try_from(withheld).unwrap_or(u32::MAX),
        differences: Vec::new(),
        edges_added,
        edges_removed,
        erasure: past.erasure.as_ref().map(erasure_to_pb),
    }
}

/// A proof as a message.
pub fn proof_to_pb(proof: &EntryProof) -> pb::ProveResponse {
    let opening = |opening: &Opening| pb::Opening {
        index: opening.index,
        salt: opening.salt.to_vec().into(),
        canonical: opening.canonical.clone().into(),
    };
    pb::ProveResponse {
        entry: proof.text.clone().into(),
        openings: proof.openings.iter().map(opening).collect(),
        ledger_index: proof.index,
        path: path_to_pb(&proof.path),
        checkpoint: proof.checkpoint.as_ref().into(),
    }
}

/// The proofs of an answer, as fields to append to it.
pub fn proofs_to_pb(proofs: &Proofs) -> pb::Answer {
    let prefix = |proven: &ProvenPrefix| pb::PrefixEvidence {
        prefix: proven.prefix.to_string(),
        lookup: Some(lookup_to_pb(&proven.lookup)),
        last: proven.last.as_ref().map(proof_to_pb),
    };
    pb::Answer {
        proof: proofs.entry.as_ref().map(proof_to_pb),
        lookup: proofs.lookup.as_ref().map(lookup_to_pb),
        prefixes: proofs.prefixes.iter().map(prefix).collect(),
        ..pb::Answer::default()
    }
}

/// The hashes of a proof as a message holds them.
pub fn path_to_pb(path: &[Hash]) -> Vec<Bytes> {
    path.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect()
}

fn erasure_to_pb(erasure: &Erasure) -> pb::Erasure {
    let index = match erasure.values {
        ErasedValues::All => None,
        ErasedValues::One(index) => Some(index),
    };
    pb::Erasure { index, reason: erasure.reason.as_str().into() }
}

/// A receipt as a message; its checkpoint is left out if it is that of the previous receipt.
pub fn receipt_to_pb(receipt: Receipt, checkpoint_before: &str) -> pb::Receipt {
    let same = *receipt.checkpoint == *checkpoint_before;
    pb::Receipt {
        identifier: receipt.identifier.into(),
        ledger_index: receipt.version.ledger_index,
        leaf_hash: receipt.leaf_hash.0.to_vec().into(),
        version: receipt.version.number,
        time: receipt.version.time_ms,
        checkpoint: if same { String::new() } else { receipt.checkpoint.as_ref().to_owned() },
        replayed: receipt.replayed,
    }
}

/// A refusal as a message.
pub fn refusal_to_pb(refusal: &Refusal) -> pb::Refusal {
    let existing = match refusal {
        Refusal::AlreadyExists { existing, .. } => Some(pb::Existing {
            version: existing.version,
            ledger_index: existing.ledger_index,
            same_content: existing.same_content,
        }),
        _ => None,
    };
    let code = Outcome::from(refusal).spelling().grpc;
    pb::Refusal { code, message: refusal.to_string(), existing, kind: refusal_kind(refusal).into() }
}

fn refusal_kind(refusal: &Refusal) -> pb::refusal::Kind {
    use pb::refusal::Kind;
    match refusal {
        Refusal::Invalid { .. } => Kind::Invalid,
        Refusal::Unreadable { .. } => Kind::Unreadable,
        Refusal::TooMany { .. } => Kind::TooMany,
        Refusal::BatchTooLong => Kind::BatchTooLong,
        Refusal::Withdrawn { .. } => Kind::Withdrawn,
        Refusal::AlreadyExists { .. } => Kind::AlreadyExists,
        Refusal::NotFound { .. } => Kind::NotFound,
        Refusal::Retired { .. } => Kind::Retired,
        Refusal::Immutable { .. } => Kind::Immutable,
        Refusal::Erased { .. } => Kind::Erased,
        Refusal::VersionMismatch { .. } => Kind::VersionMismatch,
        Refusal::RequestReused { .. } => Kind::RequestReused,
        Refusal::Delegated { .. } => Kind::Delegated,
        Refusal::NotResponsible { .. } => Kind::NotResponsible,
        Refusal::SaidAlready { .. } => Kind::SaidAlready,
        Refusal::TryLater => Kind::TryLater,
        Refusal::Unavailable { .. } => Kind::Unavailable,
        Refusal::Mirror { .. } => Kind::Mirror,
        Refusal::Denied { .. } => Kind::Denied,
        Refusal::Internal { .. } => Kind::Internal,
    }
}

/// The outcome of a refusal: by its kind, or, from an older node that gives none, by its code. `None` if neither is
/// known to this version.
pub fn outcome_of_refusal(refusal: &pb::Refusal) -> Option<Outcome> {
    use pb::refusal::Kind;
    Some(match refusal.kind() {
        Kind::Invalid | Kind::Unreadable | Kind::TooMany | Kind::BatchTooLong => Outcome::Invalid,
        Kind::AlreadyExists => Outcome::AlreadyExists,
        Kind::NotFound => Outcome::NotFound,
        Kind::Retired
        | Kind::Immutable
        | Kind::Erased
        | Kind::VersionMismatch
        | Kind::SaidAlready
        | Kind::Withdrawn
        | Kind::RequestReused => Outcome::FailedPrecondition,
        Kind::Delegated | Kind::Mirror => Outcome::Delegated,
        Kind::NotResponsible => Outcome::NotResponsible,
        Kind::TryLater => Outcome::TryLater,
        Kind::Unavailable => Outcome::Unavailable,
        Kind::Denied => Outcome::Denied,
        Kind::Internal => Outcome::Internal,
        // A refusal is never a success.
        Kind::Unspecified => {
            return Outcome::of_grpc_code(refusal.code).filter(|outcome| *outcome != Outcome::Success);
        }
    })
}

/// The result of one command as a message; see [`receipt_to_pb`].
pub fn result_to_pb(result: Result<Receipt, Refusal>, checkpoint_before: &str) -> pb::ApplyResult {
    let result = match result {
        Ok(receipt) => pb::apply_result::Result::Receipt(receipt_to_pb(receipt, checkpoint_before)),
        Err(refusal) => pb::apply_result::Result::Refusal(refusal_to_pb(&refusal)),
    };
    pb::ApplyResult { result: Some(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Existing;

    /// One refusal of every kind.
    fn refusals() -> Vec<Refusal> {
        let (identifier, reason) = (String::new, String::new);
        let existing = Existing { version: 1, ledger_index: 0, same_content: true };
        vec![
            Refusal::Invalid { identifier: identifier(), reason: reason() },
            Refusal::Unreadable { reason: reason() },
            Refusal::TooMany { count: 1 },
            Refusal::BatchTooLong,
            Refusal::Withdrawn { number: 1, reason: reason() },
            Refusal::AlreadyExists { identifier: identifier(), existing },
            Refusal::NotFound { identifier: identifier() },
            Refusal::Retired { identifier: identifier(), ledger_index: 0 },
            Refusal::Immutable { identifier: identifier(), ledger_index: 0 },
            Refusal::Erased { identifier: identifier(), ledger_index: 0 },
            Refusal::VersionMismatch { identifier: identifier(), expected: 1, found: 2 },
            Refusal::RequestReused { identifier: identifier(), ledger_index: 0 },
            Refusal::Delegated { identifier: identifier(), prefix: String::new(), sites: String::new() },
            Refusal::NotResponsible { identifier: identifier() },
            Refusal::SaidAlready { prefix: String::new(), version: 1 },
            Refusal::TryLater,
            Refusal::Unavailable { reason: reason() },
            Refusal::Mirror { primary: String::new() },
            Refusal::Denied { reason: reason() },
            Refusal::Internal { what: String::new() },
        ]
    }

    #[test]
    fn a_kind_says_what_a_code_leaves_open() {
        let mut kinds = std::collections::BTreeSet::new();
        for refusal in refusals() {
            let message = refusal_to_pb(&refusal);
            assert_eq!(outcome_of_refusal(&message), Some(Outcome::from(&refusal)), "{refusal:?}");
            assert!(kinds.insert(message.kind), "{refusal:?}");
        }
        // Every kind but the one that stands for none.
        assert!(kinds.into_iter().eq(1..=20) && pb::refusal::Kind::try_from(21).is_err());
    }

    #[test]
    fn the_code_counts_where_no_kind_is_known() {
        for (kind, code, outcome) in [
            (0, 8, Some(Outcome::TryLater)),
            (0, 14, Some(Outcome::Unavailable)),
            (0, 9, Some(Outcome::FailedPrecondition)),
            // Of a node of later.
            (999, 6, Some(Outcome::AlreadyExists)),
            (0, 0, None),
            (0, 2, None),
        ] {
            assert_eq!(outcome_of_refusal(&pb::Refusal { code, kind, ..Default::default() }), outcome, "{kind} {code}");
        }
    }
}
