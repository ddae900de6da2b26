//! Records: values and edges registered under an identifier.
//!
//! A record is an identifier, a status and a list of values in the sense of RFC 3651 section 3.1; beside the values it
//! carries edges to other identifiers. All types here are checked at construction: a [`Values`] cannot hold two values
//! with one index or one value too many, a [`ValueType`] cannot hold a space. Each constructor names the rule that a
//! bad input broke.
//!
//! ```
//! use touchmark::record::{Permissions, RecordError, Value, Values};
//!
//! let url = |data: &'static str| -> Result<Value, RecordError> {
//!     Ok(Value {
//!         index: 0,
//!         kind: "URL".parse()?,
//!         data: data.into(),
//!         ttl: Value::TTL_SECONDS_DEFAULT,
//!         timestamp: 0,
//!         permissions: Permissions::DEFAULT,
//!         references: Vec::new(),
//!     })
//! };
//! // Values without an index are numbered from 1.
//! let values = Values::new(vec![url("https://example.com/a")?, url("https://example.com/b")?])?;
//! assert_eq!(values.iter().map(|value| value.index).collect::<Vec<_>>(), [1, 2]);
//!
//! let refused = "two words".parse::<touchmark::record::ValueType>();
//! assert!(matches!(refused, Err(RecordError::ValueType { .. })));
//! # Ok::<(), RecordError>(())
//! ```
//!
//! Pure: no I/O, no clock. Deliberately absent: permits to write, and the encodings of a record on the wire
//! (`protocol`).

mod amount;
mod delegation;
mod edge;
mod event;
pub mod stored;
mod value;

pub use amount::Amount;
pub use delegation::{
    Delegation, DelegationError, DelegationSigner, Endpoint, PrefixChange, Site, SiteProtocol, SiteRole,
};
pub use edge::{Edge, EdgeChange, EdgeType, EdgeTypes, Quantity, Unit};
pub use event::{Event, EventError, Flow, Outputs};
pub use value::{Permissions, Reference, Value, ValueType, ValueView, Values};

use crate::id::{Identifier, excerpt};

/// Status of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The record answers.
    Active,
    /// The record was retired; its identifier is never given to anything else.
    Retired,
    /// The record was erased, with all values of all its versions; its identifier is never given to anything else.
    Erased,
}

/// A version of a record: its number, ledger entry and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Number of the version, from 1, one more with every change.
    pub number: u64,
    /// Index of the ledger entry that made this version, from 0.
    pub ledger_index: u64,
    /// Time of the entry, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

/// One version of the registration of an identifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The identifier, spelled as it was first registered.
    pub identifier: Identifier,
    /// Status: active, retired or erased.
    pub status: Status,
    /// The values, in order of index.
    pub values: Values,
    /// Indexes of the values of this version that were erased since, in order.
    pub values_erased: Vec<u32>,
    /// Edges that leave this record, in order of type and target; at most [`Record::EDGES_SHOWN_MAX`].
    pub edges: Vec<Edge>,
    /// True if the record has more edges than `edges` holds.
    pub edges_truncated: bool,
    /// Outputs of the event, if the record is an event; its inputs are its edges.
    pub outputs: Option<Outputs>,
    /// Number, ledger entry and time of this version.
    pub version: Version,
}

impl Record {
    /// Maximum number of edges in a record; a trace finds all of them.
    pub const EDGES_SHOWN_MAX: usize = 1_000;
}

/// Refusal of values or edges. The messages name the rule and the limit; the caller adds the identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A value type is empty, too long, or holds a byte other than printable ASCII without spaces.
    #[error("value type `{found}` is not 1 to {} printable ASCII characters without spaces", ValueType::BYTES_MAX)]
    ValueType {
        /// The type, escaped and cut.
        found: String,
    },
    /// Two values share an index.
    #[error("value index {index} is given twice; an index is unique within a record")]
    DuplicateIndex {
        /// The index.
        index: u32,
    },
    /// Some values have an index and some have none.
    #[error("some values have index 0: give every value an index from 1 on, or none")]
    MixedIndexes,
    /// One value's data is too long.
    #[error("value {index} holds {bytes} bytes; the limit is {} (64 KiB)", Values::DATA_BYTES_MAX)]
    ValueTooLong {
        /// Index of the value.
        index: u32,
        /// Length of its data, in bytes.
        bytes: usize,
    },
    /// The values together are too long.
    #[error("the values together take {bytes} bytes; the limit of a record is {} (1 MiB)", Values::RECORD_BYTES_MAX)]
    RecordTooLong {
        /// Stored length of all values, in bytes.
        bytes: usize,
    },
    /// Too many values.
    #[error("{count} values; the limit of a record is {}", Values::COUNT_MAX)]
    TooManyValues {
        /// Number of values.
        count: usize,
    },
    /// A TTL is longer than two days.
    #[error("value {index} has a TTL of {ttl} seconds; the limit is {} (two days)", Value::TTL_SECONDS_MAX)]
    Ttl {
        /// Index of the value.
        index: u32,
        /// TTL of the value, in seconds.
        ttl: u32,
    },
    /// A permission pattern is not four bits.
    #[error(
        "permissions `{found}` are not four characters 0 or 1 (admin-read, admin-write, public-read, public-write)"
    )]
    Permissions {
        /// The text that was given.
        found: String,
    },
    /// A value refers to too many others.
    #[error("value {index} has {count} references; the limit is {}", Value::REFERENCES_MAX)]
    TooManyReferences {
        /// Index of the value.
        index: u32,
        /// Number of references.
        count: usize,
    },
    /// An edge type is unknown.
    #[error("edge type `{found}` is none of made-of, derived-from, packed-in, transferred-to, replaces")]
    EdgeType {
        /// The text that was given.
        found: String,
    },
    /// A quantity is not a decimal number.
    #[error(
        "quantity `{found}` is not a decimal number of at most {} characters, such as 1 or 0.25",
        Quantity::BYTES_MAX
    )]
    Quantity {
        /// The text that was given.
        found: String,
    },
    /// A unit is ill-formed.
    #[error("unit `{found}` is not 1 to {} printable ASCII characters without spaces", Unit::BYTES_MAX)]
    Unit {
        /// The text that was given.
        found: String,
    },
    /// A unit without a quantity.
    #[error("an edge has the unit `{unit}` and no quantity")]
    UnitWithoutQuantity {
        /// The unit.
        unit: String,
    },
    /// A time does not fit the years that RFC 3339 can write.
    #[error("valid-from {ms} ms is outside the years 0000 to 9999")]
    ValidFrom {
        /// Milliseconds since 1970 UTC.
        ms: i64,
    },
}

/// True for a word of 1 to `bytes_max` printable ASCII characters without spaces.
fn is_word(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
