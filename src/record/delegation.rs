//! Delegations: the sites that answer for a prefix in place of this node.
//!
//! Every protocol makes its referral from a [`Delegation`]: name servers, glue and DS of the DNS, the referral of gRPC,
//! the site records of the Handle System (`HS_SITE`: serial number, primary or not, a public key, addresses with
//! protocol and port). Its canonical text is a part of the ledger's entry, so that a delegation is proven by its entry
//! alone:
//!
//! ```text
//! ttl <seconds>
//! site <serial> <primary|mirror> <verifier key, or "-"> <protocol>://<address>:<port> …
//! ds <key tag> <algorithm> <digest type> <digest, hexadecimal in lower case>
//! ```

use std::{fmt, fmt::Write as _, net::SocketAddr, str::FromStr, sync::Arc};

use crate::id::excerpt;

/// The sites that answer for a prefix, with the TTL of the referral and the DS records of the zone below. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    ttl_seconds: u32,
    sites: Arc<[Site]>,
    signers: Arc<[DelegationSigner]>,
}

/// Change of the responsibility for a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixChange {
    /// The sites of the delegation answer for the prefix.
    Delegate(Delegation),
    /// This node answers for the prefix.
    Home,
    /// Removes a delegation or a home: the nearest prefix above decides again.
    Revoke,
}

/// A server or group of servers that answers for all identifiers of the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Serial number, one more with each change of the site: a client that knows a lower one asks again (RFC 3651
    /// section 3.1, site serial number).
    pub serial: u16,
    /// Role of the site: primary or mirror.
    pub role: SiteRole,
    /// The key that signs the site's checkpoints (C2SP signed-note vkey); without one no answer of the site can be
    /// verified.
    pub key: Option<Box<str>>,
    /// Addresses of the site, the preferred one first.
    pub endpoints: Vec<Endpoint>,
}

/// Role of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteRole {
    /// Takes changes.
    Primary,
    /// Follows a primary.
    Mirror,
}

/// A protocol and the address at which it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The protocol.
    pub protocol: SiteProtocol,
    /// Address and port.
    pub address: SocketAddr,
}

/// Protocol of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiteProtocol {
    /// DNS over UDP and TCP.
    Dns,
    /// The services of `proto/`.
    Grpc,
    /// The HTTP interface.
    Http,
    /// The HTTP interface over TLS.
    Https,
    /// The Handle protocol over UDP (RFC 3652).
    HandleUdp,
    /// The Handle protocol over TCP.
    HandleTcp,
}

/// The data of a delegation signer record (RFC 4034 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationSigner {
    /// Key tag of the key of the zone below.
    pub key_tag: u16,
    /// Algorithm of that key.
    pub algorithm: u8,
    /// Algorithm of the digest.
    pub digest_type: u8,
    /// The digest of the key.
    pub digest: Box<[u8]>,
}

/// Refusal of a delegation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// No site, or too many.
    #[error("a delegation has 1 to {} sites; this one has {count}", Delegation::SITES_MAX)]
    Sites {
        /// Number of sites.
        count: usize,
    },
    /// Too many signers.
    #[error("a delegation has at most {} DS; this one has {count}", Delegation::SIGNERS_MAX)]
    Signers {
        /// Number of signers.
        count: usize,
    },
    /// The TTL is over the limit.
    #[error(
        "a delegation may be kept for at most {} seconds (two days); {seconds} were given",
        Delegation::TTL_SECONDS_MAX
    )]
    Ttl {
        /// The seconds.
        seconds: u32,
    },
    /// A site breaks a rule.
    #[error("site `{site}`: {rule}")]
    Site {
        /// The site as it was written, escaped and cut.
        site: String,
        /// The rule that broke.
        rule: String,
    },
    /// A delegation signer breaks a rule.
    #[error("DS `{ds}`: {rule}")]
    Signer {
        /// The signer as it was written, escaped and cut.
        ds: String,
        /// The rule that broke.
        rule: &'static str,
    },
}

impl Delegation {
    /// Maximum number of sites.
    pub const SITES_MAX: usize = 16;
    /// Maximum number of delegation signers.
    pub const SIGNERS_MAX: usize = 8;
    /// Maximum TTL of a delegation, in seconds.
    pub const TTL_SECONDS_MAX: u32 = 172_800;
    /// TTL of a delegation for which none is given, in seconds.
    pub const TTL_SECONDS_DEFAULT: u32 = 3_600;

    /// Assembles a delegation within the limits.
    ///
    /// # Errors
    ///
    /// [`DelegationError`] with the first rule that is broken.
    pub fn new(ttl_seconds: u32, sites: Vec<Site>, signers: Vec<DelegationSigner>) -> Result<Self, DelegationError> {
        if !(1..=Self::SITES_MAX).contains(&sites.len()) {
            return Err(DelegationError::Sites { count: sites.len() });
        }
        if signers.len() > Self::SIGNERS_MAX {
            return Err(DelegationError::Signers { count: signers.len() });
        }
        if ttl_seconds > Self::TTL_SECONDS_MAX {
            return Err(DelegationError::Ttl { seconds: ttl_seconds });
        }
        sites.iter().try_for_each(Site::check)?;
        signers.iter().try_for_each(DelegationSigner::check)?;
        Ok(Self { ttl_seconds, sites: sites.into(), signers: signers.into() })
    }

    /// Time for which a cache may keep the delegation, in seconds.
    pub fn ttl_seconds(&self) -> u32 {
        self.ttl_seconds
    }

    /// The sites, at least one.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The DS records of the zone below.
    pub fn signers(&self) -> &[DelegationSigner] {
        &self.signers
    }

    /// The canonical text.
    pub fn to_text(&self) -> String {
        let mut text = format!("ttl {}\n", self.ttl_seconds);
        for site in self.sites.iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "site {site}");
        }
        for signer in self.signers.iter() {
            let _ = writeln!(text, "ds {signer}");
        }
        text
    }

    /// Reads a canonical text; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        let (ttl, mut rest) = text.strip_prefix("ttl ")?.split_once('\n')?;
        let mut sites = Vec::new();
        let mut signers = Vec::new();
        while let Some((line, behind)) = rest.split_once('\n') {
            match line.split_once(' ')? {
                ("site", site) => sites.push(site.parse().ok()?),
                ("ds", signer) => signers.push(signer.parse().ok()?),
                _ => return None,
            }
            rest = behind;
        }
        // Only the canonical text is accepted: another order or spelling, or text behind it, would be written
        // differently.
        Self::new(ttl.parse().ok()?, sites, signers).ok().filter(|delegation| delegation.to_text() == text)
    }
}

impl Site {
    /// Maximum number of endpoints of a site.
    pub const ENDPOINTS_MAX: usize = 16;
    /// Maximum length of a verifier key, in bytes.
    pub const KEY_BYTES_MAX: usize = 512;

    fn check(&self) -> Result<(), DelegationError> {
        let refuse = |rule: String| Err(DelegationError::Site { site: excerpt(&self.to_string()), rule });
        if !(1..=Self::ENDPOINTS_MAX).contains(&self.endpoints.len()) {
            let count = self.endpoints.len();
            let most = Self::ENDPOINTS_MAX;
            return refuse(format!("a site has 1 to {most} endpoints; this one has {count}"));
        }
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.address.port() == 0) {
            return refuse(format!("`{endpoint}` has no port"));
        }
        match &self.key {
            Some(key)
                if !(1..=Self::KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                refuse(format!("its key is not 1 to {} printable ASCII characters", Self::KEY_BYTES_MAX))
            }
            _ => Ok(()),
        }
    }

    /// The addresses at which a protocol is spoken.
    pub fn speaking(&self, protocol: SiteProtocol) -> impl Iterator<Item = SocketAddr> {
        let spoken = self.endpoints.iter().filter(move |endpoint| endpoint.protocol == protocol);
        spoken.map(|endpoint| endpoint.address)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.serial, self.role.as_str(), self.key.as_deref().unwrap_or("-"))?;
        self.endpoints.iter().try_for_each(|endpoint| write!(f, " {endpoint}"))
    }
}

/// Reads a site as [`Site`] displays it. Serial number, role and key may each be left out; the defaults are 1,
/// `primary` and no key.
impl FromStr for Site {
    type Err = DelegationError;

    fn from_str(text: &str) -> Result<Self, DelegationError> {
        let refuse = |rule: String| DelegationError::Site { site: excerpt(text), rule };
        let mut words = text.split_whitespace().peekable();
        let serial = words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        let serial = serial.map(|word| word.parse().map_err(|_| refuse(format!("serial {word} is more than 65535"))));
        let role = words.next_if(|word| SiteRole::named(word).is_some()).and_then(SiteRole::named);
        let key = words.next_if(|word| !word.contains("://")).filter(|word| *word != "-").map(Box::from);
        let endpoints = words.map(|word| word.parse().map_err(refuse)).collect::<Result<_, _>>()?;
        let site =
            Self { serial: serial.transpose()?.unwrap_or(1), role: role.unwrap_or(SiteRole::Primary), key, endpoints };
        site.check().map(|()| site)
    }
}

impl SiteRole {
    /// The word for the role in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Mirror => "mirror",
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Primary, Self::Mirror].into_iter().find(|role| role.as_str() == word)
    }
}

impl SiteProtocol {
    /// Every protocol.
    pub const ALL: [Self; 6] = [Self::Dns, Self::Grpc, Self::Http, Self::Https, Self::HandleUdp, Self::HandleTcp];

    /// The word for the protocol, which stands in front of `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Https => "https",
            Self::HandleUdp => "hdl-udp",
            Self::HandleTcp => "hdl-tcp",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol.as_str(), self.address)
    }
}

/// Reads an endpoint as [`Endpoint`] displays it; the error is the rule that broke.
impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || excerpt(text);
        let (protocol, address) = text.split_once("://").ok_or_else(|| {
            format!("`{}` is no endpoint; write one such as grpc://192.0.2.1:50051 or dns://[2001:db8::1]:53", shown())
        })?;
        let protocol = SiteProtocol::ALL.into_iter().find(|known| known.as_str() == protocol).ok_or_else(|| {
            let known: Vec<_> = SiteProtocol::ALL.iter().map(|known| known.as_str()).collect();
            format!("`{}` names an unknown protocol; known are {}", shown(), known.join(", "))
        })?;
        let address = address.trim_end_matches('/').parse();
        let address = address.map_err(|_| format!("`{}` has no IP address and port behind `://`", shown()))?;
        Ok(Self { protocol, address })
    }
}

impl DelegationSigner {
    /// Maximum length of a digest, in bytes.
    pub const DIGEST_BYTES_MAX: usize = 64;

    fn check(&self) -> Result<(), DelegationError> {
        match self.digest.len() {
            1..=Self::DIGEST_BYTES_MAX => Ok(()),
            _ => Err(DelegationError::Signer { ds: self.to_string(), rule: "its digest has 1 to 64 bytes" }),
        }
    }
}

impl fmt::Display for DelegationSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = data_encoding::HEXLOWER.encode(&self.digest);
        write!(f, "{} {} {} {digest}", self.key_tag, self.algorithm, self.digest_type)
    }
}

/// Reads key tag, algorithm, digest type and digest (RFC 4034 section 5.3), as `touchmark dnssec ds` writes them behind
/// `DS`.
impl FromStr for DelegationSigner {
    type Err = DelegationError;

    fn from_str(text: &str) -> Result<Self, DelegationError> {
        let refuse = || DelegationError::Signer {
            ds: excerpt(text),
            rule: "write key tag, algorithm, digest type and digest, such as `12345 13 2 0a1b…`",
        };
        let mut words = text.split_whitespace();
        let mut next = || words.next().ok_or_else(refuse);
        let key_tag = next()?.parse().map_err(|_| refuse())?;
        let algorithm = next()?.parse().map_err(|_| refuse())?;
        let digest_type = next()?.parse().map_err(|_| refuse())?;
        let digest: String = words.collect::<String>().to_ascii_lowercase();
        let digest = data_encoding::HEXLOWER.decode(digest.as_bytes()).map_err(|_| refuse())?.into();
        let signer = Self { key_tag, algorithm, digest_type, digest };
        signer.check().map(|()| signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "3 mirror example.com/log+1a2b3c4d+AQ== grpc://192.0.2.1:50051 dns://[2001:db8::1]:53";

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let ds = "12345 13 2 00ff".parse().unwrap();
        let delegation =
            Delegation::new(60, vec![SITE.parse().unwrap(), "dns://192.0.2.2:53".parse().unwrap()], vec![ds]);
        let text = delegation.as_ref().unwrap().to_text();
        assert_eq!(text, format!("ttl 60\nsite {SITE}\nsite 1 primary - dns://192.0.2.2:53\nds 12345 13 2 00ff\n"));
        assert_eq!(Delegation::from_text(&text), delegation.ok());
        for (from, to) in [
            ("ttl 60", "ttl 060"),
            ("ttl 60", "ttl 172801"),
            ("site 3", "site 03"),
            ("site 3 ", "site  3 "),
            ("mirror ", ""),
            ("grpc:", "smtp:"),
            (":50051", ":0"),
            ("00ff", "00FF"),
            ("00ff\n", "00ff"),
            ("ds 12345", "dx 12345"),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(Delegation::from_text(&text.replacen(from, to, 1)), None, "{from} -> {to}");
        }
    }

    #[test]
    fn bad_parts_are_named() {
        let check = |text: &str, rule: &str| {
            let error = text.parse::<Site>().unwrap_err().to_string();
            assert!(error.contains(rule), "{text}: {error}");
        };
        check("", "1 to 16 endpoints; this one has 0");
        check("70000 dns://192.0.2.1:53", "serial 70000 is more than 65535");
        check("1 primary - dns://example.com:53", "no IP address and port");
        check("dns://192.0.2.1:53 mirror", "`mirror` is no endpoint");
        check("smtp://192.0.2.1:25", "unknown protocol");
        for ds in ["", "1 13 2", "1 13 2 0", "70000 13 2 00", "1 300 2 00", "1 13 2 xx"] {
            assert!(ds.parse::<DelegationSigner>().is_err(), "{ds}");
        }
        let site: Site = SITE.parse().unwrap();
        let count = |sites: usize| Delegation::new(60, vec![site.clone(); sites], Vec::new());
        assert!(count(0).is_err() && count(16).is_ok() && count(17).is_err());
    }
}
