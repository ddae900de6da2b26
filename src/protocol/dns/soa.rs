//! The SOA record (RFC 1035 section 3.3.13) of the zones of a node.
//!
//! The record changes with every registration: its serial number is the size of the ledger. So it is no part of a
//! cached answer, and is written when a response leaves.

use std::sync::Arc;

use super::{
    dnssec::SignedRecord,
    wire::{CLASS_IN, RECORD_OCTETS, RecordHead, kind, pointer, put_label},
    zone::{NAME_SERVER_LABEL, NEGATIVE_TTL_SECONDS, Zone},
};

/// Times for secondaries of a zone: refresh, retry and expire, in seconds.
const REFRESH_RETRY_EXPIRE_SECONDS: [u32; 3] = [3_600, 600, 604_800];
/// First label of the mailbox of the node's operator.
const MAILBOX_LABEL: &[u8] = b"hostmaster";

/// The SOA record for one response.
#[derive(Clone, Debug)]
pub struct Soa {
    /// Offset of the apex in the message.
    pub apex_offset: usize,
    /// Offset in the message of the zone of the node, which ends the names in the data: that of the node and that of
    /// its mailbox.
    pub zone_offset: usize,
    /// The version of the zone.
    pub serial: u32,
    /// TTL, in seconds.
    pub ttl: u32,
    /// The record with its signatures, if the client wants them.
    pub signed: Option<Arc<SignedRecord>>,
}

impl Soa {
    /// Octets of the data: two names of one label and a pointer, five numbers.
    const DATA_OCTETS: usize = NAME_SERVER_LABEL.len() + MAILBOX_LABEL.len() + 2 * 3 + 5 * 4;

    /// Octets of the record and its signatures.
    pub(super) fn octets(&self) -> usize {
        let signatures: usize = self.signatures().map(|data| RECORD_OCTETS + data.len()).sum();
        RECORD_OCTETS + Self::DATA_OCTETS + signatures
    }

    /// The number of records, signatures included.
    pub(super) fn count(&self) -> u16 {
        // One signature, or two while the zone goes from one algorithm to another.
        1 + self.signatures().count() as u16
    }

    fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.signed.iter().flat_map(|signed| &signed.rrsigs).map(Vec::as_slice)
    }

    /// Writes the record and its signatures.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.put_head(out, kind::SOA, Self::DATA_OCTETS);
        self.put_data(out);
        for signature in self.signatures() {
            self.put_head(out, kind::RRSIG, signature.len());
            out.extend_from_slice(signature);
        }
    }

    /// Writes the data alone.
    pub(super) fn put_data(&self, out: &mut Vec<u8>) {
        for label in [NAME_SERVER_LABEL, MAILBOX_LABEL] {
            put_label(out, label);
            out.extend_from_slice(&pointer(self.zone_offset));
        }
        put_numbers(out, self.serial);
    }

    fn put_head(&self, out: &mut Vec<u8>, kind: u16, data_octets: usize) {
        let head = RecordHead { owner_offset: self.apex_offset, kind, class: CLASS_IN, ttl: self.ttl };
        // Signatures take some hundred octets at most.
        head.put(out, data_octets as u16);
    }
}

/// Data of the SOA record of a zone with names in full, as signatures need it.
pub(super) fn full_data(zone: &Zone, serial: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for label in [NAME_SERVER_LABEL, MAILBOX_LABEL] {
        put_label(&mut data, label);
        data.extend_from_slice(zone.apex());
    }
    put_numbers(&mut data, serial);
    data
}

fn put_numbers(out: &mut Vec<u8>, serial: u32) {
    let [refresh, retry, expire] = REFRESH_RETRY_EXPIRE_SECONDS;
    for number in [serial, refresh, retry, expire, NEGATIVE_TTL_SECONDS] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}
