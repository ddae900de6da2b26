//! Signatures on answers, and the denial of missing names and types (RFC 4035 section 3.1, RFC 9824).
//!
//! The sets to sign are passed in: this file knows neither the zone's contents nor how they are looked up.

use std::sync::Arc;

use super::{
    answer::{AnswerHead, RecordPlace, Section, WireAnswer},
    dnssec::{Denied, RrSet, SignedRecord, Signer, SoaVersion, denial::Existence, keys::NoRandomness},
    soa,
    wire::{kind, rcode},
    zone::{NEGATIVE_TTL_SECONDS, ZONE_TTL_SECONDS, Zone},
};

/// A signer, and the number of signers before it: answers signed by an earlier one are no longer valid.
pub(super) struct Signing {
    pub(super) signer: Signer,
    pub(super) generation: u32,
}

/// A set of keys at an apex: one type, and the data of its records.
pub(super) struct KeySet {
    pub(super) kind: u16,
    pub(super) rdatas: Vec<Vec<u8>>,
}

/// The name that is signed, its zone, and the time of the signatures.
#[derive(Clone, Copy)]
pub(super) struct SigningContext<'a> {
    /// The name on the wire, in any case.
    pub(super) owner: &'a [u8],
    /// The apex of its zone, in lower case.
    pub(super) apex: &'a [u8],
    /// Seconds since 1970 UTC, mod 2^32 (RFC 4034 section 3.1.5).
    pub(super) now: u32,
}

impl Signing {
    /// Signs the set in the answer section; `rdatas` is the data of its records, with names in full. Records behind the
    /// answer section are dropped: additional records are not signed, and would stand before the signatures.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn sign_answer_section(
        &self,
        context: SigningContext<'_>,
        kind: u16,
        rdatas: &[Vec<u8>],
        answer: &mut WireAnswer,
    ) -> Result<(), NoRandomness> {
        let Some(ttl) = answer.answer_ttl() else { return Ok(()) };
        let rdatas: Vec<&[u8]> = rdatas.iter().map(Vec::as_slice).collect();
        answer.keep_answer_section();
        let set = RrSet { owner: context.owner, kind, ttl, rdatas: &rdatas };
        let signatures = self.signer.rrsigs(&set, context.apex, context.now)?;
        push_signatures(answer, RecordPlace::at_question(Section::Answer), ttl, &signatures);
        Ok(())
    }

    /// Adds the denial of the type that was asked to a negative answer; `types` are the types that the name has.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn deny(
        &self,
        context: SigningContext<'_>,
        asked: u16,
        types: &[u16],
        answer: &mut WireAnswer,
    ) -> Result<(), NoRandomness> {
        let existence = match answer.head.rcode {
            rcode::NXDOMAIN => Existence::Missing,
            _ => Existence::Types(types),
        };
        push_denial(answer, asked, &self.denial(context, existence)?);
        Ok(())
    }

    /// The NSEC record at a name, with its signatures.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn denial(
        &self,
        SigningContext { owner, apex, now }: SigningContext<'_>,
        existence: Existence<'_>,
    ) -> Result<SignedRecord, NoRandomness> {
        self.signer.denial(Denied { owner, apex, existence }, NEGATIVE_TTL_SECONDS, now)
    }

    /// The SOA record of the zone with this apex, and its signatures, which are cached while the serial stays the same.
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
        self.signer.soa(apex, version, now, || soa::full_data(zone, serial))
    }

    /// The result of [`Signing::soa`] if it is cached.
    pub(super) fn kept_soa(&self, apex: &[u8], serial: u32, now: u32) -> Option<Arc<SignedRecord>> {
        self.signer.kept_soa(apex, SoaVersion { serial, ttl: ZONE_TTL_SECONDS }, now)
    }

    /// The key sets at an apex.
    pub(super) fn key_sets(&self, apex: &[u8], now: u32) -> Vec<KeySet> {
        let owned = |set: Vec<&[u8]>| set.into_iter().map(<[u8]>::to_vec).collect();
        vec![
            KeySet { kind: kind::DNSKEY, rdatas: owned(self.signer.dnskeys()) },
            KeySet { kind: kind::CDS, rdatas: self.signer.cds(apex, now) },
            KeySet { kind: kind::CDNSKEY, rdatas: owned(self.signer.cdnskeys(now)) },
        ]
    }
}

/// Adds an NSEC record with its signatures to a negative answer. The bitmap of the NSEC record names NSEC and RRSIG, so
/// that a question for one of these two gets them as an answer (RFC 9824 section 3.2).
fn push_denial(answer: &mut WireAnswer, asked: u16, SignedRecord { rdata, rrsigs }: &SignedRecord) {
    let section = match asked {
        kind::NSEC | kind::RRSIG => {
            let apex_at = answer.head.apex_at;
            *answer = AnswerHead { apex_at, ..AnswerHead::authoritative() }.into();
            Section::Answer
        }
        _ => Section::Authority,
    };
    if asked != kind::RRSIG {
        answer.push(section, kind::NSEC, NEGATIVE_TTL_SECONDS, |out| out.extend_from_slice(rdata));
    }
    push_signatures(answer, RecordPlace::at_question(section), NEGATIVE_TTL_SECONDS, rrsigs);
}

/// Adds signatures beside the set that they sign, with its TTL.
pub(super) fn push_signatures(answer: &mut WireAnswer, place: RecordPlace, ttl: u32, signatures: &[Vec<u8>]) {
    for signature in signatures {
        answer.push_at(place, kind::RRSIG, ttl, |out| out.extend_from_slice(signature));
    }
}
