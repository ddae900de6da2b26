//! Configuration: every key of it, where it may be written, and what the node runs with ([`Config`]).
//!
//! ```text
//! defaults < file (--config, else TOUCHMARK_CONFIG) < environment (TOUCHMARK_DNS_LISTEN, …) < arguments
//! ```
//!
//! Every key is declared once, with its documentation, form and default, in `tables`; parsing, `touchmark config print` and
//! `docs/configuration.md` follow from the declaration. Each layer is a table of tables ([`Layer`]). They are merged, and every key is
//! read once, so that an error names the key, and the file and line, variable or argument where its value was written. All keys are
//! optional; unknown ones are refused with the nearest known one. Names of the time when there were no tables are still read, with
//! a [`Warning`].
//!
//! Deliberately absent: the types of listeners and protocols. Limits are plain numbers here; `app` gives them to the rooms that
//! they bound.

mod error;
mod file;
mod forms;
mod keys;
mod layers;
mod machine;
mod print;
mod sizing;
mod tables;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

pub use error::{ConfigError, Meant, NameKind, Place, Rule, UnknownName};
pub use forms::zone;
use layers::Merged;
pub use layers::{Layer, Warning};
pub use machine::{Cores, Machine, Memory};
pub use print::reference;
pub use sizing::{Auto, Sizes};
pub use tables::{Cache, Config, Dns, Grpc, Http, Index, Mirror, Recursion, Witnesses};

use crate::tlog::note::VerifierKey;

/// The version of configuration files that this build reads.
pub const VERSION: i64 = 1;
/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "TOUCHMARK_CONFIG";

/// The least that the caches can work with, in bytes (1 MiB).
pub const CACHE_BYTES_MIN: usize = 1 << 20;
/// The most that a cache may take, in bytes (1 TiB).
pub const CACHE_BYTES_MAX: usize = 1 << 40;
/// The least that all caches can work with together, in bytes (16 MiB).
pub const CACHES_BYTES_MIN: usize = 16 << 20;
/// The bounds of the overlay, in entries.
pub const OVERLAY_ENTRIES: RangeInclusive<usize> = 1_024..=16_777_216;
/// The most threads that answer over UDP on one address.
pub const DNS_WORKERS_MAX: usize = 64;
/// The bounds of answers of a kind a second, for one client network.
pub const RATE_PER_SECOND: RangeInclusive<u32> = 0..=10_000;
/// The bounds of the time that a client network stays limited, in seconds.
pub const RATE_WINDOW_SECONDS: RangeInclusive<u32> = 1..=3_600;
/// The bounds of how many limited answers there are to one that is sent truncated.
pub const RATE_SLIP: RangeInclusive<u8> = 0..=10;
/// The bounds of an answer over UDP to a client without a cookie, in octets (RFC 1035 section 4.2.1; 1,232 fits every path).
pub const WITHOUT_COOKIE_OCTETS: RangeInclusive<u16> = 512..=1_232;
/// The most connections of a client network.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 65_536;
/// The longest that an answer is kept past its time, in seconds: a week (RFC 8767 section 5 wants one to three days).
pub const STALE_SECONDS_MAX: u64 = 604_800;
/// The bounds of a walk, in milliseconds.
pub const WALK_MS: RangeInclusive<u64> = 100..=60_000;
/// The most addresses on which DNS listens, or which it says to be its own.
pub const DNS_ADDRESSES_MAX: usize = 32;
/// The most witnesses that are asked.
pub const WITNESSES_MAX: usize = 32;
/// The most networks in one list: each is looked at for each answer.
pub const NETWORKS_MAX: usize = 64;
/// The most prefixes that an edge node is told to keep.
pub const MIRROR_PREFIXES_MAX: usize = 256;
/// The longest origin, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// The longest name of a node, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 255;

/// A witness, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix (C2SP tlog-witness).
    pub url: String,
}

/// An algorithm that signs the zone, with its mnemonic of the IANA registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl SigningAlgorithm {
    /// The words for them, with their numbers of the IANA registry.
    const CHOICES: &[(&str, Option<Self>)] = &[
        ("off", None),
        ("ECDSAP256SHA256", Some(Self::EcdsaP256Sha256)),
        ("ED25519", Some(Self::Ed25519)),
        ("13", Some(Self::EcdsaP256Sha256)),
        ("15", Some(Self::Ed25519)),
    ];
}

/// The proof that answers of other nodes need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// None.
    #[default]
    Off,
    /// That they stand in the ledger of the site.
    Included,
    /// And that no later entry is about the same identifier.
    Latest,
}

impl Verify {
    const CHOICES: &[(&str, Self)] = &[("off", Self::Off), ("included", Self::Included), ("latest", Self::Latest)];
}

/// The protocol over which a site is asked first that speaks both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// DNS.
    Dns,
}

impl FirstProtocol {
    const CHOICES: &[(&str, Self)] = &[("grpc", Self::Grpc), ("dns", Self::Dns)];
}

/// A configuration, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the node runs with.
    pub config: Config,
    merged: Merged,
}

impl Loaded {
    /// The old names that were read.
    pub fn warnings(&self) -> &[Warning] {
        &self.merged.warnings
    }

    /// The configuration as a file with comments: every key with the value in effect, and what "auto" is on a machine.
    pub fn print(&self, machine: &Machine) -> String {
        print::file(self, machine)
    }

    /// Puts layers on top of the defaults, later ones over earlier ones.
    fn new(layers: impl IntoIterator<Item = Layer>) -> Result<Self, ConfigError> {
        let merged = Merged::new(layers);
        let config = Config::settled(&merged)?;
        Ok(Self { config, merged })
    }
}

impl Config {
    /// Where DNS listens when nothing else is said.
    pub const DNS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);

    /// The configuration that this process was given: file, environment, then `arguments`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, where it is written, and the limit.
    pub fn load(file: Option<&Path>, arguments: Layer) -> Result<Loaded, ConfigError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let file = file.map(PathBuf::from).or_else(|| lookup(FILE_VARIABLE).map(PathBuf::from));
        let file = file.map(|path| Layer::from_file(&path)).transpose()?;
        Loaded::new(file.into_iter().chain([Layer::from_environment(lookup)?, arguments]))
    }

    /// Puts layers on top of the defaults, later ones over earlier ones.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`].
    pub fn from_layers(layers: impl IntoIterator<Item = Layer>) -> Result<Self, ConfigError> {
        Ok(Loaded::new(layers)?.config)
    }

    /// Reads every key, and checks those that depend on others.
    fn settled(layers: &Merged) -> Result<Self, ConfigError> {
        let mut config = Self::read(layers)?;
        if config.origin.is_empty() {
            config.origin = format!("{}/ledger", config.zone.trim_end_matches('.'));
        }
        config.check_certificate(layers)?;
        config.check_witnesses(layers)?;
        config.check_recursion(layers)?;
        config.check_mirror(layers)?;
        Ok(config)
    }

    /// Certificate and key come together.
    fn check_certificate(&self, layers: &Merged) -> Result<(), ConfigError> {
        let (alone, reason, missing) = match (&self.dns.certificate, &self.dns.certificate_key) {
            (Some(_), None) => ("certificate", "there is a certificate without its key", "certificate_key"),
            (None, Some(_)) => ("certificate_key", "there is a key without its certificate", "certificate"),
            _ => return Ok(()),
        };
        Err(layers.refused("dns", alone, Rule::Alone { reason, missing: keys::shown("dns", missing) }))
    }

    fn check_witnesses(&self, layers: &Merged) -> Result<(), ConfigError> {
        let within = forms::number(0..=self.witnesses.list.len(), "witnesses (those that are given)");
        layers.read("witnesses", "required", &within).map(|_| ())
    }

    fn check_recursion(&self, layers: &Merged) -> Result<(), ConfigError> {
        let Recursion { enabled, verify, first, roots, .. } = &self.recursion;
        let refused = |name, rule| Err(layers.refused("recursion", name, rule));
        if *verify != Verify::Off && *first == FirstProtocol::Dns {
            return refused("first", Rule::ProofsOverGrpc { verify: keys::shown("recursion", "verify") });
        }
        if *verify != Verify::Off && !enabled {
            let reason = "nothing is asked of other nodes without recursion";
            return refused("verify", Rule::Alone { reason, missing: keys::shown("recursion", "enabled") });
        }
        if *enabled && roots.is_none() {
            let reason = "a recursive node needs `roots`, a file that says where walks begin";
            return refused("enabled", Rule::Alone { reason, missing: keys::shown("recursion", "roots") });
        }
        Ok(())
    }

    /// What a mirror is told needs to say of which primary.
    fn check_mirror(&self, layers: &Merged) -> Result<(), ConfigError> {
        let Mirror { of, key, only, .. } = &self.mirror;
        let alone = match (of, key, only) {
            (None, Some(_), _) => "key",
            (None, None, Some(_)) => "only",
            _ => return Ok(()),
        };
        let reason = "there is no URL of the log of a primary";
        Err(layers.refused("mirror", alone, Rule::Alone { reason, missing: keys::shown("mirror", "of") }))
    }
}

impl Default for Config {
    #[expect(clippy::expect_used, reason = "the defaults are constants, and a test reads each of them")]
    fn default() -> Self {
        Self::from_layers([]).expect("the defaults can be read")
    }
}

impl Dns {
    /// The files of the certificate and its key, of which there are both or none.
    pub fn certificate_files(&self) -> Option<[&Path; 2]> {
        Some([self.certificate.as_deref()?, self.certificate_key.as_deref()?])
    }
}

impl Recursion {
    /// The file that says where walks begin, on a recursive node.
    pub fn roots_if_enabled(&self) -> Option<&Path> {
        self.roots.as_deref().filter(|_| self.enabled)
    }
}

#[cfg(test)]
mod tests;
