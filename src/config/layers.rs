//! Layers of a configuration: the values of file, environment and arguments, and their merge.
//!
//! Every layer is a table of tables with today's names. A value under an old name, from before there were tables, is
//! moved to today's name when the layer is read, with a [`Warning`]. Every value keeps the [`Place`] where it was
//! written.

use std::{collections::BTreeMap, fmt};

use toml::Value;

use super::{ConfigError, Place, Rule, forms::Form, keys::Key, tables::tables};

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
    /// Reads the environment through `lookup`. An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Twice`].
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let said = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut layer = Self::default();
        for key in tables().iter().flat_map(|table| &table.keys) {
            let name = key.variable();
            if let Some(text) = said(&name) {
                layer.put(key, key.value_of(text), Place::Environment(name.clone()));
            }
            let Some(old_name) = key.old_variable() else { continue };
            if let Some(text) = said(&old_name) {
                layer.put_old(key, key.value_of(text), Place::Environment(old_name), name)?;
            }
        }
        Ok(layer)
    }

    /// Collects the arguments of `touchmark serve`, by name.
    pub fn from_arguments(arguments: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let tables = tables();
        let mut layer = Self::default();
        for (argument, text) in arguments {
            let key = tables.iter().flat_map(|table| &table.keys).find(|key| key.argument == Some(argument));
            if let (Some(key), Some(text)) = (key, text) {
                layer.put(key, key.value_of(text), Place::Argument(argument));
            }
        }
        layer
    }

    /// The lowest layer: the defaults.
    fn defaults() -> Self {
        let mut layer = Self::default();
        for key in tables().iter().flat_map(|table| &table.keys) {
            if let Some(value) = key.default.clone() {
                layer.put(key, value, Place::Default(key.shown()));
            }
        }
        layer
    }

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

impl Key {
    /// Value of a text: a number if the key takes one and the text is one.
    fn value_of(&self, text: String) -> Value {
        match text.parse() {
            Ok(number) if self.is_number => Value::Integer(number),
            _ => Value::String(text),
        }
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
    /// Merges layers on top of the defaults, later ones over earlier ones.
    pub(super) fn new(layers: impl IntoIterator<Item = Layer>) -> Self {
        let Layer { values, places, warnings } = Layer::defaults();
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
