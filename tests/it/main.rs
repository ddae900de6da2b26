//! Behaviour of a node, seen from outside: one binary, a module for each subject. Shared code is in `harness`.
//!
//! | module | proves |
//! |---|---|
//! | `atomic` | an atomic batch is carried out as a whole or not at all, and may be sent again |
//! | `audit` | `fsck` finds a flipped bit anywhere; a start repairs what can be derived from the ledger and refuses the rest |
//! | `audit_log` | `touchmark audit` passes a sound log, ours and foreign, from a directory and over HTTP, and names every manipulation |
//! | `backup` | a copy of a running node's directory is a backup |
//! | `command_line` | the real program: exit codes, output, signals, interrupted imports |
//! | `crash` | kill -9 of the real binary under load, and a fault at any of its writes, lose nothing that was acknowledged |
//! | `crowd` | every listener answers beside ten times as many idle connections as there is room for |
//! | `dig` | the DNS as `dig` and `kdig` see it |
//! | `dns_cookies` | DNS cookies, valid, wrong and malformed |
//! | `dns_fuzz` | arbitrary input over UDP and TCP: an answer or silence, and the node goes on |
//! | `dns_rules` | answers over DNS by RFC: sections, codes, TTLs, lengths, options on request |
//! | `dns_tree` | referrals, zones of homed prefixes and the chain of trust over DNS, for our client, dig and delv |
//! | `dns_tcp` | DNS over TCP: many questions at once, split anywhere, and idle connections |
//! | `dnssec` | `delv` validates the signed zone through a roll; `kdig` over TLS, HTTPS and QUIC |
//! | `documents` | README and docs/ are true: links, commands, options, log lines, limits |
//! | `erase` | erased values are gone from every file, earlier proofs stay valid |
//! | `feed` | every change comes once and in order, over gRPC and HTTP, to every client |
//! | `full_disk` | on a full disk writes are refused, reads go on, nothing is lost; with room, writes go on |
//! | `history` | every version of a record, by index and by time, and the differences between versions |
//! | `http` | health, metrics, records over HTTP; tiles and proofs checked by a client from other hands |
//! | `idempotency` | receipts and retries, and the effects of each kind of change |
//! | `mirror` | a mirror follows everything, serves nothing altered, outlives its primary and takes its place; an edge node keeps its prefixes |
//! | `model` | random commands, restarts and crashes against a `BTreeMap` |
//! | `principals` | ledgers with principals of future kinds are served, mirrored, proven, audited and checked |
//! | `proofs` | proofs of entries and of growth, over the real program: valid proofs verify, and nothing else |
//! | `provenance_model` | random commands against a plain model of all entries: latest, as-of, absence, traces, proofs, the feed, erasures |
//! | `recursion_sim` | recursion over a tree in which everything fails and changes: nothing false is verified, everything heals |
//! | `refusals` | every bad command is refused with the right status and message, over three ways of writing |
//! | `rfc8906` | the checks of RFC 8906, section by section |
//! | `scenario` | the same steps have the same outcome over every protocol |
//! | `shared_data` | all of the real input is accepted, and resolves over gRPC and DNS to its values |
//! | `slow_disk` | a disk that hangs delays no cached answer, over every protocol |
//! | `tidy` | the sources keep their shape |
//! | `trace` | traces both ways, at any moment, within every bound; events; recalls |
//! | `vindex` | lookups in the verifiable index verify; the output log survives kills |
//! | `visibility` | no answer is older than the last receipt, over every way of asking |
//! | `witness` | a witness keeps its promises through crashes; an old copy of a directory is not continued |

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod atomic;
mod audit;
mod audit_log;
mod backup;
mod command_line;
mod crash;
mod crowd;
mod delegation;
mod dig;
mod dns_cookies;
mod dns_fuzz;
mod dns_rules;
mod dns_tcp;
mod dns_tree;
mod dnssec;
mod documents;
mod erase;
mod feed;
mod full_disk;
mod harness;
mod history;
mod http;
mod idempotency;
mod mirror;
mod model;
mod principals;
mod proofs;
mod provenance_model;
mod recursion_sim;
mod refusals;
mod rfc8906;
mod scenario;
mod shared_data;
mod slow_disk;
mod tidy;
mod trace;
mod tree;
mod vindex;
mod visibility;
mod witness;

use harness::{dns_support, http_support, program, required, support, tree_support};
