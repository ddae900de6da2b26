//! Every refusal names the identifier, the rule and the limit, with the right status; the refusal is the same over
//! `Apply`, `ApplyBatch` and `ApplyStream`, and nothing of the refused command is written.

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use touchmark::protocol::grpc::pb;

use crate::support::*;

const THERE: &str = "88.118/there";
const GONE: &str = "88.118/gone";

/// A command that must be refused.
struct Bad {
    about: &'static str,
    command: pb::Command,
    code: Code,
    words: &'static [&'static str],
}

fn bad(about: &'static str, command: pb::Command, code: Code, words: &'static [&'static str]) -> Bad {
    Bad { about, command, code, words }
}

fn bad_identifiers() -> Vec<Bad> {
    let row = |about, identifier: String, words| bad(about, create(&identifier, vec![]), Code::InvalidArgument, words);
    let handle = |chars: usize| format!("88.118/{}", "x".repeat(chars - 7));
    vec![
        row("empty", String::new(), &["the text is empty"]),
        row("no scheme at all", "bearing".into(), &["`bearing`", "an identifier is a Handle"]),
        row("space before", " 88.118/a".into(), &["` 88.118/a`", "byte 0", "white space"]),
        row("Handle too long", handle(256), &["88.118/xxx", "at most 255 characters", "256"]),
        row("Handle without suffix", "88.118/".into(), &["`88.118/`", "byte 7", "suffix of a Handle is not empty"]),
        row("Handle with an empty label", "88..118/a".into(), &["`88..118/a`", "byte 3", "label"]),
        row("control character", "88.118/a\u{7}b".into(), &["byte 8", "control character U+0007"]),
        row("C1 control character", "88.118/a\u{85}b".into(), &["byte 8", "control character U+0085"]),
        row("NUL", "88.118/a\0b".into(), &["88.118/a\\0b", "control character U+0000"]),
        row("a million labels", format!("{}1/x", "1.".repeat(1_000_000)), &["`1.1.1.", "1024"]),
        row("a million labels of a name", format!("{}a/x", "a.".repeat(1_000_000)), &["`a.a.a.", "2048"]),
        row("a million slashes", "88/".repeat(333_333), &["`88/88/", "at most 255 characters"]),
        row("OID root", "3.1".into(), &["`3.1`", "first arc of an OID is 0, 1 or 2"]),
        row("OID second arc", "urn:oid:1.40".into(), &["`urn:oid:1.40`", "second arc is 0 to 39"]),
        row("OID leading zero", "1.3.06".into(), &["`1.3.06`", "no leading zeros"]),
        row("OID empty arc", "1.3..6".into(), &["`1.3..6`", "byte 4", "arc of an OID is not empty"]),
        row("OID of one arc", "urn:oid:1".into(), &["`urn:oid:1`", "at least two arcs"]),
        row("OID arcs", format!("1.3{}", ".1".repeat(127)), &["`1.3.1.1", "at most 128 arcs"]),
        row("OID too long", format!("2.{}", "9".repeat(1_023)), &["`2.999", "at most 1024 characters", "1025"]),
        row("OID in ASN.1", "{iso(2) 3}".into(), &["`{iso(2) 3}`", "`iso`"]),
        row(
            "GTIN check digit",
            "(01)09506000134353".into(),
            &["(01)09506000134353", "GTIN", "wrong check digit: 3, and 2"],
        ),
        row(
            "GTIN check digit in a link",
            "https://example.com/01/09506000134353".into(),
            &["example.com/01/09506000134353", "wrong check digit"],
        ),
        row("SSCC check digit", "(00)095201234567891236".into(), &["SSCC", "wrong check digit: 6, and 5"]),
        row("GTIN length", "(01)0123456789".into(), &["has 14 (or 8, 12, 13) characters; this one has 10"]),
        row("serial too long", format!("(01)09506000134352(21){}", "1".repeat(21)), &["1 to 20 characters", "21"]),
        row("attribute", "(01)09506000134352(3103)000195".into(), &["AI 3103 is no part of an identifier"]),
        row("element string too long", format!("(01){}", "0".repeat(300)), &["at most 256", "304"]),
        row("URI without body", "did:".into(), &["`did:`", "something after its scheme"]),
        row("URI with a space", "https://a/b c".into(), &["`https://a/b c`", "byte 11", "U+0020"]),
        row("URI with a bad escape", "https://a/%zz".into(), &["two hexadecimal digits"]),
        row("URI too long", format!("a:{}", "b".repeat(2_047)), &["at most 2048 bytes", "2049"]),
    ]
}

fn bad_values() -> Vec<Bad> {
    let row = |about, values, words| bad(about, create("88.118/v", values), Code::InvalidArgument, words);
    let with = |change: fn(&mut pb::Value)| {
        let mut value = value(1, "NAME", "x");
        change(&mut value);
        vec![value]
    };
    let reference = || pb::Reference { identifier: "88.118/r".into(), index: 1 };
    vec![
        row("one index twice", vec![value(7, "A", ""), value(7, "B", "")], &["`88.118/v`", "index 7", "twice"]),
        row("mixed indexes", vec![value(1, "A", ""), value(0, "B", "")], &["`88.118/v`", "index 0"]),
        row("a long value", vec![value(3, "A", vec![0; 65_537])], &["value 3", "65537 bytes", "65536 (64 KiB)"]),
        row(
            "a long record",
            (1..=16).map(|index| value(index, "A", vec![0; 65_536])).collect(),
            &["`88.118/v`", "1048576 (1 MiB)"],
        ),
        row("257 values", (1..=257).map(|index| value(index, "A", "")).collect(), &["257 values", "256"]),
        row("no type", vec![value(1, "", "x")], &["`88.118/v`", "value type ``", "64 printable"]),
        row("a type with a space", vec![value(1, "A B", "x")], &["`A B`", "without spaces"]),
        row("a long type", vec![value(1, &"T".repeat(65), "x")], &["TTTT", "1 to 64"]),
        row("a type beyond ASCII", vec![value(1, "NÄME", "x")], &["`NÄME`"]),
        row("permissions", with(|value| value.permissions = Some(16)), &["`88.118/v`", "permissions `16`"]),
        row("TTL", with(|value| value.ttl = Some(172_801)), &["value 1", "172801 seconds", "172800 (two days)"]),
        bad(
            "17 references",
            create("88.118/v", vec![pb::Value { references: vec![reference(); 17], ..value(1, "A", "") }]),
            Code::InvalidArgument,
            &["value 1", "17 references", "16"],
        ),
        bad(
            "an ill-formed reference",
            create(
                "88.118/v",
                vec![pb::Value {
                    references: vec![pb::Reference { identifier: "88.118/".into(), index: 1 }],
                    ..value(1, "A", "")
                }],
            ),
            Code::InvalidArgument,
            &["`88.118/v`", "reference `88.118/`", "suffix"],
        ),
    ]
}

fn bad_edges() -> Vec<Bad> {
    use pb::EdgeType::{MadeOf, Unspecified};
    let row =
        |about, edges, words| bad(about, create_with_edges("88.118/e", vec![], edges), Code::InvalidArgument, words);
    let with = |change: fn(&mut pb::Edge)| {
        let mut edge = edge(MadeOf, "88.118/part");
        change(&mut edge);
        vec![edge]
    };
    let updated = |add_edges, remove_edges| {
        let mode = pb::update::Mode::Merge.into();
        update(THERE, pb::Update { mode, add_edges, remove_edges, ..Default::default() })
    };
    let to_part = || edge(MadeOf, "88.118/part");
    vec![
        row("to itself", vec![edge(MadeOf, "88.118/e")], &["`88.118/e`", "to itself"]),
        row("to itself in another case", vec![edge(MadeOf, "hdl:88.118/E")], &["`88.118/e`", "to itself"]),
        row("twice", vec![to_part(), edge(MadeOf, "88.118/PART")], &["made-of", "88.118/", "twice"]),
        row("no type", vec![edge(Unspecified, "88.118/part")], &["`88.118/e`", "no type"]),
        row("unknown type", with(|edge| edge.r#type = 99), &["`88.118/e`", "unknown"]),
        row("ill-formed target", vec![edge(MadeOf, "3.1")], &["`88.118/e`", "edge to `3.1`", "first arc"]),
        row("quantity", with(|edge| edge.quantity = "-1".into()), &["`-1`", "32 characters"]),
        row("quantity with exponent", with(|edge| edge.quantity = "1e9".into()), &["`1e9`", "decimal"]),
        row("long quantity", with(|edge| edge.quantity = "1".repeat(33)), &["1111", "32 characters"]),
        row("unit alone", with(|edge| edge.unit = "unit:piece".into()), &["`unit:piece`", "no quantity"]),
        row(
            "ill-formed unit",
            with(|edge| (edge.quantity, edge.unit) = ("1".into(), "a piece".into())),
            &["`a piece`", "1 to 64"],
        ),
        row("time", with(|edge| edge.valid_from = Some(i64::MAX)), &["9223372036854775807", "0000 to 9999"]),
        row(
            "too much text",
            (0..400).map(|number| edge(MadeOf, &format!("88.118/{number}{}", "x".repeat(240)))).collect(),
            &["`88.118/e`", "65535", "edges"],
        ),
        bad("update to itself", updated(vec![edge(MadeOf, THERE)], vec![]), Code::InvalidArgument, &["to itself"]),
        bad(
            "added and removed at once",
            updated(vec![to_part()], vec![to_part()]),
            Code::InvalidArgument,
            &["`88.118/there`", "made-of", "twice"],
        ),
    ]
}

fn bad_commands() -> Vec<Bad> {
    use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};
    let name = || vec![value(1, "NAME", "x")];
    let bare = pb::Update { values: name(), ..Default::default() };
    let replaced = pb::Update { mode: pb::update::Mode::Replace.into(), remove_indexes: vec![1], ..Default::default() };
    vec![
        bad(
            "no operation",
            pb::Command { operation: None, ..retire(THERE) },
            InvalidArgument,
            &[THERE, "no operation"],
        ),
        bad("no mode", update(THERE, bare), InvalidArgument, &[THERE, "no mode"]),
        bad("remove with replace", update(THERE, replaced), InvalidArgument, &[THERE, "MODE_MERGE"]),
        bad("merge without the index", merge(THERE, name(), vec![9]), InvalidArgument, &[THERE, "index 9"]),
        bad(
            "merge beyond 256 values",
            merge(THERE, (2..=257).map(|index| value(index, "A", "")).collect(), vec![]),
            InvalidArgument,
            &[THERE, "257 values", "256"],
        ),
        bad("long request id", request([b'r'; 65], retire(THERE)), InvalidArgument, &[THERE, "64 bytes"]),
        bad("there already", create(THERE, vec![]), AlreadyExists, &[THERE, "version 1", "ledger index 0"]),
        bad("there, in another case", create("88.118/THERE", name()), AlreadyExists, &["version 1", "ledger index 0"]),
        bad("update of nothing", replace("88.118/no", name()), NotFound, &["`88.118/no`", "not registered"]),
        bad("merge into nothing", merge("88.118/no", name(), vec![]), NotFound, &["`88.118/no`", "not registered"]),
        bad("retiring nothing", retire("88.118/no"), NotFound, &["`88.118/no`", "not registered"]),
        bad(
            "creating what was retired",
            create(GONE, name()),
            FailedPrecondition,
            &[GONE, "ledger index 2", "retired"],
        ),
        bad("updating what was retired", replace(GONE, name()), FailedPrecondition, &[GONE, "retired"]),
        bad("retiring twice", retire(GONE), FailedPrecondition, &[GONE, "ledger index 2"]),
        bad("older", expecting(0, replace(THERE, name())), FailedPrecondition, &[THERE, "version 1", "version 0"]),
        bad("newer", expecting(2, retire(THERE)), FailedPrecondition, &[THERE, "version 1", "version 2"]),
        bad(
            "expected, and never registered",
            expecting(3, create("88.118/no", vec![])),
            FailedPrecondition,
            &["`88.118/no`", "version 0", "version 3"],
        ),
        bad(
            "a request id used before",
            request("there", replace(THERE, name())),
            FailedPrecondition,
            &[THERE, "request id", "ledger index 0"],
        ),
    ]
}

fn table() -> Vec<Bad> {
    [bad_identifiers(), bad_values(), bad_edges(), bad_commands()].into_iter().flatten().collect()
}

impl Bad {
    fn check(&self, way: &str, code: Code, message: &str) {
        let about = format!("{} over {way}: {code:?} {message}", self.about);
        assert_eq!(code, self.code, "{about}");
        for word in self.words {
            assert!(message.contains(word), "no {word:?} in {about}");
        }
        assert!(message.len() < 700, "a long sentence: {about}");
        assert!(!message.chars().any(char::is_control), "control characters in {about}");
    }
}

/// Writes the three entries that the table relies on.
async fn prepare(running: &Running) {
    running.apply(request("there", create(THERE, vec![value(1, "NAME", "there")]))).await.unwrap();
    running.apply(create(GONE, vec![])).await.unwrap();
    running.apply(retire(GONE)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alone() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    prepare(&running).await;
    for bad in table() {
        let Err(status) = running.apply(bad.command.clone()).await else { panic!("{} was carried out", bad.about) };
        bad.check("Apply", status.code(), status.message());
    }
    assert_eq!(running.entries(), 3);
    running.apply(replace(THERE, vec![value(1, "NAME", "still")])).await.unwrap();
    assert_eq!(content(&running.found(THERE).await), "1 NAME=still");
    assert!(matches!(running.resolve("88.118/v").await, pb::answer::Outcome::NotFound(_)));
    running.stop().await;
}

/// Valid commands between invalid ones are carried out, in a batch and in a stream.
#[tokio::test(flavor = "multi_thread")]
async fn among_good_ones() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    prepare(&running).await;
    for (round, way) in ["ApplyBatch", "ApplyStream"].into_iter().enumerate() {
        let table = table();
        let mut commands = Vec::new();
        for (number, bad) in table.iter().enumerate() {
            commands.push(create(&format!("88.118.{round}/{number}"), vec![value(0, "NAME", "good")]));
            commands.push(bad.command.clone());
        }
        let before = running.entries();
        let outcomes = match way {
            "ApplyBatch" => running.apply_batch(commands).await.unwrap(),
            _ => running.apply_stream(commands).await.unwrap(),
        };
        assert_eq!(outcomes.len(), 2 * table.len());
        for (number, (pair, bad)) in outcomes.chunks(2).zip(&table).enumerate() {
            assert_eq!(pair[0].receipt().ledger_index, before + number as u64);
            assert_eq!(pair[0].receipt().version, 1);
            bad.check(way, Code::from_i32(pair[1].refusal().code), &pair[1].refusal().message);
        }
        assert_eq!(running.entries(), before + table.len() as u64);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_told_apart() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    let values = || vec![value(1, "NAME", "a"), value(2, "URL", "https://example.com/")];
    let edges = || vec![edge(pb::EdgeType::MadeOf, "88.1/part")];
    running.apply(create_with_edges("88.1/a", values(), edges())).await.unwrap();
    let other = |edges: Vec<pb::Edge>, values: Vec<pb::Value>| create_with_edges("88.1/a", values, edges);
    let commands = vec![
        other(edges(), values()),
        other(edges(), values().into_iter().rev().collect()),
        other(edges(), vec![value(1, "NAME", "b"), values().remove(1)]),
        other(edges(), values()[..1].to_vec()),
        other(vec![], values()),
        other(vec![edge(pb::EdgeType::MadeOf, "88.1/other")], values()),
    ];
    let outcomes = running.apply_batch(commands).await.unwrap();
    let same: Vec<_> = outcomes.iter().map(|outcome| outcome.refusal().existing.unwrap().same_content).collect();
    assert_eq!(same, [true, true, false, false, false, false]);
    // Changes by the same batch count, both to an earlier record and to one created in the batch.
    let mode = pb::update::Mode::Merge.into();
    let new_edges = || vec![edge(pb::EdgeType::MadeOf, "88.1/other"), edge(pb::EdgeType::PackedIn, "88.1/box")];
    let change = |add_edges, remove_edges| pb::Update { mode, add_edges, remove_edges, ..Default::default() };
    for identifier in ["88.1/a", "88.1/b"] {
        let register = |edges| create_with_edges(identifier, values(), edges);
        let commands = vec![
            register(edges()),
            update(identifier, change(new_edges(), vec![])),
            update(identifier, change(vec![], edges())),
            register(edges()),
            register(new_edges()),
        ];
        let outcomes = running.apply_batch(commands).await.unwrap();
        let same = [3, 4].map(|at: usize| outcomes[at].refusal().existing.unwrap().same_content);
        assert_eq!(same, [false, true], "{identifier}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_sizes() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    let status = running.apply_batch(vec![]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("empty batch") && status.message().contains("10000"), "{status}");

    let many: Vec<_> = (0..10_001).map(|number| create(&format!("88.1/{number}"), vec![])).collect();
    let status = running.apply_batch(many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("10001") && status.message().contains("10000"), "{status}");

    let large = (0..257).map(|number| create(&format!("88.1/{number}"), vec![value(1, "A", vec![b'a'; 65_500])]));
    let status = running.apply_batch(large.collect()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("16777216 bytes"), "{status}");

    for count in [0, 1_001] {
        let requests = vec![question("88.1/a"); count];
        let status = running.resolver().resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(&count.to_string()) && status.message().contains("1000"), "{status}");
    }
    let requests = vec![question(&"x".repeat(5_000)); 1_000];
    let status = running.resolver().resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("4194304 bytes"), "{status}");

    let status = running.registry().export(pb::ExportRequest { scheme: "isbn".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`isbn`") && status.message().contains("handle, oid, gs1, uri"), "{status}");

    assert_eq!(running.entries(), 0);
    running.apply(create("88.1/a", vec![])).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    prepare(&running).await;
    let bad = bad_identifiers();
    for bad in &bad {
        let status = running.resolver().resolve(question(&bad.command.identifier)).await.unwrap_err();
        bad.check("Resolve", status.code(), status.message());
    }
    // The longest texts would exceed the limit of the whole message.
    let bad: Vec<_> = bad.into_iter().filter(|bad| bad.command.identifier.len() < 100_000).collect();
    let asked: Vec<String> =
        bad.iter().flat_map(|bad| [bad.command.identifier.clone(), THERE.into(), GONE.into()]).collect();
    for (way, answers) in
        [("ResolveBatch", running.resolve_batch(&asked).await), ("ResolveStream", running.resolve_stream(&asked).await)]
    {
        for (answers, bad) in answers.chunks(3).zip(&bad) {
            let pb::answer::Outcome::Invalid(invalid) = &answers[0] else { panic!("{way}: {answers:?}") };
            bad.check(way, Code::InvalidArgument, &invalid.reason);
            assert!(matches!(&answers[1], pb::answer::Outcome::Found(record) if record.identifier == THERE));
            assert!(matches!(&answers[2], pb::answer::Outcome::Retired(retired) if retired.identifier == GONE));
        }
    }
    running.stop().await;
}

/// A codec that sends bytes unchanged, even if they are no message.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

async fn send_raw(running: &Running, path: &'static str, message: &[u8]) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(running.channel());
    client.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    let answer = client.unary(tonic::Request::new(message.to_vec()), path, Raw).await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message() {
    const APPLY: &str = "/touchmark.v1.Registry/Apply";
    const BATCH: &str = "/touchmark.v1.Registry/ApplyBatch";
    const RESOLVE: &str = "/touchmark.v1.Resolver/Resolve";
    let directory = directory();
    let running = Running::start(directory.path()).await;
    // Field 1, length-delimited: the identifier `88.1/a`; field 2: an empty create.
    let good = b"\x0a\x0688.1/a\x12\x00";
    let not_utf8 = b"\x0a\x0688.1/\xff\x12\x00";
    let status = send_raw(&running, APPLY, not_utf8).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("identifier") && status.message().contains("UTF-8"), "{status}");
    let status = send_raw(&running, RESOLVE, b"\x0a\x0688.1/\xff").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("identifier") && status.message().contains("UTF-8"), "{status}");
    let batch = [&[0x0a, good.len() as u8], &good[..], &[0x0a, not_utf8.len() as u8], not_utf8].concat();
    let cut = [&batch[..], &[0x0a, 9]].concat();
    let status = send_raw(&running, BATCH, &cut).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    for cut in 1..good.len() - 2 {
        let status = send_raw(&running, APPLY, &good[..cut]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "cut after {cut} bytes: {status}");
    }
    assert_eq!(running.entries(), 0);
    // In a batch, only the malformed command fails.
    let reply = send_raw(&running, BATCH, &batch).await.unwrap();
    let results = pb::ApplyBatchResponse::decode(reply).unwrap().results;
    let [Some(pb::apply_result::Result::Receipt(_)), Some(pb::apply_result::Result::Refusal(refusal))] =
        [&results[0].result, &results[1].result]
    else {
        panic!("{results:?}");
    };
    assert!(refusal.code == 3 && refusal.message.contains("UTF-8"), "{refusal:?}");
    assert_eq!(running.found("88.1/a").await.version, 1);
    running.stop().await;
}
