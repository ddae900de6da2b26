//! Outbound connections: to a node over gRPC ([`Client`]) and over DNS ([`dns`]), to a log ([`TileClient`]) and to a
//! witness ([`witness`]) over HTTP, and to the primary of a mirror ([`replica`]).
//!
//! The first two exchange messages of `protocol::grpc::pb`; the libraries that carry them are private to this module.

pub mod dns;
mod grpc;
pub mod replica;
mod tiles;
mod upstream;
pub mod witness;

pub use grpc::{Client, Exported, Incoming, Watched};
pub use tiles::TileClient;
pub use upstream::NodeUpstream;

/// Failure of a call, with a variant for each reaction of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is not one of a node.
    #[error("`{server}` is not the address of a node; give a host and a port, such as 127.0.0.1:50051: {reason}")]
    Address {
        /// The address that was given.
        server: String,
        /// The fault of the address.
        reason: String,
    },
    /// The node cannot be reached, or the connection broke. A call in flight may or may not have been carried out; a
    /// retry is safe.
    #[error("cannot reach a node at {server} ({reason}); is a node running? start one with `touchmark serve`")]
    Unreachable {
        /// The address.
        server: String,
        /// Reason given by the system.
        reason: String,
    },
    /// The node refused the call.
    #[error("{message}")]
    Refused {
        /// Status code, as in `google.rpc.Code`.
        code: i32,
        /// The node's message.
        message: String,
    },
    /// The failed request.
    #[error("cannot read {url}: {reason}")]
    Log {
        /// The URL of the request.
        url: String,
        /// Cause of the failure.
        reason: String,
    },
    /// The reply is not one of a node.
    #[error("what answers at {server} does not speak as a touchmark node: {reason}")]
    Protocol {
        /// The address.
        server: String,
        /// The fault of the reply.
        reason: String,
    },
}
