//! Writer of the lines of an entry's text.

use std::io::Write as _;

use super::{
    EntryKind, ErasedValues, Erasure, Principal,
    grammar::{WHOLE_RECORD, put_base64, put_decimal, put_escaped},
};
use crate::{
    record::{Edge, EdgeChange, Outputs, Status},
    tlog::Hash,
};

// Writing to a Vec<u8> cannot fail, so `let _ =` drops no error.

pub(super) fn put_head(out: &mut Vec<u8>, kind: EntryKind, identifier: &str) {
    out.extend_from_slice(b"touchmark/1 ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(if kind.is_about_prefix() { b"\nns " } else { b"\nid " });
    put_escaped(out, identifier);
    out.push(b'\n');
}

pub(super) fn put_place(out: &mut Vec<u8>, time_ms: u64, principal: &Principal, previous: Option<(u64, Hash)>) {
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

/// Appends quantity and start of validity.
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
