//! Configuration files: TOML with a version; every name is looked up among the declared keys.
//!
//! An unknown name is rejected with its line and a suggestion. Old names, from before there were tables, stand above
//! all tables and are still read. Some of them are now names of tables (`dns = "127.0.0.1:53"`); the type of the value
//! tells which is meant.

use std::{fs, path::Path};

use toml::{
    Value,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Layer, Meant, NameKind, Place, UnknownName, VERSION,
    keys::{Key, Table, shown},
    tables::tables,
};

/// Name of the key with the version of the file.
const VERSION_KEY: &str = "version";

impl Layer {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`], [`ConfigError::Syntax`], [`ConfigError::Version`], [`ConfigError::Unknown`],
    /// [`ConfigError::Twice`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::from_toml(path, &text)
    }

    /// Parses the text of a configuration file.
    ///
    /// # Errors
    ///
    /// As for [`Layer::from_file`], except [`ConfigError::Read`].
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file = File { path, text, tables: tables() };
        // Parsed twice: for the position of every name, and for the values.
        let spans = DeTable::parse(text).map_err(|error| file.syntax(&error))?;
        let values: toml::Table = toml::from_str(text).map_err(|error| file.syntax(&error))?;
        file.layer(&file.names(spans.get_ref()), &values)
    }
}

/// A file being read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    tables: Vec<Table>,
}

/// A name in a file, of a key or a table.
struct Name<'a> {
    text: &'a str,
    line: usize,
    /// Names in the table, if the name is that of a table.
    below: Option<Vec<Name<'a>>>,
}

impl File<'_> {
    /// Names in a table, in the order of the file.
    fn names<'t>(&self, table: &'t DeTable<'_>) -> Vec<Name<'t>> {
        let mut names: Vec<Name<'t>> = table
            .iter()
            .map(|(name, value)| Name {
                text: name.get_ref(),
                line: self.line(name.span().start),
                below: match value.get_ref() {
                    DeValue::Table(table) => Some(self.names(table)),
                    _ => None,
                },
            })
            .collect();
        names.sort_by_key(|name| name.line);
        names
    }

    /// Line of a byte offset, from 1.
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or_default().matches('\n').count() + 1
    }

    fn place(&self, name: &Name<'_>, key: String) -> Place {
        Place::File { path: self.path.into(), line: name.line, key }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.tables.iter().flat_map(|table| &table.keys)
    }

    /// Key with a name in a table; an empty `table` is above all tables.
    fn key(&self, table: &str, name: &str) -> Option<&Key> {
        self.keys().find(|key| key.table == table && key.name == name)
    }

    fn layer(&self, names: &[Name<'_>], values: &toml::Table) -> Result<Layer, ConfigError> {
        let mut layer = Layer::default();
        let mut old = Vec::new();
        for name in names {
            let Some(value) = values.get(name.text) else { continue };
            if name.text == VERSION_KEY {
                self.check_version(name, value)?;
            } else if let Some(key) = self.key("", name.text) {
                layer.put(key, value.clone(), self.place(name, key.shown()));
            } else if let (Some(below), Value::Table(values)) = (&name.below, value) {
                let table = self.tables.iter().skip(1).find(|table| table.name == name.text);
                let table = table.ok_or_else(|| self.unknown(name, NameKind::Table))?;
                self.read_table(&mut layer, table, below, values)?;
            } else {
                let key = self.keys().find(|key| key.old_name() == Some(name.text));
                old.push((key.ok_or_else(|| self.unknown(name, NameKind::Key("")))?, name, value));
            }
        }
        // Old names come last, so that a key under both names is found in any order.
        for (key, name, value) in old {
            layer.put_old(key, value.clone(), self.place(name, shown("", name.text)), key.shown())?;
        }
        Ok(layer)
    }

    fn read_table(
        &self,
        layer: &mut Layer,
        table: &Table,
        names: &[Name<'_>],
        values: &toml::Table,
    ) -> Result<(), ConfigError> {
        for name in names {
            let Some(value) = values.get(name.text) else { continue };
            let key = self.key(table.name, name.text);
            let key = key.ok_or_else(|| self.unknown(name, NameKind::Key(table.name)))?;
            layer.put(key, value.clone(), self.place(name, key.shown()));
        }
        Ok(())
    }

    fn check_version(&self, name: &Name<'_>, value: &Value) -> Result<(), ConfigError> {
        match value.as_integer() {
            Some(VERSION) => Ok(()),
            _ => Err(ConfigError::Version { path: self.path.into(), line: name.line, found: value.to_string() }),
        }
    }

    /// Error of a text that is not TOML.
    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        // The library's display quotes the line; the sentence alone is enough.
        let mut reason = error.message().trim().replace('\n', ", ");
        // An old name can clash with a table: `dns = "…"` above a table [dns].
        let twice = self.text.get(span.clone()).unwrap_or_default();
        let is_table = self.tables.iter().any(|table| !table.name.is_empty() && table.name == twice);
        if let Some(key) = self.keys().find(|key| is_table && key.old_name() == Some(twice)) {
            reason += &format!("; `{twice} = …` is the old form of {}", key.shown());
        }
        ConfigError::Syntax { path: self.path.into(), line: self.line(span.start), reason }
    }

    /// Error of an unknown name.
    fn unknown(&self, name: &Name<'_>, kind: NameKind) -> ConfigError {
        let meant = match kind {
            NameKind::Table => self.meant_table(name.text),
            NameKind::Key(table) => self.meant_key(table, name.text),
        };
        let unknown = UnknownName { name: name.text.into(), kind, meant };
        ConfigError::Unknown { path: self.path.into(), line: name.line, unknown: unknown.into() }
    }

    fn meant_table(&self, name: &str) -> Meant {
        let tables = self.tables.iter().skip(1).map(|table| (table.name, format!("[{}]", table.name)));
        Meant::Nearest(nearest(name, tables))
    }

    fn meant_key(&self, table: &'static str, name: &str) -> Meant {
        if table.is_empty() && self.tables.iter().any(|table| table.name == name) {
            return Meant::Table;
        }
        if let Some(key) = self.keys().find(|key| key.old_name() == Some(name)) {
            return Meant::OldName(key.shown());
        }
        let elsewhere: Vec<String> = self.keys().filter(|key| key.name == name).map(Key::shown).collect();
        if !elsewhere.is_empty() {
            return Meant::Elsewhere(elsewhere);
        }
        let here = self.keys().filter(|key| key.table == table).map(|key| (key.name, format!("`{}`", key.name)));
        // Old names stood above all tables.
        let old = self.keys().filter(|_| table.is_empty()).filter_map(|key| Some((key.old_name()?, key.shown())));
        Meant::Nearest(nearest(name, here.chain(old)))
    }
}

/// Suggestion with the smallest edit distance to a name; the first of several.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = (&'a str, String)>) -> String {
    let nearest = candidates.min_by_key(|(candidate, _)| distance(name, candidate));
    nearest.map(|(_, shown)| shown).unwrap_or_default()
}

/// Edit distance of two words: letters inserted, removed or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (taken, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = taken + 1;
        for (at, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("zome", "zone", 1), ("listne", "listen", 2), ("a", "b", 1)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
