//! The JSON form of records and answers: one object a line.
//!
//! ```json
//! {"identifier":"88.1000.LSN/GB120-3169",
//!  "status":"active","version":1,"ledger_index":12,"time":"2026-03-14T12:10:00.000Z",
//!  "values":[{"index":1,"type":"NAME","data":"Gearbox","timestamp":"2026-03-14T12:10:00Z"}],
//!  "edges":[{"type":"made-of","to":"88.1000.LSN/C1-1","quantity":2,"unit":"unit:piece","valid_from":"2026-03-14T12:10:00.000Z"}]}
//! ```
//!
//! An event has `inputs` and `outputs` in the place of `edges`, and perhaps `balance`:
//!
//! ```json
//! {"identifier":"88.1000.LSN/MELT-7","values":[],
//!  "inputs":[{"identifier":"88.1000.LSN/COIL-1","quantity":10.5,"unit":"unit:kilogram"}],
//!  "outputs":[{"identifier":"88.1000.LSN/SHEET-1","quantity":10.5,"unit":"unit:kilogram"}],"balance":"unit:kilogram"}
//! ```
//!
//! What `export` writes is what `import` reads. `index` may be left out (values are then numbered from 1), `ttl` stands
//! for 3600 when it is, `permissions` for `1110`, `edges` for none. Data that is not UTF-8 stands as `data_base64`. A
//! quantity is the JSON number that it is, digit for digit; a string is read, too. What the node sets (`status`,
//! `version`, `ledger_index`, `time`, `timestamp`) is written, and read over.
//!
//! Anything else in a line is refused by its name: it is likelier that the line is of another kind than that the field
//! does not matter. Identifiers are left to the node to check.

mod bootstrap;
mod lookup;
mod prefix;
mod read;
mod resolution;
mod trace;
mod write;

pub use bootstrap::{BOOTSTRAP_BYTES_MAX, BootstrapError, bootstrap_from_json, bootstrap_to_json};
pub use lookup::{LOOKUP_BYTES_MAX, lookup_from_json, lookup_to_json};
pub use prefix::{endpoint_text, prefix_to_json, prefix_word, site_role_text};
pub use read::{Point, create_from_line, point, time_ms};
pub use resolution::{resolved_to_json, verification_text};
pub use trace::{
    recalled_to_json, trace_edge_to_json, trace_node_to_json, trace_state_text, trace_summary_to_json,
    trace_total_to_json, truncation_text,
};
pub use write::{
    answer_to_json, change_to_json, change_word, edge_type_text, history_to_json, problem_to_json, receipt_to_json,
    record_to_json, signed_time_text, time_text,
};

/// The longest line that is read, in bytes (4 MiB).
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// Where in the line, in bytes from 1, when that is known.
    pub column: Option<usize>,
    /// The identifier of the line, when it could be read.
    pub identifier: Option<String>,
    /// Which rule broke, with the field and the limit.
    pub rule: String,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.identifier, self.column) {
            (Some(identifier), _) => write!(f, "`{}`: {}", crate::id::excerpt(identifier), self.rule),
            (None, Some(column)) => write!(f, "column {column}: {}", self.rule),
            (None, None) => f.write_str(&self.rule),
        }
    }
}

#[cfg(test)]
mod tests;
