//! Rules about prose: the first line of a doc names its thing, or is an imperative.

use super::{Source, check_all};

/// Words with which no summary begins: it would be a clause, and the reader would look for the thing that it is about.
const CLAUSES: [&str; 7] = ["What", "Who", "Whoever", "Where", "How", "That", "Whether"];

fn summaries_are_no_clauses(source: &Source) -> Vec<String> {
    let (mut wrong, mut before) = (Vec::new(), false);
    for (number, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
        let first = doc.filter(|_| !before).and_then(|doc| doc.split(' ').next()).unwrap_or_default();
        if CLAUSES.contains(&first) {
            wrong.push(format!(
                "{}:{}: a summary is a noun phrase or an imperative, and does not begin with `{first}`",
                source.path,
                number + 1
            ));
        }
        before = line.starts_with("///") || line.starts_with("//!");
    }
    wrong
}

#[test]
fn summaries_name_their_things() {
    check_all(summaries_are_no_clauses);
}

#[test]
fn the_rule_of_prose_can_fail() {
    for (text, count) in [
        ("/// Where the newest entry lies.\nfn f() {}", 1),
        ("//! What it is.\n\n    /// Whether it is there.\n", 2),
        ("/// Position of an entry.\n/// Where it lies is its own affair.\n", 0),
        ("// Where the comment stands in a body.\nlet text = \"/// Where\";", 0),
    ] {
        let found = summaries_are_no_clauses(&Source::new("src/a.rs", text));
        assert_eq!(found.len(), count, "{text}\n{found:#?}");
    }
}
