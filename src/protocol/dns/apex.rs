//! Records at the apexes of the node: that of its own zone, and those of the prefixes that are homed on it (RFC 1035
//! section 3.3.13, RFC 4035 section 2.2).
//!
//! Deliberately absent: SOA records, which change with every registration (`authority`).

use super::{
    answer::{RecordPlace, Section, WireAnswer},
    delegation::{Delegations, ZoneAbove},
    dnssec::DNSKEY_TTL_SECONDS,
    lookup::{ZoneAnswer, ZoneQuery},
    name_server::{self, push_addresses},
    records::{or_no_data, push_any},
    signing::KeySet,
    wire::{HEADER_OCTETS, RECORD_OCTETS, kind, rcode},
    zone::{ZONE_TTL_SECONDS, Zone},
};
use crate::id::dns_name;

/// The answer at the apex of the zone of the node.
pub(super) fn own_apex(zone: &Zone, query: &ZoneQuery<'_>) -> ZoneAnswer {
    let mut answer = WireAnswer::authoritative();
    let keys = query.key_sets(zone.apex());
    match query.kind() {
        kind::NS => {
            answer.push(Section::Answer, kind::NS, ZONE_TTL_SECONDS, |out| {
                Zone::put_name_server(out, HEADER_OCTETS);
            });
            // The addresses belong to the name in the data of the record before, which is as long as its two parts.
            let owner_offset = HEADER_OCTETS + query.question.octets().len() + RECORD_OCTETS;
            let place = RecordPlace { section: Section::Additional, owner_offset };
            push_addresses(&mut answer, place, zone.addresses(), |_| true);
        }
        kind::ANY => push_any(&mut answer),
        kind => push_keys(&mut answer, kind, &keys),
    }
    ZoneAnswer::with_types(or_no_data(answer), own_types(&keys))
}

/// The answer at the apex of a homed prefix from the apex itself; `None` if an identifier of the same name may have the
/// type.
pub(super) fn homed_apex(delegations: Delegations<'_>, query: &ZoneQuery<'_>) -> Option<ZoneAnswer> {
    let apex = delegations.zone.apex_of(query.question.name(), Some(0));
    let keys = query.key_sets(&apex);
    let mut answer = WireAnswer::authoritative();
    match query.kind() {
        kind::NS => push_homed_name_servers(delegations.zone, query, &mut answer),
        kind::ANY => push_any(&mut answer),
        kind::DS => return homed_signers(delegations, query, &apex),
        kind => push_keys(&mut answer, kind, &keys),
    }
    let has_records = answer.head.answer_count() > 0;
    has_records.then(|| ZoneAnswer::with_types(answer, homed_types(delegations.zone, &keys)).of_zone(Some(0)))
}

/// Turns the answer for an identifier of the same name into one at the apex of a homed prefix: a missing name becomes
/// no data, and the denial names the types of the apex, too.
pub(super) fn beside_homed_apex(zone: &Zone, query: &ZoneQuery<'_>, mut found: ZoneAnswer) -> ZoneAnswer {
    if found.answer.head.rcode == rcode::NXDOMAIN {
        found.answer = or_no_data(WireAnswer::authoritative());
    }
    if found.answer.head.negative {
        let apex = zone.apex_of(query.question.name(), Some(0));
        found.types.extend(homed_types(zone, &query.key_sets(&apex)));
    }
    found.of_zone(Some(0))
}

/// Data of the records in the answer section, with names in full, as signatures need them.
pub(super) fn signed_data(zone: &Zone, kind: u16, answer: &WireAnswer) -> Vec<Vec<u8>> {
    match (kind, answer.head.apex_at) {
        (kind::NS, None) => vec![zone.name_server_data()],
        (kind::NS, Some(_)) => {
            zone.addresses().iter().map(|address| name_server::name(*address, zone.apex())).collect()
        }
        _ => answer.answer_data().into_iter().map(<[u8]>::to_vec).collect(),
    }
}

/// Types at the apex of the zone of the node.
fn own_types(keys: &[KeySet]) -> Vec<u16> {
    let mut types = vec![kind::NS, kind::SOA];
    types.extend(keys.iter().map(|set| set.kind));
    types
}

/// Types at the apex of a homed prefix, apart from those of an identifier of the same name.
fn homed_types(zone: &Zone, keys: &[KeySet]) -> Vec<u16> {
    let mut types = own_types(keys);
    types.retain(|kind| *kind != kind::NS || !zone.addresses().is_empty());
    types
}

/// The DS records of a zone of this node in another zone of this node; `None` if another node has the zone above.
fn homed_signers(delegations: Delegations<'_>, query: &ZoneQuery<'_>, apex: &[u8]) -> Option<ZoneAnswer> {
    let prefix = dns_name::prefix_of_name(&query.labels, delegations.zone.octets())?;
    let ZoneAbove::Ours(above) = delegations.zone_above(&query.labels, &prefix) else { return None };
    let mut answer = WireAnswer::authoritative();
    for data in query.keys.into_iter().flat_map(|signing| signing.signer.cds(apex, query.now)) {
        answer.push(Section::Answer, kind::DS, ZONE_TTL_SECONDS, |out| out.extend_from_slice(&data));
    }
    Some(ZoneAnswer::with_types(or_no_data(answer), vec![kind::NS]).of_zone(above))
}

/// Adds the NS records of a homed prefix, with the addresses of their names. A node that listens on no particular
/// address returns no NS records: `ns.` + its zone means another node where the delegation is asked for, and the NS set
/// of the parent remains in use.
fn push_homed_name_servers(zone: &Zone, query: &ZoneQuery<'_>, answer: &mut WireAnswer) {
    let mut glue = Vec::new();
    for &address in zone.addresses() {
        glue.push((query.data_offset(answer), address));
        answer.push(Section::Answer, kind::NS, ZONE_TTL_SECONDS, |out| {
            name_server::put_name(out, address, query.zone_offset());
        });
    }
    for (owner_offset, address) in glue {
        push_addresses(answer, RecordPlace { section: Section::Additional, owner_offset }, &[address], |_| true);
    }
}

/// Adds the key set of this type, if there is one.
fn push_keys(answer: &mut WireAnswer, kind: u16, keys: &[KeySet]) {
    for data in keys.iter().filter(|set| set.kind == kind).flat_map(|set| &set.rdatas) {
        answer.push(Section::Answer, kind, DNSKEY_TTL_SECONDS, |out| out.extend_from_slice(data));
    }
}
