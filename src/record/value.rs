//! Values: index, type, data, time to live, permissions, references (RFC 3651 section 3.1).

use std::{fmt, ops::Deref, str::FromStr};

use bytes::Bytes;

use super::{RecordError, excerpt, is_word, stored};

/// A value's type: 1 to 64 printable ASCII characters without spaces, such as `NAME`, `URL`, `SVC:epcis`, `HS_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueType(Box<str>);

impl ValueType {
    /// Maximum length of a type, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `wanted` is this type, or a stem of it that ends in "."; ASCII case does not count.
    pub fn matches(&self, wanted: &str) -> bool {
        let Some(stem) = wanted.strip_suffix('.') else {
            return self.0.eq_ignore_ascii_case(wanted);
        };
        self.0.eq_ignore_ascii_case(stem)
            || self.0.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
    }
}

impl FromStr for ValueType {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        if is_word(text, Self::BYTES_MAX) {
            Ok(Self(text.into()))
        } else {
            Err(RecordError::ValueType { found: excerpt(text) })
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The four permission bits of a value (RFC 3651 section 3.1): admin-read, admin-write, public-read, public-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Permissions of a value for which none are given: everything but public-write.
    pub const DEFAULT: Self = Self(0b1110);

    /// Permissions from the four low bits, admin-read the highest.
    ///
    /// # Errors
    ///
    /// [`RecordError::Permissions`] if other bits are set.
    pub fn from_bits(bits: u32) -> Result<Self, RecordError> {
        match u8::try_from(bits) {
            Ok(bits @ 0..=0b1111) => Ok(Self(bits)),
            _ => Err(RecordError::Permissions { found: bits.to_string() }),
        }
    }

    /// The four bits, admin-read the highest.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// True if anyone may read the value.
    pub fn public_read(self) -> bool {
        self.0 & 0b0010 != 0
    }
}

impl FromStr for Permissions {
    type Err = RecordError;

    /// Reads the written form, `1110`.
    fn from_str(text: &str) -> Result<Self, RecordError> {
        let well_formed = text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0' | b'1'));
        match u8::from_str_radix(text, 2) {
            Ok(bits) if well_formed => Ok(Self(bits)),
            _ => Err(RecordError::Permissions { found: excerpt(text) }),
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04b}", self.0)
    }
}

/// A reference from one value to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The record that holds the other value, as written.
    pub identifier: crate::id::Identifier,
    /// Index of the other value.
    pub index: u32,
}

/// One typed value of a record; the [module header](crate::record) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Index, unique within the record, from 1; 0 asks [`Values::new`] for a number.
    pub index: u32,
    /// Type, which gives the data its meaning.
    pub kind: ValueType,
    /// The data itself; UTF-8 for text.
    pub data: Bytes,
    /// Time for which a cache may keep the value, in seconds.
    pub ttl: u32,
    /// Time of the last change, seconds since 1970 UTC; 0 until the ledger has taken the value.
    pub timestamp: u64,
    /// Permissions to read and write the value.
    pub permissions: Permissions,
    /// Values that this one refers to.
    pub references: Vec<Reference>,
}

/// A borrowed view of a value, enough to show it: its parts lie in the bytes that they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueView<'a> {
    /// As in [`Value::index`].
    pub index: u32,
    /// As in [`Value::kind`].
    pub kind: &'a str,
    /// As in [`Value::data`].
    pub data: &'a [u8],
    /// As in [`Value::ttl`].
    pub ttl: u32,
    /// As in [`Value::permissions`].
    pub permissions: Permissions,
}

impl Value {
    /// A borrowed view of the value.
    pub fn view(&self) -> ValueView<'_> {
        let Self { index, kind, data, ttl, permissions, .. } = self;
        ValueView { index: *index, kind: kind.as_str(), data, ttl: *ttl, permissions: *permissions }
    }

    /// Maximum TTL, in seconds: two days, the longest time that Handle clients keep a value.
    pub const TTL_SECONDS_MAX: u32 = 172_800;
    /// TTL of a value for which none is given, in seconds.
    pub const TTL_SECONDS_DEFAULT: u32 = 3_600;
    /// Maximum number of references of one value.
    pub const REFERENCES_MAX: usize = 16;

    /// True if both values are equal but for their timestamps.
    pub fn same_content(&self, other: &Self) -> bool {
        self.index == other.index
            && self.kind == other.kind
            && self.data == other.data
            && self.ttl == other.ttl
            && self.permissions == other.permissions
            && self.references == other.references
    }
}

/// The values of one record: in order of index, no index twice, within the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Vec<Value>);

impl Values {
    /// Maximum number of values of one record.
    pub const COUNT_MAX: usize = 256;
    /// Maximum length of the data of one value, in bytes (64 KiB).
    pub const DATA_BYTES_MAX: usize = 65_536;
    /// Maximum length of the stored form of all values of a record together, in bytes (1 MiB).
    pub const RECORD_BYTES_MAX: usize = 1_048_576;

    /// Checks values and sorts them by index. If all have index 0, they are numbered from 1 in the given order.
    ///
    /// # Errors
    ///
    /// The [`RecordError`] of the first rule that is broken.
    pub fn new(mut values: Vec<Value>) -> Result<Self, RecordError> {
        if values.len() > Self::COUNT_MAX {
            return Err(RecordError::TooManyValues { count: values.len() });
        }
        match values.iter().filter(|value| value.index == 0).count() {
            0 => values.sort_by_key(|value| value.index),
            unnumbered if unnumbered == values.len() => {
                for (index, value) in (1..).zip(&mut values) {
                    value.index = index;
                }
            }
            _ => return Err(RecordError::MixedIndexes),
        }
        if let Some(pair) = values.windows(2).find(|pair| pair[0].index == pair[1].index) {
            return Err(RecordError::DuplicateIndex { index: pair[0].index });
        }
        let mut bytes = 0;
        for value in &values {
            check_value(value)?;
            bytes += stored::value_len_max(value);
        }
        if bytes > Self::RECORD_BYTES_MAX {
            return Err(RecordError::RecordTooLong { bytes });
        }
        Ok(Self(values))
    }

    /// Removes the values whose permissions do not pass.
    pub fn retain_permitted(&mut self, pass: impl Fn(Permissions) -> bool) {
        // A subset of values within the limits is within the limits.
        self.0.retain(|value| pass(value.permissions));
    }

    /// True if both hold the same values, whatever their timestamps.
    pub fn same_content(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.same_content(b))
    }

    /// The list of values, in order of index.
    pub fn into_vec(self) -> Vec<Value> {
        self.0
    }

    /// Sets the timestamp of the values that have none yet, in seconds since 1970 UTC.
    pub fn stamp(&mut self, timestamp: u64) {
        for value in self.0.iter_mut().filter(|value| value.timestamp == 0) {
            value.timestamp = timestamp;
        }
    }
}

impl Deref for Values {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

fn check_value(value: &Value) -> Result<(), RecordError> {
    let index = value.index;
    if value.data.len() > Values::DATA_BYTES_MAX {
        return Err(RecordError::ValueTooLong { index, bytes: value.data.len() });
    }
    if value.ttl > Value::TTL_SECONDS_MAX {
        return Err(RecordError::Ttl { index, ttl: value.ttl });
    }
    if value.references.len() > Value::REFERENCES_MAX {
        return Err(RecordError::TooManyReferences { index, count: value.references.len() });
    }
    Ok(())
}
