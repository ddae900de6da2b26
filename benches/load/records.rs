//! Records of about 250 bytes whose keys come in random order.

use std::io::Write;

use touchmark::protocol::grpc::pb;

/// Scrambles a number: a bijection on 64 bits (the finalizer of MurmurHash3), so that all identifiers differ.
fn scramble(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

/// Identifier of the `number`th record.
pub fn identifier(number: u64) -> String {
    format!("88.118.8/{:016x}", scramble(number))
}

/// Types and data of the values of the `number`th record, in the order of their indexes from 1.
pub fn values(number: u64) -> [(&'static str, String); 4] {
    let digits = scramble(number ^ 0x5bd1_e995);
    [
        ("NAME", format!("Ball bearing 6205-2RS / {}", digits % 1_000)),
        ("PART_NUMBER", format!("6205-2RSH-{:08}", digits % 100_000_000)),
        ("SERIAL", format!("{:012}", digits % 1_000_000_000_000)),
        ("URL", format!("https://example.com/p/{digits:016x}")),
    ]
}

/// Command that registers the `number`th record.
pub fn create(number: u64) -> pb::Command {
    let value = |(index, (kind, data)): (u32, (&str, String))| pb::Value {
        index,
        r#type: kind.into(),
        data: data.into(),
        ..pb::Value::default()
    };
    let values = (1..).zip(values(number)).map(value).collect();
    pb::Command {
        identifier: identifier(number),
        operation: Some(pb::command::Operation::Create(pb::Create { values, edges: Vec::new() })),
        ..pb::Command::default()
    }
}

/// Writes the first `count` records as JSON lines; returns the number of bytes.
pub fn write_jsonl(out: &mut impl Write, count: u64) -> std::io::Result<u64> {
    let mut bytes = 0;
    for number in 0..count {
        let mut line = format!("{{\"identifier\":\"{}\",\"values\":[", identifier(number));
        for (index, (kind, data)) in values(number).into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            line += &format!("{comma}{{\"type\":\"{kind}\",\"data\":\"{data}\"}}");
        }
        line += "]}\n";
        bytes += line.len() as u64;
        out.write_all(line.as_bytes())?;
    }
    Ok(bytes)
}
