//! Listeners: sockets, admission and limits. Each decodes with `protocol`, calls a core, and encodes.

pub mod dns;
pub mod grpc;
pub mod http;
pub mod network;
mod peers;
pub mod recursive;
pub mod tls;
