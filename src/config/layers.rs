//! Layers of a configuration, and their merge. `sources` reads each layer but the file.
//!
//! Every layer is a table of tables with today's names. A value under an old name, from before there were tables, is
//! moved to today's name when the layer is read, with a [`Warning`]. Every value keeps the [`Place`] where it was
//! written.

use std::{collections::BTreeMap, fmt};

use toml::Value;

use super::{ConfigError, Place, Rule, forms::Form, keys::Key};

/// Table and name of a key; the table is empty for keys above all tables.
type KeyName = (&'static str, &'static str);

/// Values of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    values: toml::Table,
    places: BTreeMap<KeyName, Place>,
    warnings: Vec<Warning>,
}

/// Use of an old name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Place of the old name.
    pub old: Place,
    /// Today's name.
    pub new: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is an old name; the name is {} now", self.old, self.new)
    }
}

impl Layer {
    pub(super) fn put(&mut self, key: &Key, value: Value, place: Place) {
        self.places.insert((key.table, key.name), place);
        if key.table.is_empty() {
            self.values.insert(key.name.into(), value);
            return;
        }
        let table = self.values.entry(key.table).or_insert_with(|| Value::Table(toml::Table::new()));
        if let Value::Table(table) = table {
            table.insert(key.name.into(), value);
        }
    }

    /// Puts a value under the key of an old name; `new` is today's name, for the warning.
    pub(super) fn put_old(&mut self, key: &Key, value: Value, old: Place, new: String) -> Result<(), ConfigError> {
        if let Some(place) = self.places.get(&(key.table, key.name)) {
            return Err(ConfigError::Twice { old: old.into(), new: place.clone().into() });
        }
        self.warnings.push(Warning { old: old.clone(), new });
        self.put(key, value, old);
        Ok(())
    }
}

/// Result of merging all layers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Merged {
    values: toml::Table,
    places: BTreeMap<KeyName, Place>,
    /// Old names in all layers.
    pub(super) warnings: Vec<Warning>,
}

impl Merged {
    /// Merges layers on top of `lowest`, later ones over earlier ones.
    pub(super) fn new(lowest: Layer, layers: impl IntoIterator<Item = Layer>) -> Self {
        let Layer { values, places, warnings } = lowest;
        let mut merged = Self { values, places, warnings };
        for Layer { values, places, warnings } in layers {
            merge(&mut merged.values, values);
            merged.places.extend(places);
            merged.warnings.extend(warnings);
        }
        merged
    }

    /// Value of a key in the highest layer that has one.
    pub(super) fn value(&self, table: &str, name: &str) -> Option<&Value> {
        match table {
            "" => self.values.get(name),
            table => self.values.get(table)?.get(name),
        }
    }

    /// Reads a key in its form.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] with the place of the value.
    pub(super) fn read<T: 'static>(
        &self,
        table: &'static str,
        name: &'static str,
        form: &Form<T>,
    ) -> Result<T, ConfigError> {
        form.read(self.value(table, name)).map_err(|rule| self.refused(table, name, rule))
    }

    /// Error of a key whose value breaks a rule.
    pub(super) fn refused(&self, table: &'static str, name: &'static str, rule: Rule) -> ConfigError {
        let nowhere = || Place::Default(super::keys::shown(table, name));
        let place = self.places.get(&(table, name)).cloned().unwrap_or_else(nowhere);
        ConfigError::Value { place: place.into(), rule: rule.into() }
    }
}

/// Merges a table over another, nested tables included.
fn merge(below: &mut toml::Table, above: toml::Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}
