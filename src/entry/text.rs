//! The lines of an entry's text, and the commitments to values that stand in them.

use std::io::Write as _;

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{
    EntryKind, Erasure, Principal,
    erasure::{ErasedValues, WHOLE_RECORD},
};
use crate::{
    record::{Edge, EdgeChange, Outputs, Status, stored::StoredValue},
    tlog::Hash,
};

/// Derives the salts of an entry's values from the entry's own.
pub(super) struct ValueSalts(Hmac<Sha256>);

impl ValueSalts {
    pub(super) fn new(entry_salt: &[u8; 32]) -> Self {
        Self(hmac(entry_salt))
    }

    /// The salt of the value with an index.
    pub(super) fn salt(&self, index: u32) -> [u8; 32] {
        self.0.clone().chain_update(index.to_be_bytes()).finalize().into_bytes().into()
    }

    /// The commitment to one value.
    pub(super) fn commitment(&self, value: &StoredValue<'_>) -> [u8; 32] {
        commitment(&self.salt(value.index), value.kind, value.canonical)
    }
}

/// The salt of one value of an entry.
pub(super) fn value_salt(entry_salt: &[u8; 32], index: u32) -> [u8; 32] {
    ValueSalts::new(entry_salt).salt(index)
}

/// What an entry's `value` line says about a value: HMAC-SHA256, keyed with the value's salt, over its type, a zero byte and its
/// canonical bytes.
pub fn commitment(salt: &[u8; 32], kind: &str, canonical: &[u8]) -> [u8; 32] {
    hmac(salt).chain_update(kind).chain_update([0]).chain_update(canonical).finalize().into_bytes().into()
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 section 2)")]
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

// Writing to a Vec<u8> cannot fail; `let _ =` says that the result carries nothing.

pub(super) fn put_head(out: &mut Vec<u8>, kind: EntryKind, identifier: &str) {
    out.extend_from_slice(b"touchmark/1 ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(if kind.is_about_prefix() { b"\nns " } else { b"\nid " });
    put_escaped(out, identifier);
    out.push(b'\n');
}

pub(super) fn put_place(out: &mut Vec<u8>, time_ms: u64, principal: Principal, previous: Option<(u64, Hash)>) {
    out.extend_from_slice(b"at ");
    put_decimal(out, time_ms);
    out.extend_from_slice(b"\nby ");
    out.extend_from_slice(principal.as_str().as_bytes());
    out.push(b'\n');
    if let Some((index, leaf_hash)) = previous {
        out.extend_from_slice(b"prev ");
        put_decimal(out, index);
        out.push(b' ');
        put_base64(out, &leaf_hash.0);
        out.push(b'\n');
    }
}

pub(super) fn put_value_line(out: &mut Vec<u8>, index: u32, kind: &str, commitment: &[u8; 32]) {
    out.extend_from_slice(b"value ");
    put_decimal(out, index.into());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b' ');
    put_base64(out, commitment);
    out.push(b'\n');
}

pub(super) fn put_edge_line(out: &mut Vec<u8>, change: &EdgeChange) {
    let (kind, to) = change.subject();
    let op = if matches!(change, EdgeChange::Add(_)) { "add" } else { "remove" };
    for word in ["edge ", op, " ", kind.as_str(), " "] {
        out.extend_from_slice(word.as_bytes());
    }
    put_escaped(out, to.as_str());
    if let EdgeChange::Add(edge) = change {
        put_details(out, edge);
    }
    out.push(b'\n');
}

/// How much, and from when on.
fn put_details(out: &mut Vec<u8>, edge: &Edge) {
    if let Some((quantity, unit)) = &edge.quantity {
        let _ = write!(out, " {} {}", quantity.as_str(), unit.as_ref().map_or("-", |unit| unit.as_str()));
    }
    if let Some(time) = edge.valid_from() {
        let _ = write!(out, " from {time}");
    }
}

pub(super) fn put_output_lines(out: &mut Vec<u8>, outputs: &Outputs) {
    for flow in &outputs.flows {
        out.extend_from_slice(b"output ");
        put_escaped(out, flow.identifier.as_str());
        put_details(out, &flow.edge());
        out.push(b'\n');
    }
    if let Some(unit) = &outputs.balance {
        let _ = writeln!(out, "balance {}", unit.as_str());
    }
}

pub(super) fn put_erasure_lines(out: &mut Vec<u8>, erasure: &Erasure) {
    let _ = match (erasure.values, erasure.status) {
        (ErasedValues::All, _) => writeln!(out, "erased {WHOLE_RECORD}"),
        (ErasedValues::One(index), Status::Retired) => writeln!(out, "erased {index} retired"),
        (ErasedValues::One(index), _) => writeln!(out, "erased {index}"),
    };
    out.extend_from_slice(b"reason ");
    put_escaped(out, erasure.reason.as_str());
    out.push(b'\n');
}

pub(super) fn put_request_line(out: &mut Vec<u8>, request: &[u8]) {
    if !request.is_empty() {
        out.extend_from_slice(b"request ");
        put_base64(out, request);
        out.push(b'\n');
    }
}

/// The most decimal digits of a 64-bit number.
const DIGITS_MAX: usize = 20;

/// As `write!` does: each entry has several numbers, and for these few digits its machinery costs more than a hash.
fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([b'0'; DIGITS_MAX], DIGITS_MAX - 1);
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            start = place;
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends `text` with space, control characters and "%" percent-encoded.
fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        if byte <= b' ' || byte == b'%' || byte == 0x7f {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(byte);
        }
    }
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_does() {
        for number in [0, 1, 9, 10, 99, 100, 1_763_820_000_123, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = b"at ".to_vec();
            put_decimal(&mut out, number);
            assert_eq!(out, format!("at {number}").into_bytes());
        }
    }
}
