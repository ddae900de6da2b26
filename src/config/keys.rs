//! Declaration of keys, and the code generated from it.
//!
//! [`configuration!`] takes every key with its documentation, type, form, default, old name and argument. From these it
//! generates the structs of the configuration, their reading from merged layers, and the list of [`Key`]s, which serves
//! to print and document files and to look up unknown names.

use toml::Value;

/// Prefix of environment variables.
const VARIABLE_PREFIX: &str = "TOUCHMARK_";

/// Declaration of a key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Table of the key; empty above all tables.
    pub(super) table: &'static str,
    /// Name of the key.
    pub(super) name: &'static str,
    /// The documentation, line by line.
    pub(super) doc: &'static [&'static str],
    /// Permitted values, as a noun phrase.
    pub(super) says: String,
    /// True if values are numbers.
    pub(super) is_number: bool,
    /// Default value.
    pub(super) default: Option<Value>,
    /// Example value for a key without a default.
    pub(super) example: Option<Value>,
    /// Old name, from before there were tables.
    pub(super) was: Option<&'static str>,
    /// Argument of `touchmark serve`.
    pub(super) argument: Option<&'static str>,
}

/// Declaration of a table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Name of the table; empty for the keys above all tables.
    pub(super) name: &'static str,
    /// The documentation, line by line.
    pub(super) doc: &'static [&'static str],
    /// Keys of the table, in the order of their declaration.
    pub(super) keys: Vec<Key>,
}

impl Key {
    /// Environment variable of the key.
    pub(super) fn variable(&self) -> String {
        let table = if self.table.is_empty() { String::new() } else { format!("{}_", self.table) };
        format!("{VARIABLE_PREFIX}{table}{}", self.name).to_ascii_uppercase()
    }

    /// Environment variable of the old name; `None` if it is the same.
    pub(super) fn old_variable(&self) -> Option<String> {
        let old = format!("{VARIABLE_PREFIX}{}", self.was?).to_ascii_uppercase();
        (old != self.variable()).then_some(old)
    }

    /// Old name as a key above all tables; `None` if it is the same.
    pub(super) fn old_name(&self) -> Option<&'static str> {
        self.was.filter(|was| !(self.table.is_empty() && *was == self.name))
    }

    /// Name with its table, as used in messages.
    pub(super) fn shown(&self) -> String {
        shown(self.table, self.name)
    }
}

/// Name with its table, as used in messages.
pub(super) fn shown(table: &str, name: &str) -> String {
    if table.is_empty() { format!("`{name}`") } else { format!("`{name}` in [{table}]") }
}

/// Declares the keys of the configuration, as the module's documentation says. A table is written
/// `[name] Struct { … }`, and a key
///
/// ```text
/// /// Documentation.
/// name: Type = form, default …, example …, was "old_name", argument "--name";
/// ```
///
/// Everything after the form is optional.
macro_rules! configuration {
    (
        $(#[doc = $rdoc:literal])+
        $root:ident {
            $(
                $(#[doc = $kdoc:literal])+
                $key:ident: $type:ty = $form:expr
                    $(, default $default:expr)? $(, example $example:expr)? $(, was $was:literal)? $(, argument $argument:literal)?;
            )+
        }
        $(
            $(#[doc = $tdoc:literal])+
            [$table:ident] $struct:ident {
                $(
                    $(#[doc = $tkdoc:literal])+
                    $tkey:ident: $ttype:ty = $tform:expr
                        $(, default $tdefault:expr)? $(, example $texample:expr)? $(, was $twas:literal)?
                        $(, argument $targument:literal)?;
                )+
            }
        )+
    ) => {
        $(#[doc = $rdoc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $root {
            $( $(#[doc = $kdoc])+ pub $key: $type, )+
            $( $(#[doc = $tdoc])+ pub $table: $struct, )+
        }

        impl $root {
            /// Reads every key from merged layers.
            pub(super) fn read(layers: &Merged) -> Result<Self, ConfigError> {
                Ok(Self {
                    $( $key: layers.read("", stringify!($key), &$form)?, )+
                    $( $table: $struct::read(layers)?, )+
                })
            }
        }

        $(
            $(#[doc = $tdoc])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $struct {
                $( $(#[doc = $tkdoc])+ pub $tkey: $ttype, )+
            }

            impl $struct {
                fn read(layers: &Merged) -> Result<Self, ConfigError> {
                    Ok(Self { $( $tkey: layers.read(stringify!($table), stringify!($tkey), &$tform)?, )+ })
                }
            }

            impl Default for $struct {
                fn default() -> Self {
                    $root::default().$table
                }
            }
        )+

        /// Keys by table, in the order of their declaration; those above all tables first.
        pub(super) fn tables() -> Vec<Table> {
            vec![
                Table {
                    name: "",
                    doc: &[$($rdoc),+],
                    keys: vec![$(
                        key!("", $key, [$($kdoc),+], $form, [$($default)?], [$($example)?], [$($was)?], [$($argument)?]),
                    )+],
                },
                $( Table {
                    name: stringify!($table),
                    doc: &[$($tdoc),+],
                    keys: vec![$(
                        key!(
                            stringify!($table), $tkey, [$($tkdoc),+], $tform, [$($tdefault)?], [$($texample)?], [$($twas)?],
                            [$($targument)?]
                        ),
                    )+],
                }, )+
            ]
        }
    };
}

/// Expands to one [`Key`] of a declaration.
macro_rules! key {
    ($table:expr, $name:ident, [$($doc:literal),+], $form:expr, [$($default:expr)?], [$($example:expr)?], [$($was:literal)?], [$($argument:literal)?]) => {{
        let form = $form;
        Key {
            table: $table,
            name: stringify!($name),
            doc: &[$($doc),+],
            says: form.says,
            is_number: form.is_number,
            default: maybe!($(Value::from($default))?),
            example: maybe!($(Value::from($example))?),
            was: maybe!($($was)?),
            argument: maybe!($($argument)?),
        }
    }};
}

/// Expands to `Some` of its argument, or `None` without one.
macro_rules! maybe {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

pub(super) use {configuration, key, maybe};
