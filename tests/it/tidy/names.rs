//! Rules about names: every parameter has one, and the name of a type belongs to one type.

use std::collections::BTreeMap;

use super::{Source, check, check_all, first_word, line_of, sources, words};

/// Names shared by several types, with the number of those types. The list may only shrink: a new type gets a name of
/// its own.
const SHARED: &[(&str, usize)] = &[
    ("Accepted", 2),
    ("Answer", 2),
    ("Answering", 2),
    ("Args", 27),
    ("Asked", 5),
    ("Audit", 2),
    ("Below", 2),
    ("Boarded", 2),
    ("Change", 2),
    ("Changes", 2),
    ("Checked", 2),
    ("Chunk", 2),
    ("Client", 2),
    ("Command", 4),
    ("Connection", 3),
    ("Content", 2),
    ("Cores", 2),
    ("Counted", 3),
    ("Counters", 2),
    ("Delegations", 2),
    ("Denied", 2),
    ("Desk", 2),
    ("Direction", 2),
    ("Document", 2),
    ("Ending", 3),
    ("Entry", 3),
    ("Erasures", 2),
    ("Event", 2),
    ("Exported", 2),
    ("Failure", 2),
    ("File", 2),
    ("Filter", 2),
    ("FirstProtocol", 2),
    ("Follow", 2),
    ("Found", 2),
    ("Group", 2),
    ("Held", 2),
    ("Holder", 2),
    ("Index", 2),
    ("Inner", 2),
    ("Kept", 3),
    ("Key", 4),
    ("Keys", 2),
    ("Known", 3),
    ("Landing", 2),
    ("Line", 2),
    ("LineEdge", 2),
    ("LineError", 2),
    ("LineFlow", 2),
    ("LineReference", 2),
    ("LineValue", 2),
    ("Lines", 2),
    ("Log", 2),
    ("Lookup", 2),
    ("Memory", 2),
    ("Names", 2),
    ("Node", 2),
    ("Opening", 2),
    ("Out", 2),
    ("Outcome", 2),
    ("Output", 3),
    ("Page", 2),
    ("Path", 2),
    ("Peer", 2),
    ("Pilot", 2),
    ("Place", 5),
    ("Plan", 2),
    ("Prepared", 2),
    ("Question", 3),
    ("RawRecord", 2),
    ("Reader", 3),
    ("Reading", 2),
    ("Reason", 2),
    ("Record", 3),
    ("RecordHead", 2),
    ("Reference", 2),
    ("Refusal", 3),
    ("Rejected", 2),
    ("Reply", 2),
    ("Report", 2),
    ("Role", 2),
    ("Rule", 2),
    ("Seat", 3),
    ("Seen", 2),
    ("Sender", 2),
    ("Sent", 2),
    ("Set", 2),
    ("Shape", 2),
    ("Shard", 4),
    ("Shared", 4),
    ("Shown", 2),
    ("Slots", 2),
    ("Source", 3),
    ("Span", 2),
    ("Stage", 2),
    ("Stamp", 3),
    ("Standing", 3),
    ("State", 3),
    ("Stop", 3),
    ("Stream", 4),
    ("Table", 3),
    ("Tail", 2),
    ("Tile", 2),
    ("Turn", 2),
    ("Value", 2),
    ("Walk", 3),
    ("Walks", 2),
    ("Watched", 2),
    ("Whole", 2),
    ("Witness", 3),
];

/// Position where the parameters of a function open, after the generics.
fn parameters_at(code: &str, function: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, character) in code[function..].char_indices() {
        match character {
            '<' => depth += 1,
            '>' if !code[..function + at].ends_with('-') => depth = depth.saturating_sub(1),
            '(' if depth == 0 => return Some(function + at),
            '{' | ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Parameters of a function, from its opening parenthesis on, with the offset of each.
fn parameters(code: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut start, mut found) = (0_usize, 1, Vec::new());
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' | '{' | '<' => depth += 1,
            // The `>` of an arrow is no bracket.
            '>' if code[..at].ends_with('-') => {}
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => {
                found.push((start, &code[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            found.push((start, &code[start..at]));
            break;
        }
    }
    found
}

/// Tuples that are destructured in the parameters of a function: each part is a hidden parameter.
fn tuple_parameters(source: &Source) -> Vec<String> {
    let code = &source.code;
    let mut wrong = Vec::new();
    for at in words(code, "fn") {
        let name = first_word(&code[at + 2..]);
        if name.is_empty() {
            continue;
        }
        let Some(open) = parameters_at(code, at) else { continue };
        let tuples =
            parameters(&code[open..]).into_iter().filter(|(_, parameter)| parameter.trim_start().starts_with('('));
        wrong.extend(tuples.map(|(offset, _)| {
            let line = line_of(code, open + offset);
            format!(
                "{}:{line}: a parameter of `{name}` is a tuple taken apart; give its parts names, or make it a struct",
                source.path
            )
        }));
    }
    wrong
}

/// Types that a file declares at its top level, with their lines.
fn declared(source: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in source.code.split_inclusive('\n') {
        let item = line.strip_prefix("pub").map_or(line, |rest| {
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest).trim_start()
        });
        for keyword in ["struct ", "enum ", "trait ", "type "] {
            if let Some(rest) = item.strip_prefix(keyword) {
                found.push((line_of(&source.code, start), first_word(rest)));
            }
        }
        start += line.len();
    }
    found
}

/// Shared names that are no exception, and exceptions with a wrong number of types.
fn shared_names(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources {
        for (line, name) in declared(source) {
            places.entry(name).or_default().push(format!("{}:{line}", source.path));
        }
    }
    let mut wrong = Vec::new();
    for (name, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        let allowed = exceptions.iter().find(|(known, _)| known == name).map_or(1, |(_, count)| *count);
        if places.len() > allowed {
            wrong.push(format!(
                "`{name}` is the name of {} types; at most {allowed}: {}",
                places.len(),
                places.join(", ")
            ));
        }
    }
    for (name, allowed) in exceptions {
        let count = places.get(name).map_or(0, Vec::len);
        if count < *allowed {
            wrong.push(format!("`{name}` is the name of {count} types now, and the list says {allowed}"));
        }
    }
    wrong
}

#[test]
fn parameters_are_no_tuples() {
    check_all(tuple_parameters);
}

#[test]
fn a_name_is_that_of_one_type() {
    let mut sources = sources("src");
    sources.retain(|source| !source.only_tests && !source.path.ends_with("/tests.rs"));
    check(shared_names(&sources, SHARED));
}

/// Every rule finds its violations, and accepts valid code.
#[test]
fn the_rules_of_names_can_fail() {
    for (row, (text, count)) in [
        ("fn f((a, b): (u8, u8)) {}", 1),
        ("fn f(a: u8, (b, c): (u8, u8), &(d, e): &(u8, u8)) {}", 1),
        ("fn f<T: Fn(u8) -> u8>(\n    self,\n    (a, b): (u8, u8),\n) {}", 1),
        ("fn f(\n    self,\n    (a, b): (u8, u8),\n) {}", 1),
        ("fn f(a: (u8, u8), b: impl Fn((u8, u8))) { let (c, d) = a; g(|(e, f)| e) }", 0),
        ("type F = fn((u8, u8)) -> u8;", 0),
        ("fn f(a: B<u8, (u8, u8)>, b: impl Fn() -> u8, c: u8) {}", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let found = tuple_parameters(&Source::new("src/a.rs", text));
        assert_eq!(found.len(), count, "row {row}: {text}\n{found:#?}");
    }
    let sources = [
        Source::new(
            "src/a.rs",
            "pub struct A;\nenum B { C }\npub(super) type D = A;\n/// struct E\nfn f() {\n    struct G;\n}\n",
        ),
        Source::new("src/b.rs", "struct A;\npub(crate) trait D {}\nstruct E;\nstruct G;\n"),
    ];
    let names: Vec<_> = declared(&sources[0]).into_iter().collect();
    assert_eq!(names, [(1, "A"), (2, "B"), (3, "D")]);
    assert_eq!(shared_names(&sources, &[]).len(), 2);
    assert_eq!(shared_names(&sources, &[("A", 2), ("D", 2)]), Vec::<String>::new());
    assert_eq!(shared_names(&sources, &[("A", 3), ("D", 2), ("E", 2)]).len(), 2);
}
