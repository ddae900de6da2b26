//! The records as a zone, with the names, data and TTLs of a node's answers.
//!
//! The TXT format is implemented here a second time, and not taken from the node, so that comparing answers is a test.

use std::io::Write;

use touchmark::{
    id::{Identifier, dns_name},
    record::Value,
};

use crate::{Outcome, records};

/// The zone, with the dot at its end.
pub const ZONE: &str = "id.test.";
/// The longest string of a TXT record (RFC 1035 section 3.3).
const STRING_OCTETS_MAX: usize = 255;

/// Name of the `number`th record, relative to the zone.
pub fn relative_name(number: u64) -> Outcome<String> {
    let identifier = Identifier::parse(&records::identifier(number))?;
    // As text the name has a dot where the wire format has a length, and the root octet is one more.
    Ok(dns_name::name_of(&identifier, ZONE.len() + 1).to_string())
}

/// Writes the zone of the first `count` records.
pub fn write(out: &mut impl Write, count: u64) -> Outcome<()> {
    writeln!(out, "$ORIGIN {ZONE}\n$TTL {}", Value::TTL_SECONDS_DEFAULT)?;
    writeln!(out, "@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60\n@ 3600 IN NS ns\nns 3600 IN A 127.0.0.1")?;
    for number in 0..count {
        let name = relative_name(number)?;
        for (index, (kind, data)) in (1..).zip(records::values(number)) {
            write!(out, "{name} TXT \"{index} {kind}\"")?;
            for string in data.as_bytes().chunks(STRING_OCTETS_MAX) {
                write!(out, " {}", quoted(string))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A character-string between quotes (RFC 1035 section 5.1).
fn quoted(string: &[u8]) -> String {
    let mut text = String::with_capacity(string.len() + 2);
    text.push('"');
    for &octet in string {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text += &format!("\\{octet:03}"),
        }
    }
    text.push('"');
    text
}
