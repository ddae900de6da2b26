//! How a node follows delegations for its clients.

use std::path::PathBuf;

use super::{
    CACHE_BYTES_MAX, CACHE_BYTES_MIN, ConfigError, Layers,
    checks::{networks, on_or_off, within},
};
use crate::{
    id::excerpt,
    network::{self, Network},
};

/// The longest that an answer is kept past its time, in seconds: a week (RFC 8767 section 5 wants one to three days).
const STALE_SECONDS_MAX: u64 = 604_800;
/// The bounds of a walk, in milliseconds.
const WALK_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// How a node follows delegations for its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecursionConfig {
    /// The file that says where walks begin.
    pub roots: PathBuf,
    /// What has to be verified.
    pub verify: Verify,
    /// Over what a site is asked first that is asked over both.
    pub first: FirstProtocol,
    /// For whom it does.
    pub allow: Vec<Network>,
    /// The most bytes that answers and delegations of other nodes take.
    pub cache_bytes_max: usize,
    /// How long past its time an answer is kept, in seconds.
    pub stale_seconds_max: u64,
    /// How long a walk may take, in milliseconds.
    pub walk_ms_max: u64,
}

/// What has to be verified of answers from other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing.
    #[default]
    Off,
    /// That they stand in the ledger of the site.
    Included,
    /// And that no later entry is about the same identifier.
    Latest,
}

/// Over what a site is asked first that is asked over both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// DNS.
    Dns,
}

impl Verify {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "included" => Ok(Self::Included),
            "latest" => Ok(Self::Latest),
            _ => Err(format!("`{}` is none of off, included, latest", excerpt(text))),
        }
    }
}

fn first(text: &str, verify: Verify) -> Result<FirstProtocol, String> {
    match text {
        "grpc" => Ok(FirstProtocol::Grpc),
        "dns" if verify != Verify::Off => Err("proofs come over gRPC: with `verify` it goes first".into()),
        "dns" => Ok(FirstProtocol::Dns),
        _ => Err(format!("`{}` is none of grpc, dns", excerpt(text))),
    }
}

impl Layers<'_> {
    /// What is said of recursion; `None` when it is off.
    pub(super) fn recursion(&self) -> Result<Option<RecursionConfig>, ConfigError> {
        let cache = |bytes: u64| within(bytes, CACHE_BYTES_MIN..=CACHE_BYTES_MAX, "bytes");
        let stale = |seconds: u64| within(seconds, 0..=STALE_SECONDS_MAX, "seconds");
        let walk = |time: u64| within(time, WALK_MS, "milliseconds");
        let verify = self.read("verify", |spec| spec.verify.as_deref(), Verify::parse)?.unwrap_or_default();
        let first = |text: &str| first(text, verify);
        let first = self.read("recursion_first", |spec| spec.recursion_first.as_deref(), first)?;
        let allow = self.read("recursion_allow", |spec| spec.recursion_allow.as_deref(), networks)?;
        let cache = self.read("recursion_cache_bytes_max", |spec| spec.recursion_cache_bytes_max, cache)?;
        let stale = self.read("recursion_stale_seconds_max", |spec| spec.recursion_stale_seconds_max, stale)?;
        let walk = self.read("recursion_walk_ms_max", |spec| spec.recursion_walk_ms_max, walk)?;
        let roots = self.read("roots", |spec| spec.roots.clone(), Ok)?;
        if !self.read("recursive", |spec| spec.recursive.as_deref(), on_or_off)?.unwrap_or_default() {
            let alone = |_: &str| Err("there is no `recursive` beside it, and nothing is asked of other nodes".into());
            if verify != Verify::Off {
                return self.read("verify", |spec| spec.verify.as_deref(), alone);
            }
            return Ok(None);
        }
        let without_roots = |_: &str| Err("a recursive node needs `roots`: a file that says where walks begin".into());
        let Some(roots) = roots else {
            return self.read("recursive", |spec| spec.recursive.as_deref(), without_roots);
        };
        Ok(Some(RecursionConfig {
            roots,
            verify,
            first: first.unwrap_or_default(),
            allow: allow.unwrap_or_else(|| network::loopback().into()),
            cache_bytes_max: cache.unwrap_or(64 << 20),
            stale_seconds_max: stale.unwrap_or(86_400),
            walk_ms_max: walk.unwrap_or(5_000),
        }))
    }
}
