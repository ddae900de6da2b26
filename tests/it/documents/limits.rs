//! `docs/limits.md`: every bound that a user can meet, generated from the named constants of the code.
//!
//! `TOUCHMARK_WRITE_DOCS=1 cargo test --test it documents::limits` writes the file; without the variable the test
//! compares.

use std::fmt::Write as _;

use super::constants::{Constants, Value};

/// Head of the document.
const HEAD: &str = "\
# Limits

Every bound that a user can meet, and the constant that holds it. Bounds that can be changed are in [configuration.md](configuration.md).

This file is generated from the constants: do not edit it. `TOUCHMARK_WRITE_DOCS=1 cargo test --test it documents::limits` writes it again;
the rows are in `tests/it/documents/limits.rs`.
";

/// A heading, and rows of a subject and its bound. Constants stand in braces: `{name}` as a number, `{bytes name}`,
/// `{time name}`. The unit of a time is that of its name (`_SECONDS`, `_ms`), or the constant is a `Duration`.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    (
        "Identifiers and records",
        &[
            ("a Handle", "{handle::CHARS_MAX} characters"),
            ("an OID", "{oid::ARCS_MAX} arcs, and {oid::DOTTED_BYTES_MAX} characters"),
            ("a URI", "{bytes uri::BYTES_MAX}"),
            ("a value", "{bytes Values::DATA_BYTES_MAX}"),
            ("type of a value", "{bytes ValueType::BYTES_MAX}"),
            ("TTL of a value", "{time Value::TTL_SECONDS_MAX}; {time Value::TTL_SECONDS_DEFAULT} unless given"),
            ("references of a value", "{Value::REFERENCES_MAX}"),
            ("values of a record", "{Values::COUNT_MAX}"),
            ("a record", "{bytes Values::RECORD_BYTES_MAX}"),
            ("edges shown with a record", "{Record::EDGES_SHOWN_MAX}"),
            ("quantity, unit of an edge", "{bytes Quantity::BYTES_MAX}; {bytes Unit::BYTES_MAX}"),
            ("inputs, outputs of an event, each", "{Event::FLOWS_MAX}"),
            ("reason of an erasure", "{bytes erasure::REASON_BYTES_MAX}"),
        ],
    ),
    (
        "Writing",
        &[
            (
                "text of a ledger entry (bounds the edges of one command, and the inputs and outputs of an event)",
                "{bytes entry::TEXT_BYTES_MAX}",
            ),
            ("request id", "{bytes entry::REQUEST_ID_BYTES_MAX}"),
            ("commands in a batch", "{registry::BATCH_COMMANDS_MAX}"),
            ("entries of an atomic batch, in their stored form", "{bytes registry::ATOMIC_BYTES_MAX}"),
            (
                "kind, name of the principal of a change",
                "{bytes Principal::KIND_BYTES_MAX}; {bytes Principal::NAME_BYTES_MAX}",
            ),
            (
                "commands, KiB of commands waiting for the ledger",
                "{registry::QUEUE_COMMANDS_MAX}; {registry::QUEUE_KIB_MAX}",
            ),
            ("a segment of the ledger", "{bytes segment::SEGMENT_BYTES_MAX}"),
            ("a line of an import", "{bytes json::LINE_BYTES_MAX}"),
        ],
    ),
    (
        "Connections",
        &[
            (
                "connections at once, over all listeners",
                "{descriptors::CONNECTIONS_MAX}, and no more than the process has file descriptors beside those kept back",
            ),
            (
                "file descriptors kept back for files and other nodes",
                "a quarter, {descriptors::KEPT_BACK_MIN} at least, {descriptors::KEPT_BACK_MAX} at most",
            ),
            ("one client network over one front end", "1/{places::PER_NETWORK_DIVISOR} of all connections"),
            (
                "time for which a connection without a request under way keeps a place that another connection needs",
                "{time AdmissionLimits::room_after_ms}",
            ),
            (
                "the same for a connection with a request that gets no response",
                "{time AdmissionLimits::stalled_after_ms}",
            ),
        ],
    ),
    (
        "gRPC",
        &[
            ("a request that resolves", "{bytes grpc::RESOLVE_REQUEST_BYTES_MAX}"),
            ("a request that writes", "{bytes grpc::APPLY_REQUEST_BYTES_MAX}"),
            ("a reply", "{bytes grpc::REPLY_BYTES_MAX}"),
            ("calls at once on one connection", "{grpc::CALLS_PER_CONNECTION_MAX}"),
            (
                "connections, of one client network",
                "{GrpcLimits::connections_max}, {GrpcLimits::connections_per_network_max}",
            ),
            ("time for the HTTP/2 preface", "{time GrpcLimits::handshake_timeout_ms}"),
            ("time between calls on a connection", "{time GrpcLimits::idle_timeout_ms}"),
            ("identifiers in a `ResolveBatch`", "{grpc::RESOLVE_BATCH_MAX}"),
            (
                "versions in a page of a history",
                "{grpc::HISTORY_LIMIT_MAX}, and about {bytes history::VERSIONS_BYTES_MAX}",
            ),
            ("prefixes in a page of a list", "{grpc::PREFIXES_LIMIT_MAX}"),
        ],
    ),
    (
        "Traces",
        &[
            ("depth", "{TraceLimits::DEPTH_MAX}; {TraceLimits::depth_max} unless given"),
            ("nodes", "{TraceLimits::NODES_MAX}; {TraceLimits::nodes_max} unless given"),
            ("edges followed from one node", "{TraceLimits::FAN_OUT_MAX}; {TraceLimits::fan_out_max} unless given"),
            ("edges", "{TraceLimits::EDGES_MAX}"),
            ("time", "{time TraceLimits::TIME_MAX}; {time TraceLimits::time_max} unless given"),
            ("traces and recalls at once", "{pool::TRACES_AT_ONCE_MAX}"),
        ],
    ),
    (
        "DNS",
        &[
            (
                "an answer over UDP",
                "{wire::UDP_PAYLOAD_OCTETS_MAX} octets with EDNS, {wire::UDP_PLAIN_OCTETS_MAX} without; the rest over TCP",
            ),
            ("addresses, threads on each", "{config::DNS_ADDRESSES_MAX}; {config::DNS_WORKERS_MAX}"),
            ("connections at once over TCP, TLS, HTTPS and QUIC, each", "{DnsLimits::connections_max}"),
            ("connections of one client network, over all of them", "{DnsLimits::connections_per_network_max}"),
            ("idle time of a connection", "{time DnsLimits::idle_timeout_ms}"),
            ("time for a handshake", "{time DnsLimits::handshake_timeout_ms}"),
            ("requests at once on one connection over QUIC or HTTPS", "{DnsLimits::streams_max}"),
        ],
    ),
    (
        "HTTP and feeds",
        &[
            (
                "connections, of one client network",
                "{HttpLimits::connections_max}, {HttpLimits::connections_per_network_max}",
            ),
            ("head of a request", "{bytes listener::HEAD_BYTES_MAX}"),
            ("time for a head, and between requests", "{time HttpLimits::head_timeout_ms}"),
            (
                "time in which a client takes {bytes listener::TAKEN_BYTES_MIN} of a response",
                "{time HttpLimits::write_timeout_ms}",
            ),
            ("feeds at once", "{feed::FEEDS_MAX}"),
            ("feeds of one client network, over gRPC and HTTP together", "{admission::FEEDS_PER_NETWORK_MAX}"),
            (
                "entries read ahead for a feed",
                "{feed::PAGE_ENTRIES_MAX}, and about {bytes entries::ENTRIES_READ_BYTES}",
            ),
        ],
    ),
    (
        "Proofs, witnesses, the verifiable index",
        &[
            ("a proof file", "{bytes tlog_proof::PROOF_BYTES_MAX}"),
            ("a policy", "{bytes policy::POLICY_BYTES_MAX}"),
            ("a checkpoint with its signatures", "{bytes note::CHECKPOINT_BYTES_MAX}"),
            ("ledger entries in a lookup", "{lookup::LOOKUP_INDICES_MAX}"),
            ("witnesses of a node", "{config::WITNESSES_MAX}"),
            ("time that a witness may take", "{time witness::TIMEOUT}"),
            ("logs of a witness", "{witness::LOGS_MAX}"),
        ],
    ),
    (
        "Hierarchy",
        &[
            ("sites of a delegation", "{Delegation::SITES_MAX}"),
            ("endpoints of a site", "{Site::ENDPOINTS_MAX}"),
            ("DS records of a delegation", "{Delegation::SIGNERS_MAX}"),
            (
                "TTL of a delegation",
                "{time Delegation::TTL_SECONDS_MAX}; {time Delegation::TTL_SECONDS_DEFAULT} unless given",
            ),
            ("referrals, questions of a walk", "{options::HOPS_MAX}; {RecursionOptions::questions_max}"),
            (
                "a roots file, prefixes in each of its lists",
                "{bytes bootstrap::BOOTSTRAP_BYTES_MAX}; {bootstrap::BOOTSTRAP_PREFIXES_MAX}",
            ),
            ("walks at once", "{RecursionOptions::walks_max}"),
            (
                "walks for clients at once, of one client network",
                "{WalkLimits::walks_max}; {WalkLimits::walks_per_network_max}",
            ),
            ("questions that wait for a walk", "{RecursionOptions::waiters_max}"),
            ("traced walks at once", "{recursion::TRACES_MAX}"),
            ("prefixes of an identifier that can be shown to be the latest", "{Prefix::COVERING_MAX}"),
            ("mirrors served at once", "{replica::REPLICAS_MAX}"),
            ("a batch that a mirror takes", "{replica::BATCH_ENTRIES_MAX} entries"),
            ("prefixes of an edge node", "{config::MIRROR_PREFIXES_MAX}"),
        ],
    ),
];

/// The whole document.
fn document(constants: &Constants) -> Result<String, String> {
    let mut text = HEAD.to_owned();
    for (heading, rows) in SECTIONS {
        let _ = write!(text, "\n## {heading}\n\n| what | limit | constants |\n|---|---|---|\n");
        for (what, limit) in *rows {
            let mut names = Vec::new();
            let what = fill(constants, what, &mut names)?;
            let limit = fill(constants, limit, &mut names)?;
            let _ = writeln!(text, "| {what} | {limit} | {} |", names.join(", "));
        }
    }
    Ok(text)
}

/// Replaces names in braces by their values, and collects the names.
fn fill(constants: &Constants, template: &str, names: &mut Vec<String>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (inside, behind) = behind.split_once('}').ok_or_else(|| format!("{template}: a brace is open"))?;
        let (unit, name) = inside.split_once(' ').unwrap_or(("", inside));
        let value = constants.value(name)?;
        text += before;
        text += &match unit {
            "" => grouped(value),
            "bytes" => bytes(value),
            "time" => time(if name.contains("SECONDS") { 1_000 * value } else { value }),
            _ => return Err(format!("{template}: {unit} is no unit")),
        };
        names.push(format!("`{name}`"));
        rest = behind;
    }
    Ok(text + rest)
}

/// A number with separators: 65,536.
fn grouped(value: Value) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: Value) -> String {
    match value {
        _ if value >= 1 << 20 && value % (1 << 20) == 0 => format!("{} MiB", grouped(value >> 20)),
        // Small sizes are mostly no powers of two, and 2,048 says more about a field than 2 KiB.
        _ if value >= 1 << 14 && value % (1 << 10) == 0 => format!("{} KiB", grouped(value >> 10)),
        _ => format!("{} bytes", grouped(value)),
    }
}

fn time(ms: Value) -> String {
    const UNITS: [(Value, &str, &str); 3] =
        [(86_400_000, "day", "days"), (3_600_000, "hour", "hours"), (1_000, "second", "seconds")];
    let unit = UNITS.iter().find(|(unit, ..)| ms > 0 && ms % unit == 0);
    match unit {
        Some((unit, one, _)) if ms == *unit => format!("1 {one}"),
        Some((unit, _, many)) => format!("{} {many}", grouped(ms / unit)),
        None => format!("{} ms", grouped(ms)),
    }
}

#[test]
fn limits_are_what_the_constants_say() {
    let constants = Constants::read();
    let document = document(&constants).unwrap_or_else(|failure| panic!("{failure}"));
    super::check_generated("docs/limits.md", &document, "documents::limits");
}

/// The reader of constants evaluates every form that bounds use, and refuses unknown names.
#[test]
fn constants_are_read_right() {
    let constants = Constants::read();
    // Sums, products, shifts, casts, names of other files, durations, fields of a default.
    for (name, value) in [
        ("uri::BYTES_MAX", 2_048),
        ("segment::SEGMENT_BYTES_MAX", 256 << 20),
        ("TraceLimits::TIME_MAX", 60_000),
        ("DnsLimits::connections_max", 1_024),
        ("quic::STREAM_OCTETS_MAX", 4_098),
        ("admission::FEEDS_PER_NETWORK_MAX", 16),
        ("rate::DUE_MASK", (1 << 40) - 1),
    ] {
        assert_eq!(constants.value(name), Ok(value), "{name}");
    }
    for name in ["uri::NO_SUCH_BOUND", "no_such_file::BYTES_MAX", "BYTES_MAX"] {
        assert!(constants.value(name).is_err(), "{name}");
    }
    assert_eq!((grouped(999), grouped(1_000), grouped(1_234_567)), ("999".into(), "1,000".into(), "1,234,567".into()));
    assert_eq!(
        (bytes(65_535), bytes(65_536), bytes(4 << 20)),
        ("65,535 bytes".into(), "64 KiB".into(), "4 MiB".into())
    );
    assert_eq!((time(172_800_000), time(1_000), time(1_500)), ("2 days".into(), "1 second".into(), "1,500 ms".into()));
}
