//! Codecs without sockets: bytes to queries and commands, answers and receipts to bytes.
//!
//! A protocol file decodes, calls nothing, encodes; it holds no policy. One table spells every outcome in every
//! protocol ([`outcome`]).

pub mod csv;
pub mod dns;
pub mod grpc;
pub mod json;
pub mod outcome;
pub mod replica;
