//! Touchmark: register industrial identifiers, keep every change in a signed ledger, resolve them at line rate.
//!
//! ```text
//!          UDP/TCP DNS        gRPC       HTTP
//!                  \           |         /
//!                   +------ server ------+        sockets, admission, limits
//!                              |
//!                          protocol               bytes <-> questions, answers, commands, receipts
//!                      ______/   \______
//!                resolver             registry    the two cores; neither knows the other
//!             question -> answer    command -> receipt
//!                |       \               |
//!              cache      \           ledger      the truth: append-only, hashed, signed, fsynced
//!              (LRU)       \           | \
//!                           +-- store <-+  vindex  store: an engine that finds entries, the local one by a sled index;
//!                                                vindex: proves that no entry of an identifier is left out
//!          tlog, entry, record, id, codec       pure: no I/O
//! ```
//!
//! # The path of a question
//!
//! A listener ([`server`]) reads the question, [`protocol`] decodes it to an [`id::Identifier`], and the desk
//! ([`resolver::Desk`]), the only part of the read core that front ends hold, decides whether this node answers, refers
//! to others, or walks for the caller. A cache hit is answered at once ([`cache`]). On a miss [`store::Records`] asks
//! the engine ([`store::Entries`]) for the newest entry, which the local engine finds by its index and reads from the
//! [`ledger`]: inline if both are in memory, otherwise in the one bounded read pool, so that no thread of the runtime
//! waits for a disk. [`rights::view`] decides which part of the record the caller sees. The answer goes back the same
//! way; it is cached packed, and encoded from the packed bytes.
//!
//! Over DNS most answers are cached in wire form ([`protocol::dns::Responder`]): the loop that receives datagrams
//! ([`server::datagram`]) appends one to the question and sends it. On a miss the loop itself reads index and ledger as
//! far as they are in memory; only a request that may wait for a disk goes to another thread.
//!
//! Questions about the past ([`resolver::Desk::history`], [`resolver::Moment`]) find older versions in the index, and
//! points in time by binary search in the ledger. Traces and recalls ([`resolver::Desk::start_trace`]) follow edges;
//! the index holds each edge from both ends, with all its past states.
//!
//! # The path of a change
//!
//! A listener reads the request, [`protocol`] decodes and checks it to a [`registry::Command`], and
//! [`registry::Registry::prepare`] computes the parts that need no order (salts, commitments). The sequencer thread
//! gives the command its place in a batch, the [`ledger`] writes and fsyncs the batch ([`ledger::Segments`]), signs the
//! tree and replaces its head ([`ledger::Head`]) on condition that nobody else did, the engine applies the batch, cached answers are
//! invalidated, and the receipt goes out. The index change of an entry is derived from the entry's stored bytes in one
//! place ([`registry::apply`]), for the sequencer, for mirrors, and for replay of the ledger. Commands sent together
//! are carried out one by one, or all or none: a ledger batch can be rolled back to a mark before it is committed.
//!
//! An erasure takes the same path, alone in its batch. Between index and receipt the erased data are overwritten in the
//! ledger's segments; the rest of the erased entries is stored beside the segments, and every hash stays.
//!
//! # The path of an audit
//!
//! Over HTTP the ledger is a C2SP log: its newest checkpoint, tiles of hashes, bundles of entries
//! ([`ledger::Ledger::tile`]). A client that follows every change opens a feed ([`resolver::feed`]), which reads the
//! ledger page by page at the client's pace, up to the end that the sequencer announces.
//!
//! # The path of a walk
//!
//! The prefixes of the ledger are held in memory ([`store::Prefixes`]): the longest prefix that covers an identifier
//! decides whether the node answers, refers to others, or is not responsible. A recursive node follows referrals for
//! its clients ([`resolver::recursion`]). From the deepest known delegation on it asks one site after the other through
//! [`resolver::recursion::Upstream`], which [`client`] implements over gRPC and DNS; on request it verifies responses
//! under the key of the delegation; and it caches them. Over DNS the loop answers cache hits, and a task walks for the
//! rest.
//!
//! # The path of a mirror
//!
//! A mirror has no sequencer and no key. It receives the stream of its primary, derives every leaf hash again from
//! values and salts, and writes a batch only under a checkpoint signed by the primary that covers exactly the entries
//! up to the end of that batch ([`mirror`]); index, caches and feeds then learn of the batch as of any other. A mirror
//! answers every question, refuses writes, and reports its lag. An edge node keeps of most entries the hash alone.
//!
//! # The path of a proof
//!
//! The publisher ([`publish`]) takes the newest checkpoint once a second, has witnesses cosign it, and publishes it
//! ([`ledger::Publication`]). [`resolver::Desk::prove`] returns an entry's text, the openings of the commitments to its
//! values, and the inclusion proof to a published checkpoint; [`proof::verify()`] checks all of it with a key or a
//! policy alone. At start the witnesses are asked before anything is signed, so that an old copy of the data is not
//! continued.
//!
//! # Invariants
//!
//! 1. Nothing is acknowledged before it is durable and in the signed Merkle tree.
//! 2. The ledger is the truth; the index is disposable and can be rebuilt from it.
//! 3. An answer is never older than the last change that this node acknowledged, over every protocol.
//! 4. No checkpoint is ever signed that contradicts an earlier one.
//! 5. Outcomes (not found, retired, erased, delegated, denied) are values; failures are errors.
//! 6. Everything is bounded, and every bound has a name with its unit.
//! 7. Nothing panics on input from outside.
//!
//! # Modules
//!
//! | module | is | may use |
//! |---|---|---|
//! | [`network`] | ranges of addresses, such as `192.0.2.0/24` | `id` |
//! | [`codec`] | varints and length-prefixed bytes of the stored formats | – |
//! | [`id`] | identifiers of four schemes, their ordered keys, their DNS names | – |
//! | [`record`] | records, values, edges, and their stored form | `id` |
//! | [`tlog`] | transparency logs as C2SP has them: hashes, Merkle proofs, signed notes, checkpoints, tiles, policies, witness messages; no I/O | – |
//! | [`entry`] | the text of a log entry, its stored form, and its form after erasure; no I/O | `record`, `tlog` |
//! | [`proof`] | proof files with openings, checked without the node; no I/O | `record`, `tlog`, `entry` |
//! | [`ledger`] | the log: append, read, prove; the contracts of its segments and its head, and the files that keep them; recover, audit | `tlog`, `entry` |
//! | [`follow`] | readers of the ledger from an index on, page by page, and their limit | `ledger` |
//! | [`witness`] | cosigns the checkpoints of other logs, and stores each cosigned one | `tlog`, `ledger` |
//! | [`store`] | the contract of engines, the local engine with its sled index and seal, the reference model, whole records | `entry`, `ledger` |
//! | [`vindex`] | the verifiable index: map, proofs, output log, lookups | `tlog`, `entry`, `ledger`, `follow` |
//! | [`audit`] | a whole log and its index, computed again from the entries | `entry`, `ledger`, `vindex` |
//! | [`cache`] | sharded LRU with a byte budget and single flight; generic | – |
//! | [`rights`] | rights to read, write, mirror, and have walks made; no I/O | `network`, `record`, `entry` |
//! | [`resolver`] | the read core: the desk, recursion | `codec`, `id`, `record`, `entry`, `ledger`, `follow`, `proof`, `store`, `vindex`, `cache`, `network`, `rights` |
//! | [`registry`] | the write core | `codec`, `id`, `record`, `entry`, `ledger`, `store` |
//! | [`protocol`] | codecs without sockets: gRPC, DNS, JSON, and the one table of outcomes | the cores' types, `cache`, `proof`, `rights`, `vindex` |
//! | [`client`] | outbound connections; asks other nodes for the read core | `protocol`, `tlog`, `record`, `resolver` |
//! | [`publish`] | publication of checkpoints, with cosignatures; the guard at start | `tlog`, `ledger`, `client` |
//! | [`mirror`] | follows another node's ledger: verifies and writes batches; lag; promotion | `client`, `protocol`, `registry`, `store`, `entry`, `ledger` |
//! | [`server`] | listeners: gRPC, DNS, HTTP | `network`, `record`, `protocol`, the cores, `rights`, `follow`, `vindex`, `witness`, `mirror` |
//! | [`config`] | defaults + file + environment + arguments -> `Config`; sizes that fit the machine | `id`, `network`, `tlog` |
//! | [`app`] | `Config` -> running node; `fsck`, `rebuild`, `audit`, `promote` | everything below, `client` |
//! | [`cli`] | the subcommands | `app`, `client`, `proof`, `vindex` |
//!
//! `tests/it/tidy.rs` keeps this table.
//!
//! # Vocabulary
//!
//! identifier, scheme, prefix, suffix, label; record, value, status; ledger, entry, index, checkpoint, inclusion proof,
//! consistency proof, opening, publication, witness, cosignature, policy; delegation, site, endpoint, referral, root,
//! walk, hop; primary, mirror, edge node, lag, promotion; edge (made-of, derived-from, packed-in, transferred-to,
//! replaces), event, trace, recall; command, receipt, refusal; question, answer, outcome.

pub mod app;
pub mod audit;
pub mod cache;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod entry;
pub mod follow;
pub mod id;
pub mod ledger;
pub mod mirror;
pub mod network;
pub mod proof;
pub mod protocol;
pub mod publish;
pub mod record;
pub mod registry;
pub mod resolver;
pub mod rights;
pub mod server;
pub mod store;
pub mod tlog;
pub mod vindex;
pub mod witness;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../fuzz/targets.rs"]
pub mod fuzzing;
#[cfg(test)]
#[path = "../tests/it/harness/required.rs"]
mod required;
