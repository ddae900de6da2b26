//! DNS cookies (RFC 7873) with the interoperable server cookie (RFC 9018): a client that sends back the cookie it was
//! given has shown that it receives what is sent to its address.
//!
//! ```text
//!  0               8   9      12     16              24
//! | client cookie | 1 | 0 0 0 | time | SipHash-2-4    |    the COOKIE option (10) of a response
//!                  `---- server cookie, 16 octets ---'
//! ```
//!
//! The hash is keyed with a secret of 16 octets and taken over everything before it and the address of the client, so
//! the node stores nothing for a client. The time is in seconds since 1970, modulo 2^32, and compared as a serial
//! number (RFC 1982): a cookie is valid for an hour, and up to five minutes ahead of the clock of this node, for it may
//! come from another server of an anycast set.
//!
//! # Roll-over (RFC 9018 section 5)
//!
//! Cookies are made with the first secret; all secrets, two at the most, verify. So an anycast set goes from `old` to
//! `new` without a client noticing in three steps, each finished on every server before the next begins: `old new`,
//! then `new old`, then, an hour and the longest TTL later, `new`.
//!
//! Deliberately absent: clocks, files, and the treatment of a client without a valid cookie (RFC 7873 sections 5.2.3
//! and 5.2.4 leave that to the server). Of several COOKIE options the caller takes the first one (RFC 7873 section
//! 5.2).

use std::{fmt, net::IpAddr, ops::RangeInclusive};

use data_encoding::HEXLOWER_PERMISSIVE;
use siphasher::sip::SipHasher24;

/// The number of the option (RFC 7873 section 4).
pub const COOKIE_OPTION: u16 = 10;
/// Octets of a secret (RFC 9018 section 4.4).
pub const SECRET_OCTETS: usize = 16;
/// Octets of the option in a response: both cookies.
pub const RESPONSE_OCTETS: usize = CLIENT_OCTETS + SERVER_OCTETS;

/// Octets of a client cookie (RFC 7873 section 4.1).
const CLIENT_OCTETS: usize = 8;
/// Octets of a server cookie of version 1 (RFC 9018 section 4); of those, before the hash.
const SERVER_OCTETS: usize = 16;
const HEAD_OCTETS: usize = 8;
/// The only version (RFC 9018 section 4.1).
const VERSION: u8 = 1;
/// Octets of an option with both cookies, of whatever making (RFC 7873 section 5.2.2).
const OPTION_OCTETS: RangeInclusive<usize> = 16..=40;
/// Age of a valid cookie, in seconds (RFC 9018 section 4.3); a negative age is ahead of the clock.
const AGE_SECONDS: RangeInclusive<i32> = -300..=3_600;
/// Age from which on a client gets a new cookie, in seconds (RFC 9018 section 4.3).
const RENEW_AGE_SECONDS: i32 = 1_800;
/// Maximum number of secrets: two, during a roll-over.
const SECRETS_MAX: usize = 2;

/// The cookie that a client made; a response repeats it.
pub type ClientCookie = [u8; CLIENT_OCTETS];
/// The cookie that the server made for a client.
pub type ServerCookie = [u8; SERVER_OCTETS];

/// Result of checking the COOKIE option of a request (RFC 7873 sections 5.2.1 to 5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieCheck {
    /// No option.
    None,
    /// A client cookie alone: the client asks for a server cookie, and its address may be forged.
    ClientOnly(ClientCookie),
    /// A valid cookie: the client receives what is sent to its address.
    Valid {
        /// The client cookie.
        client: ClientCookie,
        /// The server cookie in the request.
        server: ServerCookie,
        /// True if the response should bring a new server cookie: this one is older than half an hour, or made with the
        /// secret that this node only verifies with.
        renew: bool,
    },
    /// The server cookie is too old, another client's, or made with an unknown secret: treated as
    /// [`CookieCheck::ClientOnly`].
    Invalid(ClientCookie),
    /// The option has a length that no cookies have; the response is FORMERR.
    Malformed,
}

/// The secrets that make and verify cookies.
#[derive(Clone)]
pub struct CookieSecrets {
    current: SipHasher24,
    /// The secret before the roll-over, or the one to come.
    other: Option<SipHasher24>,
}

/// Error of a text of secrets. The messages never repeat a part of the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieSecretError {
    /// A line is not a secret.
    #[error("line {line} holds no secret of {} hexadecimal digits", 2 * SECRET_OCTETS)]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// No secret, or too many.
    #[error("{count} secrets; 1 to {SECRETS_MAX} can be used, one a line, the first of which makes new cookies")]
    Count {
        /// Number of secrets.
        count: usize,
    },
}

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieSecrets({})", 1 + usize::from(self.other.is_some()))
    }
}

impl CookieSecrets {
    /// Secrets from their octets: `current` makes and verifies cookies, `other` verifies only.
    pub fn new(current: [u8; SECRET_OCTETS], other: Option<[u8; SECRET_OCTETS]>) -> Self {
        let keyed = |secret| SipHasher24::new_with_key(&secret);
        Self { current: keyed(current), other: other.map(keyed) }
    }

    /// Reads secrets as 32 hexadecimal digits each, one a line, the one that makes cookies first. Empty lines and lines
    /// that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`CookieSecretError`]: the line that is not a secret, or the wrong number of secrets.
    pub fn from_text(text: &str) -> Result<Self, CookieSecretError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let secret = |(line, text): (usize, &str)| {
            let octets = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
            octets.and_then(|octets| octets.try_into().ok()).ok_or(CookieSecretError::Line { line })
        };
        let said = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
        let secrets: Vec<[u8; SECRET_OCTETS]> = said.map(secret).collect::<Result<_, _>>()?;
        match secrets[..] {
            [current] => Ok(Self::new(current, None)),
            [current, other] => Ok(Self::new(current, Some(other))),
            _ => Err(CookieSecretError::Count { count: secrets.len() }),
        }
    }

    /// Checks the data of a COOKIE option from `address`, at `now_seconds` since 1970.
    pub fn verify(&self, option: Option<&[u8]>, address: IpAddr, now_seconds: u64) -> CookieCheck {
        let Some(option) = option else { return CookieCheck::None };
        let Some((&client, rest)) = option.split_first_chunk() else { return CookieCheck::Malformed };
        if rest.is_empty() {
            return CookieCheck::ClientOnly(client);
        }
        if !OPTION_OCTETS.contains(&option.len()) {
            return CookieCheck::Malformed;
        }
        match ServerCookie::try_from(rest) {
            Ok(server) => match self.renew(client, server, address, now_seconds) {
                Some(renew) => CookieCheck::Valid { client, server, renew },
                None => CookieCheck::Invalid(client),
            },
            Err(_) => CookieCheck::Invalid(client),
        }
    }

    /// The data of the option in a response, given the result of [`CookieSecrets::verify`]: the server cookie of the
    /// request while it is fresh, else a new one; `None` if the client sent no cookie, or a malformed one.
    pub fn response_to(&self, check: &CookieCheck, address: IpAddr, now_seconds: u64) -> Option<[u8; RESPONSE_OCTETS]> {
        match *check {
            CookieCheck::None | CookieCheck::Malformed => None,
            CookieCheck::Valid { client, server, renew: false } => Some(joined(client, server)),
            CookieCheck::Valid { client, .. } | CookieCheck::ClientOnly(client) | CookieCheck::Invalid(client) => {
                Some(self.response_option(client, address, now_seconds))
            }
        }
    }

    /// The data of the option with a new server cookie.
    pub fn response_option(&self, client: ClientCookie, address: IpAddr, now_seconds: u64) -> [u8; RESPONSE_OCTETS] {
        let [.., a, b, c, d] = now_seconds.to_be_bytes();
        let head = [VERSION, 0, 0, 0, a, b, c, d];
        let mut server = [0; SERVER_OCTETS];
        server[..HEAD_OCTETS].copy_from_slice(&head);
        server[HEAD_OCTETS..].copy_from_slice(&hash(&self.current, client, head, address));
        joined(client, server)
    }

    /// For a valid server cookie, whether it should be renewed; `None` for an invalid one.
    fn renew(&self, client: ClientCookie, server: ServerCookie, address: IpAddr, now_seconds: u64) -> Option<bool> {
        let (head, found) = server.split_first_chunk::<HEAD_OCTETS>()?;
        let [version, _, _, _, time @ ..] = *head;
        let age_seconds = (now_seconds as u32).wrapping_sub(u32::from_be_bytes(time)) as i32;
        if version != VERSION || !AGE_SECONDS.contains(&age_seconds) {
            return None;
        }
        // Compared as numbers, in one step: the time taken does not tell how much of the hash was right.
        let found = u64::from_le_bytes(found.try_into().ok()?);
        let good = |secret: &SipHasher24| u64::from_le_bytes(hash(secret, client, *head, address)) == found;
        if good(&self.current) {
            return Some(age_seconds > RENEW_AGE_SECONDS);
        }
        self.other.as_ref().is_some_and(good).then_some(true)
    }
}

/// The hash of RFC 9018 section 4.4. An IPv4 address that came through an IPv6 socket counts as IPv4.
fn hash(secret: &SipHasher24, client: ClientCookie, head: [u8; HEAD_OCTETS], address: IpAddr) -> [u8; 8] {
    let mut input = [0; CLIENT_OCTETS + HEAD_OCTETS + 16];
    input[..CLIENT_OCTETS].copy_from_slice(&client);
    input[CLIENT_OCTETS..16].copy_from_slice(&head);
    let octets = match address.to_canonical() {
        IpAddr::V4(address) => {
            input[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            input[16..].copy_from_slice(&address.octets());
            32
        }
    };
    secret.hash(&input[..octets]).to_le_bytes()
}

fn joined(client: ClientCookie, server: ServerCookie) -> [u8; RESPONSE_OCTETS] {
    let mut option = [0; RESPONSE_OCTETS];
    option[..CLIENT_OCTETS].copy_from_slice(&client);
    option[CLIENT_OCTETS..].copy_from_slice(&server);
    option
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW: &str = "445536bcd2513298075a5d379663c962";
    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT: &str = "2464c4abcf10c957";
    /// RFC 9018 appendix A.1: made for 198.51.100.100 at 1559731985.
    const COOKIE: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
    const MADE_SECONDS: u64 = 1_559_731_985;

    fn octets(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn secrets(lines: &str) -> CookieSecrets {
        CookieSecrets::from_text(lines).unwrap()
    }

    /// A query with `option` is worth `expected`, and answered with `response`.
    fn check_vector(secret: &str, address: &str, now_seconds: u64, option: &str, expected: &str, response: &str) {
        let (secrets, address) = (secrets(secret), address.parse().unwrap());
        let check = secrets.verify(Some(&octets(option)), address, now_seconds);
        assert!(format!("{check:?}").starts_with(expected), "{option}: {check:?}");
        let sent = secrets.response_to(&check, address, now_seconds).unwrap();
        assert_eq!(HEXLOWER.encode(&sent), response);
        // The cookie sent is valid when it comes back.
        let again = secrets.verify(Some(&sent), address, now_seconds);
        assert!(matches!(again, CookieCheck::Valid { renew: false, .. }), "{again:?}");
        assert_eq!(secrets.response_to(&again, address, now_seconds), Some(sent));
    }

    #[test]
    fn rfc_9018_appendix_a_1_learning_a_new_server_cookie() {
        check_vector(SECRET, "198.51.100.100", MADE_SECONDS, CLIENT, "ClientOnly", COOKIE);
    }

    #[test]
    fn rfc_9018_appendix_a_2_the_same_client_learns_a_renewed_one() {
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        check_vector(SECRET, "198.51.100.100", 1_559_734_385, COOKIE, "Valid", renewed);
    }

    // The reserved octets count for the hash. At the time of the response of the example the cookie is 112 minutes old.
    #[test]
    fn rfc_9018_appendix_a_3_another_client_with_reserved_octets() {
        let option = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        let renewed = "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e";
        check_vector(SECRET, "203.0.113.203", 1_559_734_700, option, "Invalid", renewed);
        let check = secrets(SECRET).verify(Some(&octets(option)), [203, 0, 113, 203].into(), 1_559_727_985);
        assert!(matches!(check, CookieCheck::Valid { renew: false, .. }), "{check:?}");
    }

    #[test]
    fn rfc_9018_appendix_a_4_ipv6_and_a_rolled_secret() {
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let option = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let renewed = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        check_vector(&format!("{NEW}\n{OLD}"), address, 1_559_741_961, option, "Valid", renewed);
        check_vector(NEW, address, 1_559_741_961, option, "Invalid", renewed);
    }

    // RFC 9018 section 5: servers of one anycast set, each a step ahead or behind, take each other's cookies.
    #[test]
    fn rfc_9018_section_5_steps_of_a_roll_over() {
        let steps =
            [OLD.to_owned(), format!("{OLD}\n{NEW}"), format!("{NEW}\n{OLD}"), NEW.to_owned()].map(|s| secrets(&s));
        let address = [192, 0, 2, 1].into();
        for pair in steps.windows(2) {
            for (maker, taker) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let option = maker.response_option([7; 8], address, 1_000);
                let check = taker.verify(Some(&option), address, 1_000);
                assert!(matches!(check, CookieCheck::Valid { .. }), "{maker:?} to {taker:?}");
            }
        }
        let option = steps[0].response_option([7; 8], address, 1_000);
        assert_eq!(steps[3].verify(Some(&option), address, 1_000), CookieCheck::Invalid([7; 8]));
    }

    #[test]
    fn rfc_9018_section_4_3_ages() {
        let (secrets, address) = (secrets(SECRET), IpAddr::from([198, 51, 100, 100]));
        // Made at the end of the 32 bits, too, where the time starts again at 0.
        for made in [MADE_SECONDS, u64::from(u32::MAX) - 10, u64::from(u32::MAX) + 1] {
            let option = secrets.response_option([7; 8], address, made);
            for (age, renew) in [
                (-301, None),
                (-300, Some(false)),
                (0, Some(false)),
                (1_800, Some(false)),
                (1_801, Some(true)),
                (3_600, Some(true)),
                (3_601, None),
                (1 << 31, None),
            ] {
                let found = match secrets.verify(Some(&option), address, made.wrapping_add_signed(age)) {
                    CookieCheck::Valid { renew, .. } => Some(renew),
                    CookieCheck::Invalid(_) => None,
                    other => panic!("{other:?}"),
                };
                assert_eq!(found, renew, "made at {made}, {age} seconds old");
            }
        }
    }

    #[test]
    fn rfc_7873_section_5_2_2_lengths() {
        let (secrets, address) = (secrets(SECRET), IpAddr::from([198, 51, 100, 100]));
        assert_eq!(secrets.verify(None, address, MADE_SECONDS), CookieCheck::None);
        assert_eq!(secrets.response_to(&CookieCheck::None, address, MADE_SECONDS), None);
        assert_eq!(secrets.response_to(&CookieCheck::Malformed, address, MADE_SECONDS), None);
        for length in 0..=100 {
            let expected = match length {
                8 => CookieCheck::ClientOnly([1; 8]),
                16..=40 => CookieCheck::Invalid([1; 8]),
                _ => CookieCheck::Malformed,
            };
            assert_eq!(secrets.verify(Some(&vec![1; length]), address, MADE_SECONDS), expected, "{length} octets");
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_client_only() {
        let (secrets, address) = (secrets(SECRET), IpAddr::from([198, 51, 100, 100]));
        let good = octets(COOKIE);
        let is_valid = |option: &[u8], address| {
            matches!(secrets.verify(Some(option), address, MADE_SECONDS), CookieCheck::Valid { .. })
        };
        assert!(is_valid(&good, address));
        assert!(is_valid(&good, "::ffff:198.51.100.100".parse().unwrap()));
        for other in ["198.51.100.101", "::198.51.100.100", "2001:db8::1"] {
            assert!(!is_valid(&good, other.parse().unwrap()), "{other}");
        }
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_valid(&bad, address), "bit {bit}");
        }
    }

    #[test]
    fn rfc_9018_section_4_1_other_versions() {
        let (secrets, address) = (secrets(SECRET), IpAddr::from([198, 51, 100, 100]));
        for version in [0, 1, 2, 255] {
            let head = [version, 0, 0, 0, 0x5c, 0xf7, 0x9f, 0x11];
            let hash = hash(&secrets.current, [7; 8], head, address);
            let check = secrets.verify(Some(&[[7; 8], head, hash].concat()), address, MADE_SECONDS);
            assert_eq!(matches!(check, CookieCheck::Valid { .. }), version == 1, "version {version}: {check:?}");
        }
    }

    #[test]
    fn secrets_from_text() {
        let (upper, commented) = (SECRET.to_uppercase(), format!("# of all servers\r\n\r\n  {NEW}\r\n# before\n{OLD}"));
        for text in [SECRET, &upper, &format!("{SECRET}\n"), &commented] {
            assert!(CookieSecrets::from_text(text).is_ok(), "{text}");
        }
        let rule = "can be used, one a line, the first of which makes new cookies";
        for (text, message) in [
            ("", format!("0 secrets; 1 to 2 {rule}")),
            ("# none\n", format!("0 secrets; 1 to 2 {rule}")),
            (&format!("{OLD}\n{NEW}\n{SECRET}"), format!("3 secrets; 1 to 2 {rule}")),
            (&format!("{OLD}\n\n{NEW}0"), "line 3 holds no secret of 32 hexadecimal digits".into()),
            (&OLD[..30], "line 1 holds no secret of 32 hexadecimal digits".into()),
            ("dd3bdf9344b678b185a6f5cb60fca71g", "line 1 holds no secret of 32 hexadecimal digits".into()),
        ] {
            assert_eq!(CookieSecrets::from_text(text).unwrap_err().to_string(), message);
        }
        assert_eq!(format!("{:?}", secrets(&commented)), "CookieSecrets(2)");
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #[test]
        fn any_option_is_judged(option in proptest::collection::vec(any::<u8>(), 0..64), address in address(), now: u64) {
            let secrets = CookieSecrets::new([1; 16], Some([2; 16]));
            let check = secrets.verify(Some(&option), address, now);
            let valid = matches!(check, CookieCheck::Valid { .. });
            prop_assert!(!valid, "guessed");
            let response = secrets.response_to(&check, address, now);
            prop_assert_eq!(response.is_some(), check != CookieCheck::Malformed);
        }

        #[test]
        fn what_was_made_is_good_for_an_hour(
            secret: [u8; 16], client: [u8; 8], address in address(), made: u64, age in -300i64..=3_600,
        ) {
            let secrets = CookieSecrets::new(secret, None);
            let option = secrets.response_option(client, address, made);
            let check = secrets.verify(Some(&option), address, made.wrapping_add_signed(age));
            let valid = matches!(check, CookieCheck::Valid { client: found, renew, .. } if found == client && renew == (age > 1_800));
            prop_assert!(valid, "{check:?}");
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9a-f]{32}\n?([0-9a-f]{32}\n?)?") {
            let _ = CookieSecrets::from_text(&text);
        }
    }
}
