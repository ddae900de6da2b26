//! The harness: everything that the test modules share; no tests.
//!
//! | module | gives |
//! |---|---|
//! | `support` | a node in this process, its gRPC clients, and commands in few words |
//! | `program` | the real program: a node in a process of its own, and commands run to their end |
//! | `dns_support` | DNS messages octet by octet, sockets to ask with, a node to ask |
//! | `http_support` | HTTP requests and server-sent events over plain TCP |
//! | `tree_support` | a tree of processes, and wires between them that can be cut |
//! | `required` | what a test needs and a machine may lack: it is skipped there, or fails where that is required |

pub mod dns_support;
pub mod http_support;
pub mod program;
pub mod required;
pub mod support;
pub mod tree_support;
