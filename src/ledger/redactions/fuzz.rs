//! Fuzzing of the file of redactions: any bytes as groups, behind a valid header, with valid checksums.

use super::{
    HEADER_BYTES, Path, Pending, Position, RECORD_HEAD_BYTES, RECORD_MAGIC, Redactions,
    group::{END_BYTES, END_MAGIC, GROUP_HEAD_BYTES, GROUP_MAGIC},
    header, word,
};

/// Reads groups from a file of their own. True if the first group is whole.
pub(crate) fn read(path: &Path, groups: &[u8]) -> bool {
    let file = [&header(HEADER_BYTES)[..], &summed(groups)].concat();
    let Some(redactions) = std::fs::write(path, file).ok().and_then(|()| Redactions::open(path).ok()) else {
        return false;
    };
    let Ok(Pending::Group(group)) = redactions.pending() else {
        // A torn group can be cut.
        assert!(redactions.cut_pending().is_ok() && redactions.check().is_ok());
        return false;
    };
    let mut replaces = false;
    for record in redactions.records(&group) {
        let Ok(record) = record else { return false };
        replaces |= record.replaced.is_some();
        let _ = redactions.read(record.at, record.position);
        assert!(redactions.read(record.at, Position(!record.position.0)).is_err(), "that of another entry");
    }
    // A group that replaces nothing changes nothing before it.
    assert!(replaces || redactions.finish(&group).is_ok() && redactions.check().is_ok());
    true
}

/// Makes the checksums valid, as far as the bytes have the shape of groups.
fn summed(groups: &[u8]) -> Vec<u8> {
    let mut bytes = groups.to_vec();
    let mut at = 0;
    while let Some(magic) = bytes.get(at..at + 4) {
        let (head, len) = match magic {
            _ if magic == GROUP_MAGIC => (GROUP_HEAD_BYTES, 0),
            _ if magic == END_MAGIC => (END_BYTES, 0),
            _ if magic == RECORD_MAGIC => (RECORD_HEAD_BYTES, word(&bytes, at + 8) as usize),
            _ => break,
        };
        let end = at.saturating_add(head).saturating_add(len);
        let Some(summed) = bytes.get(at + 8..end) else { break };
        let checksum = crc32c::crc32c(summed);
        bytes[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    bytes
}

/// Valid inputs: a group without records, and one with two.
pub(crate) fn groups() -> Vec<Vec<u8>> {
    let head = [GROUP_MAGIC.as_slice(), &[0; 4], &7_u64.to_le_bytes(), &900_u64.to_le_bytes()].concat();
    let end = |count: u64| [END_MAGIC.as_slice(), &[0; 4], &count.to_le_bytes()].concat();
    let record = |position: u64, bytes: &[u8]| {
        let numbers = [position, 32, 0].map(u64::to_le_bytes).concat();
        let len = (bytes.len() as u32).to_le_bytes();
        [RECORD_MAGIC.as_slice(), &[0; 4], &len, &[0; 4], &numbers, &60_u32.to_le_bytes(), &[0; 4], bytes].concat()
    };
    vec![
        [head.as_slice(), &end(0)].concat(),
        [head.as_slice(), &record(96, b"left of 96"), &record(200, b"left of 200"), &end(2)].concat(),
    ]
}
