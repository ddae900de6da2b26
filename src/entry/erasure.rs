//! Erasure: content of an `erase` entry. The redacted form of the entries before it is in `redacted`.
//!
//! ```text
//! erasure in the stored form  = 0, or 1 and the value's index (varint) and the record's status (1 byte)
//!                               · reason (length, bytes)
//! ```

use super::{
    EntryKind, StoredEntry,
    grammar::{WHOLE_RECORD, number},
};
use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    record::Status,
};

/// Maximum length of an erasure's reason, in bytes.
pub const REASON_BYTES_MAX: usize = 200;
const SCOPE_RECORD: u64 = 0;
const SCOPE_VALUE: u64 = 1;

/// Reason of an erasure, public and permanent: 1 to [`REASON_BYTES_MAX`] bytes of printable text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Box<str>);

/// A reason is empty, too long, or not printable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reason of an erasure is not 1 to {REASON_BYTES_MAX} bytes of printable text")]
pub struct BadReason;

impl Reason {
    /// Checks a reason.
    ///
    /// # Errors
    ///
    /// [`BadReason`].
    pub fn new(text: &str) -> Result<Self, BadReason> {
        let fits = (1..=REASON_BYTES_MAX).contains(&text.len());
        let printable = !text.chars().any(char::is_control) && !text.trim().is_empty();
        if fits && printable { Ok(Self(text.into())) } else { Err(BadReason) }
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Extent of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasedValues {
    /// Every value of every version.
    All,
    /// The value with this index, of every version that has it.
    One(u32),
}

impl ErasedValues {
    /// True if the value with this index is erased.
    pub fn has(self, index: u32) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == index,
        }
    }
}

/// Content of an `erase` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Values erased from this identifier's versions before this entry.
    pub values: ErasedValues,
    /// Status of the record from then on: [`Status::Erased`] if all values were erased, else as before.
    pub status: Status,
    /// Reason, public.
    pub reason: Reason,
}

impl Erasure {
    /// Erasure of the whole record, which ends it.
    pub fn of_record(reason: Reason) -> Self {
        Self { values: ErasedValues::All, status: Status::Erased, reason }
    }

    /// Erasure of one value of a record with this status; `None` if the record is erased already.
    pub fn of_value(index: u32, status: Status, reason: Reason) -> Option<Self> {
        (status != Status::Erased).then_some(Self { values: ErasedValues::One(index), status, reason })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self.values {
            ErasedValues::All => put_varint(out, SCOPE_RECORD),
            ErasedValues::One(index) => {
                put_varint(out, SCOPE_VALUE);
                put_varint(out, u64::from(index));
                out.push(u8::from(self.status == Status::Retired));
            }
        }
        put_bytes(out, self.reason.as_str().as_bytes());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Torn> {
        let (values, status) = match reader.varint()? {
            SCOPE_RECORD => (ErasedValues::All, Status::Erased),
            SCOPE_VALUE => {
                let index = reader.varint_u32()?;
                let status = match reader.byte()? {
                    0 => Status::Active,
                    1 => Status::Retired,
                    _ => return Err(Torn),
                };
                (ErasedValues::One(index), status)
            }
            _ => return Err(Torn),
        };
        let reason = Reason::new(reader.text()?).map_err(|_| Torn)?;
        Ok(Self { values, status, reason })
    }

    /// Reads the arguments of the lines `erased` and `reason`, the latter unescaped.
    pub(super) fn from_lines(erased: &str, reason: &str) -> Option<Self> {
        let reason = Reason::new(reason).ok()?;
        if erased == WHOLE_RECORD {
            return Some(Self::of_record(reason));
        }
        let (index, status) = match erased.split_once(' ') {
            None => (erased, Status::Active),
            Some((index, "retired")) => (index, Status::Retired),
            Some(_) => return None,
        };
        Self::of_value(number(index)?, status, reason)
    }
}

impl StoredEntry<'_> {
    /// Status of the record after this entry.
    pub fn status(&self) -> Status {
        match (self.kind, &self.erasure) {
            (_, Some(erasure)) => erasure.status,
            (EntryKind::Retire, _) => Status::Retired,
            _ => Status::Active,
        }
    }

    /// True if the entry still holds any of these values.
    pub fn holds_any(&self, values: ErasedValues) -> bool {
        self.values.iter().any(|value| values.has(value.index))
    }
}
