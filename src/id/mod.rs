//! Identifiers: four schemes, one type, one ordered key.
//!
//! [`Identifier::parse`] takes every written form of DESIGN's table (Handle, OID, GS1, URI), brings it to its
//! canonical form and its [`Key`], or says where and by which rule the text fails. Equal identifiers have equal keys;
//! a prefix of a key is a subtree of identifiers; OID arcs sort as numbers.
//!
//! Pure: no I/O, no clock, no configuration. What is deliberately absent: any idea of what is registered.

pub mod dns_name;
pub mod gs1;
pub mod handle;
pub mod key;
pub mod oid;
pub mod uri;

use std::fmt;

pub use key::{Key, KeyPrefix};

/// The naming scheme that an identifier belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `prefix/suffix` (RFC 3651 section 2).
    Handle,
    /// Object identifier (ITU-T X.660).
    Oid,
    /// GS1 key with qualifiers, kept as a canonical Digital Link URI.
    Gs1,
    /// Any other absolute URI (RFC 3986), opaque.
    Uri,
}

/// The way in which a text wrote its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WrittenForm {
    /// `88.118.8/JXDY2106023`
    Handle,
    /// `hdl:88.118.8/JXDY2106023`
    HandleUri,
    /// `1.3.6.1`
    OidDotted,
    /// `urn:oid:1.3.6.1` (RFC 3061)
    OidUrn,
    /// `/1/3/6/1` or `/ISO/Identified-Organization/6/1` (OID-IRI, X.660)
    OidIri,
    /// `{iso(1) identified-organization(3) 6}` (ASN.1 value notation, X.680)
    OidAsn1,
    /// `https://any.domain/stem/01/09506000134352/21/123`
    Gs1DigitalLink,
    /// `(01)09506000134352(21)123`
    Gs1ElementString,
    /// `urn:epc:id:sgtin:9506000.013435.123`
    Gs1EpcUrn,
    /// Any other absolute URI.
    Uri,
}

/// A well-formed identifier in canonical form, with its ordered key.
///
/// Equality, order and hash are those of the key: `88.118.8/ABC` and `88.118.8/abc` are one identifier.
#[derive(Clone)]
pub struct Identifier {
    scheme: Scheme,
    text: Box<str>,
    key: Key,
}

impl Identifier {
    /// Reads an identifier in any written form.
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the text (shortened), the byte position and the rule that broke.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_written(text).map(|(identifier, _)| identifier)
    }

    /// Like [`Identifier::parse`], and says which written form the text took.
    ///
    /// # Errors
    ///
    /// As for [`Identifier::parse`].
    pub fn parse_written(_text: &str) -> Result<(Self, WrittenForm), ParseError> {
        todo!()
    }

    /// Puts together an identifier whose parts a scheme has checked.
    fn new(scheme: Scheme, text: impl Into<Box<str>>, key: Key) -> Self {
        Self { scheme, text: text.into(), key }
    }

    /// The scheme that the identifier belongs to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The canonical form; of a Handle, the spelling in which it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The ordered key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{excerpt}`, byte {position}: {rule}")]
pub struct ParseError {
    /// The text, cut to a length that fits a message.
    pub excerpt: String,
    /// Byte position in the text, from 0.
    pub position: usize,
    /// The rule that broke, with its limit.
    pub rule: String,
}

impl PartialEq for Identifier {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Identifier {}

impl PartialOrd for Identifier {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identifier {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl std::hash::Hash for Identifier {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({})", self.text)
    }
}

impl ParseError {
    /// Position and rule, without the text.
    pub fn rule_at(&self) -> String {
        format!("byte {}: {}", self.position, self.rule)
    }
}
