//! Configuration: what may be written ([`Spec`]), and what the node runs with ([`Config`]).
//!
//! ```text
//! defaults < file (--config, else TOUCHMARK_CONFIG) < environment (TOUCHMARK_DATA, …) < arguments
//! ```
//!
//! A [`Spec`] is one layer of it: every key may be left out, none that is unknown is let by. [`Config::from_layers`] puts the layers on
//! top of each other and checks each key once, so that an error names the key and where it was written.

mod checks;
mod error;
mod mirror;
mod recursion;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

pub use checks::zone;
use checks::{
    address, address_or_off, addresses, data, dnssec, hosts, identity, log, networks, origin, within, witnesses,
};
pub use error::ConfigError;
pub use mirror::MirrorConfig;
pub use recursion::{FirstProtocol, RecursionConfig, Verify};
use serde::Deserialize;

use crate::{
    network::{self, Network},
    protocol::dns::{UDP_PAYLOAD_OCTETS_MAX, dnssec::keys::Algorithm},
    server::dns::{
        encrypted::EncryptedAddresses,
        rate::{RESPONSES_PER_SECOND, SLIP, WINDOW_SECONDS},
    },
    tlog::note::VerifierKey,
};

/// The default configuration with its comments, as `touchmark config print` shows it.
pub const TEMPLATE: &str = include_str!("config.toml");

/// The least that the caches can work with, in bytes (1 MiB).
pub const CACHE_BYTES_MIN: usize = 1 << 20;
/// The most that a cache may take, in bytes (1 TiB).
pub const CACHE_BYTES_MAX: usize = 1 << 40;
/// The bounds of the overlay, in entries.
pub const OVERLAY_ENTRIES: std::ops::RangeInclusive<usize> = 1_024..=16_777_216;
/// The most threads that answer over UDP on one address.
pub const DNS_WORKERS_MAX: usize = 64;
/// The most addresses on which DNS listens.
pub const DNS_ADDRESSES_MAX: usize = 32;
/// The most witnesses that are asked.
pub const WITNESSES_MAX: usize = 32;
/// The longest origin, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// The most prefixes that an edge node is told to keep.
pub const MIRROR_PREFIXES_MAX: usize = 256;

/// One layer of configuration, as written. What each key means stands in [`TEMPLATE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Spec {
    pub data: Option<PathBuf>,
    pub zone: Option<String>,
    pub origin: Option<String>,
    pub dns: Option<String>,
    pub dns_public: Option<String>,
    pub dns_workers: Option<u64>,
    pub dns_identity: Option<String>,
    pub dns_cache_bytes_max: Option<u64>,
    pub dns_rate_per_second: Option<u64>,
    pub dns_rate_window_seconds: Option<u64>,
    pub dns_rate_slip: Option<u64>,
    pub dns_rate_exempt: Option<String>,
    pub dns_without_cookie_octets_max: Option<u64>,
    pub dns_cookie_secrets: Option<PathBuf>,
    pub dns_connections_per_source_max: Option<u64>,
    pub dnssec: Option<String>,
    pub dns_tls: Option<String>,
    pub dns_https: Option<String>,
    pub dns_quic: Option<String>,
    pub dns_certificate: Option<PathBuf>,
    pub dns_certificate_key: Option<PathBuf>,
    pub grpc: Option<String>,
    pub http: Option<String>,
    pub witnesses: Option<String>,
    pub witnesses_required: Option<u64>,
    pub recursive: Option<String>,
    pub roots: Option<PathBuf>,
    pub verify: Option<String>,
    pub recursion_first: Option<String>,
    pub recursion_allow: Option<String>,
    pub recursion_cache_bytes_max: Option<u64>,
    pub recursion_stale_seconds_max: Option<u64>,
    pub recursion_walk_ms_max: Option<u64>,
    pub cache_bytes_max: Option<u64>,
    pub index_cache_bytes_max: Option<u64>,
    pub overlay_entries_max: Option<u64>,
    pub verifiable_index: Option<String>,
    pub mirrors: Option<String>,
    pub mirror_of: Option<String>,
    pub mirror_key: Option<String>,
    pub only: Option<String>,
    pub log: Option<String>,
}

/// What a node runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The DNS zone, in lower case, with a dot at its end.
    pub zone: String,
    /// The ledger's name in its checkpoints (C2SP tlog-checkpoint); set for good when the data directory is made.
    pub origin: String,
    /// Where DNS listens, UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// What the node says its own addresses are over DNS; none stands for those where DNS listens.
    pub dns_public: Vec<IpAddr>,
    /// Threads that answer over UDP on each address; 0 for one on each processor.
    pub dns_workers: usize,
    /// The node's name for NSID (RFC 5001) and `id.server`; empty to give none.
    pub dns_identity: String,
    /// The most bytes that answers ready for the DNS take.
    pub dns_cache_bytes_max: usize,
    /// Answers of a kind that a client network gets over UDP in a second; 0 for no limit.
    pub dns_rate_per_second: u32,
    /// Seconds that a client network pays for at most when it asked too much.
    pub dns_rate_window_seconds: u32,
    /// Of so many limited answers one is sent truncated; 0 for none.
    pub dns_rate_slip: u8,
    /// Networks without limits.
    pub dns_rate_exempt: Vec<Network>,
    /// The longest answer over UDP to a client without a valid cookie, in octets.
    pub dns_without_cookie_octets_max: u16,
    /// The file with the secrets of cookies; without one they are made at start.
    pub dns_cookie_secrets: Option<PathBuf>,
    /// Connections of a client network at once, over TCP, TLS and QUIC together; 0 for no limit.
    pub dns_connections_per_source_max: usize,
    /// With which algorithm the zone is signed, when it is.
    pub dnssec: Option<Algorithm>,
    /// Where DNS listens over TLS, HTTPS and QUIC.
    pub dns_encrypted: EncryptedAddresses,
    /// The certificate for that and its key, in files.
    pub dns_certificate: Option<[PathBuf; 2]>,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where HTTP listens, when it does.
    pub http: Option<SocketAddr>,
    /// Who cosigns the ledger's checkpoints.
    pub witnesses: Vec<WitnessAddress>,
    /// How many of them have to answer at start, before anything is signed.
    pub witnesses_required: usize,
    /// How it follows delegations for its clients, when it does.
    pub recursion: Option<RecursionConfig>,
    /// The most bytes that cached answers take.
    pub cache_bytes_max: usize,
    /// The most bytes that the index keeps in memory of what lies on the disk.
    pub index_cache_bytes_max: usize,
    /// The most identifiers that gather in memory before they are merged into the index.
    pub overlay_entries_max: usize,
    /// Whether the node keeps a verifiable index.
    pub verifiable_index: VerifiableIndexMode,
    /// Networks whose clients get the ledger with values and salts, to mirror it.
    pub mirrors: Vec<Network>,
    /// Whose ledger the node mirrors, when it does.
    pub mirror: Option<MirrorConfig>,
    /// Which log lines are written: a level, or directives such as `info,touchmark::ledger=debug`.
    pub log: String,
}

/// Whether a node keeps a verifiable index, and proves that answers are the latest and complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifiableIndexMode {
    /// It does: about 60 bytes of memory for each key.
    On,
    /// It does not.
    Off,
}

/// A witness, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix (C2SP tlog-witness).
    pub url: String,
}

/// Where a layer was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The environment.
    Environment,
    /// The arguments.
    Arguments,
}

impl Config {
    /// Where DNS listens when nothing else is said.
    pub const DNS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);
}

impl Default for Config {
    fn default() -> Self {
        let zone = "id.test.";
        Self {
            data: "touchmark-data".into(),
            zone: zone.into(),
            origin: origin_of(zone),
            dns: vec![Self::DNS_DEFAULT],
            dns_public: Vec::new(),
            dns_workers: 0,
            dns_identity: String::new(),
            dns_cache_bytes_max: 64 << 20,
            dns_rate_per_second: 200,
            dns_rate_window_seconds: 15,
            dns_rate_slip: 2,
            dns_rate_exempt: network::loopback().into(),
            dns_without_cookie_octets_max: UDP_PAYLOAD_OCTETS_MAX,
            dns_cookie_secrets: None,
            dns_connections_per_source_max: 64,
            dnssec: None,
            dns_encrypted: EncryptedAddresses::default(),
            dns_certificate: None,
            grpc: ([127, 0, 0, 1], 50051).into(),
            http: Some(([127, 0, 0, 1], 8000).into()),
            witnesses: Vec::new(),
            witnesses_required: 0,
            recursion: None,
            cache_bytes_max: 64 << 20,
            index_cache_bytes_max: 128 << 20,
            overlay_entries_max: 524_288,
            verifiable_index: VerifiableIndexMode::On,
            mirrors: network::loopback().into(),
            mirror: None,
            log: "info".into(),
        }
    }
}

impl Spec {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`], [`ConfigError::Syntax`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::from_toml(&text).map_err(|reason| ConfigError::Syntax { path: path.into(), reason })
    }

    fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            // The library quotes the line over several; the sentence alone is enough.
            format!("line {line}: {}", error.message().trim().replace('\n', ", "))
        })
    }

    /// Reads the environment, through `lookup`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] for a variable that should hold a number and does not.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |key: &str| lookup(&variable(key)).filter(|value| !value.is_empty());
        let number = |key: &str| {
            let parsed = text(key).map(|value| (value.parse::<u64>(), value));
            match parsed {
                None => Ok(None),
                Some((Ok(number), _)) => Ok(Some(number)),
                Some((Err(_), value)) => Err(ConfigError::Value {
                    place: Source::Environment.place(key),
                    rule: format!("`{value}` is not a whole number"),
                }),
            }
        };
        Ok(Self {
            data: text("data").map(PathBuf::from),
            zone: text("zone"),
            origin: text("origin"),
            dns: text("dns"),
            dns_public: text("dns_public"),
            dns_workers: number("dns_workers")?,
            dns_identity: text("dns_identity"),
            dns_cache_bytes_max: number("dns_cache_bytes_max")?,
            dns_rate_per_second: number("dns_rate_per_second")?,
            dns_rate_window_seconds: number("dns_rate_window_seconds")?,
            dns_rate_slip: number("dns_rate_slip")?,
            dns_rate_exempt: text("dns_rate_exempt"),
            dns_without_cookie_octets_max: number("dns_without_cookie_octets_max")?,
            dns_cookie_secrets: text("dns_cookie_secrets").map(PathBuf::from),
            dns_connections_per_source_max: number("dns_connections_per_source_max")?,
            dnssec: text("dnssec"),
            dns_tls: text("dns_tls"),
            dns_https: text("dns_https"),
            dns_quic: text("dns_quic"),
            dns_certificate: text("dns_certificate").map(PathBuf::from),
            dns_certificate_key: text("dns_certificate_key").map(PathBuf::from),
            grpc: text("grpc"),
            http: text("http"),
            witnesses: text("witnesses"),
            witnesses_required: number("witnesses_required")?,
            recursive: text("recursive"),
            roots: text("roots").map(PathBuf::from),
            verify: text("verify"),
            recursion_first: text("recursion_first"),
            recursion_allow: text("recursion_allow"),
            recursion_cache_bytes_max: number("recursion_cache_bytes_max")?,
            recursion_stale_seconds_max: number("recursion_stale_seconds_max")?,
            recursion_walk_ms_max: number("recursion_walk_ms_max")?,
            cache_bytes_max: number("cache_bytes_max")?,
            index_cache_bytes_max: number("index_cache_bytes_max")?,
            overlay_entries_max: number("overlay_entries_max")?,
            verifiable_index: text("verifiable_index"),
            mirrors: text("mirrors"),
            mirror_of: text("mirror_of"),
            mirror_key: text("mirror_key"),
            only: text("only"),
            log: text("log"),
        })
    }
}

impl Config {
    /// The configuration that this process was given: file, environment, then `arguments`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names file, key and limit.
    pub fn load(file: Option<&Path>, arguments: Spec) -> Result<Self, ConfigError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let file = file.map(PathBuf::from).or_else(|| lookup(&variable("config")).map(PathBuf::from));
        let mut layers = Vec::new();
        if let Some(path) = file {
            layers.push((Spec::from_file(&path)?, Source::File(path)));
        }
        layers.push((Spec::from_environment(lookup)?, Source::Environment));
        layers.push((arguments, Source::Arguments));
        Self::from_layers(&layers)
    }

    /// Puts layers on top of the defaults, later ones over earlier ones.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`].
    pub fn from_layers(layers: &[(Spec, Source)]) -> Result<Self, ConfigError> {
        let defaults = Self::default();
        let keys = Layers(layers);
        let zone = keys.read("zone", |spec| spec.zone.as_deref(), zone)?.unwrap_or(defaults.zone);
        let workers = |count: u64| within(count, 0..=DNS_WORKERS_MAX, "threads");
        let rate = |rate: u64| within(rate, RESPONSES_PER_SECOND, "answers a second");
        let window = |seconds: u64| within(seconds, WINDOW_SECONDS, "seconds");
        let slip = |slip: u64| within(slip, SLIP, "answers");
        let octets = |octets: u64| within(octets, 512..=UDP_PAYLOAD_OCTETS_MAX, "octets");
        let connections = |count: u64| within(count, 0..=65_536, "connections");
        let cache = |bytes: u64| within(bytes, CACHE_BYTES_MIN..=CACHE_BYTES_MAX, "bytes");
        let overlay = |entries: u64| within(entries, OVERLAY_ENTRIES, "entries");
        let (witnesses, witnesses_required) = keys.witnesses()?;
        Ok(Self {
            data: keys.read("data", |spec| spec.data.as_deref(), data)?.unwrap_or(defaults.data),
            origin: keys.read("origin", |spec| spec.origin.as_deref(), origin)?.unwrap_or_else(|| origin_of(&zone)),
            zone,
            dns: keys.read("dns", |spec| spec.dns.as_deref(), addresses)?.unwrap_or(defaults.dns),
            dns_public: keys.read("dns_public", |spec| spec.dns_public.as_deref(), hosts)?.unwrap_or_default(),
            dns_workers: keys.read("dns_workers", |spec| spec.dns_workers, workers)?.unwrap_or(defaults.dns_workers),
            dns_identity: keys
                .read("dns_identity", |spec| spec.dns_identity.as_deref(), identity)?
                .unwrap_or(defaults.dns_identity),
            dns_cache_bytes_max: keys
                .read("dns_cache_bytes_max", |spec| spec.dns_cache_bytes_max, cache)?
                .unwrap_or(defaults.dns_cache_bytes_max),
            dns_rate_per_second: keys
                .read("dns_rate_per_second", |spec| spec.dns_rate_per_second, rate)?
                .unwrap_or(defaults.dns_rate_per_second),
            dns_rate_window_seconds: keys
                .read("dns_rate_window_seconds", |spec| spec.dns_rate_window_seconds, window)?
                .unwrap_or(defaults.dns_rate_window_seconds),
            dns_rate_slip: keys
                .read("dns_rate_slip", |spec| spec.dns_rate_slip, slip)?
                .unwrap_or(defaults.dns_rate_slip),
            dns_rate_exempt: keys
                .read("dns_rate_exempt", |spec| spec.dns_rate_exempt.as_deref(), networks)?
                .unwrap_or(defaults.dns_rate_exempt),
            dns_without_cookie_octets_max: keys
                .read("dns_without_cookie_octets_max", |spec| spec.dns_without_cookie_octets_max, octets)?
                .unwrap_or(defaults.dns_without_cookie_octets_max),
            dns_cookie_secrets: keys.read("dns_cookie_secrets", |spec| spec.dns_cookie_secrets.clone(), Ok)?,
            dns_connections_per_source_max: keys
                .read("dns_connections_per_source_max", |spec| spec.dns_connections_per_source_max, connections)?
                .unwrap_or(defaults.dns_connections_per_source_max),
            dnssec: keys.read("dnssec", |spec| spec.dnssec.as_deref(), dnssec)?.unwrap_or(defaults.dnssec),
            dns_encrypted: keys.dns_encrypted()?,
            dns_certificate: keys.certificate()?,
            grpc: keys.read("grpc", |spec| spec.grpc.as_deref(), address)?.unwrap_or(defaults.grpc),
            witnesses_required,
            witnesses,
            recursion: keys.recursion()?,
            http: keys.read("http", |spec| spec.http.as_deref(), address_or_off)?.unwrap_or(defaults.http),
            cache_bytes_max: keys
                .read("cache_bytes_max", |spec| spec.cache_bytes_max, cache)?
                .unwrap_or(defaults.cache_bytes_max),
            index_cache_bytes_max: keys
                .read("index_cache_bytes_max", |spec| spec.index_cache_bytes_max, cache)?
                .unwrap_or(defaults.index_cache_bytes_max),
            overlay_entries_max: keys
                .read("overlay_entries_max", |spec| spec.overlay_entries_max, overlay)?
                .unwrap_or(defaults.overlay_entries_max),
            verifiable_index: keys
                .read("verifiable_index", |spec| spec.verifiable_index.as_deref(), checks::verifiable_index)?
                .unwrap_or(defaults.verifiable_index),
            mirrors: keys.read("mirrors", |spec| spec.mirrors.as_deref(), networks)?.unwrap_or(defaults.mirrors),
            mirror: keys.mirror()?,
            log: keys.read("log", |spec| spec.log.as_deref(), log)?.unwrap_or(defaults.log),
        })
    }
}

impl Source {
    /// Where a key of this layer is written.
    fn place(&self, key: &str) -> String {
        match self {
            Self::File(path) => format!("{}, key `{key}`", path.display()),
            Self::Environment => format!("environment variable {}", variable(key)),
            Self::Arguments => format!("argument --{}", key.replace('_', "-")),
        }
    }
}

/// The layers, lowest first.
struct Layers<'a>(&'a [(Spec, Source)]);

impl Layers<'_> {
    /// Where DNS listens over TLS, HTTPS and QUIC.
    fn dns_encrypted(&self) -> Result<EncryptedAddresses, ConfigError> {
        Ok(EncryptedAddresses {
            tls: self.read("dns_tls", |spec| spec.dns_tls.as_deref(), address)?,
            https: self.read("dns_https", |spec| spec.dns_https.as_deref(), address)?,
            quic: self.read("dns_quic", |spec| spec.dns_quic.as_deref(), address)?,
        })
    }

    /// The files of the certificate, of which either both or none are given.
    fn certificate(&self) -> Result<Option<[PathBuf; 2]>, ConfigError> {
        let chain = self.read("dns_certificate", |spec| spec.dns_certificate.clone(), Ok)?;
        let with_chain = |key: PathBuf| match &chain {
            Some(chain) => Ok([chain.clone(), key]),
            None => Err("there is a key and no `dns_certificate`; give both or none".into()),
        };
        let both = self.read("dns_certificate_key", |spec| spec.dns_certificate_key.clone(), with_chain)?;
        let alone = |_: PathBuf| Err("there is a certificate and no `dns_certificate_key`; give both or none".into());
        match both {
            Some(both) => Ok(Some(both)),
            None => self.read("dns_certificate", |spec| spec.dns_certificate.clone(), alone),
        }
    }

    /// The witnesses, and how many of them have to answer.
    fn witnesses(&self) -> Result<(Vec<WitnessAddress>, usize), ConfigError> {
        let witnesses = self.read("witnesses", |spec| spec.witnesses.as_deref(), witnesses)?.unwrap_or_default();
        let within = |count: u64| within(count, 0..=witnesses.len(), "witnesses (those that are given)");
        let required = self.read("witnesses_required", |spec| spec.witnesses_required, within)?;
        Ok((witnesses, required.unwrap_or_default()))
    }

    /// Reads a key from the highest layer that has it.
    fn read<'s, Raw, Value>(
        &'s self,
        key: &str,
        get: impl Fn(&'s Spec) -> Option<Raw>,
        check: impl FnOnce(Raw) -> Result<Value, String>,
    ) -> Result<Option<Value>, ConfigError> {
        let found = self.0.iter().rev().find_map(|(spec, source)| get(spec).map(|raw| (raw, source)));
        let Some((raw, source)) = found else { return Ok(None) };
        check(raw).map(Some).map_err(|rule| ConfigError::Value { place: source.place(key), rule })
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("TOUCHMARK_{}", key.to_ascii_uppercase())
}

/// The origin of a ledger whose node answers for a zone.
fn origin_of(zone: &str) -> String {
    format!("{}/ledger", zone.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Config, String> {
        let spec = Spec::from_toml(text)?;
        Config::from_layers(&[(spec, Source::File("t.toml".into()))]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_template_says_the_defaults_and_every_key() {
        assert_eq!(file(TEMPLATE), Ok(Config::default()));
        // What follows from another key, or is off unless it is said, is commented out: a line as it would be written.
        let uncommented = |line: &str| match line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()))
        }) {
            Some(rest) => format!("{rest}\n"),
            None => format!("{line}\n"),
        };
        let all: String = TEMPLATE.lines().map(uncommented).collect();
        let read = file(&all).unwrap();
        assert_eq!((read.origin, read.dns_certificate.is_some()), (Config::default().origin, true));
        let spec = Spec::from_toml(&all).unwrap();
        let absent = format!("{spec:?}").matches("None").count();
        assert_eq!(absent, 0, "{spec:?}");
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let lookup = |name: &str| match name {
            "TOUCHMARK_ZONE" => Some("Env.Example".into()),
            "TOUCHMARK_CACHE_BYTES_MAX" => Some("2097152".into()),
            "TOUCHMARK_LOG" => Some(String::new()),
            _ => None,
        };
        let file = "data = \"f\"\nzone = \"file.example\"\ngrpc = \"[::1]:1\"\ndns = \"127.0.0.1:1\"\nlog = \"warn\"";
        let arguments = Spec { dns: Some("127.0.0.1:2".into()), ..Spec::default() };
        let layers = [
            (Spec::from_toml(file).unwrap(), Source::File("t.toml".into())),
            (Spec::from_environment(lookup).unwrap(), Source::Environment),
            (arguments, Source::Arguments),
        ];
        let expected = Config {
            data: "f".into(),
            zone: "env.example.".into(),
            origin: "env.example/ledger".into(),
            dns: vec![([127, 0, 0, 1], 2).into()],
            grpc: "[::1]:1".parse().unwrap(),
            cache_bytes_max: 2 << 20,
            log: "warn".into(),
            ..Config::default()
        };
        assert_eq!(Config::from_layers(&layers).unwrap(), expected);
    }

    #[test]
    fn refusals_name_key_and_limit() {
        let table = [
            ("zome = 1", "line 1: unknown field `zome`, expected one of `data`, `zone`"),
            ("\n\ndata = 1", "line 3: invalid type: integer `1`, expected path string"),
            ("data = \"a\"\ndata = \"b\"", "line 2: duplicate key"),
            ("dns = \"localhost\"", "t.toml, key `dns`: `localhost` is not an address with a port"),
            ("dns = \"127.0.0.1:1,\"", "t.toml, key `dns`: `` is not an address with a port"),
            ("dns_public = \"0.0.0.0\"", "t.toml, key `dns_public`: `0.0.0.0` is not an address that others can ask"),
            ("dns_public = \"::1, x\"", "t.toml, key `dns_public`: `x` is not an address that others can ask"),
            ("dns_workers = 65", "t.toml, key `dns_workers`: 65 is outside 0 to 64 threads"),
            ("dns_rate_exempt = \"10.0.0.1/8\"", "t.toml, key `dns_rate_exempt`: network `10.0.0.1/8` has bits set"),
            (
                "dns_certificate = \"a\"",
                "t.toml, key `dns_certificate`: there is a certificate and no `dns_certificate_key`",
            ),
            ("dns_certificate_key = \"a\"", "t.toml, key `dns_certificate_key`: there is a key and no"),
            ("dns_rate_slip = 11", "t.toml, key `dns_rate_slip`: 11 is outside 0 to 10 answers"),
            ("zone = \"a..b\"", "t.toml, key `zone`: zone `a..b`: label `` takes 0 octets; a label takes 1 to 63"),
            ("zone = \"\"", "t.toml, key `zone`: zone `` has no labels"),
            ("origin = \"a b\"", "t.toml, key `origin`: `a b` is not an origin: 1 to 255 bytes"),
            ("cache_bytes_max = 5", "t.toml, key `cache_bytes_max`: 5 is outside 1048576 to 1099511627776 bytes"),
            ("overlay_entries_max = 1", "t.toml, key `overlay_entries_max`: 1 is outside 1024 to 16777216 entries"),
            ("cache_bytes_max = -1", "line 1: invalid value: integer `-1`, expected u64"),
            ("log = \"info,=\"", "t.toml, key `log`: `info,=` is not a level or a list of directives"),
            ("witnesses_required = 1", "t.toml, key `witnesses_required`: 1 is outside 0 to 0 witnesses"),
            ("witnesses = \"w\"", "t.toml, key `witnesses`: `w` is not a verifier key, a space and a URL"),
            ("witnesses = \"w+1 http://w\"", "t.toml, key `witnesses`: `w+1` is not a verifier key"),
            ("log = \"\"", "t.toml, key `log`: there is no level"),
            ("data = \"\"", "t.toml, key `data`: the data directory has no name"),
        ];
        for (text, expected) in table {
            let error = file(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let number = Spec::from_environment(|name| (name == "TOUCHMARK_CACHE_BYTES_MAX").then(|| "64M".into()));
        let error = number.unwrap_err().to_string();
        assert_eq!(error, "environment variable TOUCHMARK_CACHE_BYTES_MAX: `64M` is not a whole number");
        let arguments = Spec { grpc: Some("x".into()), ..Spec::default() };
        let error = Config::from_layers(&[(arguments, Source::Arguments)]).unwrap_err().to_string();
        assert!(error.starts_with("argument --grpc: `x` is not"), "{error}");
    }
}
