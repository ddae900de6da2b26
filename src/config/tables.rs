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
        /// The data directory: the ledger, its key and the index. A relative path begins where the node is started.
        data: PathBuf = directory(), default "touchmark-data", was "data", argument "--data";

        /// The DNS zone that the node answers for.
        zone: String = zone_name(), default "id.test.", was "zone", argument "--zone";

        /// The name of the ledger in its signed checkpoints (C2SP tlog-checkpoint). It is set for good when the data directory is made.
        /// Without it: the zone without its last dot, and `/ledger`.
        origin: String = forms::origin().or_empty(), example "id.test/ledger", was "origin";

        /// Which log lines go to the standard error output.
        log: String = forms::log(), default "info", was "log";
    }

    /// DNS: addresses, workers, limits of clients, signatures, encrypted transports.
    [dns] Dns {
        /// The addresses on which DNS listens, over UDP and TCP. For the Internet: `0.0.0.0:53, [::]:53`.
        listen: Vec<SocketAddr> = addresses(), default "127.0.0.1:5300", was "dns", argument "--dns";

        /// The addresses of the node in NS records and under the name `ns.` + the zone.
        /// Without it: those of `listen`, `0.0.0.0` and `[::]` aside. A node that listens on those alone needs it, or nobody who asks
        /// for the zones of its homed prefixes learns where they are.
        public: Vec<IpAddr> = hosts().or_empty(), example "192.0.2.53, 2001:db8::53", was "dns_public";

        /// The number of threads that answer over UDP on each address; 0 is the same as "auto": one for two cores. Each has a second one
        /// beside it, which reads from the disk.
        workers: Auto<usize> = forms::workers(DNS_WORKERS_MAX), default "auto", was "dns_workers";

        /// The name of the node for NSID (RFC 5001) and `id.server` (RFC 4892). Empty: no name is given.
        identity: String = identity(), default "", was "dns_identity";

        /// The limit of answers of a kind (about one name, or that names do not exist) that a client network (/24, /56) without a valid
        /// DNS cookie gets over UDP in a second; 0 for no limit. It protects a network whose addresses somebody forges.
        rate_per_second: u32 = number(RATE_PER_SECOND, "answers"), default 200, was "dns_rate_per_second";

        /// The time for which a client network stays limited at most after it stopped asking too much.
        rate_window_seconds: u32 = number(RATE_WINDOW_SECONDS, "seconds"), default 15, was "dns_rate_window_seconds";

        /// Of so many limited answers one is sent truncated, so that a real client comes back over TCP; 0 for none.
        rate_slip: u8 = number(RATE_SLIP, "answers"), default 2, was "dns_rate_slip";

        /// The networks without limits over UDP and TCP.
        rate_exempt: Vec<Network> = networks(), default LOOPBACK, was "dns_rate_exempt";

        /// The longest answer over UDP to a client without a valid DNS cookie. Longer ones leave truncated, and the client asks again
        /// over TCP.
        without_cookie_octets_max: u16 = number(WITHOUT_COOKIE_OCTETS, "octets"),
            default u32::from(*WITHOUT_COOKIE_OCTETS.end()), was "dns_without_cookie_octets_max";

        /// The file with the secrets of DNS cookies (RFC 9018), shared by servers that answer on one address: 32 hexadecimal digits a
        /// line, one or two lines, the first of which makes new cookies. Without it: a secret that is made at every start.
        cookie_secrets: Option<PathBuf> = path().optional(), example "dns-cookie-secrets", was "dns_cookie_secrets";

        /// The limit of open connections of a client network, over TCP, TLS and QUIC together; 0 for no limit.
        connections_per_source_max: usize = number(0..=CONNECTIONS_PER_SOURCE_MAX, "connections"),
            default 64, was "dns_connections_per_source_max";

        /// Signs the zone (DNSSEC) with a key of this algorithm, which is made at the first start. The keys lie in the data directory;
        /// `touchmark dnssec` shows and rolls them.
        dnssec: Option<SigningAlgorithm> = choice(SigningAlgorithm::CHOICES), default "off", was "dnssec", argument "--dnssec";

        /// The address for DNS over TLS (RFC 7858). Without it: none.
        tls: Option<SocketAddr> = address().optional(), example "127.0.0.1:8853", was "dns_tls";

        /// The address for DNS over HTTPS (RFC 8484), path `/dns-query`. Without it: none.
        https: Option<SocketAddr> = address().optional(), example "127.0.0.1:8443", was "dns_https";

        /// The address for DNS over QUIC (RFC 9250). Without it: none.
        quic: Option<SocketAddr> = address().optional(), example "127.0.0.1:8853", was "dns_quic";

        /// The certificate of TLS, HTTPS and QUIC with those that lead to its authority: a PEM file, read again when it changes.
        /// Without it: one is made at start, which no client trusts unless it is told to.
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

    /// The memory of caches. What is "auto" fits the machine, and is said in the log at start.
    [cache] Cache {
        /// The memory for all caches together. With "auto" it is 3 % of the memory of the machine, or of the limit of its control group, less
        /// 128 MiB for the rest of the process. Less than 192 MiB it is on small machines only.
        memory_bytes_max: Auto<usize> = number(CACHES_BYTES_MIN..=CACHE_BYTES_MAX, "bytes").or_auto(), default "auto";

        /// The memory for cached answers over gRPC and HTTP. With "auto" it is shared with `dns_bytes_max`, whoever needs it: what the
        /// other caches leave.
        answers_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "cache_bytes_max";

        /// The memory for answers that are ready for the DNS; an answer takes about 400 bytes. With "auto" as for `answers_bytes_max`.
        dns_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "dns_cache_bytes_max";

        /// The memory for blocks of the index. With "auto" a sixth of all.
        index_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "index_cache_bytes_max";

        /// The memory for answers and delegations of other nodes, on a recursive node. With "auto" a sixth of all.
        recursion_bytes_max: Auto<usize> = cache_bytes(), default "auto", was "recursion_cache_bytes_max";
    }

    /// The index, and the verifiable index beside it.
    [index] Index {
        /// The number of fresh identifiers that gather in memory before they are merged into the index.
        overlay_entries_max: usize = number(OVERLAY_ENTRIES, "entries"), default 524_288, was "overlay_entries_max";

        /// Keeps a verifiable index, which proves that an answer is the latest, complete, or that there is none. It is made again from
        /// the ledger at every start and takes about 60 bytes of memory for each identifier and each end of its edges.
        verifiable: bool = switch(), default "on", was "verifiable_index";
    }

    /// Witnesses, who cosign the checkpoints of the ledger (C2SP tlog-witness).
    [witnesses] Witnesses {
        /// The witnesses. At start they are asked what they hold of the ledger before anything is signed: a node on an old copy of its
        /// data directory does not start.
        list: Vec<WitnessAddress> = forms::witnesses(), default "", was "witnesses", argument "--witness";

        /// The number of witnesses that have to answer at start; with fewer the node does not start. 0: silent ones are warned of only.
        required: usize = number(0..=WITNESSES_MAX, "witnesses"), default 0, was "witnesses_required";
    }

    /// Recursion: the node follows delegations for its clients, and keeps the answers.
    [recursion] Recursion {
        /// Follows delegations. A recursive node answers itself for what is homed on it, and for nothing else of its own.
        enabled: bool = switch(), default "off", was "recursive", argument "--recursive";

        /// The file that says where walks begin, in the form of a bootstrap registry such as `/bootstrap.json` of another node. A
        /// recursive node needs it. Names of hosts in it are looked up once, at start; addresses are better.
        roots: Option<PathBuf> = path().optional(), example "roots.json", was "roots", argument "--roots";

        /// The proof that answers of other nodes need, and the delegations that lead to them. "included": that they stand in the ledger
        /// of the site, under the key of its delegation. "latest": and that no later entry is about the same identifier.
        verify: Verify = choice(Verify::CHOICES), default "off", was "verify", argument "--verify";

        /// The protocol over which a site is asked first that speaks both. Over "grpc" a site tells everything that it knows. Over "dns" a
        /// hop takes less time; a site tells its record or its end and nothing else, needs the same zone as this node, and limits
        /// this node as any DNS client. Proofs come over gRPC only.
        first: FirstProtocol = choice(FirstProtocol::CHOICES), default "grpc", was "recursion_first";

        /// The networks of clients for whom the node follows delegations. Others get what the ledger of the node says: the referral
        /// where it delegates, else that it is not responsible.
        allow: Vec<Network> = networks(), default LOOPBACK, was "recursion_allow";

        /// The time for which an answer is kept past its end while nobody can be reached who answers for it (RFC 8767).
        stale_seconds_max: u64 = number(0..=STALE_SECONDS_MAX, "seconds"), default 86_400, was "recursion_stale_seconds_max";

        /// The longest time of a walk from node to node.
        walk_ms_max: u64 = number(WALK_MS, "milliseconds"), default 5_000, was "recursion_walk_ms_max";
    }

    /// Mirrors: whom this node mirrors, and who may mirror it.
    [mirror] Mirror {
        /// The URL of the log of the primary, when this node is a mirror of it: its checkpoint lies at `<of>/checkpoint`. It is remembered
        /// in the data directory. A mirror has no verifiable index, which its primary alone could sign: who asks with
        /// `verify = "latest"` never accepts its answers, and with `verify = "included"` never its "not found".
        of: Option<String> = log_url().optional(), example "http://127.0.0.1:8000/log", was "mirror_of", argument "--mirror-of";

        /// The verifier key of the ledger of the primary. The first start needs it, and it is remembered in the data directory.
        key: Option<String> = log_key().optional(),
            example "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            was "mirror_key", argument "--mirror-key";

        /// The prefixes that an edge node keeps; said at the first start. Without it: everything.
        only: Option<Vec<String>> = prefixes().optional(), example "88.118, urn:oid:2.999", was "only", argument "--only";

        /// The networks whose mirrors get the ledger with all values and salts, over HTTP. Whoever is in them reads everything, also
        /// what nobody may read without a permit.
        allow: Vec<Network> = networks(), default LOOPBACK, was "mirrors";
    }
}
