//! Printed forms of the configuration: a commented file with the values in effect, and a reference of all keys.

use toml::Value;

use super::{
    Loaded, Machine, Sizes, VERSION,
    forms::AUTO,
    keys::{Key, Table},
    tables::tables,
};

/// Head of a printed file.
const FILE_HEAD: &str = "\
# Configuration of a touchmark node. All keys are optional. `touchmark serve --config FILE` reads a file, or TOUCHMARK_CONFIG names
# one; environment variables (TOUCHMARK_DNS_LISTEN for `listen` in [dns]) override the file, and arguments override both.
";

/// Head of the reference.
const REFERENCE_HEAD: &str = "\
# Configuration

Generated from the declaration of the keys in `src/config/tables.rs`, as `touchmark config reference` prints it:
`TOUCHMARK_WRITE_DOCS=1 cargo test --test it documents::the_configuration` writes this file again.

All keys are optional. Values come from four layers; for each key, a later layer overrides the earlier ones:

1. the defaults,
2. a file, given with `touchmark serve --config FILE` or by the environment variable `TOUCHMARK_CONFIG`,
3. the environment: `TOUCHMARK_`, the table and the key (`TOUCHMARK_DNS_LISTEN` is `listen` in `[dns]`); an empty variable counts as unset,
4. arguments of `touchmark serve`.

`touchmark config print` writes a commented file with the values in effect. With `--config FILE` these include the values of that file,
so that a file with old names is converted:

```console
$ touchmark config print > touchmark.toml
$ touchmark config print --config old.toml > touchmark.toml
$ touchmark serve --config touchmark.toml
```

A file is TOML. It may begin with its version, which is 1; another version is refused. An unknown key is refused with its line and with
the nearest known key. A list of values is one text with commas, or an array of texts. A switch is `\"on\"` or `\"off\"`, or a boolean.

In earlier builds every key stood above all tables, most of them under other names. The old names are still read, in files and in the
environment, each with a warning in the log that gives the current name. A key that is given under both names is refused.
";

/// The configuration as a file: every key with its documentation and the value in effect. A key without a value is
/// commented out.
pub(super) fn file(loaded: &Loaded, machine: &Machine) -> String {
    let sizes = Sizes::on(&loaded.config, machine);
    let mut out = format!("{FILE_HEAD}version = {VERSION}\n");
    for table in tables() {
        if !table.name.is_empty() {
            out += "\n";
            table.doc.iter().for_each(|line| out += &comment(line));
            out += &format!("[{}]\n", table.name);
        }
        for key in &table.keys {
            out += "\n";
            key.doc.iter().for_each(|line| out += &comment(line));
            if !key.says.is_empty() {
                out += &format!("# Values: {}.\n", key.says);
            }
            let value = loaded.merged.value(key.table, key.name);
            if value.and_then(Value::as_str) == Some(AUTO) {
                let chosen = sizes.chosen(key.table, key.name, machine).unwrap_or_default();
                out += &format!("# Here: {chosen}.\n");
            }
            out += &match (value, &key.example) {
                (Some(value), _) => format!("{} = {value}\n", key.name),
                (None, Some(example)) => format!("# {} = {example}\n", key.name),
                (None, None) => String::new(),
            };
        }
    }
    out
}

fn comment(line: &str) -> String {
    format!("#{line}\n")
}

/// Reference of all keys, in Markdown.
pub fn reference() -> String {
    let tables = tables();
    let mut out = REFERENCE_HEAD.to_owned();
    for table in &tables {
        out += &match table.name {
            "" => "\n## Above all tables\n".to_owned(),
            name => format!("\n## `[{name}]`\n\n{}\n", paragraph(table.doc)),
        };
        table.keys.iter().for_each(|key| out += &entry(key));
    }
    out += &old_names(&tables);
    out
}

fn paragraph(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}

fn entry(key: &Key) -> String {
    let mut out = format!("\n### `{}`\n\n{}\n\n", key.name, paragraph(key.doc));
    let mut fact = |name: &str, said: String| out += &format!("- {name}: {said}\n");
    if !key.says.is_empty() {
        fact("values", key.says.clone());
    }
    let code = |value: &Value| format!("`{value}`");
    match (&key.default, &key.example) {
        (Some(default), _) => fact("default", code(default)),
        (None, Some(example)) => fact("default", format!("none; for example {}", code(example))),
        (None, None) => fact("default", "none".into()),
    }
    fact("environment", format!("`{}`", key.variable()));
    if let Some(argument) = key.argument {
        fact("argument", format!("`{argument}`"));
    }
    out
}

/// Markdown table of old names.
fn old_names(tables: &[Table]) -> String {
    let mut out = "\n## Old names\n\n| old key | key | old variable | variable |\n|---|---|---|---|\n".to_owned();
    for key in tables.iter().flat_map(|table| &table.keys) {
        let Some(old) = key.old_name() else { continue };
        let variables = match key.old_variable() {
            Some(old) => format!("`{old}` | `{}`", key.variable()),
            None => format!("`{}` | the same", key.variable()),
        };
        out += &format!("| `{old}` | `{}` in `[{}]` | {variables} |\n", key.name, key.table);
    }
    out
}
