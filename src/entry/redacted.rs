//! Redacted form of an entry, some or all of whose values are erased.
//!
//! ```text
//! values of a redacted entry  = count · { index (varint) · type (length, bytes)
//!                               · 0 · commitment (32 bytes), or 1 · salt of the value (32 bytes)
//!                               · canonical bytes (length, bytes) }
//! ```
//!
//! The redacted form holds neither the entry's salt nor anything of an erased value but what the entry's text shows:
//! index, type, commitment. So the text, and with it the leaf hash, is the same as before.

use super::{
    ErasedValues, FLAG_EDGES, FLAG_REDACTED, StoredEntry,
    opening::{Salts, ValueSalts},
    put_stored_tail,
    text::put_value_line,
};
use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    record::{ValueType, Values, stored::StoredValue},
};

/// Maximum length of a redacted entry, in bytes: the limit of an entry, and a salt and a mark for each value.
pub const REDACTED_BYTES_MAX: usize = (2 << 20) + 40 * Values::COUNT_MAX;

const VALUE_ERASED: u8 = 0;
const VALUE_KEPT: u8 = 1;

/// The part of an erased value that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedValue<'a> {
    /// Index of the value.
    pub index: u32,
    /// Type of the value.
    pub kind: &'a str,
    /// Commitment to the value.
    pub commitment: [u8; 32],
}

impl<'a> StoredEntry<'a> {
    /// Redacted form of the entry, without the values in `gone`, and without the entry's salt.
    pub fn redacted(&self, gone: ErasedValues) -> Vec<u8> {
        let mut out = Vec::new();
        self.put_stored_head(&mut out);
        let mut values: Vec<Result<&StoredValue<'a>, &ErasedValue<'a>>> =
            self.values.iter().map(Ok).chain(self.erased.iter().map(Err)).collect();
        values.sort_unstable_by_key(|value| value.map_or_else(|erased| erased.index, |value| value.index));
        put_varint(&mut out, values.len() as u64);
        for value in values {
            match (value, value.ok().and_then(|value| self.opening(value.index))) {
                (Ok(value), Some(opening)) if gone.has(value.index) => {
                    put_erased(&mut out, value.index, value.kind, &opening.commitment());
                }
                (Ok(value), Some(opening)) => {
                    put_name(&mut out, value.index, value.kind, VALUE_KEPT);
                    out.extend_from_slice(&opening.salt);
                    put_bytes(&mut out, value.canonical);
                }
                (Err(erased), _) => put_erased(&mut out, erased.index, erased.kind, &erased.commitment),
                // Cannot happen: every value that is there opens.
                (Ok(_), None) => {}
            }
        }
        put_stored_tail(&mut out, &self.edges, self.outputs.as_ref(), self.erasure.as_ref(), self.request);
        out
    }

    pub(super) fn put_value_lines(&self, out: &mut Vec<u8>) {
        let derived = match &self.salts {
            Salts::Entry(salt) => Some(ValueSalts::new(salt)),
            Salts::Values(_) => None,
        };
        let mut erased = self.erased.iter().peekable();
        for value in &self.values {
            while let Some(gone) = erased.next_if(|gone| gone.index < value.index) {
                put_value_line(out, gone.index, gone.kind, &gone.commitment);
            }
            let commitment = match &derived {
                Some(salts) => Some(salts.commitment(value)),
                None => self.opening(value.index).map(|opening| opening.commitment()),
            };
            if let Some(commitment) = commitment {
                put_value_line(out, value.index, value.kind, &commitment);
            }
        }
        for gone in erased {
            put_value_line(out, gone.index, gone.kind, &gone.commitment);
        }
    }

    /// Appends the part of a redacted entry's stored form before the values.
    fn put_stored_head(&self, out: &mut Vec<u8>) {
        out.push(self.kind.code());
        out.push(FLAG_REDACTED | if self.has_edges { FLAG_EDGES } else { 0 });
        put_varint(out, self.index);
        put_varint(out, self.time_ms);
        put_varint(out, self.version);
        if let Some((index, locator)) = self.previous {
            put_varint(out, index);
            put_varint(out, locator.0);
        }
        put_bytes(out, self.identifier.as_bytes());
        put_bytes(out, self.principal.as_str().as_bytes());
    }
}

fn put_name(out: &mut Vec<u8>, index: u32, kind: &str, state: u8) {
    put_varint(out, u64::from(index));
    put_bytes(out, kind.as_bytes());
    out.push(state);
}

fn put_erased(out: &mut Vec<u8>, index: u32, kind: &str, commitment: &[u8; 32]) {
    put_name(out, index, kind, VALUE_ERASED);
    out.extend_from_slice(commitment);
}

/// Values of an entry: those that are there, their salts, and the erased ones.
pub(super) struct StoredValues<'a> {
    pub(super) values: Vec<StoredValue<'a>>,
    pub(super) salts: Salts,
    pub(super) erased: Vec<ErasedValue<'a>>,
}

/// Reads the values of a redacted entry.
pub(super) fn read_redacted<'a>(reader: &mut Reader<'a>, count_max: usize) -> Result<StoredValues<'a>, Torn> {
    let count = usize::try_from(reader.varint()?).map_err(|_| Torn)?;
    if count > count_max {
        return Err(Torn);
    }
    let (mut values, mut salts, mut erased) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (index, kind) = (reader.varint_u32()?, reader.text()?);
        match reader.byte()? {
            VALUE_ERASED => {
                // Anything but a type would give the text other lines than its own.
                kind.parse::<ValueType>().map_err(|_| Torn)?;
                erased.push(ErasedValue { index, kind, commitment: reader.array()? });
            }
            VALUE_KEPT => {
                salts.push(reader.array()?);
                values.push(StoredValue { index, kind, canonical: reader.bytes()? });
            }
            _ => return Err(Torn),
        }
    }
    Ok(StoredValues { values, salts: Salts::Values(salts), erased })
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use super::{
        super::{Draft, EntryKind, EntryText, Erasure, Place, Principal, Reason, RequestId, Statement, ValueOpening},
        *,
    };
    use crate::{
        id::Identifier,
        record::{Edge, EdgeChange, EdgeType, Flow, Outputs, Permissions, Status, Value, Values},
        tlog::Hash,
    };

    fn values(count: u32) -> Values {
        let value = |index: u32| Value {
            index,
            kind: format!("T{index}").parse().unwrap(),
            data: format!("secret {index}").into(),
            ttl: 60,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        };
        Values::new((1..=count).map(value).collect()).unwrap()
    }

    fn stored(kind: EntryKind, erasure: Option<&Erasure>, count: u32) -> (Vec<u8>, Vec<u8>) {
        let identifier = Identifier::parse("88.118.8/a").unwrap();
        let values = values(count);
        let flow = |text: &str| Flow {
            identifier: Identifier::parse(text).unwrap(),
            quantity: Some(("1.5".parse().unwrap(), Some("kg".parse().unwrap()))),
            valid_from_ms: Some(-7),
        };
        let input = EdgeChange::Add(flow("88.118.8/b").edge());
        let removed = EdgeChange::Remove(EdgeType::PackedIn, Identifier::parse("88.118.8/c").unwrap());
        let outputs = Outputs { flows: vec![flow("88.118.8/d"), flow("urn:oid:2.999")], balance: "kg".parse().ok() };
        let edges = match kind {
            EntryKind::Create | EntryKind::Event => vec![input],
            EntryKind::Update => {
                vec![EdgeChange::Add(Edge { kind: EdgeType::MadeOf, ..flow("88.1/e").edge() }), removed]
            }
            _ => Vec::new(),
        };
        let request = RequestId::new(b"once");
        let statement = Statement {
            kind,
            identifier: &identifier,
            principal: &Principal::LOOPBACK,
            values: &values,
            edges: &edges,
            outputs: (kind == EntryKind::Event).then_some(&outputs),
            request: request.as_ref().filter(|_| kind != EntryKind::Erase),
            erasure,
        };
        let draft = Draft::new(&statement, [5; 32]).unwrap();
        let place = Place { index: 3, time_ms: 7, version: 1, previous: None, has_edges: false };
        let (mut stored, mut text) = (Vec::new(), Vec::new());
        draft.put_stored(&mut stored, &place);
        draft.put_text(&mut text, &place);
        (stored, text)
    }

    fn text_of(stored: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        StoredEntry::read(stored).unwrap().put_text(&mut text, Some(Hash([1; 32])));
        text
    }

    fn holds(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().into()
    }

    #[test]
    fn the_text_stays_and_the_payload_and_its_salts_go() {
        let erasure = Erasure::of_value(7, Status::Active, Reason::new("before").unwrap());
        let table = [
            (EntryKind::Create, None),
            (EntryKind::Update, None),
            (EntryKind::Event, None),
            (EntryKind::Erase, erasure.as_ref()),
        ];
        for (kind, erasure) in table {
            let (whole, text) = stored(kind, erasure, 3);
            let orders: [&[ErasedValues]; 4] = [
                &[ErasedValues::One(2)],
                &[ErasedValues::One(3), ErasedValues::One(1)],
                &[ErasedValues::All],
                &[ErasedValues::One(2), ErasedValues::All],
            ];
            for order in orders {
                let mut bytes = whole.clone();
                for gone in order {
                    bytes = StoredEntry::read(&bytes).unwrap().redacted(*gone);
                }
                assert_eq!(text_of(&bytes), text, "{kind:?} {order:?}");
                check_redacted(&bytes, order);
                let (before, after) = (StoredEntry::read(&whole).unwrap(), StoredEntry::read(&bytes).unwrap());
                assert_eq!((after.edges, after.outputs), (before.edges, before.outputs), "{kind:?}");
            }
        }
    }

    /// Erased values are gone with their salts, the rest is there, and every byte counts.
    fn check_redacted(bytes: &[u8], order: &[ErasedValues]) {
        assert!(!holds(bytes, &[5; 32]), "the entry's salt");
        let entry = StoredEntry::read(bytes).unwrap();
        for index in 1_u32..=3 {
            let gone = order.iter().any(|gone| gone.has(index));
            let salt = mac(&[5; 32], &index.to_be_bytes());
            assert_eq!(holds(bytes, format!("secret {index}").as_bytes()), !gone, "{order:?}");
            assert_eq!(holds(bytes, &salt), !gone, "{order:?}");
            assert_eq!(entry.opening(index).map(|opening| opening.salt), (!gone).then_some(salt));
            assert_eq!(entry.erased.iter().any(|erased| erased.index == index), gone);
        }
        assert_eq!(entry.decode_values().unwrap().len(), entry.values.len());
        for end in 0..bytes.len() {
            assert!(StoredEntry::read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_type_of_an_erased_value_is_a_word() {
        for (kind, fits) in [("NAME", true), ("", false), ("NAME x\nvalue 2 SECRET", false)] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, 1);
            put_erased(&mut bytes, 1, kind, &[7; 32]);
            assert_eq!(read_redacted(&mut Reader::new(&bytes), 9).is_ok(), fits, "{kind:?}");
        }
    }

    #[test]
    fn one_opening_opens_one_commitment() {
        let (bytes, text) = stored(EntryKind::Create, None, 2);
        let entry = StoredEntry::read(&bytes).unwrap();
        let opening = entry.opening(2).unwrap();
        // By the definition: permissions 14, TTL 60, no time, no references, the data.
        let canonical = [&[14, 60, 0, 0][..], b"secret 2"].concat();
        let salt = mac(&[5; 32], &2_u32.to_be_bytes());
        assert_eq!(opening, ValueOpening { index: 2, salt, kind: "T2", canonical: &canonical });
        let commitment = mac(&salt, &[b"T2\0", canonical.as_slice()].concat());
        assert_eq!(opening.commitment(), commitment);
        let line = format!("value 2 T2 {}\n", BASE64.encode(&commitment));
        assert!(holds(&text, line.as_bytes()));
        assert_eq!(entry.opening(3), None);
    }

    #[test]
    fn an_erase_says_what_and_why() {
        let reason = || Reason::new("Art. 17 GDPR, 100%").unwrap();
        for (erasure, lines) in [
            (Erasure::of_record(reason()), "erased *\nreason Art.%2017%20GDPR,%20100%25\n"),
            (Erasure::of_value(7, Status::Active, reason()).unwrap(), "erased 7\nreason Art.%2017%20GDPR,%20100%25\n"),
            (
                Erasure::of_value(7, Status::Retired, reason()).unwrap(),
                "erased 7 retired\nreason Art.%2017%20GDPR,%20100%25\n",
            ),
        ] {
            let (bytes, text) = stored(EntryKind::Erase, Some(&erasure), 1);
            assert!(text.ends_with(lines.as_bytes()), "{}", String::from_utf8_lossy(&text));
            assert_eq!(text_of(&bytes), text);
            assert_eq!(EntryText::parse(&text).unwrap().erasure.as_ref(), Some(&erasure));
            let entry = StoredEntry::read(&bytes).unwrap();
            assert_eq!((entry.status(), entry.erasure.as_ref()), (erasure.status, Some(&erasure)));
            for end in 0..bytes.len() {
                assert!(StoredEntry::read(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
        assert_eq!(Erasure::of_value(7, Status::Erased, reason()), None);
    }

    #[test]
    fn reasons_are_short_and_printable() {
        for (text, fits) in [
            ("a".to_owned(), true),
            ("ü".repeat(100), true),
            ("a".repeat(201), false),
            (String::new(), false),
            (" ".into(), false),
            ("a\nb".into(), false),
            ("a\u{85}b".into(), false),
        ] {
            assert_eq!(Reason::new(&text).is_ok(), fits, "{text:?}");
        }
    }
}
