//! Arguments shared by commands that write: values, edges, and options of a change.

use std::{fs::File, io::Read as _};

use crate::{
    client::Client,
    protocol::{
        grpc::pb,
        json::{receipt_to_json, time_ms},
    },
    record::{EdgeType, Permissions, Quantity, Values},
};

use super::{
    Server,
    failure::Failure,
    output::{self, Out},
};

/// A value: `[INDEX:]TYPE=DATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueArg {
    /// The index; 0 if none was given.
    pub index: u32,
    /// The type, unchecked.
    pub kind: String,
    /// The data.
    pub data: Vec<u8>,
}

/// Values of a command, with the options that apply to all of them.
#[derive(Debug, clap::Args)]
pub struct ValueOptions {
    /// A value: its type and its data; the index goes before the type
    #[arg(long = "value", value_name = "[INDEX:]TYPE=DATA", value_parser = value)]
    values: Vec<ValueArg>,
    /// A value whose data is read from a file
    #[arg(long = "value-file", value_name = "[INDEX:]TYPE=PATH", value_parser = value_file)]
    value_files: Vec<ValueArg>,
    /// Seconds that caches may keep these values, at most 172,800 [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// Permissions of these values: admin read, admin write, public read, public write [default: 1110]
    #[arg(long, value_name = "BITS", value_parser = permissions)]
    permissions: Option<u32>,
}

/// Options of every command that writes.
#[derive(Debug, clap::Args)]
pub struct WriteOptions {
    /// Refuse unless the record is at this version
    #[arg(long, value_name = "N")]
    expect_version: Option<u64>,
    /// Name this change, in at most 64 bytes: a retry with the same name gets the first receipt again
    #[arg(long, value_name = "TEXT")]
    request_id: Option<String>,
    /// Print the receipt as JSON, with the signed checkpoint
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl ValueOptions {
    /// The values as messages, in the order of the arguments, those from files last.
    pub fn messages(&self) -> Vec<pb::Value> {
        let message = |value: &ValueArg| pb::Value {
            index: value.index,
            r#type: value.kind.clone(),
            data: value.data.clone().into(),
            ttl: self.ttl,
            permissions: self.permissions,
            ..pb::Value::default()
        };
        self.values.iter().chain(&self.value_files).map(message).collect()
    }
}

/// Sends a command and prints its receipt; `done` is the word for the change.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn apply(
    identifier: &str,
    operation: pb::command::Operation,
    options: &WriteOptions,
    done: &str,
) -> Result<u8, Failure> {
    let (expected_version, request_id) = options.version_and_request();
    let identifier = identifier.into();
    let command = pb::Command { identifier, operation: Some(operation), expected_version, request_id };
    let receipt = super::block_on(async {
        let client = Client::connect(options.server()).await?;
        Ok(client.apply(command).await?)
    })?;
    show_receipt(&receipt, options, done)
}

impl WriteOptions {
    /// The node's gRPC address.
    pub fn server(&self) -> &str {
        &self.server.server
    }

    /// The version that the change expects, and its request id.
    pub fn version_and_request(&self) -> (Option<u64>, bytes::Bytes) {
        (self.expect_version, self.request_id.clone().unwrap_or_default().into())
    }
}

/// Prints the receipt of a change.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn show_receipt(receipt: &pb::Receipt, options: &WriteOptions, done: &str) -> Result<u8, Failure> {
    if options.json {
        output::line(receipt_to_json(receipt))?;
    } else {
        let mut out = Out::stdout();
        output::receipt(&mut out, done, receipt)?;
        out.flush()?;
    }
    Ok(0)
}

fn value(text: &str) -> Result<ValueArg, String> {
    let (name, data) = text.split_once('=').ok_or("write a value as TYPE=DATA, such as NAME=Gearbox")?;
    // A type may contain a colon, too (SVC:epcis): only a number in front of the first one is an index.
    let (index, kind) = match name.split_once(':') {
        Some((index, kind)) if !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) => {
            let index = index.parse::<u32>().ok().filter(|index| *index > 0);
            (index.ok_or("an index is a number from 1 to 4,294,967,295")?, kind)
        }
        _ => (0, name),
    };
    if kind.is_empty() {
        return Err("the value has no type; write TYPE=DATA, such as NAME=Gearbox".into());
    }
    Ok(ValueArg { index, kind: kind.into(), data: data.into() })
}

fn value_file(text: &str) -> Result<ValueArg, String> {
    let ValueArg { index, kind, data: path } = value(text)?;
    let path = String::from_utf8_lossy(&path).into_owned();
    let limit = Values::DATA_BYTES_MAX;
    let mut data = Vec::new();
    let file = File::open(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    file.take(limit as u64 + 1).read_to_end(&mut data).map_err(|error| format!("cannot read {path}: {error}"))?;
    if data.len() > limit {
        return Err(format!("{path} holds more than {limit} bytes, the limit of a value"));
    }
    Ok(ValueArg { index, kind, data })
}

fn permissions(text: &str) -> Result<u32, String> {
    let permissions = text.parse::<Permissions>().map_err(|error| error.to_string())?;
    Ok(permissions.bits().into())
}

/// Reads `TYPE=ID[,quantity=N][,unit=UNIT][,from=TIME]`. An identifier may contain commas: the options are split off
/// from the end, and the rest is the identifier.
///
/// # Errors
///
/// A sentence with the rule.
pub fn edge(text: &str) -> Result<pb::Edge, String> {
    let mut edge = edge_target(text)?;
    let mut to = edge.to.as_str();
    let mut quantity = None;
    let mut unit = None;
    let mut valid_from = None;
    while let Some((before, option)) = to.rsplit_once(',') {
        let Some((name, value)) = option.split_once('=') else { break };
        let slot = match name {
            "quantity" => &mut quantity,
            "unit" => &mut unit,
            "from" => &mut valid_from,
            _ => break,
        };
        if slot.replace(value).is_some() {
            return Err(format!("{name} is given twice"));
        }
        to = before;
    }
    refuse_properties(to, "they are quantity=N, unit=UNIT and from=TIME, each once and behind the identifier")?;
    if let Some(quantity) = quantity {
        quantity.parse::<Quantity>().map_err(|error| error.to_string())?;
        edge.quantity = quantity.into();
    }
    if let Some(unit) = unit
        && unit.contains([';', '='])
    {
        return Err(format!("unit `{unit}` seems to hold another property: put a comma between them"));
    }
    edge.unit = unit.unwrap_or_default().into();
    edge.valid_from = valid_from.map(time_ms).transpose()?;
    edge.to = to.to_owned();
    Ok(edge)
}

/// Names of an edge's properties, and what people write for them.
const PROPERTY_NAMES: [&str; 7] = ["quantity", "qty", "amount", "unit", "units", "from", "valid_from"];

/// Refuses an identifier with a part that looks like a property of an edge: misspelt, it would become a part of the
/// identifier, in the ledger for good. `rule` says which properties there are.
fn refuse_properties(identifier: &str, rule: &str) -> Result<(), String> {
    // What stands before the first comma is the identifier in any case. In the query of a URI every other name may stand.
    let mut parts = identifier.split(',');
    let is_query = parts.next().is_some_and(|first| first.contains('?'));
    let is_property = |part: &&str| {
        let name = part.split_once('=').map_or("", |(name, _)| name.trim());
        let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_known = PROPERTY_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        is_known || (is_word && !is_query)
    };
    match parts.find(is_property) {
        Some(part) => Err(format!(
            "`{}` looks like a property: {rule}. An edge to an identifier that is so written is given as JSON (`touchmark import`)",
            part.trim()
        )),
        None => Ok(()),
    }
}

/// Reads the `TYPE=ID` of an edge that is to be removed.
///
/// # Errors
///
/// A sentence with the rule.
pub fn removed_edge(text: &str) -> Result<pb::Edge, String> {
    let edge = edge_target(text)?;
    refuse_properties(&edge.to, "an edge is removed by its type and its identifier alone, TYPE=ID")?;
    Ok(edge)
}

/// Reads `ID[=QUANTITY[:UNIT]]`. An identifier may contain equals signs: text behind the last one that is no quantity
/// belongs to the identifier.
///
/// # Errors
///
/// A sentence with the rule.
pub fn flow(text: &str) -> Result<pb::Flow, String> {
    refuse_properties(text, "an amount is written ID=QUANTITY:UNIT, such as 88.1000.LSN/C1-1=2.5:unit:kilogram")?;
    let bare = pb::Flow { identifier: text.into(), ..pb::Flow::default() };
    let Some((identifier, amount)) = text.rsplit_once('=') else { return Ok(bare) };
    let (quantity, unit) = amount.split_once(':').unwrap_or((amount, ""));
    if quantity.parse::<Quantity>().is_err() {
        // A misspelled number would silently become part of the identifier.
        let is_meant = identifier.split('/').next_back().is_some_and(|last| !last.contains('?'));
        let looks_like = amount.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.'));
        return if is_meant && looks_like {
            Err(format!(
                "`{quantity}` is no quantity; write ID=QUANTITY:UNIT, such as 88.1000.LSN/C1-1=2.5:unit:kilogram"
            ))
        } else {
            Ok(bare)
        };
    }
    if amount.ends_with(':') && unit.is_empty() {
        return Err("there is no unit behind the colon".into());
    }
    Ok(pb::Flow { identifier: identifier.into(), quantity: quantity.into(), unit: unit.into(), valid_from: None })
}

/// Reads `TYPE=ID`.
///
/// # Errors
///
/// A sentence with the rule.
fn edge_target(text: &str) -> Result<pb::Edge, String> {
    let (kind, to) = text.split_once('=').ok_or("write an edge as TYPE=ID, such as made-of=88.1000.LSN/C1-1")?;
    let kind: EdgeType = kind.parse().map_err(|error: crate::record::RecordError| error.to_string())?;
    Ok(pb::Edge { r#type: i32::from(kind.code()), to: to.into(), ..pb::Edge::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let table = [
            ("NAME=Gearbox", Ok((0, "NAME", "Gearbox"))),
            ("NAME=a=b", Ok((0, "NAME", "a=b"))),
            ("NAME=", Ok((0, "NAME", ""))),
            ("7:NAME=x", Ok((7, "NAME", "x"))),
            ("SVC:epcis=https://e.example/", Ok((0, "SVC:epcis", "https://e.example/"))),
            ("3:SVC:epcis=u", Ok((3, "SVC:epcis", "u"))),
            (":A=b", Ok((0, ":A", "b"))),
            ("NAME", Err("write a value as TYPE=DATA, such as NAME=Gearbox")),
            ("=x", Err("the value has no type; write TYPE=DATA, such as NAME=Gearbox")),
            ("7:=x", Err("the value has no type; write TYPE=DATA, such as NAME=Gearbox")),
            ("0:A=x", Err("an index is a number from 1 to 4,294,967,295")),
            ("4294967296:A=x", Err("an index is a number from 1 to 4,294,967,295")),
        ];
        for (text, expected) in table {
            let expected = expected
                .map(|(index, kind, data): (u32, &str, &str)| ValueArg { index, kind: kind.into(), data: data.into() })
                .map_err(str::to_owned);
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn values_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a=b");
        std::fs::write(&path, b"\xff\x00").unwrap();
        let read = value_file(&format!("2:DATA={}", path.display())).unwrap();
        assert_eq!(read, ValueArg { index: 2, kind: "DATA".into(), data: b"\xff\x00".to_vec() });
        std::fs::write(&path, vec![0; 65_537]).unwrap();
        let error = value_file(&format!("DATA={}", path.display())).unwrap_err();
        assert!(error.ends_with("holds more than 65536 bytes, the limit of a value"), "{error}");
    }

    #[test]
    fn edges() {
        let table = [
            ("made-of=88.1/a", Ok("1 88.1/a q= u= f=None")),
            ("made-of=88.1/a,quantity=0.50,unit=unit:piece", Ok("1 88.1/a q=0.50 u=unit:piece f=None")),
            ("replaces=88.1/a,b,from=1970-01-01T00:00:01Z", Ok("5 88.1/a,b q= u= f=Some(1000)")),
            ("made-of=https://e.example/?x=1,y=2", Ok("1 https://e.example/?x=1,y=2 q= u= f=None")),
            ("made-of=88.1/a,unit=kg,quantity=2", Ok("1 88.1/a q=2 u=kg f=None")),
            ("made-of=88.1/a,quantity=1,quantity=2", Err("quantity is given twice")),
            (
                "made-of=88.1/a,unit=unit:gram;quantity=4",
                Err("unit `unit:gram;quantity=4` seems to hold another property: put a comma between them"),
            ),
            (
                "made-of=88.1/a,quantity=1e3",
                Err("quantity `1e3` is not a decimal number of at most 32 characters, such as 1 or 0.25"),
            ),
            (
                "made-of=88.1/a,from=2026",
                Err("`2026` is not an RFC 3339 time with its offset, such as 2026-03-14T12:10:00Z"),
            ),
            ("made-of", Err("write an edge as TYPE=ID, such as made-of=88.1000.LSN/C1-1")),
            (
                "eats=88.1/a",
                Err("edge type `eats` is none of made-of, derived-from, packed-in, transferred-to, replaces"),
            ),
        ];
        for (text, expected) in table {
            let shown = edge(text).map(|edge| {
                let pb::Edge { r#type, to, quantity, unit, valid_from } = edge;
                format!("{type} {to} q={quantity} u={unit} f={valid_from:?}", r#type = r#type)
            });
            assert_eq!(shown, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_property_is_no_part_of_an_identifier() {
        for text in ["quantity=1,5", "qty=4", "Quantity=4", " quantity=4", "quantity=4,units=unit:gram", "x,menge=2"] {
            let error = edge(&format!("made-of=88.1/a,{text}")).unwrap_err();
            assert!(error.contains("looks like a property: they are quantity=N, unit=UNIT and from=TIME"), "{error}");
        }
        assert!(removed_edge("made-of=88.1/a,quantity=4").unwrap_err().contains("TYPE=ID"));
        assert!(flow("88.1/a,quantity=4").unwrap_err().contains("ID=QUANTITY:UNIT"));
        for text in ["88.1/a,b", "88.1/a,1=2", "https://e.example/?a=1&b=2", "https://e.example/?x=1,5"] {
            assert_eq!(edge(&format!("made-of={text}")).map(|edge| edge.to), Ok(text.to_owned()));
            assert_eq!(removed_edge(&format!("made-of={text}")).map(|edge| edge.to), Ok(text.to_owned()));
        }
    }

    #[test]
    fn inputs_and_outputs() {
        let table = [
            ("88.1/a", Ok("88.1/a  ")),
            ("88.1/a=2", Ok("88.1/a 2 ")),
            ("88.1/a=2.50:unit:kilogram", Ok("88.1/a 2.50 unit:kilogram")),
            ("88.1/a=b", Ok("88.1/a=b  ")),
            ("88.1/a=b=0.1:kg", Ok("88.1/a=b 0.1 kg")),
            ("https://e.example/?x=-1", Ok("https://e.example/?x=-1  ")),
            (
                "88.1/a=1e3:kg",
                Err("`1e3` is no quantity; write ID=QUANTITY:UNIT, such as 88.1000.LSN/C1-1=2.5:unit:kilogram"),
            ),
            ("88.1/a=1:", Err("there is no unit behind the colon")),
        ];
        for (text, expected) in table {
            let shown = flow(text).map(|flow| format!("{} {} {}", flow.identifier, flow.quantity, flow.unit));
            assert_eq!(shown, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn permission_bits() {
        assert_eq!(permissions("1100"), Ok(12));
        assert!(permissions("2").is_err());
    }
}
