//! Listeners: sockets, admission and limits. Each decodes with `protocol`, calls a core, and encodes.

pub mod dns;
pub mod grpc;
pub mod http;
mod peers;
