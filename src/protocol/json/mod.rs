//! The JSON form of records and answers: one object a line.
//!
//! ```json
//! {"identifier":"88.1000.LSN/GB120-3169",
//!  "status":"active","version":1,"ledger_index":12,"time":"2026-03-14T12:10:00.000Z",
//!  "values":[{"index":1,"type":"NAME","data":"Gearbox","timestamp":"2026-03-14T12:10:00Z"}],
//!  "edges":[{"type":"made-of","to":"88.1000.LSN/C1-1","quantity":2,"unit":"unit:piece","valid_from":"2026-03-14T12:10:00.000Z"}]}
//! ```
//!
//! An event has `inputs` and `outputs` in place of `edges`, and optionally `balance`:
//!
//! ```json
//! {"identifier":"88.1000.LSN/MELT-7","values":[],
//!  "inputs":[{"identifier":"88.1000.LSN/COIL-1","quantity":10.5,"unit":"unit:kilogram"}],
//!  "outputs":[{"identifier":"88.1000.LSN/SHEET-1","quantity":10.5,"unit":"unit:kilogram"}],"balance":"unit:kilogram"}
//! ```
//!
//! `import` reads the lines that `export` writes. Defaults of missing fields: for `index` values are numbered from 1,
//! `ttl` is 3600, `permissions` `1110`, and there are no `edges`. Data that is not UTF-8 stands as `data_base64`. A
//! quantity is written as a JSON number, digit for digit; a string is read, too. Fields that the node sets (`status`,
//! `version`, `ledger_index`, `time`, `timestamp`) are written, and ignored when read, except that `status` must be
//! `active`.
//!
//! Any unknown field is an error with its name: the line is more likely of another kind than the field of no
//! importance. The node checks the identifiers.

mod bootstrap;
mod lookup;
mod object;
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

/// Maximum length of a line that is read, in bytes (4 MiB).
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Error of a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// Column of the error in bytes from 1, if known.
    pub column: Option<usize>,
    /// Identifier of the line, if it could be read.
    pub identifier: Option<String>,
    /// The rule that is broken, with the field and the limit.
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
