//! What a node does, seen from outside: one binary, a module per subject.

mod idempotency;
mod refusals;
mod support;
