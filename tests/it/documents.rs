//! The documents for people are true: links resolve, commands and options exist, log lines are those of the code, and
//! generated documents are up to date.

mod constants;
mod limits;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{program::run, tidy};

/// Environment variable that makes the tests write generated documents instead of comparing them.
const WRITE: &str = "TOUCHMARK_WRITE_DOCS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The reference of the configuration is the output of `touchmark config reference`.
#[test]
fn the_configuration_is_what_the_keys_say() {
    let reference = run(["config", "reference"]);
    assert_eq!((reference.exit, reference.err.as_str()), (0, ""));
    check_generated("docs/configuration.md", &reference.out, "documents::the_configuration");
}

/// Compares a generated document with the file, or writes the file.
fn check_generated(path: &str, document: &str, test: &str) {
    let file = root().join(path);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, document).unwrap();
        return;
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let differs = written.lines().zip(document.lines()).find(|(written, new)| written != new);
    assert!(
        written == document,
        "{path} is not what the code says; write it again with `{WRITE}=1 cargo test --test it {test}`\nfirst difference: {differs:?}"
    );
}

/// Documents for people, by path from the root of the repository.
fn documents() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["", "docs", "data"] {
        for item in fs::read_dir(root().join(folder)).unwrap() {
            let path = item.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 8, "{:?}", found.keys());
    found
}

/// Anchors of a document's headings, as the common renderers make them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings =
        document.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let mut wrong = Vec::new();
    for (name, document) in &documents {
        for (_, link) in document.match_indices("](").map(|(at, _)| (at, &document[at + 2..])) {
            let target = link.split_once(')').map_or("", |(target, _)| target);
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(name).parent().unwrap();
            let mut file = PathBuf::new();
            for part in if path.is_empty() { Path::new(name).to_owned() } else { folder.join(path) }.components() {
                match part {
                    std::path::Component::ParentDir => _ = file.pop(),
                    part => file.push(part),
                }
            }
            let known = documents.get(&*file.to_string_lossy()).map(|document| anchors(document));
            let found = root().join(&file).exists()
                && (anchor.is_empty() || known.is_some_and(|anchors| anchors.contains(anchor)));
            if !found {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

/// Paths of the repository that a document names exist, so that no document is forgotten when a file moves.
#[test]
fn paths_exist() {
    const FOLDERS: [&str; 8] = [".ci/", "benches/", "data/", "docs/", "fuzz/", "proto/", "src/", "tests/"];
    let mut wrong = Vec::new();
    for (name, document) in documents() {
        let spans = document.split('`').skip(1).step_by(2);
        for path in spans.filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder))) {
            // Patterns for many paths, and paths that a command creates.
            let is_made = ["fuzz/artifacts", "fuzz/corpus"].contains(&path);
            let path = path.split_whitespace().next().unwrap_or_default();
            if !path.contains(['*', '<', '…']) && !is_made && !root().join(path).exists() {
                wrong.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "paths that are not there:\n{}", wrong.join("\n"));
}

/// Every `touchmark …` in a document: the words of the command, up to its end.
fn commands(document: &str) -> Vec<Vec<String>> {
    // A backslash at the end continues a line.
    let document = document.replace("\\\n", " ");
    let mut found = Vec::new();
    for (start, end) in [("$ touchmark ", "\n"), ("$ ./target/release/touchmark ", "\n"), ("`touchmark ", "`")] {
        for (at, _) in document.match_indices(start) {
            let rest = &document[at + start.len()..];
            let text = rest.split_once(end).map_or(rest, |(text, _)| text);
            let text = text.split([';', '#', '|', '\n']).next().unwrap_or_default();
            found.push(text.split_whitespace().map(str::to_owned).collect());
        }
    }
    found
}

#[test]
fn commands_and_options_exist() {
    let mut helps = BTreeMap::new();
    let mut help = |words: &[String]| -> Option<String> {
        let key = words.join(" ");
        let help = helps.entry(key).or_insert_with(|| {
            let ran = run(words.iter().map(String::as_str).chain(["--help"]));
            (ran.exit == 0).then_some(ran.out)
        });
        help.clone()
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, document) in documents() {
        for words in commands(&document) {
            let is_word = |word: &&String| word.starts_with(|c: char| c.is_ascii_lowercase());
            let mut path: Vec<String> = words.iter().take_while(is_word).take(2).cloned().collect();
            // `dnssec roll` is a command with a subcommand; `resolve bolt` is not.
            let text = match help(&path) {
                Some(text) if path.len() < 2 || text.contains(&format!("touchmark {}", path.join(" "))) => text,
                _ => {
                    path.truncate(1);
                    help(&path).unwrap_or_default()
                }
            };
            count += 1;
            if text.is_empty() {
                wrong.push(format!("{name}: no command {words:?}"));
            }
            for option in words.iter().filter(|word| word.starts_with('-')) {
                let option = option.split('=').next().unwrap_or_default();
                let known =
                    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | '`')).any(|word| word == option);
                if !known && option != "-" {
                    wrong.push(format!("{name}: no option {option} of {path:?}"));
                }
            }
        }
    }
    assert!(count > 60, "only {count} commands are in the documents");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Log lines that operators are told about are lines that the code writes.
#[test]
fn log_lines_are_those_of_the_code() {
    let document = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (_, section) = document.split_once("\n## Log lines and what to do\n").unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(line, _)| line));
    let code: Vec<_> = tidy::sources("src").into_iter().map(|source| joined(&source.text)).collect();
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() > 20, "{lines:?}");
    let missing: Vec<_> = lines.into_iter().filter(|line| !code.iter().any(|code| code.contains(line))).collect();
    assert!(missing.is_empty(), "docs/operating.md explains log lines that nothing writes: {missing:#?}");
}

/// Joins string literals that continue on the next line.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut parts = text.split("\\\n");
    joined += parts.next().unwrap_or_default();
    for part in parts {
        joined += part.trim_start();
    }
    joined
}
