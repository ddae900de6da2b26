//! What a mirror is told: whose ledger, with which key, and which prefixes.

use super::{ConfigError, Layers, MIRROR_PREFIXES_MAX};
use crate::{
    id::{Subtree, excerpt},
    tlog::note::{KeyError, KeyType, VerifierKey},
};

/// The most prefixes that an edge node is told to keep.
const PREFIXES_MAX: usize = MIRROR_PREFIXES_MAX;

/// Whose ledger a node mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// Where the primary's log is: its checkpoint lies at `<url>/checkpoint`.
    pub url: String,
    /// The primary's verifier key; the first start needs it.
    pub key: Option<String>,
    /// The prefixes that an edge node keeps; `None` when nothing is said, empty when everything is kept.
    pub only: Option<Vec<String>>,
}

impl Layers<'_> {
    /// Whose ledger is mirrored, when one is.
    pub(super) fn mirror(&self) -> Result<Option<MirrorConfig>, ConfigError> {
        let url = self.read("mirror_of", |spec| spec.mirror_of.as_deref(), url)?;
        let needs_url = || match &url {
            Some(_) => Ok(()),
            None => Err("there is no `mirror_of` beside it; give the URL of the primary's log, too".to_owned()),
        };
        let key =
            self.read("mirror_key", |spec| spec.mirror_key.as_deref(), |text| needs_url().and_then(|()| key(text)))?;
        let only = self.read("only", |spec| spec.only.as_deref(), |text| needs_url().and_then(|()| only(text)))?;
        Ok(url.map(|url| MirrorConfig { url, key, only }))
    }
}

fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host)
            if !host.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) =>
        {
            Ok(text.trim_end_matches('/').into())
        }
        _ => Err(format!("`{}` is not a URL that begins with http:// or https://", excerpt(text))),
    }
}

fn key(text: &str) -> Result<String, String> {
    let key: VerifierKey = text.parse().map_err(|error: KeyError| error.to_string())?;
    match key.kind() {
        KeyType::Cosigner => Err(format!("{} is the key of a witness; a log has one of type 0x01", key.name())),
        _ => Ok(text.into()),
    }
}

/// Prefixes with commas between them.
fn only(text: &str) -> Result<Vec<String>, String> {
    let prefixes: Vec<String> =
        text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    if prefixes.len() > PREFIXES_MAX {
        return Err(format!("{} prefixes; the limit is {PREFIXES_MAX}", prefixes.len()));
    }
    for prefix in &prefixes {
        Subtree::parse(prefix).map_err(|error| error.to_string())?;
    }
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source, Spec};

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn whose_ledger_is_mirrored() {
        let read = |of: Option<&str>, key: Option<&str>, only: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let spec = Spec { mirror_of: text(of), mirror_key: text(key), only: text(only), ..Spec::default() };
            Config::from_layers(&[(spec, Source::Arguments)])
                .map(|config| config.mirror)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(None, None, None), Ok(None));
        let whole = read(Some("http://a.example/log/"), Some(KEY), Some("88.1, urn:oid:2.999")).unwrap().unwrap();
        let only = Some(vec!["88.1".into(), "urn:oid:2.999".into()]);
        assert_eq!(whole, MirrorConfig { url: "http://a.example/log".into(), key: Some(KEY.into()), only });
        let table = [
            (Some("ftp://a"), None, None, "--mirror-of"),
            (Some("http://a b"), None, None, "--mirror-of"),
            (None, Some(KEY), None, "--mirror-key: there is no `mirror_of`"),
            (Some("http://a"), Some("x+y"), None, "--mirror-key"),
            (None, None, Some("88.1"), "--only: there is no `mirror_of`"),
            (Some("http://a"), None, Some("88..1"), "--only"),
        ];
        for (of, key, only, expected) in table {
            let refused = read(of, key, only).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
