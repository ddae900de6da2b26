//! The certificate of DNS over TLS, HTTPS and QUIC: from two PEM files, or generated at start.
//!
//! * Handshakes check the files for changes, at most once in [`CHECK_INTERVAL_MS`]; if one changed, both are read. A
//!   pair that cannot be used is logged and the old one stays, so a renewal that writes the files one after the other
//!   is never served half done.
//! * A certificate generated at start is for tests and trials. Its key is never written; clients that do not pin it
//!   refuse it.
//!
//! Deliberately absent: several certificates by name (SNI), client certificates, OCSP responses, a check of dates: an
//! expired certificate is served, and clients report it.

use std::{
    fmt, fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use data_encoding::BASE64;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Minimum time between two checks of the files, in milliseconds.
pub const CHECK_INTERVAL_MS: u64 = 60_000;
/// Maximum length of a certificate or key file, in octets. A chain of four has some 8 KiB.
pub const FILE_OCTETS_MAX: u64 = 1 << 20;

/// Error of loading or generating a certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("the {part} file `{path}` cannot be read: {error}", part = part.name(), path = path.display())]
    Read {
        /// The certificate or the key file.
        part: Part,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// A file is no PEM file, or lacks what it should hold.
    #[error("the {part} file `{path}` holds no {what}: {why}", part = part.name(), path = path.display(), what = part.label())]
    Pem {
        /// The certificate or the key file.
        part: Part,
        /// Path of the file.
        path: PathBuf,
        /// The missing or malformed part.
        why: String,
    },
    /// Both files were read, but their contents cannot be served.
    #[error("certificate `{chain}` and key `{key}` cannot be used together: {why}", chain = chain.display(), key = key.display())]
    Unusable {
        /// Path of the certificate chain.
        chain: PathBuf,
        /// Path of its key.
        key: PathBuf,
        /// Error of the TLS library.
        why: rustls::Error,
    },
    /// A certificate could not be generated.
    #[error("no certificate could be made for {names:?}: {why}")]
    Make {
        /// The names for the certificate.
        names: Vec<String>,
        /// Error of the library.
        why: String,
    },
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate, and its issuers up to an authority.
    Chain,
    /// The private key of the first certificate.
    Key,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Chain => "certificate",
            Self::Key => "key",
        }
    }

    /// Description of the file's PEM section.
    fn label(self) -> &'static str {
        match self {
            Self::Chain => "`BEGIN CERTIFICATE` section",
            Self::Key => "`BEGIN PRIVATE KEY` section (PKCS #8, or `RSA` or `EC PRIVATE KEY`)",
        }
    }
}

/// Versions of TLS that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// 1.2 and 1.3.
    Any,
    /// 1.3 alone, as QUIC wants it (RFC 9001 section 4.2).
    Newest,
}

/// The certificate that clients are shown, with its key.
pub struct Certificate {
    state: Mutex<State>,
    files: Option<Files>,
}

struct State {
    current: Arc<CertifiedKey>,
    checked: Instant,
    stamp: Stamp,
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
    check_interval: Duration,
}

/// Modification time and length of both files, to detect changes.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads a certificate chain, the node's own certificate first, and that certificate's private key.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or lacks its section, or if certificate and key do not belong together.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let check_interval = Duration::from_millis(CHECK_INTERVAL_MS);
        let files = Files { chain: chain.into(), key: key.into(), check_interval };
        // Before the files are read, so that a change made meanwhile is found by the next check.
        let stamp = files.stamp();
        let current = Arc::new(files.read()?);
        Ok(Self { state: Mutex::new(State { current, checked: Instant::now(), stamp }), files: Some(files) })
    }

    /// Generates a self-signed certificate with a new ECDSA P-256 key, and logs its pin.
    ///
    /// # Errors
    ///
    /// If a name is neither a DNS name nor an address.
    pub fn self_signed(names: &[String]) -> Result<Self, CertificateError> {
        let refused = |why: String| CertificateError::Make { names: names.into(), why };
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| refused(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let provider = default_provider();
        let current = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider)
            .map_err(|error| refused(error.to_string()))?;
        let state = State { current: Arc::new(current), checked: Instant::now(), stamp: Stamp::default() };
        let certificate = Self { state: Mutex::new(state), files: None };
        tracing::warn!(
            pin = certificate.pin(),
            "the certificate of DNS over TLS, HTTPS and QUIC was made at start: clients that do not pin it refuse it"
        );
        Ok(certificate)
    }

    /// SHA-256 of the public key (SubjectPublicKeyInfo) in base64 (RFC 7858 appendix A), as `kdig +tls-pin` takes it.
    pub fn pin(&self) -> String {
        let current = self.state().current.clone();
        // Without a public half the key was not checked against its certificate either; ring has no such keys.
        current.key.public_key().map_or_else(String::new, |key| BASE64.encode(&Sha256::digest(&key)))
    }

    /// TLS configuration of a listener for one protocol (ALPN, RFC 7301).
    ///
    /// # Errors
    ///
    /// If the TLS library does not support the versions.
    pub(super) fn server_config(self: &Arc<Self>, alpn: &[u8], versions: Versions) -> io::Result<ServerConfig> {
        let versions: &[&SupportedProtocolVersion] = match versions {
            Versions::Any => &[&TLS13, &TLS12],
            Versions::Newest => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?;
        let certificate: Arc<dyn ResolvesServerCert> = self.clone();
        let mut config = config.with_no_client_auth().with_cert_resolver(certificate);
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// Certificate for the next client, reloaded if the files changed.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        let mut state = self.state();
        if let Some(files) = self.files.as_ref().filter(|files| state.checked.elapsed() >= files.check_interval) {
            state.checked = Instant::now();
            let stamp = files.stamp();
            if stamp != state.stamp {
                state.stamp = stamp;
                match files.read() {
                    Ok(read) => {
                        state.current = Arc::new(read);
                        tracing::info!(path = %files.chain.display(), "the certificate was read again");
                    }
                    Err(error) => tracing::warn!(%error, "the certificate changed; the one before stays"),
                }
            }
        }
        state.current.clone()
    }

    /// The state, even if poisoned: nothing panics while the lock is held, and no change is left half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Certificate").field("pin", &self.pin()).finish_non_exhaustive()
    }
}

impl Files {
    fn stamp(&self) -> Stamp {
        [&self.chain, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let refused = |part, path: &Path, why: pem::Error| CertificateError::Pem {
            part,
            path: path.into(),
            why: match why {
                pem::Error::NoItemsFound => "there is none in it".into(),
                other => format!("{other:?}"),
            },
        };
        let text = read(Part::Chain, &self.chain)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .and_then(|chain: Vec<_>| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(|why| refused(Part::Chain, &self.chain, why))?;
        let text = read(Part::Key, &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|why| refused(Part::Key, &self.key, why))?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|why| CertificateError::Unusable {
            chain: self.chain.clone(),
            key: self.key.clone(),
            why,
        })
    }
}

/// Reads a whole file, up to [`FILE_OCTETS_MAX`].
fn read(part: Part, path: &Path) -> Result<Vec<u8>, CertificateError> {
    let refused = |error| CertificateError::Read { part, path: path.into(), error };
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(refused)?;
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut text).map_err(refused)?;
    if text.len() as u64 > FILE_OCTETS_MAX {
        return Err(refused(io::Error::other(format!("it is longer than {FILE_OCTETS_MAX} octets"))));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key, in PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["node.example".to_owned()]).unwrap();
        (pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = BASE64.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn errors_name_the_file_and_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = pair();
        let (_, other_key) = pair();
        let long = "\n".repeat(FILE_OCTETS_MAX as usize + 1);
        let table = [
            (None, Some(&*key), "the certificate file `DIR/chain.pem` cannot be read: No such file"),
            (Some(&*chain), None, "the key file `DIR/key.pem` cannot be read: No such file"),
            (
                Some(&*long),
                Some(&*key),
                "the certificate file `DIR/chain.pem` cannot be read: it is longer than 1048576",
            ),
            (Some(""), Some(&*key), "`DIR/chain.pem` holds no `BEGIN CERTIFICATE` section: there is none in it"),
            (Some(&*key), Some(&*key), "`DIR/chain.pem` holds no `BEGIN CERTIFICATE` section: there is none in it"),
            (Some(&*chain), Some(&*chain), "`DIR/key.pem` holds no `BEGIN PRIVATE KEY` section"),
            (Some(&chain[..200]), Some(&*key), "`DIR/chain.pem` holds no `BEGIN CERTIFICATE` section"),
            (Some(&*chain), Some(&*other_key), "`DIR/chain.pem` and key `DIR/key.pem` cannot be used together: "),
        ];
        for (chain, key, expected) in table {
            let paths = [("chain.pem", chain), ("key.pem", key)].map(|(name, text)| {
                let path = directory.path().join(name);
                let _ = fs::remove_file(&path);
                if let Some(text) = text {
                    fs::write(&path, text).unwrap();
                }
                path
            });
            let error = Certificate::from_files(&paths[0], &paths[1]).unwrap_err().to_string();
            let error = error.replace(directory.path().to_str().unwrap(), "DIR");
            assert!(error.contains(expected), "{error}\nlacks {expected}");
        }
    }

    #[test]
    fn files_that_changed_are_read_again_and_broken_ones_are_not_served() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
        let write = |(chain, key): &(String, String)| {
            fs::write(&paths[0], chain).unwrap();
            fs::write(&paths[1], key).unwrap();
        };
        let (first, second) = (pair(), pair());
        write(&first);
        let mut certificate = Certificate::from_files(&paths[0], &paths[1]).unwrap();
        let pin = certificate.pin();

        write(&second);
        certificate.current();
        assert_eq!(certificate.pin(), pin, "looked before its time");

        certificate.files.as_mut().unwrap().check_interval = Duration::ZERO;
        certificate.current();
        let second_pin = certificate.pin();
        assert_ne!(second_pin, pin);

        // A renewal that has written one of its files; if file times are coarse, the length shows the change.
        fs::write(&paths[0], format!("{}\n", first.0)).unwrap();
        certificate.current();
        assert_eq!(certificate.pin(), second_pin);
        fs::write(&paths[1], format!("{}\n", first.1)).unwrap();
        certificate.current();
        assert_eq!(certificate.pin(), pin);
    }

    #[test]
    fn a_certificate_made_at_start_is_pinned_by_its_key() {
        let names = ["localhost".to_owned(), "127.0.0.1".into()];
        let (one, other) = (Certificate::self_signed(&names).unwrap(), Certificate::self_signed(&names).unwrap());
        assert_eq!(one.pin().len(), 44);
        assert_ne!(one.pin(), other.pin());
        let error = Certificate::self_signed(&["ä".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("no certificate could be made for [\"ä\"]: "), "{error}");
    }
}
