//! Outbound connections: to a node over gRPC ([`Client`]) and over DNS ([`dns`]), to a log ([`TileClient`]) and to a witness
//! ([`witness`]) over HTTP, and to the primary of a mirror ([`replica`]).
//!
//! The first two speak in messages of `protocol::grpc::pb`; which library carries them shows nowhere.

pub mod dns;
mod grpc;
pub mod replica;
mod tiles;
mod upstream;
pub mod witness;

pub use grpc::{Client, Exported, Incoming, Watched};
pub use tiles::TileClient;
pub use upstream::NodeUpstream;

/// Why a call gave no result, named for what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be one of a node.
    #[error("`{server}` is not the address of a node; give a host and a port, such as 127.0.0.1:50051: {reason}")]
    Address {
        /// What was given.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers, or no longer. What was under way may or may not have been carried out; asking again is safe.
    #[error("cannot reach a node at {server} ({reason}); is a node running? start one with `touchmark serve`")]
    Unreachable {
        /// The address.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The node answered, and will not do it.
    #[error("{message}")]
    Refused {
        /// As in `google.rpc.Code`.
        code: i32,
        /// The node's sentence.
        message: String,
    },
    /// A log over HTTP gave no answer.
    #[error("cannot read {url}: {reason}")]
    Log {
        /// What was asked for.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// What came back is not what a node says.
    #[error("what answers at {server} does not speak as a touchmark node: {reason}")]
    Protocol {
        /// The address.
        server: String,
        /// What was wrong.
        reason: String,
    },
}
