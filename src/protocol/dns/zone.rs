//! The zone of a node: its name, checked, and the records that are its own.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{
    answer::{CLASS_IN, RECORD_OCTETS, pointer, put_head},
    dnssec::SignedRecord,
    kind,
};
pub use crate::id::dns_name::zone::{ZONE_OCTETS_MAX, ZoneError, labels};

/// How long the records of the zone itself may be kept, in seconds.
pub(super) const ZONE_TTL_SECONDS: u32 = 3_600;
/// How long a negative answer may be kept, in seconds (RFC 2308 section 5): a registration shows within it.
pub(super) const NEGATIVE_TTL_SECONDS: u32 = 60;
/// Secondaries of this zone: ask again after, retry after, give up after so many seconds (RFC 1035 section 3.3.13).
const REFRESH_RETRY_EXPIRE_SECONDS: [u32; 3] = [3_600, 600, 604_800];
/// First label of the name of the node.
pub(super) const NAME_SERVER_LABEL: &[u8] = b"ns";
/// First label of the mailbox of whoever runs the node.
const MAILBOX_LABEL: &[u8] = b"hostmaster";

/// The zone for which the node answers.
#[derive(Clone, Debug)]
pub struct Zone {
    /// On the wire, in lower case, with the root octet.
    apex: Box<[u8]>,
    addresses: Vec<IpAddr>,
}

impl Zone {
    /// The zone of a node that was given no other.
    pub const DEFAULT: &str = "id.test.";

    /// Reads the name of a zone, with or without the dot at its end.
    ///
    /// # Errors
    ///
    /// [`ZoneError`] for the root, for labels that host names do not have, for more than [`ZONE_OCTETS_MAX`] octets.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        let mut apex = Vec::new();
        for label in labels(name)? {
            push_label(&mut apex, label.as_bytes());
        }
        apex.push(0);
        Ok(Self { apex: apex.into(), addresses: Vec::new() })
    }

    /// Gives `ns.` + the zone these addresses. Unspecified ones (`0.0.0.0`, `::`) say nothing to a client and are dropped;
    /// when none is left, the name has no addresses, and whoever delegates the zone has to know them.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().filter(|address| !address.is_unspecified()).collect();
        self
    }

    /// The name on the wire, in lower case, with the root octet.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// The addresses of the node.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The length of the name on the wire, in octets with the root octet.
    pub fn octets(&self) -> usize {
        self.apex.len()
    }

    /// Where the zone begins in a name on the wire; `None` outside the zone.
    pub(super) fn offset_in(&self, name: &[u8]) -> Option<usize> {
        let before = name.len().checked_sub(self.apex.len())?;
        let mut at = 0;
        while at < before {
            at += 1 + usize::from(*name.get(at)?);
        }
        // Length octets are no letters, so that the comparison leaves them as they are.
        (at == before && name[at..].eq_ignore_ascii_case(&self.apex)).then_some(at)
    }

    /// The data of the NS record with its name in full, as it is signed.
    pub(super) fn name_server_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        push_label(&mut data, NAME_SERVER_LABEL);
        data.extend_from_slice(&self.apex);
        data
    }

    /// Writes the name of the node, where the apex stands at an offset in the message.
    pub(super) fn put_name_server(out: &mut Vec<u8>, apex_offset: usize) {
        push_label(out, NAME_SERVER_LABEL);
        out.extend_from_slice(&pointer(apex_offset));
    }

    /// The data of the SOA record with its names in full, as it is signed.
    pub fn soa_data(&self, serial: u32) -> Vec<u8> {
        let mut data = Vec::new();
        for label in [NAME_SERVER_LABEL, MAILBOX_LABEL] {
            push_label(&mut data, label);
            data.extend_from_slice(&self.apex);
        }
        put_soa_numbers(&mut data, serial);
        data
    }
}

impl fmt::Display for Zone {
    /// The name, with the dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::message::labels(&self.apex).try_for_each(|label| write!(f, "{}.", label.escape_ascii()))
    }
}

/// The SOA record (RFC 1035 section 3.3.13) for one response.
#[derive(Clone, Debug)]
pub struct Soa {
    /// Where the apex stands in the message.
    pub apex_offset: usize,
    /// Where the zone of the node stands there, in which its name and that of its mailbox are.
    pub zone_offset: usize,
    /// The version of the zone.
    pub serial: u32,
    /// How long the record may be kept, in seconds.
    pub ttl: u32,
    /// The record with its signatures, when they are wanted.
    pub signed: Option<Arc<SignedRecord>>,
}

impl Soa {
    /// Octets of the data: two names of one label and a pointer, five numbers.
    const DATA_OCTETS: usize = NAME_SERVER_LABEL.len() + MAILBOX_LABEL.len() + 2 * 3 + 5 * 4;
    pub(super) fn octets(&self) -> usize {
        let signatures: usize = self.signatures().map(|data| RECORD_OCTETS + data.len()).sum();
        RECORD_OCTETS + Self::DATA_OCTETS + signatures
    }

    pub(super) fn count(&self) -> u16 {
        // One, or two while the zone goes from one algorithm to another.
        1 + self.signatures().count() as u16
    }

    fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.signed.iter().flat_map(|signed| &signed.rrsigs).map(Vec::as_slice)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.head(out, kind::SOA, Self::DATA_OCTETS);
        self.put_data(out);
        for signature in self.signatures() {
            self.head(out, kind::RRSIG, signature.len());
            out.extend_from_slice(signature);
        }
    }

    /// Writes the data alone.
    pub(super) fn put_data(&self, out: &mut Vec<u8>) {
        for label in [NAME_SERVER_LABEL, MAILBOX_LABEL] {
            push_label(out, label);
            out.extend_from_slice(&pointer(self.zone_offset));
        }
        put_soa_numbers(out, self.serial);
    }

    fn head(&self, out: &mut Vec<u8>, kind: u16, data_octets: usize) {
        // Signatures take some hundred octets at most.
        put_head(out, (self.apex_offset, CLASS_IN), kind, self.ttl, data_octets as u16);
    }
}

fn put_soa_numbers(out: &mut Vec<u8>, serial: u32) {
    let [refresh, retry, expire] = REFRESH_RETRY_EXPIRE_SECONDS;
    for number in [serial, refresh, retry, expire, NEGATIVE_TTL_SECONDS] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Writes a label of at most 63 octets.
fn push_label(out: &mut Vec<u8>, label: &[u8]) {
    out.push(label.len() as u8);
    out.extend_from_slice(label);
}
