//! Touchmark.

pub mod app;
pub mod cache;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod id;
pub mod ledger;
pub mod protocol;
pub mod record;
pub mod registry;
pub mod resolver;
pub mod server;
pub mod store;
