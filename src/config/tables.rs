//! Declaration of every key of the configuration.
//!
//! The documentation of a key appears in `touchmark config print` and `docs/configuration.md`, which add the permitted
//! values. Names of environment variables follow from table and key (`TOUCHMARK_DNS_LISTEN`).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use toml::Value;

use super::{
    Auto, CACHE_BYTES_MAX, CACHE_BYTES_MIN, CACHES_BYTES_MIN, CONNECTIONS_PER_SOURCE_MAX, ConfigError, DNS_WORKERS_MAX,
    FirstProtocol, OVERLAY_ENTRIES, RATE_PER_SECOND, RATE_SLIP, RATE_WINDOW_SECONDS, STALE_SECONDS_MAX,
    SigningAlgorithm, Verify, WALK_MS, WITHOUT_COOKIE_OCTETS, WITNESSES_MAX, WitnessAddress,
    forms::{
        self, address, address_or_off, addresses, choice, directory, hosts, identity, log_key, log_url, networks,
        number, path, prefixes, switch, zone_name,
    },
    keys::{Key, Table, configuration, key, maybe},
    layers::Merged,
};
use crate::network::Network;

/// Networks of loopback addresses.
const LOOPBACK: &str = "127.0.0.0/8, ::1/128";

/// Form of the size of a cache.
fn cache_bytes() -> forms::Form<Auto<usize>> {
    number(CACHE_BYTES_MIN..=CACHE_BYTES_MAX, "bytes").or_auto()
}

configuration! {
    /// Configuration of a node.
    Config {
        /// The data directory: the ledger, its key and the index. A relative path starts at the working directory.
        data: PathBuf = directory(), default "touchmark-data", was "data", argument "--data";

        /// The DNS zone that the node answers for.
        zone: String = zone_name(), default "id.test.", was "zone", argument "--zone";

        /// The name of the ledger in its signed checkpoints (C2SP tlog-checkpoint), fixed when the data directory is
        /// created. If unset: the zone without its final dot, and `/ledger`.
        origin: String = forms::origin().or_empty(), example "id.test/ledger", was "origin";

        /// Filter for the log lines on standard error.
        log: String = forms::log(), default "info", was "log";
    }

    /// DNS: addresses, workers, limits of clients, signatures, encrypted transports.
    [dns] Dns {
        /// The addresses on which DNS listens, over UDP and TCP. For the Internet: `0.0.0.0:53, [::]:53`.
        listen: Vec<SocketAddr> = addresses(), default "127.0.0.1:5300", was "dns", argument "--dns";

        /// The addresses of the node in NS records, and those of the name `ns.` + the zone. If unset: the addresses of
        /// `listen` except `0.0.0.0` and `[::]`. A node that listens on those alone and has homed prefixes needs this
        /// key: without it no client finds the zones of the prefixes.
        public: Vec<IpAddr> = hosts().or_empty(), example "192.0.2.53, 2001:db8::53", was "dns_public";

        /// The number of threads that answer over UDP on each address; 0 is the same as "auto", one thread for every
        /// two cores. Each of these threads has a second one beside it, which reads from the disk.
        workers: Auto<usize> = forms::workers(DNS_WORKERS_MAX), default "auto", was "dns_workers";

        /// The name of the node for NSID (RFC 5001) and `id.server` (RFC 4892). If empty, the node has no name.
        identity: String = identity(), default "", was "dns_identity";

        /// The maximum number of answers per second over UDP of one kind (about one name, or that names do not exist)
        /// to a client network (/24, /56) without a valid DNS cookie; 0 for no limit. It protects networks whose
        /// addresses are forged.
        rate_per_second: u32 = number(RATE_PER_SECOND, "answers"), default 200, was "dns_rate_per_second";

        /// The maximum time for which a client network stays limited after it no longer exceeds the limit.
        rate_window_seconds: u32 = number(RATE_WINDOW_SECONDS, "seconds"), default 15, was "dns_rate_window_seconds";

        /// One in this many limited answers is sent truncated, so that a real client retries over TCP; the others are
        /// dropped. With 0 all limited answers are dropped.
        rate_slip: u8 = number(RATE_SLIP, "answers"), default 2, was "dns_rate_slip";

        /// The networks without rate limits over UDP, and without the limits of a client network on connections (gRPC
        /// and HTTP included), feeds and walks.
        rate_exempt: Vec<Network> = networks(), default LOOPBACK, was "dns_rate_exempt";

        /// The maximum length of an answer over UDP to a client without a valid DNS cookie. A longer answer is sent
        /// truncated, and the client asks again over TCP.
        without_cookie_octets_max: u16 = number(WITHOUT_COOKIE_OCTETS, "octets"),
            default u32::from(*WITHOUT_COOKIE_OCTETS.end()), was "dns_without_cookie_octets_max";

        /// The file with the secrets of DNS cookies (RFC 9018), for servers that share an address: one or two lines of
        /// 32 hexadecimal digits, the first of which makes new cookies. If unset: a secret that is made at every start.
        cookie_secrets: Option<PathBuf> = path().optional(), example "dns-cookie-secrets", was "dns_cookie_secrets";

        /// The maximum number of open connections of a client network, over TCP, TLS, HTTPS and QUIC together; 0 for no
        /// limit.
        connections_per_source_max: usize = number(0..=CONNECTIONS_PER_SOURCE_MAX, "connections"),
            default 64, was "dns_connections_per_source_max";

        /// Signs the zone (DNSSEC) with a key of this algorithm, which is made at the first start. The keys are kept in
        /// the data directory; `touchmark dnssec` shows and rolls them.
        dnssec: Option<SigningAlgorithm> = choice(SigningAlgorithm::CHOICES), default "off", was "dnssec", argument "--dnssec";

        /// The address for DNS over TLS (RFC 7858). If unset: not served.
        tls: Option<SocketAddr> = address().optional(), example "127.0.0.1:8853", was "dns_tls";

        /// The address for DNS over HTTPS (RFC 8484), path `/dns-query`. If unset: not served.
        https: Option<SocketAddr> = address().optional(), example "127.0.0.1:8443", was "dns_https";

        /// The address for DNS over QUIC (RFC 9250). If unset: not served.
        quic: Option<SocketAddr> = address().optional(), example "127.0.0.1:8853", was "dns_quic";

        /// The certificate for TLS, HTTPS and QUIC, followed by its intermediate certificates: a PEM file, read again
        /// when it changes. If unset: a self-signed certificate is made at start, which no client trusts unless it is
        /// told to.
        certificate: Option<PathBuf> = path().optional(), example "certificate.pem", was "dns_certificate";

        /// The private key of the certificate: a PEM file, read again when it changes.
        certificate_key: Option<PathBuf> = path().optional(), example "key.pem", was "dns_certificate_key";
    }

    /// gRPC: registration, resolution, proofs. Writes are accepted from loopback addresses only.
    [grpc] Grpc {
        /// The address on which gRPC listens.
        listen: SocketAddr = address(), default "127.0.0.1:50051", was "grpc", argument "--grpc";
    }

    /// HTTP, for reading: health, metrics, the tiles of the ledger, the feed of changes, records and their history.
    [http] Http {
        /// The address on which HTTP listens.
        listen: Option<SocketAddr> = address_or_off(), default "127.0.0.1:8000", was "http", argument "--http";
    }

    /// The memory of caches. With "auto" a size fits the machine; the log says the sizes at start.
    [cache] Cache {
        /// The memory for all caches together. "auto" is 3 % of the memory of the machine, or of the limit of its
        /// control group, less 128 MiB for the rest of the process, and at least 192 MiB (with less than 1.5 GiB of
        /// memory: an eighth of it).
        memory_bytes_max: Auto<usize> = number(CACHES_BYTES_MIN..=CACHE_BYTES_MAX, "bytes").or_auto(), default "auto";

        /// The memory for cached answers over gRPC and HTTP. With "auto" it is the memory that the other caches leave,
        /// shared with `dns_bytes_max` as needed.
        answers_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "cache_bytes_max";

        /// The memory for encoded DNS answers, which take about 400 bytes each. "auto" is the same as for
        /// `answers_bytes_max`.
        dns_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "dns_cache_bytes_max";

        /// The memory for blocks of the index. "auto" is a sixth of the memory for all caches.
        index_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "index_cache_bytes_max";

        /// The memory for answers and delegations of other nodes, on a recursive node. "auto" is a sixth of the memory
        /// for all caches.
        recursion_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "recursion_cache_bytes_max";
    }

    /// The index, and the verifiable index beside it.
    [index] Index {
        /// The number of new identifiers that are collected in memory before they are merged into the index.
        overlay_entries_max: usize = number(OVERLAY_ENTRIES, "entries"), default 524_288, was "overlay_entries_max";

        /// Keeps a verifiable index, which proves that an answer is the latest, that a list is complete, or that an
        /// identifier was never registered. The verifiable index is computed again from the ledger at every start, and
        /// takes about 60 bytes of memory for each identifier and for each end of its edges.
        verifiable: bool = switch(), default "on", was "verifiable_index";
    }

    /// Witnesses, which cosign the checkpoints of the ledger (C2SP tlog-witness).
    [witnesses] Witnesses {
        /// The witnesses. At start, before anything is signed, the node asks them which checkpoint of the ledger they
        /// hold: a node on an old copy of its data directory does not start.
        list: Vec<WitnessAddress> = forms::witnesses(), default "", was "witnesses", argument "--witness";

        /// The number of witnesses that have to answer at start; with fewer the node does not start. With 0, witnesses
        /// that do not answer are only logged.
        required: usize = number(0..=WITNESSES_MAX, "witnesses"), default 0, was "witnesses_required";
    }

    /// Recursion: the node follows delegations for its clients, and caches the answers.
    [recursion] Recursion {
        /// Follows delegations. From its own ledger a recursive node answers for homed prefixes only.
        enabled: bool = switch(), default "off", was "recursive", argument "--recursive";

        /// The file with the delegations from which walks start, in the format of a bootstrap registry, such as
        /// `/bootstrap.json` of another node. A recursive node needs this file. Host names in it are resolved once, at
        /// start; addresses are better.
        roots: Option<PathBuf> = path().optional(), example "roots.json", was "roots", argument "--roots";

        /// The proof that is required of answers of other nodes, and of the delegations that lead to them. "included":
        /// the entry is in the ledger of the site, under the key of its delegation. "latest": in addition, no later
        /// entry is about the same identifier.
        verify: Verify = choice(Verify::CHOICES), default "off", was "verify", argument "--verify";

        /// The protocol that is tried first with a site that speaks both. Over "grpc" a site returns everything that it
        /// knows. Over "dns" a hop takes less time, but the site returns only the record, or that it has ended, has to
        /// serve the same zone as this node, and rate-limits this node like any DNS client. Proofs are available over
        /// gRPC only: with `verify`, "dns" is refused.
        first: FirstProtocol = choice(FirstProtocol::CHOICES), default "grpc", was "recursion_first";

        /// The networks of clients for which the node follows delegations. Other clients get answers from the ledger of
        /// the node only: its records, the referral for a delegated prefix, or "not responsible".
        allow: Vec<Network> = networks(), default LOOPBACK, was "recursion_allow";

        /// The time for which a found record is still served after its TTL, while no site that answers for it can be
        /// reached (RFC 8767).
        stale_seconds_max: u64 = number(0..=STALE_SECONDS_MAX, "seconds"), default 86_400, was "recursion_stale_seconds_max";

        /// The maximum duration of a walk from node to node.
        walk_ms_max: u64 = number(WALK_MS, "milliseconds"), default 5_000, was "recursion_walk_ms_max";
    }

    /// Mirrors: the primary that this node mirrors, and the networks that may mirror this node.
    [mirror] Mirror {
        /// The URL of the log of the primary, if this node is a mirror: the checkpoint is at `<of>/checkpoint`. The
        /// data directory remembers the URL. A mirror has no verifiable index, which only its primary could sign: a
        /// recursive node with `verify = "latest"` never accepts answers of a mirror, and with `verify = "included"`
        /// never its "not found".
        of: Option<String> = log_url().optional(), example "http://127.0.0.1:8000/log", was "mirror_of", argument "--mirror-of";

        /// The verifier key of the ledger of the primary. The first start needs the key, and the data directory
        /// remembers it.
        key: Option<String> = log_key().optional(),
            example "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            was "mirror_key", argument "--mirror-key";

        /// The prefixes that an edge node keeps, fixed at the first start. If unset: everything.
        only: Option<Vec<String>> = prefixes().optional(), example "88.118, urn:oid:2.999", was "only", argument "--only";

        /// The networks whose clients may mirror this node, over HTTP: they get the ledger with all values and salts.
        /// Clients in these networks can read everything, including values that nobody may read without a permit.
        allow: Vec<Network> = networks(), default LOOPBACK, was "mirrors";
    }
}
