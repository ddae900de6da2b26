//! Configuration: the declaration of its keys, its layers, and the resulting [`Config`].
//!
//! ```text
//! defaults < file (--config, else TOUCHMARK_CONFIG) < environment (TOUCHMARK_DNS_LISTEN, …) < arguments
//! ```
//!
//! Every key is declared once, with its documentation, form and default, in `tables`; parsing, `touchmark config print`
//! and `docs/configuration.md` follow from the declaration. Each layer is a table of tables ([`Layer`]). The layers are
//! merged, and every key is read once, so that an error names the key, and the file and line, variable or argument of
//! its value. All keys are optional; an unknown key is rejected with the nearest known one. Old names, from before
//! there were tables, are still read, with a [`Warning`].
//!
//! Deliberately absent: the types of listeners and protocols. Limits are plain numbers here; `app` converts them.

mod error;
mod file;
mod forms;
mod keys;
mod layers;
mod machine;
mod print;
mod sizing;
mod sources;
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

/// Version of configuration files that this build reads.
pub const VERSION: i64 = 1;
/// Environment variable with the path of the file.
pub const FILE_VARIABLE: &str = "TOUCHMARK_CONFIG";

/// Minimum size of one cache, in bytes (1 MiB).
pub const CACHE_BYTES_MIN: usize = 1 << 20;
/// Maximum size of a cache, or of all together, in bytes (1 TiB).
pub const CACHE_BYTES_MAX: usize = 1 << 40;
/// Minimum size of all caches together, in bytes (16 MiB).
pub const CACHES_BYTES_MIN: usize = 16 << 20;
/// Bounds of the overlay, in entries.
pub const OVERLAY_ENTRIES: RangeInclusive<usize> = 1_024..=16_777_216;
/// Maximum number of threads that answer over UDP on one address.
pub const DNS_WORKERS_MAX: usize = 64;
/// Bounds of the rate limit: answers of a kind per second and client network.
pub const RATE_PER_SECOND: RangeInclusive<u32> = 0..=10_000;
/// Bounds of the time that a client network stays limited, in seconds.
pub const RATE_WINDOW_SECONDS: RangeInclusive<u32> = 1..=3_600;
/// Bounds of the slip: one of so many limited answers is sent truncated.
pub const RATE_SLIP: RangeInclusive<u8> = 0..=10;
/// Bounds of an answer over UDP to a client without a cookie, in octets (RFC 1035 section 4.2.1; 1,232 fits every
/// path).
pub const WITHOUT_COOKIE_OCTETS: RangeInclusive<u16> = 512..=1_232;
/// Maximum number of connections per client network.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 65_536;
/// Maximum time that an answer may be served stale, in seconds: a week (RFC 8767 section 5 wants one to three days).
pub const STALE_SECONDS_MAX: u64 = 604_800;
/// Bounds of the timeout of a walk, in milliseconds.
pub const WALK_MS: RangeInclusive<u64> = 100..=60_000;
/// Maximum number of addresses that DNS listens on, and of public addresses.
pub const DNS_ADDRESSES_MAX: usize = 32;
/// Maximum number of witnesses.
pub const WITNESSES_MAX: usize = 32;
/// Maximum number of networks in one list: each answer compares them all.
pub const NETWORKS_MAX: usize = 64;
/// Maximum number of prefixes that an edge node keeps.
pub const MIRROR_PREFIXES_MAX: usize = 256;
/// Maximum length of an origin, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// Maximum length of a node's name, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 255;

/// Key and address of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Key of the witness.
    pub key: VerifierKey,
    /// Submission prefix of the witness (C2SP tlog-witness).
    pub url: String,
}

/// Signing algorithm of the zone, with its mnemonic of the IANA registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl SigningAlgorithm {
    /// Words for the algorithms, and their numbers of the IANA registry.
    const CHOICES: &[(&str, Option<Self>)] = &[
        ("off", None),
        ("ECDSAP256SHA256", Some(Self::EcdsaP256Sha256)),
        ("ED25519", Some(Self::Ed25519)),
        ("13", Some(Self::EcdsaP256Sha256)),
        ("15", Some(Self::Ed25519)),
    ];
}

/// Proof required of answers of other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// No proof.
    #[default]
    Off,
    /// Inclusion in the ledger of the site.
    Included,
    /// As [`Verify::Included`], and no later entry is about the same identifier.
    Latest,
}

impl Verify {
    const CHOICES: &[(&str, Self)] = &[("off", Self::Off), ("included", Self::Included), ("latest", Self::Latest)];
}

/// Protocol of the first query to a site that speaks both.
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

/// A configuration with its sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    merged: Merged,
}

impl Loaded {
    /// Warnings about old names that were read.
    pub fn warnings(&self) -> &[Warning] {
        &self.merged.warnings
    }

    /// The configuration as a commented file: every key with the value in effect, and the value of "auto" on a machine.
    pub fn print(&self, machine: &Machine) -> String {
        print::file(self, machine)
    }

    /// Merges layers on top of the defaults, later ones over earlier ones.
    fn new(layers: impl IntoIterator<Item = Layer>) -> Result<Self, ConfigError> {
        let merged = Merged::new(Layer::defaults(), layers);
        let config = Config::settled(&merged)?;
        Ok(Self { config, merged })
    }
}

impl Config {
    /// Default address of DNS.
    pub const DNS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);

    /// Loads the configuration of this process: file, environment, then `arguments`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the key, its place and the broken rule.
    pub fn load(file: Option<&Path>, arguments: Layer) -> Result<Loaded, ConfigError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let file = file.map(PathBuf::from).or_else(|| lookup(FILE_VARIABLE).map(PathBuf::from));
        let file = file.map(|path| Layer::from_file(&path)).transpose()?;
        Loaded::new(file.into_iter().chain([Layer::from_environment(lookup)?, arguments]))
    }

    /// Merges layers on top of the defaults, later ones over earlier ones.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`].
    pub fn from_layers(layers: impl IntoIterator<Item = Layer>) -> Result<Self, ConfigError> {
        Ok(Loaded::new(layers)?.config)
    }

    /// Reads every key, then checks rules across keys.
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

    /// Checks that certificate and key are both given, or neither.
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

    /// Checks that the other keys of a mirror come with the URL of its primary.
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
    /// Paths of the certificate and its key, if configured.
    pub fn certificate_files(&self) -> Option<[&Path; 2]> {
        Some([self.certificate.as_deref()?, self.certificate_key.as_deref()?])
    }
}

impl Recursion {
    /// Path of the roots file, on a recursive node.
    pub fn roots_if_enabled(&self) -> Option<&Path> {
        self.roots.as_deref().filter(|_| self.enabled)
    }
}

#[cfg(test)]
mod tests;
