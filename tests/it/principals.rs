//! A ledger with principals of kinds that this version does not create: today's programs read it.

use std::path::Path;

use touchmark::{
    entry::{Draft, EntryKind, PrefixStatement, Principal, Statement},
    id::{Identifier, Prefix},
    ledger::{DataDir, EdgesAfter, KeySource, LedgerError, Mark, Opening, Recovered},
    record::{Permissions, PrefixChange, Value, Values},
};

use crate::{
    program::{Program, run, wait_until},
    support::directory,
};

const MADE_BY: [&str; 3] = ["permit:ab12", "loopback", "x-509:CN=a,O=b"];

/// Writes a registration by each principal, and a prefix that one of them homes.
fn write_ledger(data: &Path) {
    let directory = DataDir::open_or_create(data).unwrap();
    let opening = Opening::new(&directory, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
    let replayed = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap();
    let Recovered { mut appender, .. } = replayed.sign().unwrap();
    let value = Value {
        index: 1,
        kind: "NAME".parse().unwrap(),
        data: b"x".to_vec().into(),
        ttl: 60,
        timestamp: 0,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    let values = Values::new(vec![value]).unwrap();
    let mut batch = appender.begin(1_763_820_000_000).unwrap();
    for (nth, by) in MADE_BY.iter().enumerate() {
        let (identifier, principal) = (Identifier::parse(&format!("88.1/{nth}")).unwrap(), by.parse().unwrap());
        let statement = Statement {
            kind: EntryKind::Create,
            identifier: &identifier,
            principal: &principal,
            values: &values,
            edges: &[],
            outputs: None,
            request: None,
            erasure: None,
        };
        batch.push(&Draft::new(&statement, [7; 32]).unwrap(), 1, None, EdgesAfter::None).unwrap();
    }
    batch.commit().unwrap();
    let (prefix, principal) = (Prefix::parse("88.1").unwrap(), Principal::parse(MADE_BY[0]).unwrap());
    let change = PrefixChange::Home;
    let statement = PrefixStatement { prefix: &prefix, change: &change, principal: &principal, request: None };
    let mut batch = appender.begin(1_763_820_000_001).unwrap();
    batch.push(&Draft::of_prefix(&statement, [7; 32]).unwrap(), 1, None, EdgesAfter::None).unwrap();
    batch.commit().unwrap();
    appender.sync_head().unwrap();
}

#[test]
fn a_ledger_of_tomorrow_is_read_today() {
    let (data, mirrored, files) = (directory(), directory(), directory());
    write_ledger(data.path());
    let path = data.path().to_str().unwrap();
    let primary = Program::serve(data.path(), &[]);
    let key = primary.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key"));
    let key = key.unwrap().trim().to_owned();
    let log = format!("http://{}/log", primary.http);
    let mirror = Program::serve(mirrored.path(), &["--mirror-of", &log, "--mirror-key", &key]);
    wait_until("the mirror has the prefix", || mirror.run(&["prefix", "list"]).out.contains("88.1"));
    for node in [&primary, &mirror] {
        for (nth, by) in MADE_BY.iter().enumerate() {
            let identifier = format!("88.1/{nth}");
            assert_eq!(node.run(&["resolve", &identifier]).exit, 0);
            let history = node.run(&["history", &identifier, "--json"]);
            assert!(history.exit == 0 && history.out.contains(&format!("\"by\":\"{by}\"")), "{history:?}");
        }
    }
    // The publisher shows the newest checkpoint once a second.
    let proof = files.path().join("proof").to_str().unwrap().to_owned();
    wait_until("there is a proof", || primary.run(&["prove", "88.1/0", "-o", &proof]).exit == 0);
    let verified = run(["verify", &proof, "--key", &key]);
    assert!(verified.exit == 0 && verified.out.contains("by permit:ab12"), "{verified:?}");
    let audited = run(["audit", &log, "--key", &key]);
    assert_eq!(audited.exit, 0, "{audited:?}");
    assert_eq!(mirror.stop("TERM"), Some(0));
    assert_eq!(primary.stop("TERM"), Some(0));
    for data in [path, mirrored.path().to_str().unwrap()] {
        for command in ["fsck", "rebuild", "fsck"] {
            let ran = run([command, "--data", data]);
            assert_eq!(ran.exit, 0, "{command} {data}: {ran:?}");
        }
        let ran = run(["audit", data]);
        assert_eq!(ran.exit, 0, "{data}: {ran:?}");
    }
}
