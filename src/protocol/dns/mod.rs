//! DNS: from the bytes of a request to the bytes of its response. No sockets; those belong to `server`.
//!
//! ```text
//! bytes -- Request -- Responder --(hit)---- StampedCache --------------------------+-- Plan -- writing -- bytes
//!                         +------(miss)--- Authority -- id::dns_name -- resolver --+
//!                                              +------- delegation -- prefixes ----+
//!                                              +------- walking --- answers of others
//! ```
//!
//! The node has one [`Zone`], and everything in it follows from what is registered, homed and delegated:
//!
//! | name | answers |
//! |---|---|
//! | the zone | SOA, NS; negative answers carry the SOA (RFC 2308) |
//! | `ns.` + the zone | the addresses of the node, where it listens on particular ones; so NS and MNAME resolve |
//! | `192-0-2-1.ns.` + the zone | that address, if the node has it or delegates to it over DNS |
//! | the name of an identifier (`id::dns_name`) | TXT, NAPTR, URI, TYPE65280 |
//! | `ors-dummy.` + the name of an OID (X.672) | NAPTR only |
//! | the name of a prefix that is homed here | as the zone: an apex of its own; NS only if the node has particular addresses |
//! | the name of a delegated prefix, and all below it | a referral (RFC 1034 section 4.3.2); at the name itself DS and TYPE65281 |
//! | a name with only names below it | no data: it exists (RFC 8020) |
//! | with homed prefixes, names below none of them | refused: not responsible |
//!
//! [`delegation`] decides who answers for a name: the longest prefix counts. A delegation without a site that is asked
//! over DNS cannot be followed: the zone above says with authority that its names have no data, and the extended error
//! 20 says "delegated". A node that does not answer for every identifier refuses a name with an unknown hash: the hash
//! does not tell the identifier. On a node that walks for its clients
//! ([`Desk::walks_for`](crate::resolver::Desk::walks_for)), a query with RD for the name of an identifier gets the
//! answer of a recursive walk in place of a referral or a refusal.
//!
//! * **TXT**: a record for each value: the string `<index> <type>`, then the data in strings of 255 octets; the data
//!   may be any octets.
//! * **NAPTR** (RFC 3403): a record for each `URL` and `SVC:<service>` value: order 100, the index as preference, flags
//!   `u`, the service (of a `URL`: `EPC+html`), `!^.*$!<url>!`. One whose expression passes 255 octets is left out.
//! * **URI** (RFC 7553): the same values at any length: the index as priority, weight 0, the target as it is.
//! * **TYPE65280** (private use, RFC 6895 section 3.1): one record, the public record as the protobuf message
//!   `touchmark.v1.Record`.
//! * **TYPE65281** (private use): the state of a delegated prefix in the ledger, as the protobuf message
//!   `touchmark.v1.PrefixState`, with the ports, protocols and keys that NS records cannot have. A referral carries
//!   the record in the additional section for queries for a type of ours.
//! * **ANY**: one HINFO record (RFC 8482 section 4.2), for any existing name.
//!
//! All records of a set have the shortest TTL among their values, for a set has one TTL (RFC 2181 section 5.2). A
//! response has to fit a message of 65,535 octets: records that do not fit are left out, and the extended error "other"
//! (RFC 8914 section 4.1) says so; gRPC carries everything. Owner names are spelled as in the question, in any mix of
//! cases.
//!
//! Outside: classes other than IN and CHAOS, zone transfers and other zones are refused. The names and codes of
//! outcomes stand in [`super::outcome`]. The codec is our own ([`wire`], [`request`], `response`, [`answer`]): every
//! datagram passes through it, and a library that builds a tree of names and records for each of them takes several
//! times as long.

mod admission;
pub mod answer;
mod apex;
mod authority;
mod cached;
pub mod cookie;
mod delegation;
pub mod dnssec;
mod exchange;
mod lookup;
mod name_server;
mod options;
mod plan;
mod rdata;
mod records;
mod referral;
pub mod request;
mod responder;
mod response;
mod signing;
mod soa;
mod topics;
mod walking;
pub mod wire;
mod writing;
mod zone;

pub use exchange::{Allowance, Client, Responded, Summary, Transport};
pub use options::{IDENTITY_OCTETS_MAX, ResponderOptions};
pub use rdata::URL_SERVICE;
pub use responder::Responder;
pub use walking::WalkFailure;
pub use wire::{MESSAGE_OCTETS_MAX, UDP_PAYLOAD_OCTETS_MAX, kind, rcode};
pub use zone::{ZONE_OCTETS_MAX, Zone, ZoneError, labels as zone_labels};

#[cfg(test)]
pub(crate) mod tests;
