//! Identifiers: four schemes, one type, one ordered key.
//!
//! [`Identifier::parse`] takes every written form of the four schemes (Handle, OID, GS1, URI) and gives the canonical
//! form and its [`Key`], or the position and the rule at which the text fails. Equal identifiers have equal keys; a
//! prefix of a key is a subtree of identifiers; OID arcs sort as numbers. A canonical form parses to itself.
//!
//! The form of a text, first match wins (scheme words in any case):
//!
//! ```text
//! (…                         GS1 element string          hdl:…                       Handle
//! {…                         OID in ASN.1 notation       urn:oid:…                   OID
//! /…                         OID-IRI                     urn:epc:…                   GS1 EPC URN
//! http(s)://…/01/<value>…    GS1 Digital Link            a scheme and ":" before "/" URI
//! digits and dots only       dotted OID                  a "/" anywhere              Handle
//! ```
//!
//! Nothing is trimmed, control characters are refused everywhere, and an overlong text is refused before it is scanned.
//! Pure: no I/O, no clock, no configuration. Deliberately absent: any knowledge of what is registered.

pub mod dns_name;
pub mod gs1;
pub mod handle;
pub mod key;
pub mod oid;
mod prefix;
mod subtree;
pub mod uri;

use std::{borrow::Cow, fmt, str::FromStr};

pub use key::{Key, KeyPrefix};
pub use prefix::Prefix;
pub use subtree::Subtree;

/// Naming scheme of an identifier; ordered like the keys.
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

impl Scheme {
    /// Every scheme, in the order of their keys.
    pub const ALL: [Self; 4] = [Self::Handle, Self::Oid, Self::Gs1, Self::Uri];

    /// The scheme's name: `handle`, `oid`, `gs1`, `uri`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::Oid => "oid",
            Self::Gs1 => "gs1",
            Self::Uri => "uri",
        }
    }

    /// The key prefix shared by all keys of this scheme, and by no other.
    pub fn key_prefix(self) -> KeyPrefix {
        KeyPrefix::from_bytes([self.key_byte()])
    }

    /// The first byte of every key of this scheme: a letter, ascending in the order of [`Scheme::ALL`].
    const fn key_byte(self) -> u8 {
        match self {
            Self::Handle => b'H',
            Self::Oid => b'O',
            Self::Gs1 => b'S',
            Self::Uri => b'U',
        }
    }
}

impl FromStr for Scheme {
    type Err = UnknownScheme;

    /// Reads a scheme's name as [`Scheme::as_str`] writes it.
    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        let found = Self::ALL.into_iter().find(|scheme| scheme.as_str() == text);
        found.ok_or_else(|| UnknownScheme { found: excerpt(text) })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scheme `{found}` is none of handle, oid, gs1, uri")]
pub struct UnknownScheme {
    /// The word that was given, escaped and cut.
    pub found: String,
}

/// The written form that a text used for its identifier.
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

impl fmt::Display for WrittenForm {
    /// Writes the form in words, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handle => "Handle",
            Self::HandleUri => "Handle with hdl:",
            Self::OidDotted => "dotted OID",
            Self::OidUrn => "OID URN",
            Self::OidIri => "OID-IRI",
            Self::OidAsn1 => "OID in ASN.1 notation",
            Self::Gs1DigitalLink => "GS1 Digital Link",
            Self::Gs1ElementString => "GS1 element string",
            Self::Gs1EpcUrn => "GS1 EPC URN",
            Self::Uri => "URI",
        })
    }
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
    /// Parses an identifier in any written form; the module header says how the forms are told apart.
    ///
    /// Limits, each named in the refusal: a Handle has at most 255 characters, the dotted text of an OID 1,024 in at
    /// most 128 arcs, a URI and a Digital Link 2,048 bytes, the other forms of an OID 2,048 bytes, a GS1 element
    /// string and an EPC URN 256 bytes. The time to refuse a longer text depends on the limit alone.
    ///
    /// The identity in a GS1 Digital Link is its key with the qualifiers: data attributes and the rest of the query,
    /// the fragment, the domain and the stem are left out of the canonical form.
    ///
    /// ```
    /// use touchmark::id::{Identifier, Scheme};
    ///
    /// let item = Identifier::parse("(01)09506000134352(21)123")?;
    /// assert_eq!(item.scheme(), Scheme::Gs1);
    /// assert_eq!(item.as_str(), "https://id.gs1.org/01/09506000134352/21/123");
    ///
    /// // Two written forms of one identifier are equal, and have one key.
    /// let link = Identifier::parse("https://example.com/shop/01/09506000134352/21/123?color=red")?;
    /// assert_eq!(link, item);
    ///
    /// // A text in no form is refused with the byte position and the rule.
    /// let error = Identifier::parse("1.3.06").unwrap_err();
    /// assert_eq!(error.position, 4);
    /// # Ok::<(), touchmark::id::ParseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseError`] with the text (shortened), the byte position and the rule that broke.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_written(text).map(|(identifier, _)| identifier)
    }

    /// As [`Identifier::parse`], with the written form of the text.
    ///
    /// # Errors
    ///
    /// As for [`Identifier::parse`].
    pub fn parse_written(text: &str) -> Result<(Self, WrittenForm), ParseError> {
        read(text).map_err(|refusal| refusal.into_error(text))
    }

    /// Assembles an identifier from parts that its scheme has checked.
    fn new(scheme: Scheme, text: impl Into<Box<str>>, key: Key) -> Self {
        Self { scheme, text: text.into(), key }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The canonical form; for a Handle, the spelling in which it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The ordered key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The ordered key, without a copy.
    pub fn into_key(self) -> Key {
        self.key
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Refusal of a text that is no identifier.
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

/// Bytes of a text that are scanned to tell its form: the length of the longest form.
const HEAD_BYTES: usize = uri::BYTES_MAX;

/// The forms of an identifier, for refusals of a text that fits no scheme.
const FORMS: &str = "an identifier is a Handle (prefix/suffix, hdl:…), an OID (1.3.6.1, urn:oid:…, /1/3/6/1, {iso(1) …}), \
                     a GS1 key (Digital Link, (01)…, urn:epc:id:…) or another absolute URI";

/// Tells the form of a text and has its scheme read it.
fn read(text: &str) -> Result<(Identifier, WrittenForm), Refusal> {
    refuse_outer_space(text)?;
    match text.as_bytes().first() {
        None => return Err(Refusal::new(0, format!("the text is empty; {FORMS}"))),
        Some(b'(') => return Ok((gs1::from_element_string(text)?, WrittenForm::Gs1ElementString)),
        Some(b'{') => return Ok((oid::from_asn1(text)?, WrittenForm::OidAsn1)),
        Some(b'/') => return Ok((oid::from_iri(text)?, WrittenForm::OidIri)),
        Some(_) => {}
    }
    match shape(text.as_bytes()) {
        Shape::Scheme => read_scheme(text),
        Shape::Dotted => Ok((oid::from_dotted(text)?, WrittenForm::OidDotted)),
        Shape::Slash => Ok((handle::from_bare(text)?, WrittenForm::Handle)),
        Shape::Other if text.len() > HEAD_BYTES => {
            let rule = format!("the text has {} bytes; the longest form has {HEAD_BYTES}", text.len());
            Err(Refusal::new(0, rule))
        }
        Shape::Other => {
            refuse_controls(text)?;
            Err(Refusal::new(0, FORMS))
        }
    }
}

/// Reads a text that begins with a URI scheme.
fn read_scheme(text: &str) -> Result<(Identifier, WrittenForm), Refusal> {
    let after = |scheme: &str| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(url) = after("https://").or_else(|| after("http://")) {
        uri::check(text)?;
        let start = text.len() - url.len();
        return match gs1::from_url(url).map_err(|refusal| refusal.after(start))? {
            Some(identifier) => Ok((identifier, WrittenForm::Gs1DigitalLink)),
            None => Ok((uri::build(text), WrittenForm::Uri)),
        };
    }
    if let Some(handle) = after("hdl:") {
        return Ok((handle::from_bare(handle).map_err(|refusal| refusal.after(4))?, WrittenForm::HandleUri));
    }
    if let Some(dotted) = after("urn:oid:") {
        return Ok((oid::from_dotted(dotted).map_err(|refusal| refusal.after(8))?, WrittenForm::OidUrn));
    }
    if let Some(urn) = after("urn:epc:") {
        return Ok((gs1::from_epc_urn(urn).map_err(|refusal| refusal.after(8))?, WrittenForm::Gs1EpcUrn));
    }
    uri::check(text)?;
    Ok((uri::build(text), WrittenForm::Uri))
}

/// Form of a text, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A URI scheme and its colon (RFC 3986 section 3.1).
    Scheme,
    /// Digits and at least one dot, nothing else.
    Dotted,
    /// A slash.
    Slash,
    /// None of these.
    Other,
}

fn shape(bytes: &[u8]) -> Shape {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-');
    let word = head.iter().take_while(|byte| is_scheme_byte(byte)).count();
    if head.get(word) == Some(&b':') && head.first().is_some_and(u8::is_ascii_alphabetic) {
        return Shape::Scheme;
    }
    if head[word..].contains(&b'/') {
        return Shape::Slash;
    }
    let dotted = word == head.len() && head.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if dotted && head.contains(&b'.') { Shape::Dotted } else { Shape::Other }
}

/// Position and rule at which a part of a text fails; the position counts from the start of that part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    position: usize,
    rule: Cow<'static, str>,
}

impl Refusal {
    fn new(position: usize, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { position, rule: rule.into() }
    }

    /// Shifts the position: the part stands behind `bytes` other bytes.
    fn after(self, bytes: usize) -> Self {
        Self { position: self.position + bytes, ..self }
    }

    fn into_error(self, text: &str) -> ParseError {
        ParseError { excerpt: excerpt(text), position: self.position, rule: self.rule.into_owned() }
    }
}

/// Refuses white space at either end, as scanners and line readers often leave it.
fn refuse_outer_space(text: &str) -> Result<(), Refusal> {
    if text.starts_with(char::is_whitespace) {
        return Err(Refusal::new(0, "white space before the identifier; nothing is trimmed"));
    }
    match text.char_indices().next_back() {
        Some((position, last)) if last.is_whitespace() => {
            Err(Refusal::new(position, "white space after the identifier; nothing is trimmed"))
        }
        _ => Ok(()),
    }
}

/// Refuses control characters (U+0000 to U+001F and U+007F to U+009F).
fn refuse_controls(text: &str) -> Result<(), Refusal> {
    // In UTF-8 the controls beyond ASCII begin with 0xC2.
    if !text.bytes().any(|byte| byte < 0x20 || byte == 0x7f || byte == 0xc2) {
        return Ok(());
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((position, control)) => Err(Refusal::new(position, format!("control character {}", code_point(control)))),
        None => Ok(()),
    }
}

impl ParseError {
    /// The position and the rule, without the text.
    pub fn rule_at(&self) -> String {
        format!("byte {}: {}", self.position, self.rule)
    }
}

/// Names a character in a message: itself if it can be shown, and always its code point.
fn code_point(character: char) -> String {
    if character.is_control() || character.is_whitespace() {
        format!("U+{:04X}", u32::from(character))
    } else {
        format!("`{character}` (U+{:04X})", u32::from(character))
    }
}

/// Shortens and escapes a text for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Characters of a text that a message quotes at most.
const EXCERPT_CHARS: usize = 40;

#[cfg(test)]
mod tests;
