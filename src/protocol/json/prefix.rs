//! Prefixes and delegations as lines.

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::write::{time_text, to_json};
use crate::protocol::grpc::pb;

/// The delegation of a prefix, within another line.
#[derive(Debug, Serialize)]
pub(super) struct LineDelegation<'a> {
    ttl: u32,
    sites: Vec<LineSite<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ds: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LineSite<'a> {
    serial: u32,
    role: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    endpoints: Vec<String>,
}

#[derive(Serialize)]
struct LinePrefix<'a> {
    change: &'static str,
    prefix: &'a str,
    version: u64,
    ledger_index: u64,
    time: String,
    by: &'a str,
    #[serde(flatten)]
    delegation: Option<LineDelegation<'a>>,
}

/// The state of a prefix as one line, without the line's end.
pub fn prefix_to_json(state: &pb::PrefixState) -> String {
    to_json(&LinePrefix {
        change: prefix_word(state),
        prefix: &state.prefix,
        version: state.version,
        ledger_index: state.ledger_index,
        time: time_text(state.time),
        by: &state.by,
        delegation: state.delegation.as_ref().map(line_delegation),
    })
}

/// The operation that made the state of a prefix: `delegate`, `home`, `revoke`; `unknown` for another.
pub fn prefix_word(state: &pb::PrefixState) -> &'static str {
    use pb::prefix_state::Kind;
    match state.kind() {
        Kind::Delegated => "delegate",
        Kind::Homed => "home",
        Kind::Revoked => "revoke",
        Kind::Unspecified => "unknown",
    }
}

/// An endpoint in the spelling of command-line arguments: `grpc://192.0.2.1:50051`.
pub fn endpoint_text(endpoint: &pb::Endpoint) -> String {
    use pb::endpoint::Protocol;
    let protocol = match endpoint.protocol() {
        Protocol::Dns => "dns",
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
        Protocol::Https => "https",
        Protocol::HandleUdp => "hdl-udp",
        Protocol::HandleTcp => "hdl-tcp",
        Protocol::Unspecified => "unknown",
    };
    match endpoint.address.contains(':') {
        true => format!("{protocol}://[{}]:{}", endpoint.address, endpoint.port),
        false => format!("{protocol}://{}:{}", endpoint.address, endpoint.port),
    }
}

/// The role of a site: `primary`, `mirror`; `unknown` for another.
pub fn site_role_text(site: &pb::Site) -> &'static str {
    use pb::site::Role;
    match site.role() {
        Role::Primary => "primary",
        Role::Mirror => "mirror",
        Role::Unspecified => "unknown",
    }
}

fn site_line(site: &pb::Site) -> LineSite<'_> {
    LineSite {
        serial: site.serial,
        role: site_role_text(site),
        key: &site.key,
        endpoints: site.endpoints.iter().map(endpoint_text).collect(),
    }
}

pub(super) fn line_delegation(delegation: &pb::Delegation) -> LineDelegation<'_> {
    let signer = |signer: &pb::DelegationSigner| {
        let digest = HEXLOWER.encode(&signer.digest);
        format!("{} {} {} {digest}", signer.key_tag, signer.algorithm, signer.digest_type)
    };
    LineDelegation {
        ttl: delegation.ttl,
        sites: delegation.sites.iter().map(site_line).collect(),
        ds: delegation.signers.iter().map(signer).collect(),
    }
}
