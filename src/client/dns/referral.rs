//! Referrals over DNS: a delegation from the private record that holds all of it, or from NS records with addresses.
//!
//! NS records have no ports, protocols and keys: the delegation made of them has name servers at port 53. Records are
//! untrusted; the only check here is that the prefix covers the identifier of the question.

use prost::Message as _;

use super::{
    packet::{RawReferral, Response},
    zone_labels, zone_octets,
};
use crate::{
    id::{Identifier, Prefix, dns_name},
    protocol::grpc::{delegation_from_pb, pb},
    record::{Delegation, DelegationSigner, Endpoint, Site, SiteProtocol, SiteRole},
    resolver::Referral,
};

/// Port of name servers known by NS records.
const DNS_PORT: u16 = 53;

/// True for a response that is a referral.
pub(super) fn is_one(response: &Response) -> bool {
    let RawReferral { servers, state, .. } = &response.referral;
    !response.authoritative && (state.is_some() || !servers.is_empty())
}

/// Parses a referral; `None` if it names no address.
///
/// # Errors
///
/// The fault of the referral.
pub(super) fn read(raw: &RawReferral, identifier: &Identifier, zone: &str) -> Result<Option<Referral>, String> {
    let referral = match &raw.state {
        Some(state) => Some(of_state(state)?),
        None => of_servers(raw, zone)?,
    };
    match referral {
        Some(referral) if !referral.prefix.covers(identifier.key()) => {
            Err(format!("{} is not a prefix of {identifier}", referral.prefix))
        }
        referral => Ok(referral),
    }
}

fn of_state(state: &[u8]) -> Result<Referral, String> {
    let state = pb::PrefixState::decode(state).map_err(|error| error.to_string())?;
    let prefix = Prefix::parse(&state.prefix).map_err(|error| error.to_string())?;
    let delegation = state.delegation.ok_or("it has no delegation")?;
    let delegation = delegation_from_pb(&delegation).map_err(|fault| fault.to_string())?;
    Ok(Referral { prefix, delegation, ledger_index: Some(state.ledger_index) })
}

fn of_servers(raw: &RawReferral, zone: &str) -> Result<Option<Referral>, String> {
    let Some((cut, _, _)) = raw.servers.first() else { return Ok(None) };
    let is_cut = |owner: &[u8]| owner.eq_ignore_ascii_case(cut);
    let prefix = prefix_of(cut, zone).ok_or("its NS records are not those of a prefix in the zone")?;
    let servers = raw.servers.iter().filter(|(owner, _, _)| is_cut(owner));
    let ttl_seconds = servers.clone().map(|(_, _, ttl)| *ttl).min().unwrap_or_default();
    let sites: Vec<Site> = servers.filter_map(|(_, server, _)| site(raw, server)).take(Delegation::SITES_MAX).collect();
    if sites.is_empty() {
        return Ok(None);
    }
    let signers = raw.signers.iter().filter(|(owner, _)| is_cut(owner)).filter_map(|(_, data)| signer(data));
    let signers = signers.take(Delegation::SIGNERS_MAX).collect();
    let delegation = Delegation::new(ttl_seconds.min(Delegation::TTL_SECONDS_MAX), sites, signers);
    let delegation = delegation.map_err(|error| error.to_string())?;
    Ok(Some(Referral { prefix, delegation, ledger_index: None }))
}

/// The prefix of a name, which is in wire form and uncompressed.
fn prefix_of(name: &[u8], zone: &str) -> Option<Prefix> {
    let mut labels = Vec::new();
    let mut rest = name;
    while let Some((&octets, behind)) = rest.split_first().filter(|(octets, _)| **octets > 0) {
        let (label, behind) = behind.split_at_checked(usize::from(octets))?;
        labels.push(label);
        rest = behind;
    }
    let zone_labels: Vec<&str> = zone_labels(zone).collect();
    let (before, own) = labels.split_at_checked(labels.len().checked_sub(zone_labels.len())?)?;
    let same = |(label, own): (&&[u8], &&str)| label.eq_ignore_ascii_case(own.as_bytes());
    let in_zone = own.iter().zip(&zone_labels).all(same);
    dns_name::prefix_of_name(before, zone_octets(zone)).filter(|_| in_zone)
}

/// The site of a name server; `None` without an address of it.
fn site(raw: &RawReferral, server: &[u8]) -> Option<Site> {
    let addresses = raw.addresses.iter().filter(|(owner, _)| owner.eq_ignore_ascii_case(server));
    let endpoint = |address| Endpoint { protocol: SiteProtocol::Dns, address: (address, DNS_PORT).into() };
    let endpoints: Vec<_> = addresses.map(|(_, address)| endpoint(*address)).take(Site::ENDPOINTS_MAX).collect();
    (!endpoints.is_empty()).then_some(Site { serial: 1, role: SiteRole::Primary, key: None, endpoints })
}

/// Parses the data of a DS record (RFC 4034 section 5.1); `None` for data that no delegation can hold.
fn signer(data: &[u8]) -> Option<DelegationSigner> {
    let (head, digest) = data.split_first_chunk::<4>()?;
    let fits = (1..=DelegationSigner::DIGEST_BYTES_MAX).contains(&digest.len());
    let key_tag = u16::from_be_bytes([head[0], head[1]]);
    let signer = DelegationSigner { key_tag, algorithm: head[2], digest_type: head[3], digest: digest.into() };
    fits.then_some(signer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUT: &[u8] = b"\x03118\x0288\x03HDL\x02id\x04test\x00";
    const ONE: &[u8] = b"\x01a\x02ns\x00";
    const OTHER: &[u8] = b"\x01b\x02ns\x00";

    fn identifier() -> Identifier {
        Identifier::parse("88.118.8/bolt").unwrap()
    }

    fn raw() -> RawReferral {
        RawReferral {
            servers: vec![
                (CUT.to_vec(), ONE.to_vec(), 300_000),
                (CUT.to_ascii_lowercase(), OTHER.to_vec(), 200_000),
                (b"\x04test\x00".to_vec(), OTHER.to_vec(), 1),
            ],
            addresses: vec![
                (b"\x01A\x02ns\x00".to_vec(), [192, 0, 2, 1].into()),
                (ONE.to_vec(), "2001:db8::1".parse().unwrap()),
                (b"\x01c\x00".to_vec(), [192, 0, 2, 3].into()),
            ],
            signers: vec![(CUT.to_vec(), b"\x30\x39\x0d\x02\x00\xff".to_vec()), (CUT.to_vec(), b"\x30".to_vec())],
            state: None,
        }
    }

    #[test]
    fn of_name_servers() {
        let referral = read(&raw(), &identifier(), "id.test.").unwrap().unwrap();
        assert_eq!((referral.prefix.as_str(), referral.ledger_index), ("hdl:88.118", None));
        let text = "ttl 172800\nsite 1 primary - dns://192.0.2.1:53 dns://[2001:db8::1]:53\nds 12345 13 2 00ff\n";
        assert_eq!(referral.delegation.to_text(), text);
        let no_glue = RawReferral { addresses: Vec::new(), ..raw() };
        assert_eq!(read(&no_glue, &identifier(), "id.test."), Ok(None));
        for (identifier, zone) in [("88.119/x", "id.test."), ("88.118/x", "other.test."), ("88.118/x", "test.")] {
            let identifier = Identifier::parse(identifier).unwrap();
            assert!(read(&raw(), &identifier, zone).is_err(), "{identifier} {zone}");
        }
    }

    #[test]
    fn of_the_whole_record() {
        let delegation: pb::Delegation = pb::Delegation {
            ttl: 60,
            sites: vec![pb::Site {
                role: 1,
                endpoints: vec![pb::Endpoint { protocol: 2, address: "192.0.2.1".into(), port: 1 }],
                ..pb::Site::default()
            }],
            signers: Vec::new(),
        };
        let state = pb::PrefixState {
            prefix: "hdl:88.118".into(),
            delegation: Some(delegation),
            ledger_index: 7,
            ..pb::PrefixState::default()
        };
        let whole = |state: &pb::PrefixState| RawReferral { state: Some(state.encode_to_vec()), ..raw() };
        let referral = read(&whole(&state), &identifier(), "id.test.").unwrap().unwrap();
        assert_eq!(referral.ledger_index, Some(7));
        assert_eq!(referral.delegation.to_text(), "ttl 60\nsite 0 primary - grpc://192.0.2.1:1\n");
        for broken in [
            pb::PrefixState { prefix: "hdl:88.119".into(), ..state.clone() },
            pb::PrefixState { prefix: "a b c/d".into(), ..state.clone() },
            pb::PrefixState { delegation: None, ..state.clone() },
        ] {
            assert!(read(&whole(&broken), &identifier(), "id.test.").is_err(), "{broken:?}");
        }
        assert!(read(&RawReferral { state: Some(vec![0xff]), ..raw() }, &identifier(), "id.test.").is_err());
    }

    proptest! {
        #[test]
        fn any_records_are_read_or_not(
            owner in prop::collection::vec(any::<u8>(), 0..20),
            signer in prop::collection::vec(any::<u8>(), 0..80),
            state in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
            known in any::<bool>(),
            ttl: u32,
        ) {
            let owner = if known { CUT.to_vec() } else { owner };
            let raw = RawReferral {
                servers: vec![(owner.clone(), ONE.to_vec(), ttl)],
                signers: vec![(owner, signer)],
                state,
                ..raw()
            };
            if let Ok(Some(referral)) = read(&raw, &identifier(), "id.test.") {
                prop_assert!(referral.prefix.covers(identifier().key()));
                prop_assert!(referral.delegation.ttl_seconds() <= Delegation::TTL_SECONDS_MAX);
            }
        }
    }
}
