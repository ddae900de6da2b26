//! Edges: typed relations from one identifier to another.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::{RecordError, excerpt, is_word};
use crate::id::Identifier;

/// Type of a relation. `from` is the record that carries the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeType {
    /// `from` contains `to` as a component.
    MadeOf,
    /// `from` came from `to` by a transformation.
    DerivedFrom,
    /// `from` lies in the package `to`.
    PackedIn,
    /// `from` was handed to the party `to`.
    TransferredTo,
    /// `from` takes the place of `to`.
    Replaces,
}

impl EdgeType {
    /// Every type, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::MadeOf, Self::DerivedFrom, Self::PackedIn, Self::TransferredTo, Self::Replaces];

    /// The stored code, from 1.
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The type with a stored code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The written form, as in ledger entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MadeOf => "made-of",
            Self::DerivedFrom => "derived-from",
            Self::PackedIn => "packed-in",
            Self::TransferredTo => "transferred-to",
            Self::Replaces => "replaces",
        }
    }
}

/// A set of edge types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeTypes(u8);

impl EdgeTypes {
    /// Every type.
    pub const ALL: Self = Self(0b1_1111);

    /// True if the type is in the set.
    pub fn contains(self, kind: EdgeType) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl FromIterator<EdgeType> for EdgeTypes {
    fn from_iter<T: IntoIterator<Item = EdgeType>>(types: T) -> Self {
        Self(types.into_iter().fold(0, |set, kind| set | 1 << kind as u8))
    }
}

impl FromStr for EdgeType {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| RecordError::EdgeType { found: excerpt(text) })
    }
}

/// A decimal number as it was written, without sign or exponent: `1`, `0.25`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity(Box<str>);

impl Quantity {
    /// Maximum length of a quantity, in characters.
    pub const BYTES_MAX: usize = 32;

    /// The number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Quantity {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if text.len() <= Self::BYTES_MAX && digits(whole) && digits(fraction) && !leading_zero {
            Ok(Self(text.into()))
        } else {
            Err(RecordError::Quantity { found: excerpt(text) })
        }
    }
}

/// The unit of a quantity, such as `unit:piece`: 1 to 64 printable ASCII characters without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(Box<str>);

impl Unit {
    /// Maximum length of a unit, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The unit as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Unit {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        // `-` stands for no unit in the text of an entry.
        if is_word(text, Self::BYTES_MAX) && text != "-" {
            Ok(Self(text.into()))
        } else {
            Err(RecordError::Unit { found: excerpt(text) })
        }
    }
}

/// A relation from the record that carries it to another identifier; type and target identify it among the record's
/// edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Type of the relation.
    pub kind: EdgeType,
    /// Target of the relation.
    pub to: Identifier,
    /// Quantity of the target, with its unit if it has one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// Start of validity, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

impl Edge {
    /// Checks the rule that the types of the fields do not enforce: the time can be written as RFC 3339.
    ///
    /// # Errors
    ///
    /// [`RecordError::ValidFrom`] if the time lies outside the years 0000 to 9999.
    pub fn check(&self) -> Result<(), RecordError> {
        match self.valid_from_ms {
            Some(ms) if !writable(ms) => Err(RecordError::ValidFrom { ms }),
            _ => Ok(()),
        }
    }

    /// Reads a time as [`Edge::valid_from`] writes it, in milliseconds since 1970 UTC; `None` for any other spelling.
    pub fn read_valid_from(text: &str) -> Option<i64> {
        let ms = text.parse::<Timestamp>().ok()?.as_millisecond();
        let written = Timestamp::from_millisecond(ms).ok().filter(|_| writable(ms))?;
        (written.to_string() == text).then_some(ms)
    }

    /// Start of validity, as RFC 3339 in UTC.
    pub fn valid_from(&self) -> Option<impl fmt::Display> {
        // `check` has refused every time that `Timestamp` cannot hold.
        self.valid_from_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
    }
}

/// True for times that RFC 3339 can write: years 0000 to 9999.
fn writable(ms: i64) -> bool {
    const YEAR_0000_MS: i64 = -62_167_219_200_000;
    ms >= YEAR_0000_MS && Timestamp::from_millisecond(ms).is_ok()
}

/// One change of a record's edges.
#[derive(Clone, Debug, PartialEq)]
pub enum EdgeChange {
    /// Adds the edge, or replaces the one with the same type and target.
    Add(Edge),
    /// Removes the edge with this type and target.
    Remove(EdgeType, Identifier),
}

impl EdgeChange {
    /// Type and target of the edge that changes.
    pub fn subject(&self) -> (EdgeType, &Identifier) {
        match self {
            Self::Add(edge) => (edge.kind, &edge.to),
            Self::Remove(kind, to) => (*kind, to),
        }
    }
}
