//! The recursor of a node, from its configuration and the roots file.

use std::{
    fs,
    net::{IpAddr, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{AppError, entropy};
use crate::{
    client::NodeUpstream,
    config::{self, Config, Sizes, Verify},
    protocol::json::{BOOTSTRAP_BYTES_MAX, bootstrap_from_json},
    resolver::{
        Recursive, WalkLimits,
        recursion::{Evidence, FirstProtocol, LedgerVerifier, RecursionOptions, Recursor, Roots},
    },
};

/// Divisor of the recursion memory for the cache of delegations; answers take the rest.
const DELEGATIONS_PART: usize = 4;

/// Creates the recursor from the roots file. Must be called within a runtime.
///
/// # Errors
///
/// [`AppError::Roots`].
pub(super) fn start(config: &Config, roots: &Path) -> Result<Recursive, AppError> {
    let roots = read_roots(roots)?;
    let (bytes_max, zone) = (Sizes::here(config).recursion_bytes, &config.zone);
    let delegation_bytes_max = bytes_max / DELEGATIONS_PART;
    let exempt = config.dns.rate_exempt.clone();
    let config = &config.recursion;
    let seed = entropy()().first_chunk().copied().map_or(0, u64::from_le_bytes);
    let options = RecursionOptions {
        evidence: match config.verify {
            Verify::Off => Evidence::None,
            Verify::Included => Evidence::Inclusion,
            Verify::Latest => Evidence::Latest,
        },
        first: match config.first {
            config::FirstProtocol::Grpc => FirstProtocol::Grpc,
            config::FirstProtocol::Dns => FirstProtocol::Dns,
        },
        walk_timeout: Duration::from_millis(config.walk_ms_max),
        answer_bytes_max: bytes_max - delegation_bytes_max,
        delegation_bytes_max,
        stale_max: Duration::from_secs(config.stale_seconds_max),
        seed,
        ..RecursionOptions::default()
    };
    let upstream = Arc::new(NodeUpstream::new(zone));
    let recursor = Recursor::new(roots, upstream, Arc::new(LedgerVerifier::default()), options);
    let limits = WalkLimits { exempt, ..WalkLimits::default() };
    Ok(Recursive { recursor, allow: config.allow.clone(), limits })
}

fn read_roots(path: &Path) -> Result<Roots, AppError> {
    let bad = |reason: String| AppError::Roots { path: path.into(), reason };
    let length = fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if length > BOOTSTRAP_BYTES_MAX {
        return Err(bad(format!("it has {length} bytes; the limit is {BOOTSTRAP_BYTES_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let roots = bootstrap_from_json(&text, address_of).map_err(|error| bad(error.to_string()))?;
    if roots.is_empty() {
        return Err(bad("it names no prefix; `.` stands for every identifier".into()));
    }
    Ok(Roots::new(roots))
}

/// The first address of a host, looked up once at start.
fn address_of(host: &str) -> Option<IpAddr> {
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
    if found.is_none() {
        tracing::warn!(host, "a host of the roots has no address now: it is not asked before the next start");
    }
    found.map(|address| address.ip())
}
