//! Records as JSON: both ways, and every line that is refused.

use prost::Message;

use super::*;
use crate::protocol::grpc::{CommandBatch, pb};

/// The command made from a line.
fn read(line: impl AsRef<[u8]>) -> Result<pb::Command, LineError> {
    let mut batch = CommandBatch::default();
    let result = create_from_line(line.as_ref(), &mut batch);
    let request = pb::ApplyBatchRequest::decode(batch.message().encode_to_vec().as_slice()).unwrap();
    result.map(|()| request.commands.into_iter().next().unwrap())
}

fn create(line: &str) -> pb::Create {
    match read(line).unwrap().operation {
        Some(pb::command::Operation::Create(create)) => create,
        other => panic!("{other:?}"),
    }
}

fn record() -> pb::Record {
    let value = |index, data: &'static [u8]| pb::Value {
        index,
        r#type: "NAME".into(),
        data: data.into(),
        ttl: Some(3_600),
        timestamp: 1_773_490_200,
        permissions: Some(14),
        references: Vec::new(),
    };
    let reference = pb::Reference { identifier: "88.1/r".into(), index: 7 };
    let edge = |r#type: pb::EdgeType, quantity: &str| pb::Edge {
        r#type: r#type.into(),
        to: "urn:oid:2.999".into(),
        quantity: quantity.into(),
        ..Default::default()
    };
    pb::Record {
        identifier: "88.1/ü\"".into(),
        status: pb::Status::Active.into(),
        values: vec![
            value(1, "a \"quote\" and a \n line".as_bytes()),
            pb::Value { ttl: Some(60), permissions: Some(0b1100), ..value(2, b"\xff\x00") },
            pb::Value { references: vec![reference], ..value(9, b"") },
        ],
        edges: vec![
            pb::Edge { unit: "unit:piece".into(), valid_from: Some(-1), ..edge(pb::EdgeType::MadeOf, "0.250") },
            edge(pb::EdgeType::Replaces, ""),
        ],
        version: 3,
        ledger_index: u64::MAX,
        time: 1_773_490_200_123,
        edges_truncated: false,
        event: None,
        values_erased: Vec::new(),
    }
}

#[test]
fn golden_line() {
    assert_eq!(
        record_to_json(&record()),
        concat!(
            r#"{"identifier":"88.1/ü\"","status":"active","version":3,"ledger_index":18446744073709551615,"#,
            r#""time":"2026-03-14T12:10:00.123Z","values":["#,
            r#"{"index":1,"type":"NAME","data":"a \"quote\" and a \n line","timestamp":"2026-03-14T12:10:00Z"},"#,
            r#"{"index":2,"type":"NAME","data_base64":"/wA=","ttl":60,"permissions":"1100","timestamp":"2026-03-14T12:10:00Z"},"#,
            r#"{"index":9,"type":"NAME","data":"","references":[{"identifier":"88.1/r","index":7}],"timestamp":"2026-03-14T12:10:00Z"}],"#,
            r#""edges":[{"type":"made-of","to":"urn:oid:2.999","quantity":0.250,"unit":"unit:piece","valid_from":"1969-12-31T23:59:59.999Z"},"#,
            r#"{"type":"replaces","to":"urn:oid:2.999"}]}"#,
        )
    );
}

#[test]
fn what_is_exported_can_be_imported() {
    let record = record();
    let command = read(record_to_json(&record)).unwrap();
    let Some(pb::command::Operation::Create(created)) = command.operation else { panic!() };
    let defaults = |value: &pb::Value| pb::Value {
        timestamp: 0,
        ttl: value.ttl.filter(|ttl| *ttl != 3_600),
        permissions: value.permissions.filter(|bits| *bits != 14),
        ..value.clone()
    };
    assert_eq!(command.identifier, record.identifier);
    assert_eq!(created.values, record.values.iter().map(defaults).collect::<Vec<_>>());
    assert_eq!(created.edges, record.edges);
}

#[test]
fn an_event_is_written_and_read() {
    let flow = |identifier: &str, quantity: &str| pb::Flow {
        identifier: identifier.into(),
        quantity: quantity.into(),
        unit: if quantity.is_empty() { String::new() } else { "kg".into() },
        valid_from: None,
    };
    let input = pb::Edge {
        r#type: pb::EdgeType::DerivedFrom.into(),
        to: "88.1/in".into(),
        quantity: "2.50".into(),
        unit: "kg".into(),
        valid_from: Some(-1),
    };
    let outputs = vec![flow("88.1/one", "1.5"), flow("88.1/two", "")];
    let event = pb::EventOutputs { outputs: outputs.clone(), balance: "kg".into() };
    let line = record_to_json(&pb::Record { edges: vec![input], event: Some(event), ..record() });
    let expected = concat!(
        r#""inputs":[{"identifier":"88.1/in","quantity":2.50,"unit":"kg","valid_from":"1969-12-31T23:59:59.999Z"}],"#,
        r#""outputs":[{"identifier":"88.1/one","quantity":1.5,"unit":"kg"},{"identifier":"88.1/two"}],"balance":"kg"}"#,
    );
    assert!(line.ends_with(expected) && !line.contains("edges"), "{line}");
    let Some(pb::command::Operation::Event(event)) = read(&line).unwrap().operation else { panic!("{line}") };
    assert_eq!((event.values.len(), event.outputs, event.balance.as_str()), (3, outputs, "kg"));
    assert_eq!(event.inputs, [pb::Flow { valid_from: Some(-1), ..flow("88.1/in", "2.50") }]);
    for (line, rule) in [
        (
            r#"{"identifier":"88.1/a","values":[],"edges":[{"type":"made-of","to":"b"}],"balance":"kg"}"#,
            "has both edges",
        ),
        (
            r#"{"identifier":"88.1/a","values":[],"inputs":[{"identifier":"b","quantity":-1}]}"#,
            "input or output `b`: quant",
        ),
    ] {
        let error = read(line).unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
    }
}

#[test]
fn what_may_be_left_out() {
    let created = create(r#"{"identifier":"88.1/a","values":[{"type":"N","data":"x"},{"type":"M","data":"y"}]}"#);
    assert_eq!(created.values.iter().map(|value| value.index).collect::<Vec<_>>(), [0, 0]);
    assert_eq!((created.values[0].ttl, created.values[0].permissions), (None, None));
    assert_eq!(create(r#"{"identifier":"88.1/a","values":[]}"#), pb::Create::default());
}

#[test]
fn quantities_keep_their_digits() {
    let table = [
        ("1", Ok("1")),
        ("0.250", Ok("0.250")),
        ("\"0.2014\"", Ok("0.2014")),
        ("123456789012345678901234567890.5", Ok("123456789012345678901234567890.5")),
        ("null", Ok("")),
        ("1e3", Err("quantity `1e3` is not a decimal number of at most 32 characters, such as 1 or 0.25")),
        ("-1", Err("quantity `-1` is not a decimal number of at most 32 characters, such as 1 or 0.25")),
        ("\"\"", Err("quantity `` is not a decimal number of at most 32 characters, such as 1 or 0.25")),
        ("true", Err("quantity `true` is not a decimal number of at most 32 characters, such as 1 or 0.25")),
    ];
    for (written, expected) in table {
        let line = format!(
            r#"{{"identifier":"88.1/a","values":[],"edges":[{{"type":"made-of","to":"b","quantity":{written}}}]}}"#
        );
        match (read(&line), expected) {
            (Ok(_), Ok(digits)) => assert_eq!(create(&line).edges[0].quantity, digits),
            (Err(error), Err(rule)) => assert_eq!(error.to_string(), format!("`88.1/a`: edge to `b`: {rule}")),
            (found, expected) => panic!("{written}: {found:?} {expected:?}"),
        }
    }
}

#[test]
fn refusals_name_place_and_rule() {
    let value = |value: &str| format!(r#"{{"identifier":"88.1/a","values":[{value}]}}"#);
    let edge = |edge: &str| format!(r#"{{"identifier":"88.1/a","values":[],"edges":[{edge}]}}"#);
    let table = [
        ("".into(), "column 0: the line is cut off: EOF while parsing a value"),
        (r#"{"identifier":"88.1/a","val"#.into(), "column 27: the line is cut off: EOF while parsing a string"),
        (r#"{"id":"88.1/a"}"#.into(), "column 5: unknown field `id`, expected one of"),
        (r#"{"identifier":"88.1/a"}"#.into(), "column 23: missing field `values`"),
        (r#"{"values":[]}"#.into(), "column 13: missing field `identifier`"),
        (r#"{"identifier":7,"values":[]}"#.into(), "column 15: invalid type: integer `7`, expected"),
        (r#"{"identifier":"a","identifier":"b","values":[]}"#.into(), "column 30: duplicate field `identifier`"),
        (r#"{"identifier":"a","values":[]} x"#.into(), "column 32: trailing characters"),
        ("identifier,NAME".into(), "column 1: expected value"),
        (value(r#"{"index":-1,"type":"N","data":""}"#), "column 44: invalid value: integer `-1`, expected u32"),
        (value(r#"{"type":"N","data":"","extra":1}"#), "column 62: unknown field `extra`, expected one of"),
        (value(r#"{"type":"N"}"#), "`88.1/a`: value `N` has neither data nor data_base64"),
        (value(r#"{"type":"N","data":"","data_base64":""}"#), "`88.1/a`: value `N` has both data and data_base64"),
        (value(r#"{"type":"N","data_base64":"*"}"#), "`88.1/a`: value `N`: data_base64 is not Base64 (RFC 4648)"),
        (value(r#"{"type":"N","data":"","permissions":"111"}"#), "`88.1/a`: value `N`: permissions `111` are not four"),
        (edge(r#"{"type":"eats","to":"b"}"#), "`88.1/a`: edge to `b`: edge type `eats` is none of made-of"),
        (
            edge(r#"{"type":"made-of","to":"b","valid_from":"2022-02-03T14:48:54"}"#),
            "`88.1/a`: edge to `b`: valid_from `2022-02-03T14:48:54` is not an RFC 3339 time with its offset",
        ),
        (
            r#"{"identifier":"88.1/a","values":[],"status":"retired"}"#.into(),
            "`88.1/a`: status is `retired`; only active",
        ),
        (r#"{"identifier":"88.1/a","values":[],"edges_truncated":true}"#.into(), "`88.1/a`: edges_truncated is true"),
    ];
    let mut wrong = String::new();
    for (line, expected) in table {
        let error = read(&line).unwrap_err().to_string();
        if !error.starts_with(expected) {
            wrong += &format!("{line}\n  says  {error}\n  not   {expected}\n");
        }
    }
    assert_eq!(wrong, "");
    let error = read(b"{\"identifier\":\"\xff\"}").unwrap_err().to_string();
    assert_eq!(error, "column 16: the line is not valid UTF-8");
}

#[test]
fn answers_without_a_record() {
    use pb::answer::Outcome;
    let identifier = || "88.1/a".to_owned();
    let retired = pb::Retired { identifier: identifier(), version: 2, ledger_index: 5, time: 0, erased: false };
    let table = [
        (
            Outcome::Retired(retired),
            r#"{"identifier":"88.1/a","status":"retired","version":2,"ledger_index":5,"time":"1970-01-01T00:00:00.000Z"}"#,
        ),
        (
            Outcome::NotFound(pb::NotFound { identifier: identifier() }),
            r#"{"identifier":"88.1/a","status":"not found"}"#,
        ),
        (
            Outcome::Delegated(pb::Delegated {
                identifier: identifier(),
                prefix: "88".into(),
                ..pb::Delegated::default()
            }),
            r#"{"identifier":"88.1/a","status":"delegated","prefix":"88"}"#,
        ),
        (Outcome::Denied(pb::Denied { identifier: identifier() }), r#"{"identifier":"88.1/a","status":"denied"}"#),
        (
            Outcome::Invalid(pb::Invalid { identifier: identifier(), reason: "no".into() }),
            r#"{"identifier":"88.1/a","status":"invalid","reason":"no"}"#,
        ),
    ];
    for (answer, expected) in table {
        assert_eq!(answer_to_json(&answer), expected);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = read(line);
    }

    #[test]
    fn any_text_and_data_comes_back(identifier in ".*", data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
        let value = pb::Value { index: 1, r#type: "T".into(), data: data.into(), ..Default::default() };
        let record = pb::Record { identifier, values: vec![value], ..Default::default() };
        let command = read(record_to_json(&record)).unwrap();
        let Some(pb::command::Operation::Create(create)) = command.operation else { panic!() };
        assert_eq!((command.identifier, &create.values[0].data), (record.identifier, &record.values[0].data));
    }
}

#[test]
fn nothing_is_read_by_its_position() {
    let array = "the line is an array; each line is one object";
    let table = [
        (r#"["88.1/a",[[5,"NAME","x"]]]"#, array),
        (r#" [{"identifier":"88.1/a","values":[]}]"#, array),
        (r#"{"identifier":"88.1/a","values":[[5,"NAME","x"]]}"#, "invalid type: sequence, expected an object"),
        (r#"{"identifier":"88.1/a","values":[],"edges":[["made-of","88.1/b"]]}"#, "expected an object"),
        (r#"{"identifier":"88.1/a","values":[],"inputs":[["88.1/b"]],"outputs":[]}"#, "expected an object"),
    ];
    for (line, rule) in table {
        let mut batch = CommandBatch::default();
        let error = create_from_line(line.as_bytes(), &mut batch).unwrap_err();
        assert!(error.rule.contains(rule) && batch.is_empty(), "{line}: {error}");
    }
}
