//! How a key is declared, once, and what is made of the declaration.
//!
//! [`configuration!`] takes every key with its documentation, type, form, default, old name and argument. It makes of them the
//! structs that the node runs with, their reading from merged layers, and the list of [`Key`]s, from which files are printed
//! and documented and in which unknown names are looked for.

use toml::Value;

/// What the names of environment variables begin with.
const VARIABLE_PREFIX: &str = "TOUCHMARK_";

/// A key of the configuration, as it is declared.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// The table that it stands in; empty above all tables.
    pub(super) table: &'static str,
    /// The name.
    pub(super) name: &'static str,
    /// The documentation, line by line.
    pub(super) doc: &'static [&'static str],
    /// The values that there are.
    pub(super) says: String,
    /// Whether values are numbers.
    pub(super) is_number: bool,
    /// The value when nothing is said.
    pub(super) default: Option<Value>,
    /// A value for a key without a default.
    pub(super) example: Option<Value>,
    /// The name that it had when there were no tables.
    pub(super) was: Option<&'static str>,
    /// The argument of `touchmark serve`.
    pub(super) argument: Option<&'static str>,
}

/// A table of the configuration, as it is declared.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name; empty for what stands above all tables.
    pub(super) name: &'static str,
    /// The documentation, line by line.
    pub(super) doc: &'static [&'static str],
    /// Its keys, in the order of their declaration.
    pub(super) keys: Vec<Key>,
}

impl Key {
    /// The environment variable.
    pub(super) fn variable(&self) -> String {
        let table = if self.table.is_empty() { String::new() } else { format!("{}_", self.table) };
        format!("{VARIABLE_PREFIX}{table}{}", self.name).to_ascii_uppercase()
    }

    /// The environment variable of the old name; `None` where it is the same.
    pub(super) fn old_variable(&self) -> Option<String> {
        let old = format!("{VARIABLE_PREFIX}{}", self.was?).to_ascii_uppercase();
        (old != self.variable()).then_some(old)
    }

    /// The old name where a file has it above all tables; `None` where it is the same.
    pub(super) fn old_name(&self) -> Option<&'static str> {
        self.was.filter(|was| !(self.table.is_empty() && *was == self.name))
    }

    /// The name with its table, as sentences have it.
    pub(super) fn shown(&self) -> String {
        shown(self.table, self.name)
    }
}

/// A name with its table, as sentences have it.
pub(super) fn shown(table: &str, name: &str) -> String {
    if table.is_empty() { format!("`{name}`") } else { format!("`{name}` in [{table}]") }
}

/// Declares the keys of the configuration; see the head of the file. A table stands as `[name] Struct { … }`, and a key as
///
/// ```text
/// /// Documentation.
/// name: Type = form, default …, example …, was "old_name", argument "--name";
/// ```
///
/// of which everything behind the form may be left out.
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

        /// The keys by tables, in the order of their declaration; those above all tables first.
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

/// One [`Key`] of a declaration.
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

/// What is there, or `None`.
macro_rules! maybe {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

pub(super) use {configuration, key, maybe};
