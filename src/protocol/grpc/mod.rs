//! The gRPC messages, and their conversion to and from the cores' types.
//!
//! [`pb`] is generated from `proto/`. Requests are checked while they are converted: the result obeys the rules of `id`
//! and `record`, or is a [`Refusal`](crate::registry::Refusal) with the reason. Answers leave as [`Encoded`] messages,
//! encoded once.

mod commands;
mod delegation;
mod from_pb;
mod lookup;
mod packed;
mod proofs;
mod recursion;
mod to_pb;
mod trace;
mod wire;

pub use commands::{CommandBatch, EdgeParts, EventParts, FlowParts, ValueParts};
pub use delegation::{DelegationFault, delegation_from_pb, delegation_to_pb, prefix_command, prefix_to_pb};
use from_pb::request_id;
pub use from_pb::{command, decode_command, record_from_pb, values_from_pb};
pub use lookup::{lookup_from_pb, lookup_kind, lookup_kind_to_pb, lookup_to_pb};
pub use packed::{EncodedAnswer, EncodedAnswers};
pub use proofs::{path_from_pb, proof_from_pb};
pub use recursion::{encode_failed, encode_resolved, encode_traced, failed_to_pb};
pub use to_pb::{
    edge_to_pb, fed_to_pb, history_to_pb, outcome_of_refusal, path_to_pb, proof_to_pb, proofs_to_pb, receipt_to_pb,
    record_to_pb, refusal_to_pb, result_to_pb, shown_to_pb, value_to_pb,
};
pub use trace::{recall_request, recall_step_to_pb, trace_request, trace_step_to_pb};
use wire::encode as whole_answer;
pub use wire::{Encoded, EncodedCommands, answer_to_pb, encode_answer, encode_invalid};

use crate::resolver::TraceLimits;

/// Messages and clients, generated from `proto/`.
pub mod pb {
    #![allow(missing_docs, clippy::all, clippy::missing_errors_doc)]
    include!(concat!(env!("OUT_DIR"), "/pb/touchmark.v1.rs"));
}

/// Services, generated from `proto/`.
pub mod services {
    #![allow(missing_docs, clippy::all, clippy::missing_errors_doc)]
    include!(concat!(env!("OUT_DIR"), "/wire/touchmark.v1.rs"));
}

/// The compiled definitions, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/touchmark.bin"));

/// Maximum number of identifiers in one `ResolveBatch`.
pub const RESOLVE_BATCH_MAX: usize = 1_000;
/// Maximum number of versions in one page of a history.
pub const HISTORY_LIMIT_MAX: u32 = 1_000;
/// Number of versions in a page of a history if the request gives none.
pub const HISTORY_LIMIT_DEFAULT: u32 = 50;
/// Maximum number of nodes in a trace.
pub const TRACE_NODES_MAX: usize = TraceLimits::NODES_MAX as usize;
/// Maximum number of edges in a trace.
pub const TRACE_EDGES_MAX: usize = TraceLimits::EDGES_MAX;
/// Maximum number of prefixes in one page.
pub const PREFIXES_LIMIT_MAX: u32 = 1_000;
/// Maximum length of a request that resolves, in bytes.
pub const RESOLVE_REQUEST_BYTES_MAX: usize = 4 << 20;
/// Maximum length of a request that writes, in bytes.
pub const APPLY_REQUEST_BYTES_MAX: usize = 16 << 20;
/// Maximum length of a reply, in bytes.
pub const REPLY_BYTES_MAX: usize = 16 << 20;
/// Maximum number of calls at once on one connection.
pub const CALLS_PER_CONNECTION_MAX: u32 = 256;
