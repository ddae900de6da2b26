//! The real program, as a shell sees it: exit codes, output, signals, interrupted imports.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value as Json;
use touchmark::id::{Identifier, Scheme};

use crate::{
    program::{
        ENCRYPTED, ENCRYPTED_IN_TABLES, Program, Ran, exit_code, file, is_installed, run, touchmark, wait_until,
    },
    support::directory,
};

/// A record of the sample.
const GEARBOX: &str = "88.1000.LSN/GB120-3169";
/// Records in the sample.
const SAMPLE_RECORDS: &str = "2,865";

#[test]
fn a_signal_stops_the_node_cleanly() {
    let data = directory();
    for (signal, version) in [("INT", "1"), ("TERM", "2")] {
        let node = Program::serve(data.path(), &[]);
        let ran = match version {
            "1" => node.run(&["register", "88.118/a", "--value", "NAME=x"]),
            _ => node.run(&["update", "88.118/a", "--value", "1:NAME=y"]),
        };
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{}", node.log());
        assert!(ran.out.contains(&format!("version       {version}")), "{}", ran.out);
        assert_eq!(node.stop(signal), Some(0), "SIG{signal}");
        let checked = json(&run(["fsck", "--json", "--data", data.path().to_str().unwrap()]));
        assert_eq!((&checked["index_sealed"], &checked["torn_bytes"]), (&true.into(), &0.into()), "SIG{signal}");
    }
}

#[test]
fn the_sample_is_loaded_once_and_the_printed_commands_work() {
    let data = directory();
    for start in ["first", "second"] {
        let node = Program::serve(data.path(), &["--sample"]);
        assert!(
            node.introduction.contains(&format!("{SAMPLE_RECORDS} ledger entries")),
            "{start}: {}",
            node.introduction
        );
        let tries: Vec<&str> =
            node.introduction.lines().skip_while(|line| *line != "Try:").skip(1).take(3).map(str::trim).collect();
        let [resolve, dig, grpcurl] = tries[..] else { panic!("{}", node.introduction) };
        assert!(
            resolve.contains(" resolve ") && dig.starts_with("dig @") && grpcurl.starts_with("grpcurl "),
            "{tries:?}"
        );
        let ran = shell(resolve);
        assert!(ran.exit == 0 && ran.out.starts_with(GEARBOX), "{resolve}: {ran:?}");
        if is_installed("dig") {
            let ran = shell(dig);
            assert!(
                ran.exit == 0 && ran.out.contains("status: NOERROR") && ran.out.contains("\"1 NAME\""),
                "{dig}: {ran:?}"
            );
        }
        assert_eq!(node.stop("INT"), Some(0));
    }
}

#[test]
fn exit_codes_and_what_is_printed() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    // Arguments; exit code; parts of the output and of the error output.
    let table = [
        ("register 88.118/a --value 1:NAME=Gearbox --value 7:MASS=4", 0, "registered 88.118/a\n  version       1", ""),
        (
            "register 88.118/A --value NAME=Gearbox",
            7,
            "",
            "touchmark: `88.118/A` is already registered (version 1, ledger index 0)",
        ),
        ("register 88.118/p --value COST=9 --permissions 1100", 0, "registered 88.118/p", ""),
        ("register 88.118/r --request-id one --value N=x", 0, "registered 88.118/r\n", ""),
        ("register 88.118/r --request-id one --value N=x", 0, "under the same request id", ""),
        ("register 88.118/r --request-id one --value N=y", 8, "", "the request id was used for another change"),
        ("register (01)09521141101200 --value N=x", 2, "", "check digit"),
        ("register 88.118/b --value N", 2, "", "write a value as TYPE=DATA"),
        ("register 88.118/b --edge eats=88.118/a", 2, "", "is none of made-of"),
        ("update 88.118/a --value 7:MASS=5 --expect-version 1", 0, "updated 88.118/a\n  version       2", ""),
        (
            "update 88.118/a --value 7:MASS=6 --expect-version 1",
            8,
            "",
            "is at version 2, not at the expected version 1",
        ),
        ("update 88.118/missing --value 7:MASS=6", 3, "", "`88.118/missing` is not registered"),
        ("resolve 88.118/a", 0, "     7  MASS  5", ""),
        ("resolve hdl:88.118/A --type MASS", 0, "88.118/a\n  version 2", ""),
        ("resolve 88.118/a --type NONE", 0, "no value of what was asked for", ""),
        ("resolve 88.118/missing", 3, "", "88.118/missing: not found"),
        ("resolve 88.118/p", 6, "", "88.118/p: denied, nothing of what was asked is public"),
        ("retire 88.118/r", 0, "retired 88.118/r\n  version       2", ""),
        ("retire 88.118/r", 8, "", "`88.118/r` was retired"),
        ("resolve 88.118/r", 4, "", "88.118/r: retired, version 2"),
        ("resolve nothing", 2, "", "invalid: "),
        ("resolve 88.118/missing 88.118/a 88.118/r", 3, "88.118/a\n", "88.118/r: retired"),
    ];
    for (arguments, exit, out, err) in table {
        check(node.run(&words(arguments)), arguments, exit, out, err);
    }
    // The same over DNS, and commands that need no node.
    let dns = node.dns.to_string();
    let table = [
        ("88.118/a", 0, "     7  MASS  5", ""),
        ("88.118/missing", 3, "", "not found"),
        ("88.118/p", 6, "", "denied"),
        ("88.118/r", 4, "", "retired"),
        ("88.118/", 2, "", "invalid: "),
    ];
    for (identifier, exit, out, err) in table {
        check(run(["resolve", identifier, "--over", "dns", "--dns", &dns]), identifier, exit, out, err);
    }
    let table = [
        ("name (01)09521141101209", 0, "https://id.gs1.org/01/09521141101209", ""),
        ("name --reverse a._.118.88.hdl.id.test.", 0, "identifier  88.118/a\n", ""),
        ("name 88.118/a 1.2.x", 2, "identifier  88.118/a\n", "invalid: "),
        ("name --reverse a._.118.88.hdl.example.", 2, "", "does not lie in the zone id.test."),
        ("frobnicate", 2, "", "unrecognized subcommand"),
        ("--help", 0, "Exit codes:", ""),
        ("--version", 0, concat!("touchmark ", env!("CARGO_PKG_VERSION")), ""),
    ];
    for (arguments, exit, out, err) in table {
        check(run(words(arguments)), arguments, exit, out, err);
    }
}

#[test]
fn json_shapes() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let table = [
        (
            "register 88.118/a --value NAME=x --edge made-of=urn:oid:2.999.1,quantity=2 --json",
            r#"{"checkpoint":"…","identifier":"88.118/a","leaf_hash":"…","ledger_index":0,"replayed":false,"time":"…","version":1}"#,
        ),
        (
            "update 88.118/a --replace --value 2:NAME=y --ttl 60 --json",
            r#"{"checkpoint":"…","identifier":"88.118/a","leaf_hash":"…","ledger_index":1,"replayed":false,"time":"…","version":2}"#,
        ),
        (
            "resolve 88.118/a --json",
            r#"{"edges":[{"quantity":2,"to":"urn:oid:2.999.1","type":"made-of"}],"identifier":"88.118/a","ledger_index":1,"status":"active","time":"…","values":[{"data":"y","index":2,"timestamp":"…","ttl":60,"type":"NAME"}],"version":2}"#,
        ),
        (
            "retire 88.118/a --json",
            r#"{"checkpoint":"…","identifier":"88.118/a","leaf_hash":"…","ledger_index":2,"replayed":false,"time":"…","version":3}"#,
        ),
        (
            "resolve 88.118/a --json",
            r#"{"identifier":"88.118/a","ledger_index":2,"status":"retired","time":"…","version":3}"#,
        ),
        ("resolve 88.118/b --json", r#"{"identifier":"88.118/b","status":"not found"}"#),
        ("resolve b --json", r#"{"identifier":"b","reason":"…","status":"invalid"}"#),
    ];
    for (arguments, expected) in table {
        assert_eq!(masked(&node.run(&words(arguments))), expected, "{arguments}");
    }
    assert_eq!(node.stop("INT"), Some(0));
    let data = data.path().to_str().unwrap();
    let table = [
        (
            vec!["name", "88.118/A", "--json"],
            r#"{"dns_name":"a._.118.88.hdl.id.test.","identifier":"88.118/A","key":"…","scheme":"handle","written":"Handle"}"#,
        ),
        (
            vec!["fsck", "--json", "--data", data],
            r#"{"entries":3,"identifiers":1,"index_entries":1,"index_sealed":true,"output_leaves":"…","root":"…","signed":3,"torn_bytes":0,"verifier_key":"…"}"#,
        ),
        (vec!["rebuild", "--json", "--data", data], r#"{"entries":3}"#),
    ];
    for (arguments, expected) in table {
        assert_eq!(masked(&run(&arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn an_import_names_bad_lines_and_registers_the_rest() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    let line = |identifier: &str| {
        format!("{{\"identifier\":\"{identifier}\",\"values\":[{{\"type\":\"N\",\"data\":\"x\"}}]}}\n")
    };
    let mut lines = line("88.118/first").into_bytes();
    lines.extend_from_slice(b"{\"identifier\":\"88.118/cut\",\"values\":[{\"type\"\n");
    lines.extend_from_slice(b"{\"identifier\":\"88.118/foreign\",\"values\":[],\"colour\":\"red\"}\n");
    lines.extend_from_slice(line("(01)09521141101200").as_bytes());
    lines.extend_from_slice(line("88.118/bell\\u0007").as_bytes());
    lines.extend_from_slice(b"{\"identifier\":\"88.118/\xff\",\"values\":[]}\n");
    lines.extend_from_slice(line(&format!("88.118/{}", "x".repeat(5 << 20))).as_bytes());
    lines.extend_from_slice(line(&format!("88.118/{}", "x".repeat(300))).as_bytes());
    lines.extend_from_slice(b"identifier,NAME\n\n");
    lines.extend_from_slice(line("88.118/last").as_bytes());
    let path = file(&files, "records.jsonl", &lines);
    let ran = node.run(&["import", &path]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(ran.out.starts_with("registered 2 records, 8 failed"), "{}", ran.out);
    let expected = [
        (2, "the line is cut off"),
        (3, "unknown field `colour`"),
        (4, "check digit"),
        (5, "control character U+0007"),
        (6, "not valid UTF-8"),
        (7, "longer than the limit of 4194304 bytes"),
        (8, "255"),
        (9, "expected value"),
    ];
    assert_eq!(ran.err.lines().count(), expected.len(), "{}", ran.err);
    for (number, rule) in expected {
        let failure = ran.err.lines().find(|line| line.starts_with(&format!("{path}:{number}: ")));
        let failure = failure.unwrap_or_else(|| panic!("line {number} is not named: {}", ran.err));
        assert!(failure.contains(rule) && failure.len() < 500, "{failure}");
    }
    for identifier in ["88.118/first", "88.118/last"] {
        assert_eq!(node.run(&["resolve", identifier]).exit, 0, "{identifier}");
    }
    // The same with a table, and with output for programs.
    let rows =
        "identifier,NAME,MASS\n88.118/c1,x,1\n88.118/c2,x\n88.118/c3,\"x\ny\",1\n88.118/c4,x,1,2\n88.118/c5,x,1\n";
    let path = file(&files, "records.csv", rows);
    let ran = node.run(&["import", &path, "--json"]);
    assert_eq!((ran.exit, ran.err.as_str()), (2, ""), "{ran:?}");
    let printed: Vec<Json> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [two, six, summary] = &printed[..] else { panic!("{}", ran.out) };
    assert_eq!((&two["line"], &two["status"], &two["file"]), (&3.into(), &"invalid".into(), &path.into()));
    assert_eq!((&six["line"], &six["reason"]), (&6.into(), &"the row has 4 fields; the header has 3".into()));
    assert_eq!((&summary["registered"], &summary["failed"]), (&3.into(), &2.into()));
    let other = file(&files, "other.csv", "id,NAME\n88.118/d,x\n");
    check(node.run(&["import", &other]), "a foreign table", 2, "registered 0 records", "it must be `identifier`");
    check(node.run(&["import", "/nonexistent.csv"]), "no file", 1, "", "cannot read /nonexistent.csv: No such file");
}

/// Records of an interrupted import, and the number of them that reach the node before the interruption.
const RECORDS: usize = 2_000;
const SENT: usize = 1_000;

#[test]
fn an_import_that_was_broken_off_is_continued() {
    let (data, files) = (directory(), directory());
    let records: Vec<String> = (0..RECORDS).map(|number| record(number, "x")).collect();
    let path = file(&files, "records.jsonl", records.concat());
    let last_sent = format!("88.118/{}", SENT - 1);
    // Part of a batch still waits in the importer at the interruption.
    let begin = |node: &Program| {
        let mut importer = Importer::start(node, &["--batch", "100"]);
        importer.write(&records[..SENT + 50]);
        wait_until("the batches arrive", || node.run(&["resolve", &last_sent]).exit == 0);
        importer
    };

    let node = Program::serve(data.path(), &[]);
    let mut importer = begin(&node);
    importer.child.kill().unwrap();
    importer.child.wait().unwrap();
    let ran = node.run(&["import", &path]);
    check(ran, "again", 0, "registered 1,000 records, resumed: 1,000 were already registered, in ", "");
    check(node.run(&["import", &path]), "a third time", 0, "registered 0 records, resumed: 2,000 were", "");
    node.kill();

    // The same when the node is gone.
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let mut importer = begin(&node);
    node.kill();
    importer.write(&records[SENT + 50..]);
    let ran = importer.finish();
    check(ran, "the node is gone", 1, "registered 1,000 records", "running the import again continues it");
    let node = Program::serve(data.path(), &[]);
    let ran = node.run(&["import", &path]);
    check(ran, "again", 0, "registered 1,000 records, resumed: 1,000 were already registered, in ", "");

    // Other content is no repetition.
    let other = file(&files, "other.jsonl", record(0, "y"));
    check(
        node.run(&["import", &other]),
        "other content",
        2,
        "registered 0 records, 1 failed",
        "`88.118/0` is already registered",
    );
}

fn record(number: usize, data: &str) -> String {
    format!("{{\"identifier\":\"88.118/{number}\",\"values\":[{{\"type\":\"N\",\"data\":\"{data}\"}}]}}\n")
}

/// An import that reads lines from the test.
struct Importer {
    child: Child,
}

impl Importer {
    fn start(node: &Program, arguments: &[&str]) -> Self {
        let mut command = touchmark();
        command.args(["import", "-", "--server", &node.grpc]).args(arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: child.unwrap() }
    }

    fn write(&mut self, lines: &[String]) {
        // The importer may have ended already; the checks at the end show its result.
        let _ = self.child.stdin.as_mut().unwrap().write_all(lines.concat().as_bytes());
    }

    fn finish(mut self) -> Ran {
        drop(self.child.stdin.take());
        self.child.wait_with_output().unwrap().into()
    }
}

#[test]
fn what_is_exported_is_the_same_after_an_import() {
    let (data, other, files) = (directory(), directory(), directory());
    let node = Program::serve(data.path(), &["--sample"]);
    let second = Program::serve(other.path(), &[]);
    assert_eq!(node.run(&["update", GEARBOX, "--value", "90:NOTE=again", "--add-edge", "replaces=88.118/old"]).exit, 0);
    assert_eq!(node.run(&["register", "88.118/private", "--value", "COST=9", "--permissions", "1100"]).exit, 0);
    assert_eq!(node.run(&["register", "88.118/gone", "--value", "NAME=x"]).exit, 0);
    assert_eq!(node.run(&["retire", "88.118/gone"]).exit, 0);
    let path = files.path().join("export.jsonl");
    let path = path.to_str().unwrap();
    assert_eq!(node.run(&["export", "--retired", "-o", path]).exit, 0);
    let active = node.run(&["export"]).out;
    assert!(active.contains("\"88.118/private\"") && !active.contains("\"88.118/gone\""));
    let exported = fs::read_to_string(path).unwrap();
    let gone = 1 + exported.lines().position(|line| line.contains("\"88.118/gone\"")).unwrap();
    let ran = second.run(&["import", path]);
    let failure = format!("{path}:{gone}: `88.118/gone`: status is `retired`; only active");
    check(ran, "the import", 2, "registered 2,866 records, 1 failed", &failure);
    let again = second.run(&["export"]);
    assert_eq!((again.exit, again.err.as_str()), (0, ""));
    let (mut expected, found) = (contents(&exported), contents(&again.out));
    expected.remove("88.118/gone").unwrap();
    assert_eq!(expected.len(), 2_866);
    for (identifier, content) in &expected {
        assert_eq!(found.get(identifier), Some(content), "{identifier}");
    }
    assert_eq!(found.len(), expected.len());
    let handles = second.run(&["export", "--scheme", "handle"]).out;
    let is_handle = |identifier: &&String| Identifier::parse(identifier).unwrap().scheme() == Scheme::Handle;
    assert_eq!(handles.lines().count(), expected.keys().filter(is_handle).count());
}

/// Exported records without the fields that depend on node and time.
fn contents(lines: &str) -> BTreeMap<String, Json> {
    lines
        .lines()
        .map(|line| {
            let mut record: Json = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            for key in ["version", "ledger_index", "time"] {
                fields.remove(key).unwrap();
            }
            for value in fields["values"].as_array_mut().unwrap() {
                value.as_object_mut().unwrap().remove("timestamp").unwrap();
            }
            (record["identifier"].as_str().unwrap().to_owned(), record)
        })
        .collect()
}

#[test]
fn a_stopped_directory_is_checked_and_its_index_made_again() {
    let (data, files) = (directory(), directory());
    let path = data.path().to_str().unwrap();
    let node = Program::serve(data.path(), &["--sample"]);
    let locked = format!("touchmark: {path} is in use by another process; one node at a time may have it open");
    check(run(["fsck", "--data", path]), "fsck while the node runs", 1, "", &locked);
    check(run(["rebuild", "--data", path]), "rebuild while the node runs", 1, "", &locked);
    let second = touchmark()
        .args(["serve", "--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--http", "off", "--data", path])
        .output();
    check(second.unwrap().into(), "a second node", 1, "", &locked);
    let taken = directory();
    let taken = taken.path().to_str().unwrap();
    let second = run(["serve", "--grpc", &node.grpc, "--dns", "127.0.0.1:0", "--http", "off", "--data", taken]);
    check(second, "the same port", 1, "", &format!("touchmark: cannot listen on {} (gRPC): ", node.grpc));
    assert_eq!(node.stop("TERM"), Some(0));

    let sound =
        format!("{path} is sound\n  ledger entries  {SAMPLE_RECORDS}, of which {SAMPLE_RECORDS} are signed for");
    check(run(["fsck", "--data", path]), "fsck", 0, &sound, "");
    check(run(["rebuild", "--data", path]), "rebuild", 0, "made the index again from 2,865 ledger entries", "");
    check(run(["fsck", "--data", path]), "fsck after rebuild", 0, &sound, "");
    let node = Program::serve(data.path(), &[]);
    assert_eq!(node.run(&["resolve", GEARBOX]).exit, 0);
    assert_eq!(node.stop("INT"), Some(0));

    // A flipped byte in each kind of file is found and named: the file, and in the ledger also the entry.
    let flipped = [
        ("ledger/segments/00000000000000000000.seg", 300_000, "00000000000000000000.seg"),
        ("ledger/tree/0", 4_000, "tree"),
        ("ledger/key", 20, "key"),
        ("index/db", 700, "db"),
        ("FORMAT", 3, "is of format"),
    ];
    for (name, offset, named) in flipped {
        flip(&data.path().join(name), offset);
        let ran = run(["fsck", "--data", path]);
        assert_eq!((ran.exit, ran.out.as_str()), (1, ""), "{name}: {ran:?}");
        let message = ran.err.lines().last().unwrap();
        assert!(message.starts_with("touchmark: ") && message.contains(named), "{name}: {}", ran.err);
        flip(&data.path().join(name), offset);
    }
    check(run(["fsck", "--data", path]), "fsck at the end", 0, &sound, "");
    let empty = files.path().to_str().unwrap();
    check(run(["fsck", "--data", empty]), "fsck of another directory", 1, "", "no FORMAT file");
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_printed_configuration_serves() {
    let (data, files) = (directory(), directory());
    let printed = run(["config", "print"]);
    assert_eq!((printed.exit, printed.err.as_str()), (0, ""));
    let mut config = printed.out.replace("zone = \"id.test.\"", "zone = \"parts.example.\"");
    writeln!(config, "# the end").unwrap();
    let path = file(&files, "touchmark.toml", &config);
    let node = Program::serve(data.path(), &["--config", &path]);
    assert!(node.introduction.contains("zone parts.example."), "{}", node.introduction);
    assert_eq!(node.run(&["register", "88.118/a", "--value", "N=x"]).exit, 0);
    let dns = node.dns.to_string();
    let ran = run(["resolve", "88.118/a", "--over", "dns", "--dns", &dns, "--zone", "parts.example"]);
    check(ran, "over DNS", 0, "88.118/a", "");
    drop(node);
    // Through a pipe, with nothing on the disk.
    let mut printing = touchmark().args(["config", "print"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut serving = touchmark();
    serving.args(["serve", "--config", "/dev/stdin", "--data"]).arg(data.path());
    let node = Program::spawn(serving.stdin(printing.stdout.take().unwrap()));
    assert_eq!(exit_code(&mut printing), Some(0));
    assert!(node.introduction.contains("zone id.test."), "{}", node.introduction);
    let wrong = file(&files, "wrong.toml", config.replace("zone = ", "zome = "));
    check(run(["serve", "--config", &wrong]), "an unknown key", 2, "", "line 10: unknown field `zome`");
}

#[test]
fn old_names_serve_with_a_warning() {
    let (data, files) = (directory(), directory());
    let old = file(&files, "old.toml", "zone = \"parts.example\"\ndns_identity = \"n\"\nmirrors = \"192.0.2.0/24\"\n");
    let mut command = touchmark();
    command.args(["serve", "--config", &old, "--data"]).arg(data.path()).env("TOUCHMARK_CACHE_BYTES_MAX", "2097152");
    let node = Program::spawn(&mut command);
    assert!(node.introduction.contains("zone parts.example."), "{}", node.introduction);
    let log = node.log();
    for warning in [
        "line 2, key `dns_identity` is an old name; the name is `identity` in [dns] now",
        "line 3, key `mirrors` is an old name; the name is `allow` in [mirror] now",
        "environment variable TOUCHMARK_CACHE_BYTES_MAX is an old name; the name is TOUCHMARK_CACHE_ANSWERS_BYTES_MAX now",
    ] {
        assert!(log.contains(warning), "{warning}\n{log}");
    }
    assert!(!log.contains("key `zone`"), "{log}");
    drop(node);
    // The printed file has today's names.
    let printed = run(["config", "print", "--config", &old]);
    assert_eq!((printed.exit, printed.err.lines().count()), (0, 2), "{printed:?}");
    for line in ["zone = \"parts.example\"\n", "identity = \"n\"\n", "allow = \"192.0.2.0/24\"\n"] {
        assert!(printed.out.contains(&format!("\n{line}")), "{line}{}", printed.out);
    }
    let new = file(&files, "new.toml", printed.out);
    let node = Program::serve(data.path(), &["--config", &new]);
    assert!(node.introduction.contains("zone parts.example."), "{}", node.introduction);
    assert!(!node.log().contains("old name"), "{}", node.log());
}

#[test]
fn a_file_of_another_version_is_refused() {
    let files = directory();
    for (text, named) in [
        ("version = 2\n", "line 1: version 2; this build reads version 1"),
        (
            "version = 1\n[dns]\nlistne = \"127.0.0.1:0\"\n",
            "line 3: unknown field `listne` in [dns]; the nearest is `listen`",
        ),
        ("[dns]\nlisten = \"localhost\"\n", "line 2, key `listen` in [dns]: `localhost` is not an address with a port"),
        ("[dns]\nidentity = \"a\"\n", "is the old form of"),
    ] {
        let path = file(&files, "touchmark.toml", text);
        let mut command = touchmark();
        if named == "is the old form of" {
            command.env("TOUCHMARK_DNS", "127.0.0.1:0").env("TOUCHMARK_DNS_LISTEN", "127.0.0.1:0");
        }
        let ran = command.args(["serve", "--config", &path]).output().unwrap().into();
        check(ran, text, 2, "", named);
    }
}

#[test]
fn encrypted_listeners_are_introduced() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    assert!(!node.introduction.contains("over "), "{}", node.introduction);
    drop(node);
    for form in [ENCRYPTED, ENCRYPTED_IN_TABLES] {
        introduced(data.path(), &file(&files, "touchmark.toml", form));
    }
}

fn introduced(data: &Path, config: &str) {
    let node = Program::serve(data, &["--config", config]);
    let [tls, https, quic] = ["TLS", "HTTPS", "QUIC"].map(|protocol| node.dns_over(protocol).unwrap());
    // The addresses in use, not the requested ones.
    assert!(std::net::TcpStream::connect(tls).is_ok() && std::net::TcpStream::connect(https).is_ok());
    assert_ne!(quic.port(), 0);
    assert!(node.introduction.contains(&format!("{https}, at /dns-query\n")), "{}", node.introduction);
}

#[test]
fn nobody_answers() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let sentence = format!("touchmark: cannot reach a node at {free} (");
    for arguments in ["resolve 88.118/a", "register 88.118/a", "import -", "export"] {
        let ran = run(words(arguments).into_iter().chain(["--server", &free]));
        check(ran, arguments, 1, "", &sentence);
    }
    let ran = run(["resolve", "88.118/a", "--over", "dns", "--dns", &free]);
    check(ran, "over DNS", 1, "", &sentence);
    check(run(["resolve", "88.118/a", "--server", "localhost"]), "no port", 2, "", "there is no port");
}

/// Splits a command line at its spaces.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Runs a line that the program printed for a shell.
fn shell(line: &str) -> Ran {
    Command::new("sh").args(["-c", line]).output().unwrap().into()
}

/// Checks exit code and output; an empty expectation requires empty output.
#[track_caller]
fn check(ran: Ran, what: &str, exit: i32, out: &str, err: &str) {
    let holds =
        |text: &str, expected: &str| if expected.is_empty() { text.is_empty() } else { text.contains(expected) };
    assert!(
        ran.exit == exit && holds(&ran.out, out) && holds(&ran.err, err),
        "{what}: exit {} (not {exit})\n--- out\n{}\n--- err\n{}\n--- wanted\n{out}\n{err}",
        ran.exit,
        ran.out,
        ran.err
    );
}

/// The one line of JSON that a command printed.
fn json(ran: &Ran) -> Json {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The same line with sorted keys, and without the fields that differ from run to run.
fn masked(ran: &Ran) -> String {
    fn mask(json: &mut Json) {
        match json {
            Json::Object(fields) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "checkpoint" | "leaf_hash" | "time" | "timestamp" | "key" | "root" | "verifier_key"
                        | "reason" => {
                            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{key}: {value}");
                            *value = "…".into();
                        }
                        // The number of publications depends on timing.
                        "output_leaves" => {
                            assert!(value.as_u64().is_some_and(|leaves| leaves > 0), "{key}: {value}");
                            *value = "…".into();
                        }
                        _ => mask(value),
                    }
                }
            }
            Json::Array(items) => items.iter_mut().for_each(mask),
            _ => {}
        }
    }
    let mut json = json(ran);
    mask(&mut json);
    json.to_string()
}
