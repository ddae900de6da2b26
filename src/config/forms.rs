//! Forms of values: their parsing and description.
//!
//! A [`Form`] turns a value of a layer ([`toml::Value`]) into the type of the configuration, or returns the broken
//! [`Rule`] with its limit. A list is one comma-separated text or, in a file, an array of texts.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use toml::Value;

use super::{
    Auto, DNS_ADDRESSES_MAX, IDENTITY_BYTES_MAX, MIRROR_PREFIXES_MAX, NETWORKS_MAX, ORIGIN_BYTES_MAX, Rule,
    WITNESSES_MAX, WitnessAddress,
};
use crate::{
    id::{
        Subtree,
        dns_name::zone::{self, ZONE_OCTETS_MAX, ZoneError},
        excerpt,
    },
    network::Network,
    tlog::note::{KeyType, VerifierKey},
};

/// Word for a value that the node chooses.
pub(super) const AUTO: &str = "auto";
/// Words of a switch.
const ON: &str = "on";
const OFF: &str = "off";

/// Parser of values of one form.
type ReadValue<T> = Box<dyn Fn(&Value) -> Result<T, Rule>>;

/// Form of the values of a key.
pub(super) struct Form<T> {
    /// Permitted values, as a noun phrase.
    pub(super) says: String,
    /// True if values are numbers, which environment and arguments give as text.
    pub(super) is_number: bool,
    read: ReadValue<T>,
    /// Value of a key that no layer has; `None` if the defaults have one.
    absent: Option<fn() -> T>,
}

impl<T: 'static> Form<T> {
    fn new(says: impl Into<String>, read: impl Fn(&Value) -> Result<T, Rule> + 'static) -> Self {
        Self { says: says.into(), is_number: false, read: Box::new(read), absent: None }
    }

    /// A form of single texts.
    fn text(says: impl Into<String>, read: impl Fn(&str) -> Result<T, Rule> + 'static) -> Self {
        Self::new(says, move |value| match value {
            Value::String(text) => read(text),
            other => Err(Rule::NotText { found: shown(other) }),
        })
    }

    /// Reads the value of a key; `None` is a key that no layer has.
    ///
    /// # Errors
    ///
    /// The broken [`Rule`].
    pub(super) fn read(&self, value: Option<&Value>) -> Result<T, Rule> {
        match (value, self.absent) {
            (Some(value), _) => (self.read)(value),
            (None, Some(absent)) => Ok(absent()),
            (None, None) => Err(Rule::Missing),
        }
    }

    /// Form of the same values, with `None` for a key that no layer has.
    pub(super) fn optional(self) -> Form<Option<T>> {
        let read = self.read;
        let some = move |value: &Value| read(value).map(Some);
        Form { says: self.says, is_number: self.is_number, read: Box::new(some), absent: Some(|| None) }
    }

    /// Form of the same values, with an empty one for a key that no layer has.
    pub(super) fn or_empty(self) -> Self
    where
        T: Default,
    {
        Self { absent: Some(T::default), ..self }
    }
}

impl<T: 'static> Form<T> {
    /// Form of the same values, or "auto".
    pub(super) fn or_auto(self) -> Form<Auto<T>> {
        let read = self.read;
        let auto = move |value: &Value| match value {
            Value::String(text) if text == AUTO => Ok(Auto::Auto),
            value => read(value).map(Auto::Set),
        };
        let says = format!("\"{AUTO}\", or {}", self.says);
        Form { is_number: self.is_number, ..Form::new(says, auto) }
    }
}

/// Form of a number of threads, or "auto"; 0 means "auto".
pub(super) fn workers(most: usize) -> Form<Auto<usize>> {
    let form = number(0..=most, "threads").or_auto();
    let read = form.read;
    let chosen = move |value: &Value| {
        let workers = read(value)?;
        Ok(if workers == Auto::Set(0) { Auto::Auto } else { workers })
    };
    Form { is_number: true, ..Form::new(form.says, chosen) }
}

/// Value as shown in errors.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", excerpt(text)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(_) => "a date".into(),
        Value::Array(_) => "an array".into(),
        Value::Table(_) => "a table".into(),
    }
}

/// Items of a list, empty ones included.
fn items(value: &Value) -> Result<Vec<&str>, Rule> {
    let refused = || Rule::NotList { found: shown(value) };
    match value {
        Value::String(text) => Ok(text.split(',').map(str::trim).collect()),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::trim).ok_or_else(refused)).collect(),
        _ => Err(refused()),
    }
}

/// Maximum number of items in a list.
#[derive(Clone, Copy)]
struct Limit {
    most: usize,
    what: &'static str,
}

impl Limit {
    fn check<T>(self, items: Vec<T>) -> Result<Vec<T>, Rule> {
        match items.len() {
            count if count > self.most => Err(Rule::TooMany { count, what: self.what, limit: self.most }),
            _ => Ok(items),
        }
    }
}

/// Form of a list that may be empty; empty items are skipped.
fn list<T: 'static>(
    says: impl Into<String>,
    limit: Limit,
    read: impl Fn(&str) -> Result<T, Rule> + 'static,
) -> Form<Vec<T>> {
    Form::new(says, move |value| {
        let texts = items(value)?.into_iter().filter(|text| !text.is_empty());
        limit.check(texts.map(&read).collect::<Result<_, _>>()?)
    })
}

/// Form of a whole number in a range, with its unit.
pub(super) fn number<N>(range: RangeInclusive<N>, unit: &'static str) -> Form<N>
where
    N: TryFrom<i64> + PartialOrd + Display + 'static,
{
    let says = format!("{} to {} {unit}", range.start(), range.end());
    let read = move |value: &Value| {
        let number = match value {
            Value::Integer(number) => *number,
            other => return Err(Rule::NotWhole { found: shown(other) }),
        };
        let fits = N::try_from(number).ok().filter(|number| range.contains(number));
        let (least, most) = (range.start().to_string(), range.end().to_string());
        fits.ok_or(Rule::OutOfRange { number, least, most, unit })
    };
    Form { is_number: true, ..Form::new(says, read) }
}

/// Form of a switch.
pub(super) fn switch() -> Form<bool> {
    Form::new(r#""on" or "off""#, |value| match value {
        Value::Boolean(switch) => Ok(*switch),
        Value::String(text) if text == ON => Ok(true),
        Value::String(text) if text == OFF => Ok(false),
        other => Err(Rule::NotSwitch { found: shown(other) }),
    })
}

/// Form of one of these words, in any case.
pub(super) fn choice<T: Copy + 'static>(choices: &'static [(&'static str, T)]) -> Form<T> {
    let words = |quote: &str| choices.iter().map(|(word, _)| format!("{quote}{word}{quote}")).collect::<Vec<_>>();
    Form::text(words("\"").join(" or "), move |text| {
        let chosen = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        let refused = || Rule::NoChoice { text: excerpt(text), choices: words("").join(", ") };
        chosen.map(|(_, choice)| *choice).ok_or_else(refused)
    })
}

/// Form of a file path.
pub(super) fn path() -> Form<PathBuf> {
    Form::text("", |text| Ok(text.into()))
}

/// Form of the path of the data directory.
pub(super) fn directory() -> Form<PathBuf> {
    Form::text("", |text| if text.is_empty() { Err(Rule::NoDirectory) } else { Ok(text.into()) })
}

/// Form of the name of a zone, normalised to lower case with a final dot.
pub(super) fn zone_name() -> Form<String> {
    Form::text(format!("a DNS name of at most {ZONE_OCTETS_MAX} octets on the wire"), |text| Ok(zone(text)?))
}

/// Checks the name of a zone, and normalises it to lower case with a final dot.
///
/// # Errors
///
/// The [`ZoneError`] of the first broken rule.
pub fn zone(text: &str) -> Result<String, ZoneError> {
    Ok(zone::labels(text)?.iter().flat_map(|label| [label, "."]).collect())
}

/// Form of an origin, the first line of a checkpoint and the name of a key: no spaces, no plus (C2SP signed-note).
pub(super) fn origin() -> Form<String> {
    Form::text(format!("1 to {ORIGIN_BYTES_MAX} bytes without spaces and +"), |text| {
        let well_formed = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '+');
        if well_formed && (1..=ORIGIN_BYTES_MAX).contains(&text.len()) {
            return Ok(text.into());
        }
        Err(Rule::NotOrigin { text: excerpt(text), limit: ORIGIN_BYTES_MAX })
    })
}

/// Form of the log filter: a level or a list of directives.
pub(super) fn log() -> Form<String> {
    let says = r#""error", "warn", "info", "debug", "trace" or directives such as "info,touchmark::ledger=debug""#;
    Form::text(says, |text| match bare_word(text) {
        // The library takes a word that is no level for the name of a module, and logs nothing else.
        Some(word) => Err(Rule::NotLevel { text: excerpt(word) }),
        None => log_filter(text),
    })
}

/// The first directive that is neither a level nor says of what it is one.
fn bare_word(text: &str) -> Option<&str> {
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    text.split(',').map(str::trim).find(|word| !word.is_empty() && !word.contains(['=', '[', ']']) && !is_level(word))
}

fn log_filter(text: &str) -> Result<String, Rule> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.into()),
        Ok(_) => Err(Rule::NoLogLevel),
        Err(error) => Err(Rule::NotLog { text: excerpt(text), reason: error.to_string() }),
    }
}

/// Form of the name of a node.
pub(super) fn identity() -> Form<String> {
    Form::text(format!("at most {IDENTITY_BYTES_MAX} bytes"), |text| match text.len() {
        0..=IDENTITY_BYTES_MAX => Ok(text.into()),
        bytes => Err(Rule::LongIdentity { bytes, limit: IDENTITY_BYTES_MAX }),
    })
}

/// Form of an address with a port.
pub(super) fn address() -> Form<SocketAddr> {
    Form::text("an address with a port", socket)
}

/// Form of an address with a port, or "off".
pub(super) fn address_or_off() -> Form<Option<SocketAddr>> {
    Form::text(r#"an address with a port, or "off""#, |text| match text {
        OFF => Ok(None),
        text => socket(text).map(Some),
    })
}

/// Form of a list of addresses with ports, at least one.
pub(super) fn addresses() -> Form<Vec<SocketAddr>> {
    let limit = Limit { most: DNS_ADDRESSES_MAX, what: "addresses" };
    Form::new(format!("1 to {DNS_ADDRESSES_MAX} addresses with ports"), move |value| {
        let addresses: Vec<SocketAddr> = items(value)?.into_iter().map(socket).collect::<Result<_, _>>()?;
        match addresses.is_empty() {
            true => Err(Rule::NotAddress { text: String::new() }),
            false => limit.check(addresses),
        }
    })
}

fn socket(text: &str) -> Result<SocketAddr, Rule> {
    text.parse().map_err(|_| Rule::NotAddress { text: excerpt(text) })
}

/// Form of a list of addresses without ports, unspecified ones excluded.
pub(super) fn hosts() -> Form<Vec<IpAddr>> {
    let limit = Limit { most: DNS_ADDRESSES_MAX, what: "addresses" };
    list(format!("at most {DNS_ADDRESSES_MAX} addresses without ports"), limit, |text| {
        let address = text.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
        address.ok_or_else(|| Rule::NotHost { text: excerpt(text) })
    })
}

/// Form of a list of networks such as `192.0.2.0/24`.
pub(super) fn networks() -> Form<Vec<Network>> {
    let limit = Limit { most: NETWORKS_MAX, what: "networks" };
    list(format!("at most {NETWORKS_MAX} networks"), limit, |text| Ok(text.parse::<Network>()?))
}

/// Form of a list of witnesses: a verifier key, a space, a URL.
pub(super) fn witnesses() -> Form<Vec<WitnessAddress>> {
    let limit = Limit { most: WITNESSES_MAX, what: "witnesses" };
    list(format!("at most {WITNESSES_MAX}, each a verifier key, a space and a URL"), limit, |text| {
        let form = || Rule::NotWitness { text: excerpt(text) };
        let (key, address) = text.split_once(char::is_whitespace).ok_or_else(form)?;
        let key: VerifierKey = key.parse()?;
        if key.kind() != KeyType::Cosigner {
            return Err(Rule::KeyOfLog { name: key.name().into() });
        }
        Ok(WitnessAddress { key, url: url(address.trim())?.into() })
    })
}

fn url(text: &str) -> Result<&str, Rule> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_blank = |letter: char| letter.is_whitespace() || letter.is_control();
    match host {
        Some(host) if !host.is_empty() && !text.contains(is_blank) => Ok(text),
        _ => Err(Rule::NotUrl { text: excerpt(text) }),
    }
}

/// Form of the URL of a log, normalised to no final slash.
pub(super) fn log_url() -> Form<String> {
    Form::text("a URL that begins with http:// or https://", |text| Ok(url(text)?.trim_end_matches('/').into()))
}

/// Form of the verifier key of a log.
pub(super) fn log_key() -> Form<String> {
    Form::text("a verifier key (C2SP signed-note)", |text| {
        let key: VerifierKey = text.parse()?;
        match key.kind() {
            KeyType::Cosigner => Err(Rule::KeyOfWitness { name: key.name().into() }),
            _ => Ok(text.into()),
        }
    })
}

/// Form of a list of identifier prefixes.
pub(super) fn prefixes() -> Form<Vec<String>> {
    let limit = Limit { most: MIRROR_PREFIXES_MAX, what: "prefixes" };
    list(format!("at most {MIRROR_PREFIXES_MAX} prefixes"), limit, |text| {
        Subtree::parse(text)?;
        Ok(text.to_owned())
    })
}
