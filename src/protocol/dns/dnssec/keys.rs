//! One key: its algorithm, what signs with it, and the records that speak of it.
//!
//! Every key is a combined signing key: it has flags 257 and signs everything, its own set included. Its private half is
//! 32 octets, for both algorithms. This file alone knows the libraries that sign.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64, HEXUPPER};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Signer as _;
use sha2::{Digest as _, Sha256};

use super::canonical::lower;

/// Octets of the private half of a key.
pub const SECRET_OCTETS: usize = 32;
/// Octets of a signature (RFC 6605 section 4, RFC 8080 section 4).
pub const SIGNATURE_OCTETS: usize = 64;

/// Zone key and secure entry point (RFC 4034 section 2.1.1).
const FLAGS: u16 = 257;
/// The one protocol that there is (RFC 4034 section 2.1.2).
const PROTOCOL: u8 = 3;
/// SHA-256, the digest of DS records (RFC 4509).
const DIGEST_SHA256: u8 = 2;

/// An algorithm that signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605), with the nonce of RFC 6979: the same is always signed in the same way.
    #[default]
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

/// A text that names no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no algorithm that signs here; ecdsap256sha256 (13) and ed25519 (15) are", text.escape_debug())]
pub struct UnknownAlgorithm {
    text: String,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EcdsaP256Sha256, Self::Ed25519];

    /// The number in records.
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256Sha256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// The mnemonic of the IANA registry.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Takes the mnemonic in any case, or the number.
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let is_meant = |algorithm: &Self| {
            text.eq_ignore_ascii_case(algorithm.mnemonic()) || text == algorithm.number().to_string()
        };
        Self::ALL.into_iter().find(is_meant).ok_or_else(|| UnknownAlgorithm { text: text.into() })
    }
}

/// A key with its private half.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    private: Private,
    dnskey: Vec<u8>,
    tag: u16,
}

#[derive(Clone)]
enum Private {
    EcdsaP256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl fmt::Debug for Key {
    /// Nothing of the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.algorithm, self.tag)
    }
}

impl Key {
    /// The key with this private half; `None` for the one in four thousand million that ECDSA cannot use.
    pub fn new(algorithm: Algorithm, secret: &[u8; SECRET_OCTETS]) -> Option<Self> {
        let (private, public) = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let private = p256::ecdsa::SigningKey::from_slice(secret).ok()?;
                // x and y, without the octet that says that both are there (RFC 6605 section 4).
                let public = private.verifying_key().to_sec1_point(false).as_bytes().get(1..)?.to_vec();
                (Private::EcdsaP256(private), public)
            }
            Algorithm::Ed25519 => {
                let private = ed25519_dalek::SigningKey::from_bytes(secret);
                let public = private.verifying_key().to_bytes().to_vec();
                (Private::Ed25519(private), public)
            }
        };
        let dnskey = [&FLAGS.to_be_bytes()[..], &[PROTOCOL, algorithm.number()], &public].concat();
        let tag = key_tag(&dnskey);
        Some(Self { algorithm, private, dnskey, tag })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key tag (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The data of the DNSKEY record (RFC 4034 section 2.1), and of the CDNSKEY record (RFC 7344 section 3.2).
    pub fn dnskey(&self) -> &[u8] {
        &self.dnskey
    }

    /// The data of the DS record for this zone (RFC 4034 section 5.1), and of the CDS record (RFC 7344 section 3.1).
    pub fn ds(&self, apex: &[u8]) -> Vec<u8> {
        let digest = Sha256::new().chain_update(lower(apex)).chain_update(&self.dnskey).finalize();
        let mut ds = self.tag.to_be_bytes().to_vec();
        ds.extend_from_slice(&[self.algorithm.number(), DIGEST_SHA256]);
        ds.extend_from_slice(&digest);
        ds
    }

    /// The data of the DS record as a zone file has it (RFC 4034 section 5.3).
    pub fn ds_text(&self, apex: &[u8]) -> String {
        let digest = HEXUPPER.encode(self.ds(apex).get(4..).unwrap_or_default());
        format!("{} {} {DIGEST_SHA256} {digest}", self.tag, self.algorithm.number())
    }

    /// The data of the DNSKEY record as a zone file has it (RFC 4034 section 2.2).
    pub fn dnskey_text(&self) -> String {
        format!("{FLAGS} {PROTOCOL} {} {}", self.algorithm.number(), self.public_text())
    }

    /// The public half in Base64.
    pub fn public_text(&self) -> String {
        BASE64.encode(self.dnskey.get(4..).unwrap_or_default())
    }

    /// The private half, for the file that keeps it.
    pub(super) fn secret(&self) -> [u8; SECRET_OCTETS] {
        match &self.private {
            Private::EcdsaP256(private) => private.to_bytes().into(),
            Private::Ed25519(private) => private.to_bytes(),
        }
    }

    /// Signs a message.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_OCTETS] {
        match &self.private {
            Private::EcdsaP256(private) => {
                // r and s, 32 octets each (RFC 6605 section 4).
                let signature: p256::ecdsa::Signature = private.sign(message);
                signature.to_bytes().into()
            }
            Private::Ed25519(private) => private.sign(message).to_bytes(),
        }
    }
}

/// The key tag of the data of a DNSKEY record (RFC 4034 appendix B).
fn key_tag(dnskey: &[u8]) -> u16 {
    let pairs = dnskey.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum: u32 = pairs.sum();
    // The carry is added once; the cast drops what that carries.
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The private half, as the examples of the RFCs have it.
    pub(in crate::protocol::dns::dnssec) fn key(algorithm: Algorithm, secret: &str) -> Key {
        let secret = BASE64.decode(secret.as_bytes()).unwrap();
        Key::new(algorithm, secret.as_slice().try_into().unwrap()).unwrap()
    }

    pub(in crate::protocol::dns::dnssec) const RFC6605: &str = "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=";
    pub(in crate::protocol::dns::dnssec) const RFC8080: [&str; 2] =
        ["ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=", "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY="];

    /// RFC 6605 section 6.1, RFC 8080 section 6.1: public half, key tag and DS of private halves.
    #[test]
    fn keys_of_the_rfcs() {
        let net: &[u8] = b"\x07exaMple\x03net\x00";
        let com: &[u8] = b"\x07exaMple\x03com\x00";
        let table = [
            (
                key(Algorithm::EcdsaP256Sha256, RFC6605),
                "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
                (net, "55648 13 2 B4C8C1FE2E7477127B27115656AD6256F424625BF5C1E2770CE6D6E37DF61D17"),
            ),
            (
                key(Algorithm::Ed25519, RFC8080[0]),
                "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                (com, "3613 15 2 3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B"),
            ),
            (
                key(Algorithm::Ed25519, RFC8080[1]),
                "257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
                (com, "35217 15 2 401781B934E392DE492EC77AE2E15D70F6575A1C0BC59C5275C04EBE80C6614C"),
            ),
        ];
        for (key, dnskey, (apex, ds)) in table {
            assert_eq!(key.dnskey_text(), dnskey);
            assert_eq!(key.ds_text(apex), ds);
            assert_eq!(Key::new(key.algorithm(), &key.secret()).unwrap().dnskey(), key.dnskey());
            assert!(!format!("{key:?}").contains(&BASE64.encode(&key.secret())));
        }
    }

    /// RFC 4034 sections 5.4 and 5.4's key: an odd number of octets is filled up with a zero.
    #[test]
    fn key_tags() {
        let rfc4034 = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvx\
                       egXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==";
        let rfc4034 = [&[1, 0, 3, 5][..], &BASE64.decode(rfc4034.as_bytes()).unwrap()].concat();
        let table: [(&[u8], u16); 6] = [
            (&rfc4034, 60_485),
            (&[], 0),
            (&[1], 0x100),
            (&[1, 2, 3], 0x402),
            (&[0xff, 0xff, 0, 1], 1),
            (&[0xff, 0xff, 0xff, 0xff], 0xffff),
        ];
        for (dnskey, tag) in table {
            assert_eq!(key_tag(dnskey), tag, "{dnskey:?}");
        }
    }

    #[test]
    fn a_private_half_that_is_no_number_of_the_group_is_refused() {
        for secret in [[0; 32], [0xff; 32]] {
            assert!(Key::new(Algorithm::EcdsaP256Sha256, &secret).is_none());
            assert!(Key::new(Algorithm::Ed25519, &secret).is_some());
        }
    }

    #[test]
    fn algorithms() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().to_lowercase().parse(), Ok(algorithm));
            assert_eq!(algorithm.number().to_string().parse(), Ok(algorithm));
        }
        assert_eq!(
            "rsa\n".parse::<Algorithm>().unwrap_err().to_string(),
            "`rsa\\n` is no algorithm that signs here; ecdsap256sha256 (13) and ed25519 (15) are"
        );
    }
}
