//! Touchmark.

pub mod codec;
pub mod id;
pub mod ledger;
pub mod record;
pub mod store;
