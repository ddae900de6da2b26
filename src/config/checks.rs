//! What each key of the configuration may hold: one function a form, whose error is the rule that broke, with its limit.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{DNS_ADDRESSES_MAX, ORIGIN_BYTES_MAX, VerifiableIndexMode, WITNESSES_MAX, WitnessAddress};
use crate::{
    network::{Network, NetworkError},
    protocol::dns::{
        IDENTITY_OCTETS_MAX,
        dnssec::keys::{Algorithm, UnknownAlgorithm},
        zone_labels,
    },
    server::datagram::rate::EXEMPT_NETWORKS_MAX,
    tlog::note::{KeyError, KeyType, VerifierKey},
};

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address with a port, such as 127.0.0.1:5300"))
}

/// The word for what is not wanted.
const OFF: &str = "off";

pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == OFF { Ok(None) } else { address(text).map(Some) }
}

pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        OFF => Ok(false),
        _ => Err(format!("`{}` is neither on nor off", crate::id::excerpt(text))),
    }
}

pub(super) fn verifiable_index(text: &str) -> Result<VerifiableIndexMode, String> {
    Ok(if on_or_off(text)? { VerifiableIndexMode::On } else { VerifiableIndexMode::Off })
}

/// One address or several, with commas between them.
pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<_> = text.split(',').map(|text| address(text.trim())).collect::<Result<_, _>>()?;
    match addresses.len() {
        0..=DNS_ADDRESSES_MAX => Ok(addresses),
        count => Err(format!("{count} addresses; the limit is {DNS_ADDRESSES_MAX}")),
    }
}

/// Addresses that others can ask, without ports and with commas between them; none when there is nothing.
pub(super) fn hosts(text: &str) -> Result<Vec<IpAddr>, String> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let address = |text: &str| {
        let address = text.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
        address.ok_or_else(|| {
            format!("`{}` is not an address that others can ask, such as 192.0.2.1", crate::id::excerpt(text))
        })
    };
    let addresses: Vec<_> = texts.map(address).collect::<Result<_, _>>()?;
    match addresses.len() {
        0..=DNS_ADDRESSES_MAX => Ok(addresses),
        count => Err(format!("{count} addresses; the limit is {DNS_ADDRESSES_MAX}")),
    }
}

/// Witnesses with commas between them: a verifier key, a space, a URL; none when there is nothing.
pub(super) fn witnesses(text: &str) -> Result<Vec<WitnessAddress>, String> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let witnesses = texts.map(witness).collect::<Result<Vec<_>, _>>()?;
    match witnesses.len() {
        0..=WITNESSES_MAX => Ok(witnesses),
        count => Err(format!("{count} witnesses; the limit is {WITNESSES_MAX}")),
    }
}

fn witness(text: &str) -> Result<WitnessAddress, String> {
    let form = || format!("`{}` is not a verifier key, a space and a URL", crate::id::excerpt(text));
    let (key, url) = text.split_once(char::is_whitespace).ok_or_else(form)?;
    let key: VerifierKey = key.parse().map_err(|error: KeyError| error.to_string())?;
    if key.kind() != KeyType::Cosigner {
        return Err(format!("{} is the key of a log; a witness has one of type 0x04", key.name()));
    }
    let url = url.trim();
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => {
            Ok(WitnessAddress { key, url: url.into() })
        }
        _ => Err(format!("`{}` is not a URL that begins with http:// or https://", crate::id::excerpt(url))),
    }
}

pub(super) fn identity(text: &str) -> Result<String, String> {
    if text.len() <= IDENTITY_OCTETS_MAX {
        return Ok(text.into());
    }
    Err(format!("the name takes {} bytes; the limit is {IDENTITY_OCTETS_MAX}", text.len()))
}

pub(super) fn data(path: &Path) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() { Err("the data directory has no name".into()) } else { Ok(path.into()) }
}

/// Checks a zone and brings it to lower case with a dot at its end.
///
/// # Errors
///
/// The rule that broke, with its limit.
pub fn zone(text: &str) -> Result<String, String> {
    let labels = zone_labels(text).map_err(|error| error.to_string())?;
    Ok(labels.iter().flat_map(|label| [label, "."]).collect())
}

/// An origin is the first line of a checkpoint and the name of a key: no spaces, no plus (C2SP signed-note).
pub(super) fn origin(text: &str) -> Result<String, String> {
    let well_formed = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '+');
    if well_formed && (1..=ORIGIN_BYTES_MAX).contains(&text.len()) {
        return Ok(text.into());
    }
    let text = crate::id::excerpt(text);
    Err(format!("`{text}` is not an origin: 1 to {ORIGIN_BYTES_MAX} bytes without spaces and +"))
}

pub(super) fn log(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.into()),
        Ok(_) => Err("there is no level; give error, warn, info, debug or trace".into()),
        Err(error) => Err(format!("`{}` is not a level or a list of directives: {error}", crate::id::excerpt(text))),
    }
}

pub(super) fn dnssec(text: &str) -> Result<Option<Algorithm>, String> {
    match text {
        OFF => Ok(None),
        text => text.parse().map(Some).map_err(|error: UnknownAlgorithm| format!("{error}, or {OFF}")),
    }
}

/// Networks with commas between them; none when there is nothing.
pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let networks: Vec<Network> =
        texts.map(|text| text.parse().map_err(|error: NetworkError| error.to_string())).collect::<Result<_, _>>()?;
    match networks.len() {
        0..=EXEMPT_NETWORKS_MAX => Ok(networks),
        count => Err(format!("{count} networks; the limit is {EXEMPT_NETWORKS_MAX}")),
    }
}

/// Checks that a number lies in a range, and gives it the type of the range.
pub(super) fn within<N>(number: u64, range: std::ops::RangeInclusive<N>, unit: &str) -> Result<N, String>
where
    N: TryFrom<u64> + PartialOrd + Display,
{
    let fits = N::try_from(number).ok().filter(|number| range.contains(number));
    fits.ok_or_else(|| format!("{number} is outside {} to {} {unit}", range.start(), range.end()))
}
