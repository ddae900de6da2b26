//! Fuzz targets: the parsers of bytes from outside, each with the properties that hold for all bytes.
//!
//! Two drivers run the same targets from the same valid inputs ([`Target::seeds`]): the property test at the end of
//! this file, in every `cargo test`, and libFuzzer ([`fuzz/run`](../fuzz/run)). The library compiles this file for
//! these two alone. Deliberately absent: whole listeners, which `tests/it/dns_fuzz.rs` covers.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    client, codec,
    entry::{EntryText, StoredEntry},
    id, ledger,
    protocol::{
        dns::{request::Request, wire::labels},
        grpc::CommandBatch,
        json,
        replica::{HEAD_BYTES, Record},
    },
    vindex,
};

/// A parser with its properties and valid inputs.
pub struct Target {
    /// Name of the program below `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Parses any bytes, and panics if a property does not hold. True if the bytes are valid.
    pub run: fn(&[u8]) -> bool,
    /// Returns valid inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 7] = [
    Target { name: "dns_request", run: dns_request, seeds: dns_requests },
    Target { name: "dns_reply", run: client::dns::fuzz::reply, seeds: client::dns::fuzz::replies },
    Target { name: "entry_text", run: entry_text, seeds: entry_texts },
    Target { name: "stored_entry", run: stored_entry, seeds: stored_entries },
    Target { name: "redactions", run: redactions, seeds: ledger::redactions_fuzz::groups },
    Target { name: "replica_record", run: replica_record, seeds: replica_records },
    Target { name: "json_line", run: json_line, seeds: json_lines },
];

/// Runs the target with this name.
///
/// # Panics
///
/// If a property does not hold, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        (target.run)(bytes);
    }
}

/// A DNS request (RFC 1035 section 4.1), and the name in it.
fn dns_request(bytes: &[u8]) -> bool {
    let Ok(request) = Request::read(bytes) else { return false };
    let name: Vec<&[u8]> = labels(request.question.name()).collect();
    // RFC 1035 section 2.3.4.
    assert!(name.iter().all(|label| (1..=63).contains(&label.len())), "{name:?}");
    assert!(name.iter().map(|label| label.len() + 1).sum::<usize>() < 255, "{name:?}");
    assert!(bytes.windows(request.question.octets().len()).any(|part| part == request.question.octets()));
    if let Some(prefix) = id::dns_name::prefix_of_name(&name, 0) {
        // The name written for a prefix parses as the same prefix.
        let written = id::dns_name::name_of_prefix(&prefix, 0);
        let labels = written.iter().flat_map(|name| name.labels().map(str::as_bytes)).collect::<Vec<_>>();
        assert_eq!(id::dns_name::prefix_of_name(&labels, 0), Some(prefix));
    }
    true
}

fn dns_requests() -> Vec<Vec<u8>> {
    let name = b"\x05bolt7\x01_\x018\x03118\x0288\x03hdl\x02id\x04test\x00";
    let plain = [b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".as_slice(), name, b"\x00\x10\x00\x01"].concat();
    // EDNS (RFC 6891) with a cookie (RFC 7873) and NSID (RFC 5001), DNSSEC OK.
    let edns =
        b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x10\x00\x0a\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08\x00\x03\x00\x00";
    let mut with_edns = [plain.as_slice(), edns].concat();
    with_edns[11] = 1;
    let prefix =
        b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x018\x03118\x0288\x03hdl\x00\xff\x00\x00\x01".to_vec();
    vec![plain, with_edns, prefix]
}

/// The text of a ledger entry.
fn entry_text(bytes: &[u8]) -> bool {
    let Ok(text) = EntryText::parse(bytes) else { return false };
    assert!(text.values.windows(2).all(|pair| pair[0].index < pair[1].index));
    // Every entry is found under at least one key, that of its subject.
    let mut keys = 0;
    vindex::keys::keys_of_text(&text, |_| keys += 1);
    assert!(keys > 0);
    true
}

fn entry_texts() -> Vec<Vec<u8>> {
    let hash = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
    let head = |kind: &str| format!("touchmark/1 {kind}\nid 88.118.8/Pump%207%25\nat 1763820000123\nby loopback\n");
    let prefix = |kind: &str| format!("touchmark/1 {kind}\nns hdl:88.118\nat 7\nby loopback\n");
    [
        head("create"),
        format!(
            "{}prev 4 {hash}\nvalue 1 NAME {hash}\nedge add made-of urn:oid:2.999.1 0.25 unit:kg from 1969-12-31T23:59:59.999Z\n\
             edge remove replaces 88.118.8/Pump-6\nrequest cmV0cnkgbWU=\n",
            head("update")
        ),
        format!(
            "{}edge add derived-from 88.118.8/Coil 2.50 unit:kg\noutput 88.118.8/Sheet%201 2.5 unit:kg\nbalance unit:kg\n",
            head("event")
        ),
        format!("{}prev 4 {hash}\nerased 3\nreason by%20mistake\n", head("erase")),
        format!("{}ttl 60\nsite 0 primary - grpc://192.0.2.1:1\n", prefix("delegate")),
        prefix("home"),
    ]
    .map(String::into_bytes)
    .into()
}

/// An entry in the form that a segment stores.
fn stored_entry(bytes: &[u8]) -> bool {
    let Ok(entry) = StoredEntry::read(bytes) else { return false };
    let _ = (entry.decode_values(), entry.event(), entry.subject(), entry.prefix_change());
    vindex::keys::keys_of_stored(&entry, |_| {});
    // Text and leaf hash are determined by the bytes.
    let text = |entry: &StoredEntry<'_>| {
        let mut text = Vec::new();
        entry.put_text(&mut text, None);
        text
    };
    assert!(StoredEntry::read(bytes).is_ok_and(|again| text(&again) == text(&entry)));
    true
}

fn stored_entries() -> Vec<Vec<u8>> {
    // Kind, flags, index, time, version, identifier, principal, as at the head of `src/entry/mod.rs`.
    let head = |flags: u8| {
        let mut bytes = vec![1, flags];
        [9, 1_763_820_000_123, 1].into_iter().for_each(|number| codec::put_varint(&mut bytes, number));
        [b"88.118.8/Pump".as_slice(), b"loopback"].into_iter().for_each(|text| codec::put_bytes(&mut bytes, text));
        bytes
    };
    // Permissions, TTL, timestamp, no references, data.
    let canonical = b"\x0e\x90\x1c\x00\x00Pump 7";
    let mut whole = [head(0).as_slice(), &[5; 32], &[1, 1]].concat();
    codec::put_bytes(&mut whole, b"NAME");
    codec::put_bytes(&mut whole, canonical);
    // No edges, no request.
    whole.extend([0, 0]);
    // An erased value and a remaining one: index, type, then 0 and commitment, or 1, salt and bytes.
    let mut redacted =
        [head(2).as_slice(), &[2, 1, 4], b"NAME", &[0], &[0xab; 32], &[2, 4], b"NOTE", &[1], &[6; 32]].concat();
    codec::put_bytes(&mut redacted, canonical);
    redacted.extend([0, 0]);
    vec![whole, redacted]
}

/// Groups of `ledger/redactions`, after a valid header.
fn redactions(bytes: &[u8]) -> bool {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let name = format!("touchmark-fuzz-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    let valid = ledger::redactions_fuzz::read(&path, bytes);
    // Every run has a name of its own, so the file must not stay.
    let _ = std::fs::remove_file(&path);
    valid
}

/// A record of the stream from a primary to its mirrors.
fn replica_record(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return false };
    let Some(body) = Record::len_of(*head).ok().and_then(|len| rest.get(..len)) else { return false };
    let Ok(record) = Record::of(*head, body.to_vec()) else { return false };
    let mut written = Vec::new();
    record.put(&mut written);
    assert_eq!(written, bytes[..HEAD_BYTES + body.len()]);
    match &record {
        Record::Entry(entry) => _ = stored_entry(entry),
        Record::Outside(text) => _ = entry_text(text),
        Record::Checkpoint(_) | Record::Alive { .. } => {}
    }
    true
}

fn replica_records() -> Vec<Vec<u8>> {
    let entries = stored_entries().into_iter().map(Record::Entry);
    let outside = entry_texts().into_iter().map(Record::Outside);
    let rest = [Record::Checkpoint(b"id.test/ledger\n1\nAAAA\n".to_vec()), Record::Alive { size: 7, time_ms: 1 << 41 }];
    let write = |record: Record| {
        let mut bytes = Vec::new();
        record.put(&mut bytes);
        bytes
    };
    entries.chain(outside).chain(rest).map(write).collect()
}

/// A line of an import.
fn json_line(bytes: &[u8]) -> bool {
    let mut batch = CommandBatch::default();
    let read = json::create_from_line(bytes, &mut batch);
    // A refused line adds nothing.
    assert_eq!(batch.len(), usize::from(read.is_ok()));
    read.is_ok()
}

fn json_lines() -> Vec<Vec<u8>> {
    [
        r#"{"identifier":"88.1/a","values":[]}"#,
        r#"{"identifier":"88.1/a","values":[{"index":1,"type":"NAME","data":"Bolt ü\n"},{"index":9,"type":"RAW","data_base64":"AAH/"}]}"#,
        r#"{"identifier":"88.1/a","values":[],"edges":[{"type":"made-of","to":"urn:oid:2.999","quantity":0.25,"unit":"unit:kg"}]}"#,
        r#"{"identifier":"88.1/e","values":[],"inputs":[{"identifier":"88.1/a","quantity":2}],"outputs":[{"identifier":"88.1/b","quantity":2}]}"#,
    ]
    .map(|line| line.as_bytes().to_vec())
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    #[test]
    fn every_seed_is_valid() {
        for target in &TARGETS {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                assert!((target.run)(seed), "{}, seed {number}: {}", target.name, seed.escape_ascii());
            }
        }
    }

    #[test]
    fn every_target_has_a_program() {
        for target in &TARGETS {
            let path = format!("{}/fuzz/fuzz_targets/{}.rs", env!("CARGO_MANIFEST_DIR"), target.name);
            let program = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(program.contains(&format!("run(\"{}\", ", target.name)), "{path}: {program}");
        }
    }

    /// A change to an input.
    #[derive(Clone, Debug)]
    enum Change {
        Set(Index, u8),
        Cut(Index),
        Insert(Index, Vec<u8>),
        Repeat(Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => any::<(Index, u8)>().prop_map(|(at, byte)| Change::Set(at, byte)),
            1 => any::<Index>().prop_map(Change::Cut),
            2 => (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
            1 => any::<Index>().prop_map(Change::Repeat),
        ]
    }

    fn changed(mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
        for change in changes {
            let at = |index: Index| index.index(bytes.len().max(1)).min(bytes.len());
            match change {
                Change::Set(index, byte) => {
                    let at = at(index);
                    bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
                }
                Change::Cut(index) => bytes.truncate(at(index)),
                Change::Insert(index, inserted) => {
                    let at = at(index);
                    drop(bytes.splice(at..at, inserted));
                }
                Change::Repeat(index) => bytes.extend_from_within(at(index)..),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
            for target in &TARGETS {
                (target.run)(&bytes);
            }
        }

        #[test]
        fn changed_inputs_are_read_or_refused(seed: Index, changes in vec(change(), 1..6)) {
            for target in &TARGETS {
                let seeds = (target.seeds)();
                (target.run)(&changed(seeds[seed.index(seeds.len())].clone(), changes.clone()));
            }
        }
    }
}
