//! The inverse of [`super::name_of`]: the meaning of the labels of a name.
//!
//! Labels are read from the zone outwards, and a key grows with them. A name is accepted only if it is exactly the name
//! of some identifier, letter case aside, or lies above such names.

use data_encoding::BASE32_DNSSEC;

use super::{
    Below, GTIN_AI, NAME_OCTETS_MAX, NameHash, NameMeaning, NameTarget,
    label::{ESCAPE_OCTETS, LABEL_OCTETS_MAX, decode},
};
use crate::id::{
    Identifier, KeyPrefix, Scheme,
    gs1::{self, Ai, Element, Qualifiers},
    handle, oid,
};

/// Reads a name: its labels relative to the zone, from left to right, in any ASCII case; `zone_octets` is the length of
/// the zone's own name on the wire, the root octet included.
///
/// No labels are the zone itself. `None` for a name that nothing can ever have, nor any name below it, whatever is
/// registered. A name that nothing can lie below has `below: None`.
pub fn parse(labels: &[&[u8]], zone_octets: usize) -> Option<NameMeaning> {
    let octets = labels.iter().fold(zone_octets, |octets, label| octets.saturating_add(label.len() + 1));
    if octets > NAME_OCTETS_MAX || labels.iter().any(|label| !(1..=LABEL_OCTETS_MAX).contains(&label.len())) {
        return None;
    }
    let Some((scheme, rest)) = labels.split_last() else {
        return container(&[]);
    };
    match scheme.to_ascii_lowercase().as_slice() {
        b"oid" => read_oid(rest),
        b"hdl" => read_handle(rest),
        b"gs1" => read_gs1(rest),
        b"h" => read_hash(rest),
        _ => None,
    }
}

/// The meaning of a name above identifiers that has no identifier of its own.
fn container(prefix: &[u8]) -> Option<NameMeaning> {
    meaning(None, Some(prefix))
}

/// The meaning of a name; `None` if it has neither identifier nor names below it.
fn meaning(target: Option<Identifier>, below: Option<&[u8]>) -> Option<NameMeaning> {
    if target.is_none() && below.is_none() {
        return None;
    }
    let below = below.map(|prefix| Below::Keys(KeyPrefix::from_bytes(prefix)));
    Some(NameMeaning { target: target.map(NameTarget::Identifier), below, ors_dummy: false })
}

fn read_oid(rest: &[&[u8]]) -> Option<NameMeaning> {
    let (labels, ors_dummy) = match rest {
        [first, labels @ ..] if first.eq_ignore_ascii_case(b"ors-dummy") => (labels, true),
        _ => (rest, false),
    };
    let mut arcs = oid::Arcs::with_capacity(labels.iter().map(|label| label.len() + 1).sum());
    // Refusals are dropped here, so that the position does not matter.
    for label in labels.iter().rev() {
        arcs.push(str::from_utf8(label).ok()?, 0).ok()?;
    }
    let prefix = arcs.key().to_vec();
    let has_room = arcs.count() < oid::ARCS_MAX;
    let target = arcs.finish(0).ok();
    match (ors_dummy, &target) {
        (true, None) => None,
        (true, Some(_)) => Some(NameMeaning { ors_dummy, ..meaning(target, None)? }),
        (false, _) => meaning(target, has_room.then_some(&prefix)),
    }
}

fn read_handle(rest: &[&[u8]]) -> Option<NameMeaning> {
    let mark = rest.iter().position(|label| *label == b"_");
    let (pieces, labels) = match mark {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&[][..], rest),
    };
    let mut key = vec![Scheme::Handle.key_byte()];
    let mut text = Vec::new();
    for label in labels.iter().rev() {
        let start = key.len();
        decode(label, &mut key)?;
        let decoded = &key[start..];
        if decoded.iter().any(|byte| !is_folded(*byte) || matches!(byte, b'.' | b'/')) {
            return None;
        }
        text.extend_from_slice(decoded);
        text.push(b'.');
        key.push(handle::LABEL_END);
    }
    if mark.is_none() {
        return container(&key);
    }
    // The last dot gives way to the slash; without one there is no prefix.
    *text.last_mut()? = b'/';
    key.push(handle::SUFFIX_START);
    let suffix_start = key.len();
    if pieces.is_empty() {
        return container(&key);
    }
    let last_octets = read_pieces(pieces, &mut key)?;
    let suffix = &key[suffix_start..];
    if suffix.iter().any(|byte| !is_folded(*byte)) {
        return None;
    }
    // Only a piece with no room for an escape can be followed by another one.
    let below = (last_octets + ESCAPE_OCTETS > LABEL_OCTETS_MAX).then_some(key.as_slice());
    text.extend_from_slice(suffix);
    match str::from_utf8(&text) {
        Ok(text) => meaning(handle::from_bare(text).ok(), below),
        // The piece may end within a character, which the next piece completes.
        Err(error) if error.error_len().is_none() => meaning(None, below),
        Err(_) => None,
    }
}

/// Decodes the pieces of a suffix; returns the octets of the last one, or `None` if the suffix is not split where
/// [`super::label::pieces`] splits it.
fn read_pieces(pieces: &[&[u8]], suffix: &mut Vec<u8>) -> Option<usize> {
    let mut last_octets = LABEL_OCTETS_MAX;
    for piece in pieces.iter().rev() {
        let first_octets = if piece.starts_with(b"_") { ESCAPE_OCTETS } else { 1 };
        // `pieces` fills each label as far as possible: where this byte would still fit, it does not split.
        if last_octets + first_octets <= LABEL_OCTETS_MAX {
            return None;
        }
        decode(piece, suffix)?;
        last_octets = piece.len();
    }
    Some(last_octets)
}

/// True for a byte that keys of Handles may hold: no control characters, no capitals.
fn is_folded(byte: u8) -> bool {
    !byte.is_ascii_control() && !byte.is_ascii_uppercase()
}

fn read_gs1(rest: &[&[u8]]) -> Option<NameMeaning> {
    let mut labels = rest.iter().rev().copied();
    let mut key = vec![Scheme::Gs1.key_byte()];
    let Some(kind) = labels.next() else {
        return container(&key);
    };
    let is_gtin = kind.eq_ignore_ascii_case(b"gtin");
    let digits = if is_gtin { GTIN_AI } else { kind };
    let ai = Ai::find(str::from_utf8(digits).ok()?).filter(|ai| ai.is_key() && ai.is_gtin() == is_gtin)?;
    key.extend_from_slice(ai.digits.as_bytes());
    key.push(gs1::VALUE_END);
    let primary = if is_gtin {
        let value_start = key.len();
        while key.len() < value_start + gs1::GTIN_DIGITS {
            match labels.next() {
                None => return container(&key),
                Some([digit]) if digit.is_ascii_digit() => key.push(*digit),
                Some(_) => return None,
            }
        }
        read_gtin(ai, &key[value_start..])?
    } else {
        let Some(value) = labels.next() else {
            return container(&key);
        };
        let element = read_value(ai, value)?;
        key.extend_from_slice(element.value());
        element
    };
    read_qualifiers(&primary, labels, key)
}

/// The element of a GTIN from the digits in its key; the check digit is computed.
fn read_gtin(ai: &'static Ai, digits: &[u8]) -> Option<Element> {
    let (indicator, item) = digits.split_last()?;
    let mut value = vec![*indicator];
    value.extend_from_slice(item);
    value.push(gs1::check_digit(&value));
    Element::new(ai, value.into_iter().map(Ok), 0).ok()
}

/// Reads the labels outside a primary key; `key` starts as the key of the primary key.
fn read_qualifiers<'a>(
    primary: &Element,
    mut labels: impl Iterator<Item = &'a [u8]>,
    mut key: Vec<u8>,
) -> Option<NameMeaning> {
    let mut qualifiers = Qualifiers::default();
    let sequences = primary.ai.sequences();
    key.push(gs1::VALUE_END);
    let Some(mark) = labels.next() else {
        let target = gs1::build(primary, &qualifiers).ok();
        return meaning(target, (!sequences.is_empty()).then_some(&key));
    };
    if mark != b"_" || sequences.is_empty() {
        return None;
    }
    let mut last: Option<(usize, usize)> = None;
    let mut goes_on = true;
    for place in &mut qualifiers {
        let Some(digits) = labels.next() else { break };
        let ai = Ai::find(str::from_utf8(digits).ok()?)?;
        let rank = primary.ai.rank(ai)?;
        // Qualifiers are in the order of one sequence, as in the canonical form.
        if last.is_some_and(|(sequence, at)| sequence != rank.0 || at >= rank.1) {
            return None;
        }
        last = Some(rank);
        goes_on = sequences.get(rank.0).is_some_and(|sequence| rank.1 + 1 < sequence.len());
        key.extend_from_slice(ai.digits.as_bytes());
        key.push(gs1::QUALIFIER_VALUE);
        let Some(value) = labels.next() else {
            return container(&key);
        };
        let element = read_value(ai, value)?;
        key.extend_from_slice(element.value());
        key.push(gs1::VALUE_END);
        *place = Some(element);
    }
    if labels.next().is_some() {
        return None;
    }
    let target = last.and_then(|_| gs1::build(primary, &qualifiers).ok());
    meaning(target, goes_on.then_some(&key))
}

fn read_value(ai: &'static Ai, label: &[u8]) -> Option<Element> {
    let mut value = Vec::with_capacity(label.len());
    decode(label, &mut value)?;
    let element = Element::new(ai, value.into_iter().map(Ok), 0).ok()?;
    element.verify().ok()?;
    Some(element)
}

fn read_hash(rest: &[&[u8]]) -> Option<NameMeaning> {
    match rest {
        [] => Some(NameMeaning { target: None, below: Some(Below::AnyNameHash), ors_dummy: false }),
        [label] => {
            let decoded = BASE32_DNSSEC.decode(&label.to_ascii_lowercase()).ok()?;
            let hash = NameHash::try_from(decoded).ok()?;
            Some(NameMeaning { target: Some(NameTarget::Hash(hash)), below: None, ors_dummy: false })
        }
        _ => None,
    }
}
