//! Bootstrap registries: the endpoints of prefixes, as one JSON document.
//!
//! The format is that of the bootstrap registry of IIIDAP, which is that of RDAP (RFC 9224 section 3), with label-wise
//! longest match:
//!
//! ```text
//! { "version": "1.0", "publication": "2026-11-23T04:05:06Z", "description": "…",
//!   "services": [ [ [prefix, …], [base URL, …] ], … ],
//!   "sites": { "<prefix>": { "ttl": 3600, "sites": ["1 primary <key> grpc://192.0.2.1:50051 …"] }, … } }
//! ```
//!
//! `sites` is our extension, and other clients ignore it: it holds each delegation in full, with keys and roles. A
//! document without `sites` is read, too; each of its URLs is then the endpoint of a site of its own, whose answers
//! cannot be verified. So one format serves for the document that a node publishes and for the root file of a recursive
//! node.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{
    object::Object,
    write::{time_text, to_json},
};
use crate::{
    id::{Prefix, excerpt},
    record::{Delegation, Endpoint, Site, SiteProtocol, SiteRole},
    store::PrefixVersion,
};

/// Version of the format.
const VERSION: &str = "1.0";
/// Maximum number of prefixes in `services`, and in `sites`, of a document that is read.
pub const BOOTSTRAP_PREFIXES_MAX: usize = 1_000_000;
/// Maximum length of a document that is read, in bytes (256 MiB).
pub const BOOTSTRAP_BYTES_MAX: u64 = 256 << 20;

/// Error of reading a bootstrap registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The document does not have the format.
    #[error("it is no bootstrap registry: {0}")]
    Form(String),
    /// `services` or `sites` has too many prefixes.
    #[error("it holds more than {BOOTSTRAP_PREFIXES_MAX} prefixes, which is the limit")]
    TooMany,
    /// A prefix or its delegation is invalid.
    #[error("prefix `{prefix}`: {rule}")]
    Prefix {
        /// The prefix as written, shortened.
        prefix: String,
        /// The rule that is broken.
        rule: String,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'a str,
    publication: String,
    description: &'a str,
    services: Vec<[Vec<String>; 2]>,
    sites: BTreeMap<&'a str, Sites>,
}

#[derive(Deserialize)]
struct Read {
    version: String,
    #[serde(default)]
    services: Vec<(Vec<String>, Vec<String>)>,
    #[serde(default)]
    sites: BTreeMap<String, Object<Sites>>,
}

#[derive(Serialize, Deserialize)]
struct Sites {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    sites: Vec<String>,
}

/// Writes the document of a node's delegations; `publication_ms` is the time of the last of them, in milliseconds since
/// 1970 UTC.
pub fn bootstrap_to_json<'a>(
    origin: &str,
    publication_ms: u64,
    delegated: impl Iterator<Item = &'a PrefixVersion>,
) -> String {
    let (mut services, mut sites) = (BTreeMap::<Vec<String>, Vec<String>>::new(), BTreeMap::new());
    for version in delegated {
        let Some(delegation) = version.delegation() else { continue };
        services.entry(urls(delegation)).or_default().push(plain(&version.prefix));
        let lines = delegation.sites().iter().map(Site::to_string).collect();
        sites.insert(version.prefix.as_str(), Sites { ttl: Some(delegation.ttl_seconds()), sites: lines });
    }
    to_json(&Document {
        version: VERSION,
        publication: time_text(publication_ms),
        description: &format!("prefixes that are delegated by {origin}"),
        services: services.into_iter().map(|(urls, prefixes)| [prefixes, urls]).collect(),
        sites,
    })
}

/// Endpoints as base URLs: first the protocols that other clients of the format know, the safer one in front.
fn urls(delegation: &Delegation) -> Vec<String> {
    let rank = |protocol| match protocol {
        SiteProtocol::Https => 0,
        SiteProtocol::Http => 1,
        SiteProtocol::Grpc => 2,
        _ => 3,
    };
    let mut endpoints: Vec<&Endpoint> = delegation.sites().iter().flat_map(|site| &site.endpoints).collect();
    endpoints.sort_by_key(|endpoint| rank(endpoint.protocol));
    endpoints.iter().map(|endpoint| format!("{endpoint}/")).collect()
}

/// A prefix in the usual spelling: for Handles without the scheme, if the text still parses as the same prefix.
fn plain(prefix: &Prefix) -> String {
    let labels = prefix.as_str().strip_prefix("hdl:").unwrap_or(prefix.as_str());
    match Prefix::parse(labels) {
        Ok(same) if same == *prefix => labels.into(),
        _ => prefix.to_string(),
    }
}

/// Reads a document; `address_of` resolves host names. A host without an address is left out, unless a prefix would be
/// left without any site.
///
/// # Errors
///
/// [`BootstrapError`] with the first error.
pub fn bootstrap_from_json(
    text: &str,
    address_of: impl Fn(&str) -> Option<IpAddr>,
) -> Result<Vec<(Prefix, Delegation)>, BootstrapError> {
    let Object(read): Object<Read> =
        serde_json::from_str(text).map_err(|error| BootstrapError::Form(error.to_string()))?;
    if read.version != VERSION {
        let version = excerpt(&read.version);
        return Err(BootstrapError::Form(format!("its version is `{version}`, and this one reads `{VERSION}`")));
    }
    let listed: usize = read.services.iter().map(|(prefixes, _)| prefixes.len()).sum();
    if listed.max(read.sites.len()) > BOOTSTRAP_PREFIXES_MAX {
        return Err(BootstrapError::TooMany);
    }
    let mut delegations: BTreeMap<Box<[u8]>, (Prefix, Delegation)> = BTreeMap::new();
    // A full delegation has precedence over URLs, and needs no host to be resolved.
    for (written, Object(Sites { ttl, sites })) in &read.sites {
        let sites = sites.iter().map(|site| site.parse().map_err(|error| format!("{error}")));
        put(&mut delegations, written, *ttl, sites.collect())?;
    }
    let whole: HashSet<Box<[u8]>> = delegations.keys().cloned().collect();
    for (prefixes, urls) in &read.services {
        // Once for all prefixes: resolving a host may take long.
        let mut sites = None;
        for written in prefixes {
            let prefix = Prefix::parse(written).map_err(|error| bad(written, error.rule_at()))?;
            if !whole.contains(prefix.path()) {
                let sites = sites.get_or_insert_with(|| sites_of_urls(urls, &address_of));
                put(&mut delegations, written, None, sites.clone())?;
            }
        }
    }
    Ok(delegations.into_values().collect())
}

fn put(
    delegations: &mut BTreeMap<Box<[u8]>, (Prefix, Delegation)>,
    written: &str,
    ttl_seconds: Option<u32>,
    sites: Result<Vec<Site>, String>,
) -> Result<(), BootstrapError> {
    let prefix = Prefix::parse(written).map_err(|error| bad(written, error.rule_at()))?;
    let ttl_seconds = ttl_seconds.unwrap_or(Delegation::TTL_SECONDS_DEFAULT);
    let delegation = Delegation::new(ttl_seconds, sites.map_err(|rule| bad(written, rule))?, Vec::new());
    let delegation = delegation.map_err(|error| bad(written, error.to_string()))?;
    delegations.insert(prefix.path().into(), (prefix, delegation));
    Ok(())
}

fn bad(prefix: &str, rule: String) -> BootstrapError {
    BootstrapError::Prefix { prefix: excerpt(prefix), rule }
}

/// Base URLs as sites; those whose host has no address are left out, unless all would be.
fn sites_of_urls(urls: &[String], address_of: &impl Fn(&str) -> Option<IpAddr>) -> Result<Vec<Site>, String> {
    let (mut sites, mut unknown) = (Vec::with_capacity(urls.len()), None);
    for url in urls {
        match site_of_url(url, address_of)? {
            Ok(site) => sites.push(site),
            Err(host) => unknown = Some(host),
        }
    }
    match unknown {
        Some(host) if sites.is_empty() => Err(format!("`{host}` has no address")),
        _ => Ok(sites),
    }
}

/// A base URL as a site of its own; the inner error is a host without an address.
fn site_of_url(url: &str, address_of: &impl Fn(&str) -> Option<IpAddr>) -> Result<Result<Site, String>, String> {
    let (protocol, rest) = url.split_once("://").ok_or_else(|| format!("`{}` is no URL", excerpt(url)))?;
    let authority = rest.split('/').next().unwrap_or_default();
    let port_default = match protocol {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let has_port = authority.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
    let authority = if has_port { authority.to_owned() } else { format!("{authority}{port_default}") };
    let as_address = |authority: &str| format!("{protocol}://{authority}").parse::<Endpoint>();
    let endpoint = match as_address(&authority) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let (host, port) = authority.rsplit_once(':').ok_or_else(|| error.clone())?;
            let port = port.parse().map_err(|_| error)?;
            let Some(address) = address_of(host) else { return Ok(Err(excerpt(host))) };
            as_address(&SocketAddr::new(address, port).to_string())?
        }
    };
    Ok(Ok(Site { serial: 1, role: SiteRole::Primary, key: None, endpoints: vec![endpoint] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::Principal,
        record::{PrefixChange, Version},
    };

    fn version(prefix: &str, site: &str) -> PrefixVersion {
        let delegation = Delegation::new(60, vec![site.parse().unwrap()], Vec::new()).unwrap();
        PrefixVersion {
            prefix: Prefix::parse(prefix).unwrap(),
            change: PrefixChange::Delegate(delegation),
            version: Version { number: 1, ledger_index: 0, time_ms: 0 },
            principal: Principal::LOOPBACK,
        }
    }

    #[test]
    fn what_is_published_is_read() {
        let site = "2 primary a.example+1a2b3c4d+AQ== grpc://192.0.2.1:1 https://192.0.2.1:2";
        let versions = [version("88.118", site), version("hdl:1.3", site), version("1.3", "dns://192.0.2.2:53")];
        let text = bootstrap_to_json("id.example/log", 0, versions.iter());
        assert_eq!(
            text,
            "{\"version\":\"1.0\",\"publication\":\"1970-01-01T00:00:00.000Z\",\
             \"description\":\"prefixes that are delegated by id.example/log\",\
             \"services\":[[[\"urn:oid:1.3\"],[\"dns://192.0.2.2:53/\"]],\
             [[\"88.118\",\"hdl:1.3\"],[\"https://192.0.2.1:2/\",\"grpc://192.0.2.1:1/\"]]],\
             \"sites\":{\"hdl:1.3\":{\"ttl\":60,\"sites\":[\"SITE\"]},\"hdl:88.118\":{\"ttl\":60,\"sites\":[\"SITE\"]},\
             \"urn:oid:1.3\":{\"ttl\":60,\"sites\":[\"1 primary - dns://192.0.2.2:53\"]}}}"
                .replace("SITE", site)
        );
        let mut read = bootstrap_from_json(&text, |_| None).unwrap();
        read.sort_by_key(|(prefix, _)| prefix.to_string());
        let mut said: Vec<_> =
            versions.iter().map(|version| (version.prefix.clone(), version.delegation().unwrap().clone())).collect();
        said.sort_by_key(|(prefix, _)| prefix.to_string());
        assert_eq!(read, said);
    }

    #[test]
    fn others_are_read_without_keys() {
        let text = r#"{"version":"1.0","publication":"x","extra":1,
            "services":[[["86.100.1","."],["https://a.example/x/","grpc://[2001:db8::1]:5"]]]}"#;
        let read = bootstrap_from_json(text, |host| (host == "a.example").then(|| "192.0.2.9".parse().unwrap()));
        let read = read.unwrap();
        let shown: Vec<String> = read.iter().map(|(prefix, said)| format!("{prefix} {}", said.to_text())).collect();
        let sites = "ttl 3600\nsite 1 primary - https://192.0.2.9:443\nsite 1 primary - grpc://[2001:db8::1]:5\n";
        assert_eq!(shown, [format!(". {sites}"), format!("hdl:86.100.1 {sites}")]);
    }

    #[test]
    fn hosts_without_an_address_are_left_out_while_others_are_there() {
        let text = r#"{"version":"1.0",
            "services":[[["88.1","88.2"],["grpc://a.example:1"]],[["88.2"],["grpc://a.example:1","grpc://192.0.2.1:2"]]],
            "sites":{"88.1":{"ttl":60,"sites":["1 primary - grpc://192.0.2.1:1"]}}}"#;
        // For 88.2, the first service has no host with an address.
        assert!(bootstrap_from_json(text, |_| None).unwrap_err().to_string().contains("prefix `88.2`: `a.example`"));
        let read = bootstrap_from_json(&text.replace("\"88.1\",\"88.2\"", "\"88.1\""), |_| None).unwrap();
        let shown: Vec<String> = read.iter().map(|(prefix, said)| format!("{prefix} {}", said.to_text())).collect();
        assert_eq!(
            shown,
            [
                "hdl:88.1 ttl 60\nsite 1 primary - grpc://192.0.2.1:1\n",
                "hdl:88.2 ttl 3600\nsite 1 primary - grpc://192.0.2.1:2\n"
            ]
        );
    }

    #[test]
    fn bad_documents_are_named() {
        let check = |text: &str, rule: &str| {
            let error = bootstrap_from_json(text, |_| None).unwrap_err().to_string();
            assert!(error.contains(rule), "{text}: {error}");
        };
        check("", "no bootstrap registry");
        check(r#"{"version":"2.0"}"#, "`2.0`");
        check(r#"{"version":"1.0","services":[[["88..1"],["grpc://192.0.2.1:1"]]]}"#, "prefix `88..1`");
        check(r#"{"version":"1.0","services":[[["88.1"],["grpc://a.example:1"]]]}"#, "`a.example` has no address");
        check(r#"{"version":"1.0","services":[[["88.1"],[]]]}"#, "1 to 16 sites");
        check(r#"{"version":"1.0","services":[[["88.1"],["x"]]]}"#, "no URL");
        check(r#"{"version":"1.0","sites":{"88.1":{"sites":["nonsense"]}}}"#, "endpoints");
    }
}
