//! Listeners: sockets, admission and limits. Each decodes with `protocol`, calls a core, and encodes.
//!
//! ```text
//! connections:  accept -- places, admission -- tls -- dns | grpc | http     front ends, in a list (frontend)
//! datagrams:    datagram (batches, rate limits) -- dns
//! all of them:  metrics, descriptors (how many connections there may be)
//! ```
//!
//! Every front end takes its connections from [`accept`], so that the same bounds hold for all, and takes its handles
//! from [`frontend::Services`]. No front end uses another one.

mod accept;
pub mod activity;
pub mod admission;
mod clients;
pub mod datagram;
pub mod descriptors;
pub mod dns;
pub mod frontend;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod places;
pub mod tls;
