//! Signatures on answers, and the denial of what is not there (RFC 4035 section 3.1, RFC 9824).

use std::sync::Arc;

use super::{
    answer::{OwnedAnswer, Section},
    authority::{Authority, KeySets, Said},
    dnssec::{Denied, RrSet, SignedRecord, Signer, SoaVersion, denial::Existence, keys::NoRandomness},
    kind,
    message::{HEADER_OCTETS, Question, rcode},
    zone::{NEGATIVE_TTL_SECONDS, ZONE_TTL_SECONDS, Zone},
};

/// A signer, and how many there were before it: answers that another one signed do not count any more.
pub(super) struct Signing {
    pub(super) signer: Signer,
    pub(super) generation: u32,
}

impl Signing {
    /// Adds signatures to an answer, and the denial of what is not there.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn sign(
        &self,
        authority: &Authority,
        question: Question<'_>,
        said: &mut Said,
        now: u32,
    ) -> Result<(), NoRandomness> {
        let Said { answer, types, .. } = said;
        if let Some(ttl) = answer.answer_ttl() {
            let apex = authority.apex_of(question.name(), answer.apex_at);
            let kind = if question.kind() == kind::ANY { kind::HINFO } else { question.kind() };
            let data = authority.signed_data(kind, answer);
            let rdatas: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            // What is in the additional section is not signed, and would stand before the signatures: it is left out.
            answer.keep_answer_section();
            let set = RrSet { owner: question.name(), kind, ttl, rdatas: &rdatas };
            let signatures = self.signer.rrsigs(&set, &apex, now)?;
            push_signatures(answer, (Section::Answer, HEADER_OCTETS), ttl, &signatures);
        } else if answer.negative {
            self.deny(authority, question, (answer, types), now)?;
        }
        Ok(())
    }

    /// Adds the denial of what is not there to a negative answer; the name has these types.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn deny(
        &self,
        authority: &Authority,
        question: Question<'_>,
        (answer, types): (&mut OwnedAnswer, &[u16]),
        now: u32,
    ) -> Result<(), NoRandomness> {
        let apex = authority.apex_of(question.name(), answer.apex_at);
        let existence = match answer.rcode {
            rcode::NXDOMAIN => Existence::Missing,
            _ => Existence::Types(types),
        };
        let denied = Denied { owner: question.name(), apex: &apex, existence };
        let denial = self.signer.denial(denied, NEGATIVE_TTL_SECONDS, now)?;
        push_denial(answer, question.kind(), &denial);
        Ok(())
    }

    /// The SOA record of the zone with this apex with its signatures, which are kept for as long as the serial is the same.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn soa(
        &self,
        zone: &Zone,
        apex: &[u8],
        serial: u32,
        now: u32,
    ) -> Result<Arc<SignedRecord>, NoRandomness> {
        let version = SoaVersion { serial, ttl: ZONE_TTL_SECONDS };
        self.signer.soa(apex, version, now, || zone.soa_data(serial))
    }

    /// The same, if that is signed already.
    pub(super) fn kept_soa(&self, apex: &[u8], serial: u32, now: u32) -> Option<Arc<SignedRecord>> {
        self.signer.kept_soa(apex, SoaVersion { serial, ttl: ZONE_TTL_SECONDS }, now)
    }

    /// The sets of keys at an apex.
    pub(super) fn key_sets(&self, apex: &[u8], now: u32) -> KeySets {
        let owned = |set: Vec<&[u8]>| set.into_iter().map(<[u8]>::to_vec).collect();
        vec![
            (kind::DNSKEY, owned(self.signer.dnskeys())),
            (kind::CDS, self.signer.cds(apex, now)),
            (kind::CDNSKEY, owned(self.signer.cdnskeys(now))),
        ]
    }
}

/// Adds an NSEC record with its signatures to a negative answer. Its bitmap says that it and they are there, so who asks for
/// them gets them as an answer (RFC 9824 section 3.2).
fn push_denial(answer: &mut OwnedAnswer, asked: u16, SignedRecord { rdata, rrsigs }: &SignedRecord) {
    let section = match asked {
        kind::NSEC | kind::RRSIG => {
            let apex_at = answer.apex_at;
            *answer = OwnedAnswer { authoritative: true, apex_at, ..OwnedAnswer::empty(rcode::NOERROR) };
            Section::Answer
        }
        _ => Section::Authority,
    };
    if asked != kind::RRSIG {
        answer.push(section, kind::NSEC, NEGATIVE_TTL_SECONDS, |out| out.extend_from_slice(rdata));
    }
    push_signatures(answer, (section, HEADER_OCTETS), NEGATIVE_TTL_SECONDS, rrsigs);
}

/// Adds signatures, with the TTL of what they sign, and its owner, which stands at an offset in the message.
pub(super) fn push_signatures(
    answer: &mut OwnedAnswer,
    (section, owner): (Section, usize),
    ttl: u32,
    signatures: &[Vec<u8>],
) {
    for signature in signatures {
        answer.push_at(section, owner, kind::RRSIG, ttl, |out| out.extend_from_slice(signature));
    }
}
