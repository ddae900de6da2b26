//! Listeners: sockets, admission and limits. Each decodes with `protocol`, calls a core, and encodes.

mod accept;
pub mod activity;
pub mod admission;
pub mod descriptors;
pub mod dns;
pub mod frontend;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod network;
pub mod places;
pub mod recursive;
pub mod tls;
