//! The shape of the sources: edges between rooms, files that may name foreign crates, lengths of files and functions,
//! headers. Every rule is shown to fail on a snippet that breaks it.

mod names;
mod prose;
mod rooms;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rooms that each top-level module may use; `src/lib.rs` has the same table in words.
const EDGES: [(&str, &[&str]); 25] = [
    ("codec", &[]),
    ("id", &[]),
    ("network", &["id"]),
    ("record", &["codec", "id"]),
    ("tlog", &[]),
    ("entry", &["codec", "id", "record", "tlog"]),
    ("proof", &["record", "tlog", "entry"]),
    ("ledger", &["codec", "id", "tlog", "entry"]),
    ("follow", &["ledger"]),
    ("witness", &["tlog", "ledger"]),
    ("store", &["codec", "id", "record", "entry", "ledger"]),
    ("vindex", &["codec", "id", "tlog", "entry", "ledger", "follow"]),
    ("audit", &["id", "tlog", "entry", "ledger", "vindex"]),
    ("cache", &[]),
    // `entry` for the principal of an entry.
    ("rights", &["network", "record", "entry"]),
    // `ledger`, `proof` and `vindex` for proofs that an entry is in the ledger, and that it is the newest.
    (
        "resolver",
        &[
            "codec", "id", "record", "tlog", "entry", "ledger", "follow", "proof", "store", "vindex", "cache",
            "network", "rights",
        ],
    ),
    ("registry", &["codec", "id", "record", "tlog", "entry", "ledger", "store"]),
    // `store` for the error of a failed read, which is part of the resolver's answer.
    (
        "protocol",
        &[
            "id", "record", "tlog", "entry", "ledger", "proof", "cache", "registry", "resolver", "rights", "store",
            "vindex",
        ],
    ),
    // `resolver` for the trait through which recursion asks other nodes.
    ("client", &["id", "record", "tlog", "protocol", "resolver"]),
    // `client` for sending checkpoints to witnesses.
    ("publish", &["tlog", "ledger", "client"]),
    // `registry` for an entry's changes of the index, `protocol` for the records of the stream, `client` for the
    // stream.
    ("mirror", &["id", "record", "tlog", "entry", "ledger", "store", "registry", "protocol", "client"]),
    (
        "server",
        &[
            "id", "network", "record", "tlog", "entry", "ledger", "follow", "witness", "store", "registry", "resolver",
            "rights", "protocol", "vindex", "mirror",
        ],
    ),
    // For names, networks and keys; bounds are its own, and `app` compares them with those of the rooms that it sets
    // up.
    ("config", &["id", "network", "tlog"]),
    // `client` for auditing the logs of others.
    (
        "app",
        &[
            "id", "network", "tlog", "entry", "ledger", "publish", "witness", "store", "registry", "resolver",
            "rights", "protocol", "server", "client", "config", "vindex", "audit", "mirror", "cache",
        ],
    ),
    // For limits and log lines; the work is done by `app` and `client`, and checks by `proof` and `vindex`.
    ("cli", &["id", "record", "tlog", "proof", "registry", "protocol", "server", "client", "config", "app", "vindex"]),
];

/// Files that may name each foreign crate. Crates for everyone (`bytes`, `thiserror`, ...) are not listed.
const FOREIGN: [(&str, &[&str]); 35] = [
    ("sled", &["src/store/local/blocks.rs"]),
    ("hickory_proto", &["src/server/dns/encrypted/https.rs"]),
    ("hickory_server", &["src/server/dns/encrypted/https.rs"]),
    ("async_trait", &["src/server/dns/encrypted/https.rs"]),
    ("rustls", &["src/server/tls.rs", "src/server/dns/encrypted/quic.rs"]),
    ("tokio_rustls", &["src/server/accept.rs", "src/server/dns/encrypted.rs"]),
    ("quinn", &["src/server/dns/encrypted/quic.rs"]),
    ("rcgen", &["src/server/tls.rs"]),
    ("nix", &["src/server/datagram/", "src/server/http/listener.rs"]),
    ("axum", &["src/server/http/"]),
    ("prometheus_client", &["src/server/metrics.rs"]),
    ("rust_decimal", &["src/record/", "src/resolver/"]),
    ("ureq", &["src/client/"]),
    ("tonic", &["src/server/grpc/", "src/client/grpc.rs"]),
    ("tonic_prost", &["src/server/grpc/", "src/client/grpc.rs"]),
    ("tonic_health", &["src/server/grpc/"]),
    ("tonic_reflection", &["src/server/grpc/"]),
    ("futures_util", &["src/server/grpc/", "src/server/http/", "src/resolver/recursion/contest.rs"]),
    (
        "hyper",
        &[
            "src/server/activity.rs",
            "src/server/grpc/calls.rs",
            "src/server/http/listener.rs",
            "src/server/dns/encrypted/https.rs",
        ],
    ),
    ("hyper_util", &["src/server/http/listener.rs", "src/server/dns/encrypted/https.rs"]),
    // Inner nodes of tiles need a cache without owners to charge and without stale entries, for which `cache` is not
    // made. The same holds for connections to other nodes.
    ("lru", &["src/cache/", "src/ledger/tree/proofs.rs", "src/client/upstream.rs"]),
    ("signed_note", &["src/tlog/"]),
    ("ed25519_dalek", &["src/tlog/"]),
    ("ring", &["src/protocol/dns/dnssec/keys.rs"]),
    ("tlog_tiles", &["src/tlog/"]),
    ("hmac", &["src/entry/opening.rs"]),
    ("crc32c", &["src/ledger/", "src/store/local/"]),
    ("clap", &["src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("tracing_subscriber", &["src/cli/", "src/config/forms.rs"]),
    ("toml", &["src/config/"]),
    ("serde_json", &["src/protocol/json/", "src/cli/"]),
    ("siphasher", &["src/protocol/dns/cookie.rs", "src/server/datagram/rate.rs"]),
    ("jiff", &["src/record/edge.rs", "src/protocol/json/"]),
    ("mimalloc", &["src/main.rs"]),
];

/// Front ends below `src/server/`.
const FRONT_ENDS: [&str; 3] = ["dns", "grpc", "http"];

/// Maximum length of a file without its tests, and of a function, in lines.
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 90;
/// Maximum distance of an `#[expect]` above its `unwrap`, in lines.
const EXPECT_LINES: usize = 8;

/// A source file, as it is and as the compiler sees it outside tests.
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text without comments, literals and test modules; line numbers are kept.
    pub code: String,
    /// True if the whole file is compiled for tests only.
    pub only_tests: bool,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&blank(text));
        Self { path: path.into(), text: text.into(), code, only_tests: false }
    }

    /// Top-level module of the file; `None` for the roots of the crate.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        (!matches!(module, "lib" | "main")).then_some(module)
    }
}

/// Replaces comments and literals by spaces, and keeps the lines.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_len(rest),
            'r' if !code.ends_with(|before: char| before.is_alphanumeric() || before == '_') => raw_string_len(rest),
            '\'' => char_len(rest),
            _ => 0,
        };
        let taken = &rest[..len.max(first.len_utf8())];
        match len {
            0 => code.push(first),
            _ => code.extend(taken.chars().map(|character| if character == '\n' { '\n' } else { ' ' })),
        }
        rest = &rest[taken.len()..];
    }
    code
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            _ => escaped = character == '\\' && !escaped,
        }
    }
    text.len()
}

/// Length of a raw string; 0 if it is none.
fn raw_string_len(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|&byte| byte == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// Length of a character literal; 0 for a lifetime.
fn char_len(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |end| 3 + end + 1),
        Some(_) => characters.next().filter(|(_, end)| *end == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Blanks modules and other items that are compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut left = code.to_owned();
    while let Some(start) = left.find("#[cfg(test)]") {
        let behind = left[start..].find(['{', ';']).map_or(left.len(), |at| start + at);
        let end = if left[behind..].starts_with('{') { block_end(&left, behind) } else { behind + 1 };
        let end = end.min(left.len());
        let blanked: String = left[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        left.replace_range(start..end, &blanked);
    }
    left
}

/// End of the block that opens at `open`.
pub fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, character) in code[open..].char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Positions of `word` as a whole word, not behind `::`.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let alone = !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word);
        alone && !code[..at].ends_with("::")
    })
}

fn first_word(code: &str) -> &str {
    let code = code.trim_start();
    &code[..code.find(|character| !is_word(character)).unwrap_or(code.len())]
}

/// Top-level modules that a file names, with their lines.
fn used_modules(code: &str) -> Vec<(usize, String)> {
    used_below(code, words(code, "crate").map(|at| at + "crate".len()))
}

/// First names below the paths that end at these positions, with their lines.
fn used_below(code: &str, ends: impl Iterator<Item = usize>) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for at in ends {
        let Some(path) = code[at..].strip_prefix("::") else { continue };
        let line = line_of(code, at);
        match path.strip_prefix('{') {
            None => used.push((line, first_word(path).to_owned())),
            Some(group) => {
                let (mut depth, mut start) = (0, true);
                for (at, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && is_word(character) => {
                            used.push((line, first_word(&group[at..]).to_owned()));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used
}

fn edges(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: the module `{module}` is in no row of the table of edges", source.path)];
    };
    let wrong = |(_, used): &(usize, String)| used != module && !allowed.contains(&used.as_str());
    let say = |(line, used)| format!("{}:{line}: `{module}` may not use `{used}`", source.path);
    used_modules(&source.code).into_iter().filter(wrong).map(say).collect()
}

/// One front end does not use another.
fn front_ends(source: &Source) -> Vec<String> {
    let Some(own) = FRONT_ENDS.iter().find(|name| source.path.starts_with(&format!("src/server/{name}/"))) else {
        return Vec::new();
    };
    let code = &source.code;
    let ends = code.match_indices("server").map(|(at, word)| (at, at + word.len()));
    let ends = ends.filter(|(at, _)| !code[..*at].ends_with(is_word)).map(|(_, end)| end);
    let used = used_below(code, ends).into_iter();
    let others = used.filter(|(_, used)| used != own && FRONT_ENDS.contains(&used.as_str()));
    others.map(|(line, other)| format!("{}:{line}: the front end `{own}` uses `{other}`", source.path)).collect()
}

fn foreign(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, files) in FOREIGN {
        if files.iter().any(|file| source.path.starts_with(file)) {
            continue;
        }
        let named = words(&source.code, name).filter(|at| {
            let (before, behind) = (&source.code[..*at], &source.code[at + name.len()..]);
            behind.starts_with("::") || (before.ends_with("use ") && behind.starts_with(';'))
        });
        wrong.extend(
            named.map(|at| {
                format!("{}:{}: `{name}` is named outside {files:?}", source.path, line_of(&source.code, at))
            }),
        );
    }
    wrong
}

fn header(source: &Source) -> Vec<String> {
    match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![format!("{}:1: does not begin with a `//!` header", source.path)],
    }
}

fn unfinished(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for word in ["TODO", "FIXME", "XXX", "todo", "unimplemented"] {
        let found = words(&source.text, word);
        let found =
            found.filter(|at| word.starts_with(char::is_uppercase) || source.text[at + word.len()..].starts_with('!'));
        wrong.extend(found.map(|at| format!("{}:{}: {word}", source.path, line_of(&source.text, at))));
    }
    wrong
}

fn unwraps(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut wrong = Vec::new();
    for call in [".unwrap()", ".expect("] {
        for (at, _) in source.code.match_indices(call) {
            let line = line_of(&source.code, at);
            let above = lines[line.saturating_sub(EXPECT_LINES + 1)..line].join("\n");
            if !(above.contains("#[expect(clippy::") && above.contains("reason")) {
                wrong.push(format!("{}:{line}: `{call}` without an #[expect] that says why it holds", source.path));
            }
        }
    }
    wrong
}

fn lengths(source: &Source) -> Vec<String> {
    let code = source.code.trim_end();
    let lines = code.matches('\n').count() + 1;
    let mut wrong = Vec::new();
    if lines > FILE_LINES_MAX {
        wrong.push(format!("{}: {lines} lines without tests; at most {FILE_LINES_MAX}", source.path));
    }
    for at in words(code, "fn") {
        let name = first_word(&code[at + 2..]);
        let Some(open) = code[at..].find(['{', ';']).map(|open| at + open) else { continue };
        if name.is_empty() || code[open..].starts_with(';') {
            continue;
        }
        let lines = code[at..block_end(code, open)].matches('\n').count() + 1;
        if lines > FUNCTION_LINES_MAX {
            let line = line_of(code, at);
            wrong.push(format!("{}:{line}: `{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}", source.path));
        }
    }
    wrong
}

/// Paths that exist only on one machine.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let roots = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    for (root, at) in roots.iter().flat_map(|root| text.match_indices(root).map(move |(at, _)| (root, at))) {
        if !text[..at].ends_with(|before: char| before.is_alphanumeric() || "./-_:~".contains(before)) {
            wrong.push(format!("{path}:{}: names a path of one machine, {root}", line_of(text, at)));
        }
    }
    wrong
}

/// Dependencies of a manifest: section, name, and true if a comment stands on the line or above it.
fn dependencies(manifest: &str) -> Vec<(String, String, bool)> {
    let (mut found, mut section, mut before) = (Vec::new(), String::new(), "");
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| section.ends_with("dependencies")) {
            found.push((section.clone(), name.to_owned(), before.starts_with("# ") || line.contains(" # ")));
        }
        before = line;
    }
    found
}

fn uncommented(manifest: &str) -> Vec<String> {
    let bare = dependencies(manifest).into_iter().filter(|(_, _, commented)| !commented);
    bare.map(|(_, name, _)| format!("Cargo.toml: no comment says why `{name}` is there")).collect()
}

/// Dependencies that none of their sources names.
fn unused(manifest: &str, sources: impl Fn(&str) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    for (section, name, _) in dependencies(manifest) {
        let code = sources(&section);
        let word = name.replace('-', "_");
        if !words(&code, &word).any(|_| true) {
            wrong.push(format!("Cargo.toml: nothing names `{name}`, one of the {section}"));
        }
    }
    wrong
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(items) = fs::read_dir(directory) else { return found };
    for item in items {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(&*name, "target" | ".git") {
            found.extend(files(&path));
        } else if path.is_file() && name != ".git" {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Every Rust file below a directory of the repository.
pub fn sources(directory: &str) -> Vec<Source> {
    let files = files(&root().join(directory));
    let rust = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut sources: Vec<_> =
        rust.map(|path| Source::new(&relative(path), &fs::read_to_string(path).unwrap())).collect();
    let mut only_tests = BTreeSet::new();
    for source in &sources {
        let code = blank(&source.text);
        for (at, _) in code.match_indices("#[cfg(test)]") {
            let item = code[at + "#[cfg(test)]".len()..].trim_start();
            let item = item.strip_prefix("pub(crate) ").unwrap_or(item);
            if let Some(name) = item.strip_prefix("mod ").filter(|name| name[first_word(name).len()..].starts_with(';'))
            {
                let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
                only_tests.insert(format!("{stem}/{}.rs", first_word(name)));
            }
        }
    }
    for source in &mut sources {
        source.only_tests = only_tests.contains(&source.path);
    }
    assert!(sources.len() > 3, "{directory} holds no sources");
    sources
}

fn check(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Runs a rule over the files of `src` that are not tests.
fn check_all(rule: fn(&Source) -> Vec<String>) {
    check(sources("src").iter().filter(|source| !source.only_tests).flat_map(rule).collect());
}

#[test]
fn one_front_end_knows_nothing_of_another() {
    check_all(front_ends);
}

#[test]
fn modules_use_only_what_they_may() {
    check_all(edges);
}

#[test]
fn foreign_crates_are_named_in_few_files() {
    check_all(foreign);
}

#[test]
fn every_file_says_what_it_is() {
    for directory in ["src", "tests", "benches", "proto"] {
        let rust =
            files(&root().join(directory)).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
        check(
            rust.flat_map(|path| header(&Source::new(&relative(&path), &fs::read_to_string(&path).unwrap()))).collect(),
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    let all = ["src", "benches", "tests"].into_iter().flat_map(sources);
    check(all.filter(|source| source.path != "tests/it/tidy.rs").flat_map(|source| unfinished(&source)).collect());
}

#[test]
fn nothing_unwraps() {
    check_all(unwraps);
}

#[test]
fn files_and_functions_are_short() {
    check_all(lengths);
}

#[test]
fn what_every_project_has_is_there() {
    let missing = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "LICENSE",
        "Cargo.lock",
        "deny.toml",
        ".ci/run",
        ".ci/fast",
        "docs/operating.md",
        "docs/limits.md",
        "fuzz/Cargo.toml",
    ];
    let missing = missing.into_iter().filter(|name| !root().join(name).is_file());
    check(missing.map(|name| format!("{name} is missing")).collect());
}

#[test]
fn no_file_knows_a_machine() {
    let text = files(root()).into_iter().filter_map(|path| Some((relative(&path), fs::read_to_string(&path).ok()?)));
    check(text.flat_map(|(path, text)| machine_paths(&path, &text)).collect());
}

#[test]
fn dependencies_are_used_and_say_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    check(uncommented(&manifest));
    let code = |directories: &[&str]| -> String {
        let files = directories.iter().flat_map(|directory| files(&root().join(directory)));
        files.filter_map(|path| Some(blank(&fs::read_to_string(path).ok()?))).collect::<Vec<_>>().join("\n")
    };
    let (main, build) = (code(&["src"]), code(&["proto"]));
    let dev = code(&["src", "tests", "benches"]);
    check(unused(&manifest, |section| match section {
        "dependencies" => main.clone(),
        "build-dependencies" => build.clone(),
        _ => dev.clone(),
    }));
}

/// Every rule finds its violations, and accepts valid code.
#[test]
fn the_rules_can_fail() {
    type Rule = fn(&Source) -> Vec<String>;
    let table: [(Rule, &str, &str, usize); _] = [
        (edges, "src/id/mod.rs", "use crate::record::Value;", 1),
        (edges, "src/store/mod.rs", "use crate::{id::Key, server::{a, b::{c}}, resolver};", 2),
        (edges, "src/store/mod.rs", "use crate::{id::{Key, app}, record, ledger::Position};", 0),
        (edges, "src/server/dns.rs", "fn f() { crate::client::dns::resolve() }", 1),
        (edges, "src/client/grpc.rs", "use crate::server::grpc;", 1),
        (edges, "src/cache/mod.rs", "/// As `crate::store` does.\nfn f() { \"crate::store\"; }", 0),
        (edges, "src/cache/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::store;\n}\n", 0),
        (edges, "src/cache/mod.rs", "#[cfg(test)]\nmod tests {\n}\nuse crate::store;", 1),
        (edges, "src/cache.rs", "pub(crate) fn f() {}", 0),
        (edges, "src/new/mod.rs", "", 1),
        (edges, "src/lib.rs", "use crate::cli;", 0),
        (front_ends, "src/server/http/a.rs", "use crate::server::dns::network;", 1),
        (front_ends, "src/server/http/a.rs", "use crate::{id, server::{http::A, network::B, dns::{C, D}}};", 1),
        (front_ends, "src/server/http/a.rs", "use crate::server::{tls, http::A};", 0),
        (front_ends, "src/server/tls.rs", "use crate::server::dns;", 0),
        (foreign, "src/store/mod.rs", "use sled::Db;", 1),
        (foreign, "src/store/local/blocks.rs", "use sled::Db;", 0),
        (foreign, "src/store/mod.rs", "//! sled::Db is not used here\nstruct A { sled: u8 }", 0),
        (foreign, "src/resolver/mod.rs", "fn f() -> tonic::Status { tonic_health::x() }", 2),
        (foreign, "src/server/dns/encrypted/https.rs", "use hyper::Request; use tonic;", 1),
        (header, "src/a.rs", "// A comment.\n", 1),
        (header, "src/a.rs", "//! What it is.\n", 0),
        (unfinished, "src/a.rs", "// TODO: later\nfn f() { todo!() }", 2),
        (unfinished, "src/a.rs", "fn f() { unimplemented!(\"x\") } // FIXME XXX", 3),
        (unfinished, "src/a.rs", "let todo = 1; // todo and TODOS", 0),
        (unwraps, "src/a.rs", "fn f() { a.unwrap(); b.expect(\"c\") }", 2),
        (unwraps, "src/a.rs", "#[expect(clippy::unwrap_used, reason = \"x\")]\nfn f() { a.unwrap() }", 0),
        (unwraps, "src/a.rs", "// a.unwrap()\nfn f() { a.unwrap_or(1); '\"'; \".unwrap()\"; r#\".expect(\"#; }", 0),
        (unwraps, "src/a.rs", "#[cfg(test)]\nmod tests { fn f() { a.unwrap() } }", 0),
        (unwraps, "src/a.rs", "fn f<'a>(x: &'a str) { let c = '\\''; x.unwrap() }", 1),
        (lengths, "src/a.rs", &"x\n".repeat(501), 1),
        (lengths, "src/a.rs", &"x\n".repeat(500), 0),
        (lengths, "src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(600)), 0),
        (lengths, "src/a.rs", &format!("fn f() {{\n{}}}\n", "x;\n".repeat(89)), 1),
        (lengths, "src/a.rs", &format!("fn f() {{\n{}}}\n", "x;\n".repeat(88)), 0),
        (lengths, "src/a.rs", &format!("trait A {{\nfn f();\n{}}}\n", "x;\n".repeat(99)), 0),
        (lengths, "src/a.rs", &format!("fn f() {{ '{{'; \"{{\"; }}\n{}", "x;\n".repeat(99)), 0),
        (lengths, "src/a.rs", &format!("fn f(a: fn()) -> u8\nwhere\nA: B {{\n{}}}", "x {}\n".repeat(90)), 1),
    ];
    for (row, (rule, path, text, count)) in table.into_iter().enumerate() {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.len(), count, "row {row}, {path}: {text:.200}\n{found:#?}");
    }
    let path = concat!("see /wo", "rk/a, https://a.example/wo", "rk/b, frame/wo", "rk/c");
    assert_eq!(machine_paths("a", path).len(), 1);
    let manifest =
        "[dependencies]\n# Why.\na = \"1\"\nb-c = \"1\"\n[features]\nd = \"1\"\n[dev-dependencies]\ne = 1 # why\n";
    assert_eq!(uncommented(manifest).len(), 1);
    assert_eq!(unused(manifest, |_| "use a; use b_c::d;".into()).len(), 1);
}
