//! What a node does, seen from outside: one binary, a module per subject. What they share stands in `harness`.
//!
//! | module | proves |
//! |---|---|
//! | `atomic` | a batch is carried out whole or not at all, and may be sent again |
//! | `audit` | `fsck` finds a flipped bit anywhere; a start mends what follows from the ledger and refuses the rest |
//! | `audit_log` | `touchmark audit` passes a sound log, ours and foreign, from a directory and over HTTP, and names what was tampered with |
//! | `backup` | a copy of a running node's directory is a backup |
//! | `command_line` | the real program: exit codes, what is printed, signals, imports that were broken off |
//! | `crash` | kill -9 of the real binary under load, and a fault at any of its writes, lose nothing that was acknowledged |
//! | `crowd` | beside ten times as many silent connections as there is room for, every listener answers |
//! | `dig` | what `dig` and `kdig` say about the DNS |
//! | `dns_cookies` | DNS cookies: who gets which, and what comes of wrong ones |
//! | `dns_fuzz` | whatever comes over UDP and TCP: an answer or silence, and the node goes on |
//! | `dns_rules` | answers over DNS by RFC: sections, codes, lifetimes, lengths, what is said on request |
//! | `dns_tree` | referrals, zones of homed prefixes and the chain of trust over DNS, for our client, dig and delv |
//! | `dns_tcp` | DNS over TCP: many questions at once, in any pieces, and connections that say nothing |
//! | `dnssec` | `delv` validates the signed zone through a roll; `kdig` over TLS, HTTPS and QUIC |
//! | `documents` | what README and docs/ say is so: links, commands, options, log lines, limits |
//! | `erase` | what was erased is gone from every file, what was proven stays proven |
//! | `feed` | every change comes once and in order, over gRPC and HTTP, however it is taken |
//! | `full_disk` | on a full disk writes are refused, reads go on, nothing is lost; with room, writes go on |
//! | `history` | every version of a record can be asked for, by index and by time, and what each change did |
//! | `http` | health, metrics, records over HTTP; tiles and proofs checked by a client from other hands |
//! | `idempotency` | what a receipt promises, and what each change does to a record |
//! | `mirror` | a mirror follows everything, serves nothing altered, outlives its primary and takes its place; an edge keeps its prefixes |
//! | `model` | random commands, restarts and crashes against a `BTreeMap` |
//! | `principals` | ledgers whose entries name makers of kinds to come are served, mirrored, proven, audited and checked |
//! | `proofs` | proofs of entries and of growth, over the real program: what holds, and that nothing else does |
//! | `provenance_model` | random commands against a plain model of all entries: latest, as-of, absence, traces, proofs, the feed, erasures |
//! | `recursion_sim` | recursion over a tree where everything fails and changes: nothing false is verified, everything heals |
//! | `refusals` | every bad command is refused with the right status and words, over three ways of writing |
//! | `rfc8906` | the checks of RFC 8906, section by section |
//! | `scenario` | the same steps come to the same over every protocol |
//! | `shared_data` | all of the real input is taken, and resolves over gRPC and DNS to what it says |
//! | `slow_disk` | a disk that hangs delays nobody whose answer lies ready, over every protocol |
//! | `tidy` | the sources keep their shape |
//! | `trace` | what edges lead to, both ways, at any moment, within every bound; events; recalls |
//! | `vindex` | lookups in the verifiable index prove themselves; the output log survives kills |
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
