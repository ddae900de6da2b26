//! Queries in wire format.

use crate::Outcome;

/// Types that queries can ask for.
const TYPES: [(&str, u16); 5] = [("TXT", 16), ("NAPTR", 35), ("URI", 256), ("SOA", 6), ("NS", 2)];
/// An OPT record: the root, type 41, a size of 1,232, no options (RFC 6891 section 6.1.2).
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// Queries without their ids, concatenated.
pub struct Queries {
    octets: Vec<u8>,
    ends: Vec<usize>,
}

impl Queries {
    /// Reads lines of a name and a type. Names are plain: no escapes.
    pub fn parse(text: &str, edns: bool, recursion: bool) -> Outcome<Self> {
        let mut queries = Self { octets: Vec::with_capacity(text.len() * 5 / 4), ends: Vec::new() };
        for (line, at) in text.lines().zip(1_u64..) {
            if queries.push(line, edns, recursion).is_none() {
                return Err(format!("line {at} is not a name and one of the types {TYPES:?}: {line}").into());
            }
        }
        if queries.ends.is_empty() { Err("there are no queries".into()) } else { Ok(queries) }
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Octets of a query after its id; numbers wrap around at the end.
    pub fn get(&self, number: u64) -> &[u8] {
        let at = (number % self.ends.len() as u64) as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.octets[start..self.ends[at]]
    }

    fn push(&mut self, line: &str, edns: bool, recursion: bool) -> Option<()> {
        let (name, kind) = line.split_once(' ')?;
        let (_, kind) = TYPES.iter().find(|(known, _)| *known == kind)?;
        // Flags; one question, no answers, no authorities, with EDNS one additional record.
        self.octets.extend([u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        for label in name.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            self.octets.push(length);
            self.octets.extend(label.as_bytes());
        }
        let [high, low] = kind.to_be_bytes();
        self.octets.extend([0, high, low, 0, 1]);
        self.octets.extend(OPT.iter().take(if edns { OPT.len() } else { 0 }));
        self.ends.push(self.octets.len());
        Some(())
    }
}
