//! Rules about rooms, the top-level modules: rooms without I/O, forbidden arrows, and no circles among the files of a
//! room.

use std::collections::{BTreeMap, BTreeSet};

use super::{EDGES, Source, check, check_all, is_word, line_of, sources, words};

/// Rooms that do no I/O and ask no clock: times and bytes come in as arguments.
const PURE: [&str; 9] = ["codec", "id", "network", "record", "tlog", "entry", "proof", "cache", "rights"];

/// Modules below `std`, crates and types that no pure room names.
const IO_MODULES: [&str; 3] = ["fs", "process", "thread"];
const IO_CRATES: [&str; 1] = ["tokio"];
const IO_TYPES: [&str; 8] =
    ["Instant", "SystemTime", "TcpListener", "TcpStream", "UdpSocket", "UnixDatagram", "UnixListener", "UnixStream"];

/// Threads, loops and pauses, which `app` does not have because it only wires.
const NOT_WIRING: [&str; 3] = ["loop", "sleep", "while"];
const NOT_WIRING_PATHS: [&str; 4] = ["thread::Builder", "thread::scope", "thread::spawn", "tokio::spawn"];

/// Forbidden arrows, each from the files below a folder to a path of the crate, with the reason.
const NEVER: [(&str, &str, &str); 12] = [
    ("src/store/", "rights", "an index hides nothing; filtering is above it"),
    ("src/resolver/", "registry", "the two cores do not know each other"),
    ("src/registry/", "resolver", "the two cores do not know each other"),
    ("src/protocol/", "server", "codecs know no sockets"),
    ("src/protocol/", "client", "codecs know no sockets"),
    ("src/server/", "client", "a node asks others through the core"),
    ("src/client/", "server", "a node asks others through the core"),
    ("src/server/", "registry::sequencer", "a front end hands commands to the registry"),
    ("src/server/", "store::local", "a front end holds the desk, and no engine"),
    ("src/server/", "resolver::recursion", "a front end holds the desk, which decides who walks"),
    ("src/record/", "protocol", "records know no wire format"),
    ("src/ledger/", "store", "the ledger is the truth, and the index follows it"),
];

/// The types of places in local files, and the only files that may name them.
const LOCAL_TYPES: [&str; 2] = ["Position", "Mark"];
const LOCAL_FILES: [&str; 6] = [
    "src/ledger/",
    "src/store/local/",
    "src/store/index.rs",
    "src/store/memory.rs",
    "src/store/contract.rs",
    // The beginning of a ledger, from which a directory is replayed.
    "src/app/check.rs",
];

/// Files of one room that use each other in a circle. The list may only shrink.
const CIRCLES: &[&[&str]] = &[&["src/protocol/json/prefix.rs", "src/protocol/json/write.rs"]];

/// Paths of the crate that a file names, with their lines: `crate::` is left out, `super::` and groups are resolved.
fn named(source: &Source) -> Vec<(usize, Vec<String>)> {
    let module = module_of(&source.path);
    let mut found = Vec::new();
    for root in ["crate", "super"] {
        for at in words(&source.code, root) {
            let line = line_of(&source.code, at);
            let start = if root == "super" { parent(&module) } else { Some(Vec::new()) };
            let Some((start, rest)) = start.zip(source.code[at + root.len()..].strip_prefix("::")) else { continue };
            let mut paths = Vec::new();
            read_tree(rest, start, &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// Reads a path or a group of paths after `start`; returns the rest of the text.
fn read_tree<'a>(text: &'a str, start: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let (mut text, mut path) = (text, start);
    loop {
        text = text.trim_start();
        if let Some(group) = text.strip_prefix('{') {
            text = group;
            loop {
                text = text.trim_start_matches(|character: char| character.is_whitespace() || character == ',');
                if let Some(behind) = text.strip_prefix('}') {
                    return behind;
                }
                let before = text.len();
                text = read_tree(text, path.clone(), paths);
                if text.is_empty() || text.len() == before {
                    return "";
                }
            }
        }
        let end = text.find(|character| !is_word(character)).unwrap_or(text.len());
        let (word, behind) = text.split_at(end);
        match word {
            "" => {}
            "self" => {}
            "super" => path = parent(&path).unwrap_or_default(),
            _ => path.push(word.to_owned()),
        }
        match behind.strip_prefix("::") {
            Some(behind) => text = behind,
            None => {
                let renamed = behind.trim_start().strip_prefix("as ");
                let behind = renamed.map_or(behind, |renamed| renamed.trim_start_matches(is_word));
                paths.push(path);
                return behind;
            }
        }
    }
}

/// Path of a file's module: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').map(str::to_owned).collect()
}

fn parent(module: &[String]) -> Option<Vec<String>> {
    module.split_last().map(|(_, above)| above.to_vec())
}

fn pure_rooms_do_no_io(source: &Source) -> Vec<String> {
    let Some(room) = source.module().filter(|room| PURE.contains(room)) else { return Vec::new() };
    let say = |at: usize, what: &str| {
        format!("{}:{}: `{room}` does no I/O, and names {what}", source.path, line_of(&source.code, at))
    };
    let mut wrong = Vec::new();
    for at in words(&source.code, "std") {
        let Some(rest) = source.code[at + "std".len()..].strip_prefix("::") else { continue };
        let mut paths = Vec::new();
        read_tree(rest, Vec::new(), &mut paths);
        let is_io = |path: &Vec<String>| path.first().is_some_and(|first| IO_MODULES.contains(&first.as_str()));
        wrong.extend(paths.into_iter().filter(is_io).map(|path| say(at, &format!("std::{}", path.join("::")))));
    }
    for name in IO_CRATES {
        // Waiting for a value (`std::sync`) is no I/O.
        let waits = |at: &usize| source.code[at + name.len()..].starts_with("::sync::");
        wrong.extend(words(&source.code, name).filter(|at| !waits(at)).map(|at| say(at, name)));
    }
    for name in IO_TYPES {
        // Anywhere, also behind `::`.
        let alone =
            |at: &usize| !source.code[..*at].ends_with(is_word) && !source.code[at + name.len()..].starts_with(is_word);
        wrong.extend(source.code.match_indices(name).map(|(at, _)| at).filter(alone).map(|at| say(at, name)));
    }
    wrong
}

/// Rooms that a pure room uses must be pure, too.
fn pure_edges(edges: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (room, allowed) in edges.iter().filter(|(room, _)| PURE.contains(room)) {
        let impure = allowed.iter().filter(|used| !PURE.contains(used));
        wrong.extend(impure.map(|used| format!("`{room}` does no I/O, and may use `{used}`")));
    }
    wrong
}

fn app_only_wires(source: &Source) -> Vec<String> {
    if source.module() != Some("app") {
        return Vec::new();
    }
    let code = &source.code;
    let say = |at: usize, what: &str| {
        format!("{}:{}: `app` only wires; `{what}` is for a room below", source.path, line_of(code, at))
    };
    let alone = |at: usize, word: &str| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word);
    NOT_WIRING
        .into_iter()
        .chain(NOT_WIRING_PATHS)
        .flat_map(|word| code.match_indices(word).map(move |(at, _)| (at, word)))
        .filter(|(at, word)| alone(*at, word))
        .map(|(at, word)| say(at, word))
        .collect()
}

fn arrows_that_must_never_be(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, path) in named(source) {
        let path = path.join("::");
        for (from, to, why) in NEVER {
            let is_to = path.strip_prefix(to).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if is_to && source.path.starts_with(from) {
                wrong.push(format!("{}:{line}: `{path}` must never be used from {from}: {why}", source.path));
            }
        }
    }
    wrong
}

fn positions_stay_within_the_engine(source: &Source) -> Vec<String> {
    if LOCAL_FILES.iter().any(|file| source.path.starts_with(file)) {
        return Vec::new();
    }
    let alone = |at: &usize, name: &str| {
        !source.code[..*at].ends_with(is_word) && !source.code[at + name.len()..].starts_with(is_word)
    };
    let named = LOCAL_TYPES.into_iter().flat_map(|name| {
        source.code.match_indices(name).map(|(at, _)| at).filter(move |at| alone(at, name)).map(move |at| (at, name))
    });
    let say = |(at, name)| {
        format!(
            "{}:{}: `{name}` is a place in a local file: it stays within the engine",
            source.path,
            line_of(&source.code, at)
        )
    };
    named.map(say).collect()
}

/// Circles among the files of each room: groups of files that all use each other, directly or over others. A module
/// counts as one with the files below it, which may use each other.
fn circles(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let files: BTreeMap<Vec<String>, &Source> = sources
        .iter()
        .filter(|source| source.module().is_some())
        .map(|source| (module_of(&source.path), source))
        .collect();
    let mut uses: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = BTreeMap::new();
    for (module, source) in &files {
        for (_, path) in named(source) {
            // The deepest file on the path.
            let used = (1..=path.len()).rev().find_map(|len| files.get_key_value(&path[..len]));
            let Some((used, _)) = used.filter(|(used, _)| used[0] == module[0]) else { continue };
            if !used.starts_with(module) && !module.starts_with(used) {
                uses.entry(module).or_default().insert(used);
            }
        }
    }
    let reached = |from: &Vec<String>| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for used in uses.get(&module).into_iter().flatten() {
                if reached.insert((*used).clone()) {
                    next.push((*used).clone());
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> =
        uses.keys().map(|module| (*module, reached(module))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(**module)) {
        let back = |other: &&Vec<String>| reach.get(*other).is_some_and(|reached| reached.contains(*module));
        let circle: Vec<String> = reached.iter().filter(back).map(|other| files[other].path.clone()).collect();
        found.insert(circle);
    }
    found
}

/// Circles that are no exception, and exceptions that are no longer circles.
fn new_circles(sources: &[Source], exceptions: &[&[&str]]) -> Vec<String> {
    let found = circles(sources);
    let known: BTreeSet<Vec<String>> =
        exceptions.iter().map(|circle| circle.iter().map(|path| (*path).to_owned()).collect()).collect();
    let new = found.difference(&known).map(|circle| format!("these files use each other in a circle: {circle:?}"));
    let gone = known.difference(&found).map(|circle| format!("no circle any more, take it off the list: {circle:?}"));
    new.chain(gone).collect()
}

#[test]
fn pure_rooms_are_pure() {
    check_all(pure_rooms_do_no_io);
    check(pure_edges(&EDGES));
}

#[test]
fn app_holds_no_thread_and_no_loop() {
    check_all(app_only_wires);
}

#[test]
fn no_arrow_is_that_must_never_be() {
    check_all(arrows_that_must_never_be);
}

#[test]
fn no_position_leaves_the_engine() {
    check_all(positions_stay_within_the_engine);
}

#[test]
fn files_of_a_room_use_each_other_one_way() {
    let mut sources = sources("src");
    sources.retain(|source| !source.only_tests && !source.path.ends_with("/tests.rs"));
    check(new_circles(&sources, CIRCLES));
}

/// Every rule finds its violations, and accepts valid code.
#[test]
fn the_rules_of_rooms_can_fail() {
    type Rule = fn(&Source) -> Vec<String>;
    let table: [(Rule, &str, &str, usize); _] = [
        (pure_rooms_do_no_io, "src/tlog/note.rs", "use std::fs::File;", 1),
        (pure_rooms_do_no_io, "src/tlog/note.rs", "use std::{io, fs::{self, File}, thread};", 3),
        (pure_rooms_do_no_io, "src/entry/mod.rs", "fn f() { std::process::exit(1); std::time::Instant::now() }", 2),
        (pure_rooms_do_no_io, "src/id/mod.rs", "use std::time::{SystemTime, Duration}; async fn f() { tokio::x() }", 2),
        (pure_rooms_do_no_io, "src/record/mod.rs", "use std::net::{IpAddr, UdpSocket};", 1),
        (
            pure_rooms_do_no_io,
            "src/proof/mod.rs",
            "use std::{io::Write, net::IpAddr, sync::Mutex}; struct InstantX;",
            0,
        ),
        (pure_rooms_do_no_io, "src/cache/mod.rs", "#[cfg(test)]\nmod tests {\n use std::thread;\n}\n", 0),
        (pure_rooms_do_no_io, "src/cache/mod.rs", "use tokio::sync::watch;", 0),
        (pure_rooms_do_no_io, "src/cache/mod.rs", "use tokio::{sync::watch, net};", 1),
        (pure_rooms_do_no_io, "src/ledger/mod.rs", "use std::fs;", 0),
        (app_only_wires, "src/app/mod.rs", "fn f() { loop {} while true {} }", 2),
        (app_only_wires, "src/app/mod.rs", "fn f() { std::thread::spawn(g); tokio::time::sleep(x); }", 2),
        (
            app_only_wires,
            "src/app/mod.rs",
            "fn f() { for x in y {} sequencer.spawn(); tokio::task::spawn_blocking(g) }",
            0,
        ),
        (app_only_wires, "src/mirror/follow.rs", "fn f() { loop {} }", 0),
        (
            positions_stay_within_the_engine,
            "src/resolver/mod.rs",
            "use crate::ledger::{Ledger, Position}; f(Mark::START)",
            2,
        ),
        (
            positions_stay_within_the_engine,
            "src/resolver/mod.rs",
            "/// `Position`\nstruct PositionIndex; fn f(position: u8) {}",
            0,
        ),
        (positions_stay_within_the_engine, "src/store/local/engine.rs", "use crate::ledger::Position;", 0),
        (arrows_that_must_never_be, "src/store/mod.rs", "use crate::rights::View;", 1),
        (
            arrows_that_must_never_be,
            "src/server/http/mod.rs",
            "use crate::{registry::{Registry, sequencer::Round}};",
            1,
        ),
        (arrows_that_must_never_be, "src/server/http/mod.rs", "use crate::{registry::{Registry, sequencers}};", 0),
        (arrows_that_must_never_be, "src/resolver/a/b.rs", "use super::super::super::registry::Command;", 1),
        (arrows_that_must_never_be, "src/resolver/a/b.rs", "use super::{super::super::{registry as r}, c};", 1),
        (arrows_that_must_never_be, "src/resolver/a/b.rs", "use super::registry::Command;", 0),
        (arrows_that_must_never_be, "src/client/grpc.rs", "fn f() { crate::server::grpc::serve() }", 1),
        (arrows_that_must_never_be, "src/protocol/dns/mod.rs", "/// As `crate::server` does.\nfn f() {}", 0),
        (arrows_that_must_never_be, "src/ledger/mod.rs", "use crate::store::Store;", 1),
        (arrows_that_must_never_be, "src/vindex/mod.rs", "use crate::store::Store;", 0),
    ];
    for (row, (rule, path, text, count)) in table.into_iter().enumerate() {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.len(), count, "row {row}, {path}: {text:.200}\n{found:#?}");
    }
    assert_eq!(pure_edges(&[("tlog", &["ledger"]), ("entry", &["tlog"]), ("ledger", &["store"])]).len(), 1);
    let room =
        |files: &[(&str, &str)]| -> Vec<Source> { files.iter().map(|(path, text)| Source::new(path, text)).collect() };
    let pair = room(&[
        ("src/a/mod.rs", "mod b; mod c;"),
        ("src/a/b.rs", "use super::c::C;"),
        ("src/a/c.rs", "use super::{b::{B, X}};"),
    ]);
    assert_eq!(new_circles(&pair, &[]).len(), 1);
    assert_eq!(new_circles(&pair, &[&["src/a/b.rs", "src/a/c.rs"]]), Vec::<String>::new());
    let over_three = room(&[
        ("src/a/b.rs", "fn f() { super::c::f() }"),
        ("src/a/c.rs", "use crate::a::d::{self, D as Other};"),
        ("src/a/d/mod.rs", "use super::b;"),
        ("src/a/d/e.rs", "use super::D; use crate::z::Z;"),
        ("src/z.rs", "use crate::a::b;"),
    ]);
    let circle: &[&str] = &["src/a/b.rs", "src/a/c.rs", "src/a/d/mod.rs"];
    assert_eq!(new_circles(&over_three, &[circle]), Vec::<String>::new());
    let none = room(&[("src/a/mod.rs", "use self::b::B;"), ("src/a/b.rs", "use super::A; use super::c::C;")]);
    assert_eq!(new_circles(&none, &[]), Vec::<String>::new());
    assert_eq!(new_circles(&none, &[circle]).len(), 1);
}
