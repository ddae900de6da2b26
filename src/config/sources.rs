//! Sources of layers beside the file: environment, arguments and defaults.

use toml::Value;

use super::{ConfigError, Place, keys::Key, layers::Layer, tables::tables};

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
    pub(super) fn defaults() -> Self {
        let mut layer = Self::default();
        for key in tables().iter().flat_map(|table| &table.keys) {
            if let Some(value) = key.default.clone() {
                layer.put(key, value, Place::Default(key.shown()));
            }
        }
        layer
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
