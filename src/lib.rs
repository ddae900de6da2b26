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
//!                           +-- store <-+  vindex  where is what: a sled index over ledger positions;
//!                                                which entries are all there are, with proof
//!          tlog, entry, record, id, codec       pure: no I/O
//! ```
//!
//! # The way of a question
//!
//! A listener ([`server`]) reads the question, [`protocol`] decodes it to an [`id::Identifier`], and the desk ([`resolver::Desk`]),
//! which is all that a front end holds of the read core, decides whether this node answers, refers to others, or walks for the
//! caller. A cache hit is answered at once ([`cache`]); on a miss [`store::Records`] asks the index ([`store::Store`]) for a position
//! and reads the entry from the [`ledger`]: in passing where both are in memory, else in the one bounded read pool, so that no
//! thread of the runtime waits for a disk. [`rights::view`] decides what is seen of the record. The answer goes back the same way;
//! its encoded form stays with it in the cache.
//!
//! Over DNS most answers lie ready for the wire ([`protocol::dns::Responder`]): the loop that took a datagram
//! ([`server::datagram`]) copies one behind the question and sends it. What does not lie ready it reads itself as far as index and
//! ledger are in memory; only what may wait for a disk goes the whole way on another thread.
//!
//! Questions about the past ([`resolver::Desk::history`], [`resolver::Moment`]) find older versions in the index, and times by
//! halving the ledger. Traces and recalls ([`resolver::Desk::start_trace`]) follow edges, which the index knows from both
//! ends and with every state that they had.
//!
//! # The way of a change
//!
//! A listener reads it, [`protocol`] decodes and checks it to a [`registry::Command`], [`registry::Registry::prepare`] computes
//! what needs no order (salts, commitments), the sequencer thread gives it its place in a batch, the [`ledger`] writes and
//! fsyncs the batch and signs the tree, the index takes it in, cached answers are outdated, and the receipt goes out. What an entry
//! changes in the index is derived from its stored bytes, in one place ([`registry::apply`]), by the sequencer, by mirrors, and by
//! whoever replays the ledger. Commands that are sent together are carried out each on its own, or all or none: a batch of the
//! ledger can be taken back to a mark before it is committed.
//!
//! An erasure goes the same way, alone in its batch, and between the index and the receipt what it destroys is overwritten in the
//! ledger's segments; what is left of those entries lies beside them, and every hash stays.
//!
//! # The way of an auditor
//!
//! Over HTTP the ledger is a C2SP log: its newest checkpoint, tiles of hashes, bundles of entries ([`ledger::Ledger::tile`]).
//! Who wants to know of every change takes a feed ([`resolver::feed`]), which reads the ledger page by page, as fast as its
//! client takes it, and is told by the sequencer how far it may go.
//!
//! # The way of a walk
//!
//! What the ledger says of prefixes lies in memory ([`store::Prefixes`]): the longest one that covers an identifier decides whether
//! the node answers, refers to others, or is not responsible. A recursive node follows referrals for its clients
//! ([`resolver::recursion`]): from the deepest delegation that it knows it asks one site after the other through
//! [`resolver::recursion::Upstream`], which [`client`] implements over gRPC and DNS, has what comes back verified under the key of the
//! delegation when that is wanted, and keeps it. Over DNS the loop answers what is kept, and a task walks for the rest.
//!
//! # The way of a mirror
//!
//! A mirror has no sequencer and no key. It takes the stream of its primary, derives every leaf hash again from values and salts, and
//! writes a batch only under a checkpoint of exactly its entries that the primary signed ([`mirror`]); then index, caches and feeds
//! learn of it as of any batch. It answers everything, refuses writes, and says how far behind it is. An edge node keeps of most entries
//! the hash alone.
//!
//! # The way of a proof
//!
//! The publisher ([`publish`]) takes the newest checkpoint once a second, has witnesses cosign it, and publishes it
//! ([`ledger::Publication`]). [`resolver::Desk::prove`] gives an entry's text, what opens the commitments to its values, and the
//! path to a published checkpoint; [`proof::verify()`] checks that with a key or a policy alone. At start the witnesses are asked
//! before anything is signed, so that an old copy of the data is not continued.
//!
//! # What always holds
//!
//! 1. Nothing is acknowledged before it is durable and in the signed Merkle tree.
//! 2. The ledger is the truth; the index is disposable and made again from it.
//! 3. An answer is never older than the last change that this node acknowledged, over every protocol.
//! 4. No checkpoint is ever signed that contradicts an earlier one.
//! 5. Outcomes (not found, retired, erased, delegated, denied) are values; failures are errors.
//! 6. Everything is bounded, and every bound has a name with its unit.
//! 7. Nothing panics on input from outside.
//!
//! # Where things live
//!
//! | module | is | may use |
//! |---|---|---|
//! | [`network`] | ranges of addresses, such as `192.0.2.0/24` | `id` |
//! | [`codec`] | varints and length-prefixed bytes of the stored formats | – |
//! | [`id`] | identifiers of four schemes, their ordered keys, their DNS names | – |
//! | [`record`] | records, values, edges, and their stored form | `id` |
//! | [`tlog`] | transparency logs as C2SP has them: hashes, Merkle proofs, signed notes, checkpoints, tiles, policies, witness messages; no I/O | – |
//! | [`entry`] | what the log says: the text of an entry, its stored form, what is left of it when it is erased; no I/O | `record`, `tlog` |
//! | [`proof`] | what others check an entry with: proof files with openings; no I/O | `record`, `tlog`, `entry` |
//! | [`ledger`] | the files of the log: segments, tree, signed head, data directory; append, read, recover, audit | `tlog`, `entry` |
//! | [`follow`] | going through the ledger from an index on, page by page, and how far that may go | `ledger` |
//! | [`witness`] | cosigns the checkpoints of other logs, and remembers what it promised | `tlog`, `ledger` |
//! | [`store`] | the index contract, the sled index and its seal, the reference model, whole records | `entry`, `ledger` |
//! | [`vindex`] | the verifiable index: map, proofs, output log, lookups | `tlog`, `entry`, `ledger`, `follow` |
//! | [`audit`] | a whole log and its index, computed again from the entries | `entry`, `ledger`, `vindex` |
//! | [`cache`] | sharded LRU with a byte budget and single flight; knows nothing of ours | – |
//! | [`rights`] | who may read, write, mirror, and have walks made; no I/O | `network`, `record`, `entry` |
//! | [`resolver`] | the read core: the desk, recursion | `id`, `record`, `entry`, `ledger`, `follow`, `proof`, `store`, `vindex`, `cache`, `network`, `rights` |
//! | [`registry`] | the write core | `codec`, `id`, `record`, `entry`, `ledger`, `store` |
//! | [`protocol`] | codecs without sockets: gRPC, DNS, JSON, and the one table of outcomes | the cores' types, `cache`, `proof`, `rights`, `vindex` |
//! | [`client`] | outbound connections; asks other nodes for the read core | `protocol`, `tlog`, `record`, `resolver` |
//! | [`publish`] | which checkpoints the world sees, cosigned by whom; the guard at start | `tlog`, `ledger`, `client` |
//! | [`mirror`] | follows another node's ledger: what came is verified, then written; how far behind it is; promotion | `client`, `protocol`, `registry`, `store`, `entry`, `ledger` |
//! | [`server`] | listeners: gRPC, DNS, HTTP | `network`, `record`, `protocol`, the cores, `rights`, `follow`, `vindex`, `witness`, `mirror` |
//! | [`config`] | defaults + file + environment + arguments -> `Config`; what fits the machine | `id`, `network`, `tlog` |
//! | [`app`] | `Config` -> running node; `fsck`, `rebuild`, `audit`, `promote` | everything below, `client` |
//! | [`cli`] | the subcommands | `app`, `client`, `proof`, `vindex` |
//!
//! `tests/it/tidy.rs` keeps this table.
//!
//! # Vocabulary
//!
//! identifier, scheme, prefix, suffix, label; record, value, status; ledger, entry, index, checkpoint, inclusion proof, consistency
//! proof, opening, publication, witness, cosignature, policy; delegation, site, endpoint, referral, root, walk, hop; primary, mirror, edge
//! node, lag, promotion; edge (made-of, derived-from, packed-in, transferred-to, replaces), event, trace, recall; command, receipt,
//! refusal; question, answer, outcome.

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
