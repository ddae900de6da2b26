//! Stored form of edges and of an event's outputs (layout in [`super`]).

use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::Identifier,
    record::{Edge, EdgeChange, EdgeType, Event, Flow, Outputs},
};

/// Added to the code of an edge type for a removal.
const REMOVAL: u8 = 0x80;

pub(super) fn put_stored_edge(out: &mut Vec<u8>, change: &EdgeChange) {
    let (kind, to) = change.subject();
    let (removal, edge) = match change {
        EdgeChange::Add(edge) => (0, Some(edge)),
        EdgeChange::Remove(..) => (REMOVAL, None),
    };
    out.push(kind.code() | removal);
    put_bytes(out, to.as_str().as_bytes());
    if let Some(edge) = edge {
        put_stored_details(out, edge);
    }
}

/// Appends quantity and start of validity.
fn put_stored_details(out: &mut Vec<u8>, edge: &Edge) {
    let (quantity, unit) = match &edge.quantity {
        Some((quantity, unit)) => (quantity.as_str(), unit.as_ref().map_or("", |unit| unit.as_str())),
        None => ("", ""),
    };
    put_bytes(out, quantity.as_bytes());
    put_bytes(out, unit.as_bytes());
    match edge.valid_from_ms {
        None => out.push(0),
        Some(ms) => {
            out.push(1);
            put_varint(out, (ms.cast_unsigned() << 1) ^ (ms >> 63).cast_unsigned());
        }
    }
}

pub(super) fn read_stored_edge(reader: &mut Reader<'_>) -> Result<EdgeChange, Torn> {
    let code = reader.byte()?;
    let kind = EdgeType::from_code(code & !REMOVAL).ok_or(Torn)?;
    let written = reader.text()?;
    // Only the canonical form is stored: two spellings must not give one text.
    let to = Identifier::parse(written).ok().filter(|to| to.as_str() == written).ok_or(Torn)?;
    if code & REMOVAL != 0 {
        return Ok(EdgeChange::Remove(kind, to));
    }
    let (quantity, unit) = (reader.text()?, reader.text()?);
    let quantity = match (quantity, unit) {
        ("", "") => None,
        (quantity, "") => Some((quantity.parse().map_err(|_| Torn)?, None)),
        (quantity, unit) => Some((quantity.parse().map_err(|_| Torn)?, Some(unit.parse().map_err(|_| Torn)?))),
    };
    let valid_from_ms = match reader.byte()? {
        0 => None,
        1 => {
            let zigzag = reader.varint()?;
            Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
        }
        _ => return Err(Torn),
    };
    let edge = Edge { kind, to, quantity, valid_from_ms };
    // A time that the text cannot express would give the same text as no time.
    edge.check().map_err(|_| Torn)?;
    Ok(EdgeChange::Add(edge))
}

pub(super) fn put_stored_outputs(out: &mut Vec<u8>, outputs: &Outputs) {
    put_varint(out, outputs.flows.len() as u64);
    for flow in &outputs.flows {
        put_stored_edge(out, &EdgeChange::Add(flow.edge()));
    }
    put_bytes(out, outputs.balance.as_ref().map_or("", |unit| unit.as_str()).as_bytes());
}

pub(super) fn read_stored_outputs(reader: &mut Reader<'_>) -> Result<Outputs, Torn> {
    let flows = read_list(reader, Event::FLOWS_MAX, |reader| match read_stored_edge(reader)? {
        EdgeChange::Add(edge) if edge.kind == EdgeType::DerivedFrom => Ok(Flow::from(edge)),
        _ => Err(Torn),
    })?;
    let balance = match reader.text()? {
        "" => None,
        unit => Some(unit.parse().map_err(|_| Torn)?),
    };
    Ok(Outputs { flows, balance })
}

pub(super) fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    count_max: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Torn>,
) -> Result<Vec<T>, Torn> {
    let count = usize::try_from(reader.varint()?).map_err(|_| Torn)?;
    if count > count_max.min(reader.rest().len()) {
        return Err(Torn);
    }
    (0..count).map(|_| read(reader)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Unit;

    #[test]
    fn what_no_text_says_is_not_stored() {
        let to = Identifier::parse("88.1/b").unwrap();
        for (valid_from_ms, fits) in [(None, true), (Some(0), true), (Some(i64::MIN), false), (Some(i64::MAX), false)] {
            let edge = Edge { kind: EdgeType::MadeOf, to: to.clone(), quantity: None, valid_from_ms };
            let mut bytes = Vec::new();
            put_stored_edge(&mut bytes, &EdgeChange::Add(edge));
            assert_eq!(read_stored_edge(&mut Reader::new(&bytes)).is_ok(), fits, "{valid_from_ms:?}");
        }
        assert!("-".parse::<Unit>().is_err(), "it stands for none");
    }
}
