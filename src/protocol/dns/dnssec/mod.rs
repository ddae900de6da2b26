//! DNSSEC: online signatures, and the records of their keys. No sockets, no files, no clock.
//!
//! | file | duty |
//! |---|---|
//! | [`keys`] | one key: algorithm, signature, DNSKEY, DS |
//! | [`key_ring`] | the keys of the zone, and the roll from one to the next |
//! | `canonical` | which bytes a signature covers (RFC 4034 section 6) |
//! | [`denial`] | NSEC records for missing names and types (RFC 9824) |
//! | this one | [`Signer`]: signatures (RFC 4034 section 3) of sets in wire form |
//!
//! A question with DNSSEC OK gets:
//!
//! * data: every set with [`Signer::rrsigs`] of it, in the same section;
//! * no data, no name: the SOA with its signatures ([`Signer::soa`]), and one NSEC record with its signatures
//!   ([`Signer::denial`]), all with the TTL of negative answers (RFC 9077);
//! * at the apex also DNSKEY, CDS and CDNSKEY ([`Signer::dnskeys`], [`Signer::cds`], [`Signer::cdnskeys`]).
//!
//! A signature record has the owner, the class and the TTL of its set, even where that TTL is counted down.
//!
//! Always: a signature is valid from an hour before it was made, for clocks that are behind, until seven days after. A
//! cache of signed answers signs them again after [`SIGNATURE_KEEP_SECONDS`], so that at least two days of validity are
//! left, longer than any TTL of a cache in between should be. Only class IN is signed. Deliberately absent: NSEC3
//! (compact denial shows no names that were not asked for), separate keys for the key set and the rest, and validation.

mod canonical;
pub mod denial;
pub mod key_ring;
pub mod keys;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::wire::{CLASS_IN, kind};
use denial::Existence;
use key_ring::{KeyRing, KeyState};
use keys::{Key, NoRandomness};

/// Validity of a signature after it was made, in seconds (7 days).
pub const SIGNATURE_SECONDS: u32 = 7 * DAY_SECONDS;
/// Validity of a signature before it was made, in seconds: for clocks that are behind.
pub const SIGNATURE_BACKDATED_SECONDS: u32 = 3_600;
/// Time for which a signature may be cached, in seconds: at least 2 days of its validity are left then.
pub const SIGNATURE_KEEP_SECONDS: u32 = SIGNATURE_SECONDS - 2 * DAY_SECONDS;
/// TTL of the DNSKEY, CDS and CDNSKEY sets, in seconds; the duration of a roll follows from it.
pub const DNSKEY_TTL_SECONDS: u32 = 3_600;

const DAY_SECONDS: u32 = 86_400;
/// Maximum number of zones whose signed SOA record is cached.
const KEPT_SOAS_MAX: usize = 1_024;
/// Octets of the data of a signature before the signer's name (RFC 4034 section 3.1), with the offsets of algorithm and
/// key tag among them.
const RRSIG_FIXED_OCTETS: usize = 18;
const ALGORITHM_AT: usize = 2;
const KEY_TAG_AT: usize = 16;

/// The records of one name and type, in class IN.
#[derive(Clone, Copy, Debug)]
pub struct RrSet<'a> {
    /// The name in wire form, in any case.
    pub owner: &'a [u8],
    /// The type.
    pub kind: u16,
    /// TTL of the records before any counting down, in seconds.
    pub ttl: u32,
    /// The data of the records in wire form, without compressed names, in any order.
    pub rdatas: &'a [&'a [u8]],
}

/// The data of a record that is alone in its set, and the data of its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The data of the record.
    pub rdata: Vec<u8>,
    /// The data of its RRSIG records.
    pub rrsigs: Vec<Vec<u8>>,
}

/// Signs the sets of a zone with its keys.
///
/// A node may have several zones, those of the prefixes that are homed on it. The same keys sign all of them, and each
/// apex is the name of the signer of its zone. Apexes are in wire form and in lower case.
#[derive(Debug)]
pub struct Signer {
    ring: KeyRing,
    /// Cached SOA records by apex.
    soas: RwLock<HashMap<Box<[u8]>, KeptSoa>>,
}

/// The SOA record of a zone that was signed last.
#[derive(Debug)]
struct KeptSoa {
    version: SoaVersion,
    signed_at: u32,
    record: Arc<SignedRecord>,
}

/// Version of the SOA record of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoaVersion {
    /// Serial number of the record.
    pub serial: u32,
    /// TTL of the record before any counting down, in seconds.
    pub ttl: u32,
}

/// A denial to be made.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// The name, in wire form and in any case.
    pub owner: &'a [u8],
    /// The apex of its zone.
    pub apex: &'a [u8],
    /// Contents of the name.
    pub existence: Existence<'a>,
}

/// Inception and expiration of a signature, in seconds since 1970 UTC mod 2^32 (RFC 4034 section 3.1.5).
#[derive(Clone, Copy, Debug)]
struct Validity {
    inception: u32,
    expiration: u32,
}

impl Validity {
    fn from(now_unix: u32) -> Self {
        Self {
            inception: now_unix.wrapping_sub(SIGNATURE_BACKDATED_SECONDS),
            expiration: now_unix.wrapping_add(SIGNATURE_SECONDS),
        }
    }
}

impl Signer {
    /// A signer with these keys.
    pub fn new(ring: KeyRing) -> Self {
        Self { ring, soas: RwLock::default() }
    }

    /// The keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The data of the RRSIG records of a set: one, or two during a roll, for the key sets and between algorithms. An
    /// empty set has none.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn rrsigs(&self, set: &RrSet<'_>, apex: &[u8], now_unix: u32) -> Result<Vec<Vec<u8>>, NoRandomness> {
        if set.rdatas.is_empty() {
            return Ok(Vec::new());
        }
        let validity = Validity::from(now_unix);
        match set.kind {
            // Both keys sign the key sets, so that either DS at the parent leads to them (RFC 7344 section 4.1).
            kind::DNSKEY | kind::CDS | kind::CDNSKEY => rrsigs(set, apex, self.ring.published(), validity),
            _ => rrsigs(set, apex, self.ring.signing(now_unix), validity),
        }
    }

    /// The data of the DNSKEY records of the apex.
    pub fn dnskeys(&self) -> Vec<&[u8]> {
        self.ring.published().map(Key::dnskey).collect()
    }

    /// The data of the CDS records of an apex, and so of its DS records: those of the active key (RFC 7344 section 4).
    pub fn cds(&self, apex: &[u8], now_unix: u32) -> Vec<Vec<u8>> {
        self.wanted(now_unix).map(|key| key.ds(apex)).collect()
    }

    /// The data of the CDNSKEY records of an apex: those of the active key (RFC 7344 section 4).
    pub fn cdnskeys(&self, now_unix: u32) -> Vec<&[u8]> {
        self.wanted(now_unix).map(Key::dnskey).collect()
    }

    fn wanted(&self, now_unix: u32) -> impl Iterator<Item = &Key> {
        self.ring.keys(now_unix).filter(|(_, state)| *state == KeyState::Active).map(|(key, _)| &key.key)
    }

    /// The SOA record of a zone with its signatures. It is cached, and signed anew when the serial or the TTL differs
    /// from the last call, or when the signature is old. `ttl` is the TTL of the record itself, in seconds; negative
    /// answers show record and signatures with their own.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn soa(
        &self,
        apex: &[u8],
        SoaVersion { serial, ttl }: SoaVersion,
        now_unix: u32,
        rdata: impl FnOnce() -> Vec<u8>,
    ) -> Result<Arc<SignedRecord>, NoRandomness> {
        let version = SoaVersion { serial, ttl };
        if let Some(kept) = self.kept_soa(apex, version, now_unix) {
            return Ok(kept);
        }
        // Two calls at once may sign the same record twice: the lock is not held while signing.
        let rdata = rdata();
        let rrsigs = self.rrsigs(&RrSet { owner: apex, kind: kind::SOA, ttl, rdatas: &[&rdata] }, apex, now_unix)?;
        let record = Arc::new(SignedRecord { rdata, rrsigs });
        let kept = KeptSoa { version, signed_at: now_unix, record: Arc::clone(&record) };
        let mut soas = self.soas.write().unwrap_or_else(PoisonError::into_inner);
        if soas.len() >= KEPT_SOAS_MAX && !soas.contains_key(apex) {
            // Any entry makes room: each is signed again when it is asked for.
            if let Some(another) = soas.keys().next().cloned() {
                soas.remove(&another);
            }
        }
        soas.insert(apex.into(), kept);
        Ok(record)
    }

    /// The result of [`Signer::soa`] if it is cached.
    pub fn kept_soa(&self, apex: &[u8], version: SoaVersion, now_unix: u32) -> Option<Arc<SignedRecord>> {
        let fits = |kept: &&KeptSoa| {
            let age = now_unix.wrapping_sub(kept.signed_at);
            kept.version == version && age < SIGNATURE_KEEP_SECONDS
        };
        let soas = self.soas.read().unwrap_or_else(PoisonError::into_inner);
        soas.get(apex).filter(fits).map(|kept| Arc::clone(&kept.record))
    }

    /// The NSEC record at a name of the zone, with its signatures; the name is in wire form and in any case. `ttl` is
    /// that of negative answers, in seconds (RFC 9077).
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn denial(
        &self,
        Denied { owner, apex, existence }: Denied<'_>,
        ttl: u32,
        now_unix: u32,
    ) -> Result<SignedRecord, NoRandomness> {
        let rdata = denial::nsec(owner, apex, existence);
        let rrsigs = self.rrsigs(&RrSet { owner, kind: kind::NSEC, ttl, rdatas: &[&rdata] }, apex, now_unix)?;
        Ok(SignedRecord { rdata, rrsigs })
    }
}

/// Signs a set with each of the keys.
fn rrsigs<'a>(
    set: &RrSet<'_>,
    apex: &[u8],
    keys: impl Iterator<Item = &'a Key>,
    validity: Validity,
) -> Result<Vec<Vec<u8>>, NoRandomness> {
    let (mut message, head_octets) = message(set, apex, validity);
    let sign = |key: &Key| {
        stamp(&mut message, key);
        Ok([&message[..head_octets], key.sign(&message)?.as_ref()].concat())
    };
    keys.map(sign).collect()
}

/// The message to sign: the data of the signature without the signature itself, then the records (RFC 4034 section
/// 3.1.8.1). Also returns the length of the former. Algorithm and key tag are not filled in yet.
fn message(set: &RrSet<'_>, apex: &[u8], Validity { inception, expiration }: Validity) -> (Vec<u8>, usize) {
    let head_octets = RRSIG_FIXED_OCTETS + apex.len();
    let records: usize = set.rdatas.iter().map(|rdata| set.owner.len() + 10 + rdata.len()).sum();
    let mut message = Vec::with_capacity(head_octets + records);
    message.extend_from_slice(&set.kind.to_be_bytes());
    message.extend_from_slice(&[0, canonical::label_count(set.owner)]);
    message.extend_from_slice(&set.ttl.to_be_bytes());
    message.extend_from_slice(&expiration.to_be_bytes());
    message.extend_from_slice(&inception.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(apex);
    canonical::put_records(&mut message, set);
    (message, head_octets)
}

/// Writes algorithm and key tag into the message to sign.
fn stamp(message: &mut [u8], key: &Key) {
    message[ALGORITHM_AT] = key.algorithm().number();
    message[KEY_TAG_AT..RRSIG_FIXED_OCTETS].copy_from_slice(&key.tag().to_be_bytes());
}

#[cfg(test)]
mod tests;
