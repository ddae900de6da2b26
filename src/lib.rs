//! Touchmark.

pub mod cache;
pub mod codec;
pub mod id;
pub mod ledger;
pub mod protocol;
pub mod record;
pub mod registry;
pub mod resolver;
pub mod server;
pub mod store;
