//! Conversion of prefixes and delegations to and from messages.

use super::{pb, request_id};
use crate::{
    id::{Prefix, excerpt},
    record::{Delegation, DelegationError, DelegationSigner, Endpoint, PrefixChange, Site, SiteProtocol, SiteRole},
    registry::{PrefixCommand, Refusal},
    store::PrefixVersion,
    tlog::note::VerifierKey,
};

/// Error of a message that is no valid delegation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationFault {
    /// The delegation breaks a rule.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// A part of the message is malformed.
    #[error("{0}")]
    Part(String),
}

/// The state of a prefix as a message.
pub fn prefix_to_pb(version: &PrefixVersion) -> pb::PrefixState {
    use pb::prefix_state::Kind;
    let kind = match version.change {
        PrefixChange::Delegate(_) => Kind::Delegated,
        PrefixChange::Home => Kind::Homed,
        PrefixChange::Revoke => Kind::Revoked,
    };
    pb::PrefixState {
        prefix: version.prefix.to_string(),
        kind: kind.into(),
        delegation: version.delegation().map(delegation_to_pb),
        version: version.version.number,
        ledger_index: version.version.ledger_index,
        time: version.version.time_ms,
        by: version.principal.as_str().into(),
    }
}

/// A delegation as a message.
pub fn delegation_to_pb(delegation: &Delegation) -> pb::Delegation {
    let signer = |signer: &DelegationSigner| pb::DelegationSigner {
        key_tag: signer.key_tag.into(),
        algorithm: signer.algorithm.into(),
        digest_type: signer.digest_type.into(),
        digest: signer.digest.to_vec().into(),
    };
    pb::Delegation {
        ttl: delegation.ttl_seconds(),
        sites: delegation.sites().iter().map(site_to_pb).collect(),
        signers: delegation.signers().iter().map(signer).collect(),
    }
}

fn site_to_pb(site: &Site) -> pb::Site {
    use pb::{endpoint::Protocol, site::Role};
    let endpoint = |endpoint: &Endpoint| {
        let protocol = match endpoint.protocol {
            SiteProtocol::Dns => Protocol::Dns,
            SiteProtocol::Grpc => Protocol::Grpc,
            SiteProtocol::Http => Protocol::Http,
            SiteProtocol::Https => Protocol::Https,
            SiteProtocol::HandleUdp => Protocol::HandleUdp,
            SiteProtocol::HandleTcp => Protocol::HandleTcp,
        };
        pb::Endpoint {
            protocol: protocol.into(),
            address: endpoint.address.ip().to_string(),
            port: endpoint.address.port().into(),
        }
    };
    let role = match site.role {
        SiteRole::Primary => Role::Primary,
        SiteRole::Mirror => Role::Mirror,
    };
    pb::Site {
        serial: site.serial.into(),
        role: role.into(),
        key: site.key.as_deref().unwrap_or_default().into(),
        endpoints: site.endpoints.iter().map(endpoint).collect(),
    }
}

/// Reads a delegation.
///
/// # Errors
///
/// [`DelegationFault`] with the first rule that is broken.
pub fn delegation_from_pb(message: &pb::Delegation) -> Result<Delegation, DelegationFault> {
    let sites = message.sites.iter().map(site_from_pb).collect::<Result<_, _>>()?;
    let signers = message.signers.iter().map(signer_from_pb).collect::<Result<_, _>>()?;
    Ok(Delegation::new(message.ttl, sites, signers)?)
}

fn site_from_pb(message: &pb::Site) -> Result<Site, DelegationFault> {
    use pb::site::Role;
    let role = match message.role() {
        Role::Primary => SiteRole::Primary,
        Role::Mirror => SiteRole::Mirror,
        Role::Unspecified => return Err(DelegationFault::Part("a site has no role; give primary or mirror".into())),
    };
    if !message.key.is_empty() {
        let key = message.key.parse::<VerifierKey>();
        key.map_err(|error| DelegationFault::Part(format!("the key of a site: {error}")))?;
    }
    let serial = u16::try_from(message.serial);
    Ok(Site {
        serial: serial
            .map_err(|_| DelegationFault::Part(format!("site serial {} is more than 65535", message.serial)))?,
        role,
        key: Some(message.key.as_str()).filter(|key| !key.is_empty()).map(Box::from),
        endpoints: message.endpoints.iter().map(endpoint_from_pb).collect::<Result<_, _>>()?,
    })
}

fn endpoint_from_pb(message: &pb::Endpoint) -> Result<Endpoint, DelegationFault> {
    use pb::endpoint::Protocol;
    let fault = |what: &str| DelegationFault::Part(format!("endpoint `{}`: {what}", excerpt(&message.address)));
    let protocol = match message.protocol() {
        Protocol::Dns => SiteProtocol::Dns,
        Protocol::Grpc => SiteProtocol::Grpc,
        Protocol::Http => SiteProtocol::Http,
        Protocol::Https => SiteProtocol::Https,
        Protocol::HandleUdp => SiteProtocol::HandleUdp,
        Protocol::HandleTcp => SiteProtocol::HandleTcp,
        Protocol::Unspecified => return Err(fault("its protocol is unknown to this version")),
    };
    let address = message.address.parse().map_err(|_| fault("it is no IP address"))?;
    let port = u16::try_from(message.port).map_err(|_| fault("its port is more than 65535"))?;
    Ok(Endpoint { protocol, address: std::net::SocketAddr::new(address, port) })
}

fn signer_from_pb(message: &pb::DelegationSigner) -> Result<DelegationSigner, DelegationFault> {
    let fault = |_| DelegationFault::Part("a DS has a number out of range (RFC 4034 section 5.1)".into());
    Ok(DelegationSigner {
        key_tag: message.key_tag.try_into().map_err(fault)?,
        algorithm: message.algorithm.try_into().map_err(fault)?,
        digest_type: message.digest_type.try_into().map_err(fault)?,
        digest: message.digest.to_vec().into(),
    })
}

/// Reads a command about a prefix.
///
/// # Errors
///
/// [`Refusal::Invalid`] with the first rule that is broken.
pub fn prefix_command(message: &pb::PrefixCommand) -> Result<PrefixCommand, Refusal> {
    use pb::prefix_command::Operation;
    let prefix = Prefix::parse(&message.prefix)
        .map_err(|error| Refusal::Invalid { identifier: error.excerpt.clone(), reason: error.rule_at() })?;
    let invalid = |reason: String| Refusal::Invalid { identifier: prefix.to_string(), reason };
    let change = match &message.operation {
        Some(Operation::Delegate(delegation)) => {
            PrefixChange::Delegate(delegation_from_pb(delegation).map_err(|fault| invalid(fault.to_string()))?)
        }
        Some(Operation::Home(_)) => PrefixChange::Home,
        Some(Operation::Revoke(_)) => PrefixChange::Revoke,
        None => return Err(invalid("there is no operation; give delegate, home or revoke".into())),
    };
    let request = request_id(&message.request_id).map_err(|rule| invalid(rule.into()))?;
    Ok(PrefixCommand { prefix, change, expected_version: message.expected_version, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_there_and_back() {
        let site = "3 mirror grpc://192.0.2.1:1 dns://[2001:db8::1]:2 http://192.0.2.1:3 https://192.0.2.1:4 \
            hdl-udp://192.0.2.1:5 hdl-tcp://192.0.2.1:6";
        let signer = "1 13 2 00ff".parse().unwrap();
        let delegation = Delegation::new(9, vec![site.parse().unwrap()], vec![signer]).unwrap();
        assert_eq!(delegation_from_pb(&delegation_to_pb(&delegation)), Ok(delegation));
    }

    #[test]
    fn bad_parts_are_named() {
        let good = || {
            let site = "grpc://192.0.2.1:1".parse().unwrap();
            delegation_to_pb(&Delegation::new(9, vec![site], Vec::new()).unwrap())
        };
        let check = |spoil: &dyn Fn(&mut pb::Delegation), rule: &str| {
            let mut message = good();
            spoil(&mut message);
            let fault = delegation_from_pb(&message).unwrap_err().to_string();
            assert!(fault.contains(rule), "{rule}: {fault}");
        };
        check(&|message| message.sites.clear(), "1 to 16 sites");
        check(&|message| message.ttl = 172_801, "172800 seconds");
        check(&|message| message.sites[0].role = 0, "no role");
        check(&|message| message.sites[0].serial = 70_000, "70000");
        check(&|message| message.sites[0].key = "x".into(), "key of a site");
        check(&|message| message.sites[0].endpoints[0].port = 70_000, "port");
        check(&|message| message.sites[0].endpoints[0].port = 0, "has no port");
        check(&|message| message.sites[0].endpoints[0].address = "a.example".into(), "no IP address");
        check(&|message| message.sites[0].endpoints[0].protocol = 99, "unknown to this version");
        check(&|message| message.signers.push(pb::DelegationSigner::default()), "1 to 64 bytes");
    }
}
