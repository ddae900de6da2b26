//! One key: its algorithm, its signatures, and its DNSKEY and DS records.
//!
//! Every key is a combined signing key: it has flags 257 and signs everything, its own set included. Its private half
//! is 32 octets, for both algorithms. This file alone uses the library that signs. ECDSA keys and all signatures of
//! ECDSA take random octets from the system, and none from the caller.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::{BASE64, HEXUPPER};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use sha2::{Digest as _, Sha256};

use super::canonical::lower;

/// Octets of the private half of a key.
pub const SECRET_OCTETS: usize = 32;

/// Zone key and secure entry point (RFC 4034 section 2.1.1).
const FLAGS: u16 = 257;
/// The only protocol (RFC 4034 section 2.1.2).
const PROTOCOL: u8 = 3;
/// SHA-256, the digest of DS records (RFC 4509).
const DIGEST_SHA256: u8 = 2;
/// First octet of an uncompressed point, x and y follow (SEC 1 section 2.3.3); DNSKEY leaves it out.
const UNCOMPRESSED: u8 = 4;

/// Signature algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605), with nonces made from random octets, the key and the message: no two
    /// signatures are equal.
    #[default]
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080): signatures of the same message are equal.
    Ed25519,
}

/// Error of a text that names no supported algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no algorithm that signs here; ecdsap256sha256 (13) and ed25519 (15) are", text.escape_debug())]
pub struct UnknownAlgorithm {
    text: String,
}

/// Error of the system's random generator, without which there are no new keys and no ECDSA signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random octets")]
pub struct NoRandomness;

impl Algorithm {
    /// All algorithms.
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

    /// Reads the mnemonic, in any case of letters, or the number.
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
    pair: Pair,
    secret: [u8; SECRET_OCTETS],
    dnskey: Vec<u8>,
    tag: u16,
}

#[derive(Clone)]
enum Pair {
    EcdsaP256(Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

impl fmt::Debug for Key {
    /// Shows nothing of the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.algorithm, self.tag)
    }
}

impl Key {
    /// Generates a key.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        // The library gives new keys as PKCS#8 only. All but the two halves of the document is constant, and the public
        // half is at the end (RFC 5958, with RFC 5915 or RFC 8410 inside).
        let (document, secret_at, public_octets) = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                (EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random), 36, 64)
            }
            Algorithm::Ed25519 => (Ed25519KeyPair::generate_pkcs8(&random), 16, 32),
        };
        let document = document.map_err(|_| NoRandomness)?;
        let halves = halves(document.as_ref(), secret_at, public_octets);
        // The halves belong to one key, so that a failure can only come from the random octets.
        halves.and_then(|(public, secret)| Self::new(algorithm, public, secret)).ok_or(NoRandomness)
    }

    /// The key with these halves, the public one as in the DNSKEY record (RFC 6605 section 4, RFC 8080 section 3);
    /// `None` if they do not belong to one key.
    pub fn new(algorithm: Algorithm, public: &[u8], secret: &[u8; SECRET_OCTETS]) -> Option<Self> {
        let pair = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let point = [&[UNCOMPRESSED], public].concat();
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(kind, secret, &point, &random);
                Pair::EcdsaP256(Arc::new(pair.ok()?))
            }
            Algorithm::Ed25519 => {
                Pair::Ed25519(Arc::new(Ed25519KeyPair::from_seed_and_public_key(secret, public).ok()?))
            }
        };
        let dnskey = [&FLAGS.to_be_bytes()[..], &[PROTOCOL, algorithm.number()], public].concat();
        let tag = key_tag(&dnskey);
        Some(Self { algorithm, pair, secret: *secret, dnskey, tag })
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

    /// The data of the DS record in the format of zone files (RFC 4034 section 5.3).
    pub fn ds_text(&self, apex: &[u8]) -> String {
        let digest = HEXUPPER.encode(self.ds(apex).get(4..).unwrap_or_default());
        format!("{} {} {DIGEST_SHA256} {digest}", self.tag, self.algorithm.number())
    }

    /// The data of the DNSKEY record in the format of zone files (RFC 4034 section 2.2).
    pub fn dnskey_text(&self) -> String {
        format!("{FLAGS} {PROTOCOL} {} {}", self.algorithm.number(), self.public_text())
    }

    /// The public half in Base64.
    pub fn public_text(&self) -> String {
        BASE64.encode(self.dnskey.get(4..).unwrap_or_default())
    }

    /// The private half, for the file of keys.
    pub(super) fn secret(&self) -> &[u8; SECRET_OCTETS] {
        &self.secret
    }

    /// Signs a message: 64 octets, r and s of ECDSA (RFC 6605 section 4) or a signature of Ed25519 (RFC 8080 section
    /// 4).
    ///
    /// # Errors
    ///
    /// [`NoRandomness`], for ECDSA only.
    pub(super) fn sign(&self, message: &[u8]) -> Result<impl AsRef<[u8]>, NoRandomness> {
        match &self.pair {
            Pair::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), message).map_err(|_| NoRandomness),
            Pair::Ed25519(pair) => Ok(pair.sign(message)),
        }
    }
}

/// The public and the private half in a PKCS#8 document.
fn halves(document: &[u8], secret_at: usize, public_octets: usize) -> Option<(&[u8], &[u8; SECRET_OCTETS])> {
    let public = document.get(document.len().checked_sub(public_octets)?..)?;
    Some((public, document.get(secret_at..)?.first_chunk()?))
}

/// The key tag of the data of a DNSKEY record (RFC 4034 appendix B).
fn key_tag(dnskey: &[u8]) -> u16 {
    let pairs = dnskey.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum: u32 = pairs.sum();
    // The carry is added once; the cast drops the carry of that addition.
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
pub(in crate::protocol::dns) mod tests {
    use super::*;

    /// The public and the private half.
    pub(in crate::protocol::dns) type Halves = [&'static str; 2];

    /// RFC 6605 section 6.1.
    pub(in crate::protocol::dns) const RFC6605: Halves = [
        "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
    ];
    /// RFC 6979 appendix A.2.5.
    const RFC6979: Halves = [
        "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==",
        "ya+p2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE=",
    ];
    /// RFC 8080 section 6.1.
    pub(in crate::protocol::dns) const RFC8080: [Halves; 2] = [
        ["l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI="],
        ["zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=", "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY="],
    ];

    fn try_key(algorithm: Algorithm, halves: Halves) -> Option<Key> {
        let [public, secret] = halves.map(|half| BASE64.decode(half.as_bytes()).unwrap());
        Key::new(algorithm, &public, secret.as_slice().try_into().unwrap())
    }

    pub(in crate::protocol::dns) fn key(algorithm: Algorithm, halves: Halves) -> Key {
        try_key(algorithm, halves).unwrap()
    }

    /// Two keys that are always the same.
    pub(in crate::protocol::dns) fn two_keys(algorithm: Algorithm) -> [Key; 2] {
        let halves = match algorithm {
            Algorithm::EcdsaP256Sha256 => [RFC6605, RFC6979],
            Algorithm::Ed25519 => RFC8080,
        };
        halves.map(|halves| key(algorithm, halves))
    }

    /// RFC 6605 section 6.1, RFC 8080 section 6.1: key tag and DS.
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
            assert!(!format!("{key:?}").contains(&BASE64.encode(key.secret())));
        }
    }

    #[test]
    fn new_keys() {
        for (algorithm, public_octets) in [(Algorithm::EcdsaP256Sha256, 64), (Algorithm::Ed25519, 32)] {
            let [one, other] = [(); 2].map(|()| Key::generate(algorithm).unwrap());
            assert_eq!((one.algorithm(), one.dnskey().len()), (algorithm, 4 + public_octets));
            assert_ne!((one.dnskey(), one.secret()), (other.dnskey(), other.secret()));
            let again = Key::new(algorithm, &one.dnskey()[4..], one.secret()).unwrap();
            assert_eq!(again.dnskey(), one.dnskey());
            assert!(Key::new(algorithm, &one.dnskey()[4..], other.secret()).is_none());
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
    fn halves_that_are_not_of_one_key_are_refused() {
        const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let (ecdsa, ed25519) = (Algorithm::EcdsaP256Sha256, Algorithm::Ed25519);
        let table = [
            (ecdsa, [RFC6605[0], RFC6979[1]]),
            (ecdsa, [RFC6979[0], RFC6605[1]]),
            (ecdsa, [RFC6605[0], ZERO]),
            (ecdsa, ["", RFC6605[1]]),
            (ecdsa, RFC8080[0]),
            (ed25519, [RFC8080[0][0], RFC8080[1][1]]),
            (ed25519, [ZERO, RFC8080[1][1]]),
            (ed25519, ["", RFC8080[1][1]]),
            (ed25519, RFC6605),
        ];
        for (row, (algorithm, halves)) in table.into_iter().enumerate() {
            assert!(try_key(algorithm, halves).is_none(), "row {row}");
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
