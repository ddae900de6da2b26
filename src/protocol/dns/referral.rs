//! Referrals to the servers of a delegated prefix (RFC 1034 section 4.3.2), and the answers of the zone above about the
//! cut.
//!
//! [`super::delegation`] finds the cut.

use prost::Message as _;

use super::{
    answer::{AnswerHead, RecordPlace, Section, WireAnswer},
    delegation::Cut,
    dnssec::{RrSet, denial::Existence, keys::NoRandomness},
    lookup::{ZoneAnswer, ZoneQuery},
    name_server,
    records::{extended, or_no_data},
    signing::{Signing, SigningContext, push_signatures},
    wire::{HEADER_OCTETS, kind, rcode},
    zone::{NEGATIVE_TTL_SECONDS, Zone},
};
use crate::{
    protocol::{
        grpc::{pb, prefix_to_pb},
        outcome::Outcome,
    },
    record::DelegationSigner,
    store::PrefixVersion,
};

/// The authoritative answer of the zone above a cut: DS and [`kind::DELEGATION`] at the cut itself; `None` if the
/// question is referred.
pub(super) fn above_cut(query: &ZoneQuery<'_>, cut: &Cut) -> Option<ZoneAnswer> {
    let mut answer = WireAnswer::authoritative();
    match query.kind() {
        _ if cut.at != Some(0) => return None,
        kind::DS => {
            for signer in cut.signers() {
                answer.push(Section::Answer, kind::DS, cut.ttl_seconds(), |out| put_signer(out, signer));
            }
        }
        kind::DELEGATION => {
            answer.push(Section::Answer, kind::DELEGATION, cut.ttl_seconds(), |out| put_state(out, &cut.version));
        }
        _ => return None,
    }
    // A cut without DS has NS in the zone above.
    let types = if cut.name_servers().is_empty() { cut.types_without_servers() } else { vec![kind::NS] };
    Some(ZoneAnswer::with_types(or_no_data(answer), types).of_zone(cut.above))
}

/// The referral at a cut, signed where there is a signer.
///
/// # Errors
///
/// [`NoRandomness`]; the answer is to be dropped then.
pub(super) fn referral(
    zone: &Zone,
    query: &ZoneQuery<'_>,
    cut: &Cut,
    signing: Option<&Signing>,
) -> Result<WireAnswer, NoRandomness> {
    let mut answer = match cut.at {
        // The zone above is unknown: a prefix without a name lies in none.
        None => AnswerHead { extended: extended(Outcome::Delegated), ..AnswerHead::new(rcode::NOERROR) }.into(),
        Some(_) if cut.name_servers().is_empty() => without_servers(zone, query, cut, signing)?,
        Some(at) => to_servers(zone, query, &NamedCut { cut, at }, signing)?,
    };
    if matches!(query.kind(), kind::RECORD | kind::DELEGATION) {
        let owner = HEADER_OCTETS + cut.at.unwrap_or(0);
        let put = |out: &mut Vec<u8>| put_state(out, &cut.version);
        answer.push_dispensable(owner, kind::DELEGATION, cut.ttl_seconds(), put);
    }
    answer.head.cut_at = cut.at.map(|at| at as u16);
    Ok(answer)
}

/// A cut whose prefix has a name.
struct NamedCut<'a> {
    cut: &'a Cut,
    /// Offset of the name of the prefix in the name that is asked.
    at: usize,
}

impl NamedCut<'_> {
    fn place(&self, section: Section) -> RecordPlace {
        RecordPlace { section, owner_offset: HEADER_OCTETS + self.at }
    }
}

/// The referral to name servers: their NS records, the DS records or their denial, and the addresses.
fn to_servers(
    zone: &Zone,
    query: &ZoneQuery<'_>,
    named: &NamedCut<'_>,
    signing: Option<&Signing>,
) -> Result<WireAnswer, NoRandomness> {
    let mut answer = WireAnswer::empty(rcode::NOERROR);
    let mut glue = Vec::new();
    for address in named.cut.name_servers() {
        glue.push((query.data_offset(&answer), address));
        answer.push_at(named.place(Section::Authority), kind::NS, named.cut.ttl_seconds(), |out| {
            name_server::put_name(out, address, query.zone_offset());
        });
    }
    if let Some(signing) = signing {
        push_signers(zone, query, named, signing, &mut answer)?;
    }
    for (owner_offset, address) in glue {
        let place = RecordPlace { section: Section::Additional, owner_offset };
        let put = |out: &mut Vec<u8>| name_server::put_address(out, address);
        answer.push_at(place, name_server::kind_of(address), named.cut.ttl_seconds(), put);
    }
    Ok(answer)
}

/// The answer of the zone above for a delegation that cannot be asked over DNS: no data, and the extended error
/// "delegated".
fn without_servers(
    zone: &Zone,
    query: &ZoneQuery<'_>,
    cut: &Cut,
    signing: Option<&Signing>,
) -> Result<WireAnswer, NoRandomness> {
    let types = cut.types_without_servers();
    let mut answer = or_no_data(WireAnswer::authoritative());
    answer.head.apex_at = cut.above.map(|above| above as u16);
    answer.head.extended = extended(Outcome::Delegated);
    if let Some(signing) = signing {
        let owner = query.question.name();
        let apex = zone.apex_of(owner, answer.head.apex_at);
        signing.deny(SigningContext { owner, apex: &apex, now: query.now }, query.kind(), &types, &mut answer)?;
    }
    Ok(answer)
}

/// Adds the DS records of a cut, or the proof that there are none, signed by the zone above (RFC 4035 section 3.1.4).
fn push_signers(
    zone: &Zone,
    query: &ZoneQuery<'_>,
    named: &NamedCut<'_>,
    signing: &Signing,
    answer: &mut WireAnswer,
) -> Result<(), NoRandomness> {
    let name = query.question.name();
    let apex = zone.apex_of(name, named.cut.above.map(|above| above as u16));
    let owner = name.get(named.at..).unwrap_or_default();
    let place = named.place(Section::Authority);
    if named.cut.signers().is_empty() {
        // RFC 9824 section 3.4.
        let context = SigningContext { owner, apex: &apex, now: query.now };
        let denial = signing.denial(context, Existence::Types(&[kind::NS]))?;
        answer.push_at(place, kind::NSEC, NEGATIVE_TTL_SECONDS, |out| out.extend_from_slice(&denial.rdata));
        push_signatures(answer, place, NEGATIVE_TTL_SECONDS, &denial.rrsigs);
        return Ok(());
    }
    let rdatas: Vec<Vec<u8>> = named.cut.signers().iter().map(signer_data).collect();
    let slices: Vec<&[u8]> = rdatas.iter().map(Vec::as_slice).collect();
    let ttl = named.cut.ttl_seconds();
    let rrsigs = signing.signer.rrsigs(&RrSet { owner, kind: kind::DS, ttl, rdatas: &slices }, &apex, query.now)?;
    for rdata in &rdatas {
        answer.push_at(place, kind::DS, ttl, |out| out.extend_from_slice(rdata));
    }
    push_signatures(answer, place, ttl, &rrsigs);
    Ok(())
}

/// Writes the data of a DS record (RFC 4034 section 5.1).
fn put_signer(out: &mut Vec<u8>, signer: &DelegationSigner) {
    out.extend_from_slice(&signer.key_tag.to_be_bytes());
    out.extend_from_slice(&[signer.algorithm, signer.digest_type]);
    out.extend_from_slice(&signer.digest);
}

fn signer_data(signer: &DelegationSigner) -> Vec<u8> {
    let mut data = Vec::new();
    put_signer(&mut data, signer);
    data
}

/// Writes the state of a prefix, without the principal and the time of the change.
fn put_state(out: &mut Vec<u8>, version: &PrefixVersion) {
    pb::PrefixState { time: 0, by: String::new(), ..prefix_to_pb(version) }.encode_raw(out);
}
