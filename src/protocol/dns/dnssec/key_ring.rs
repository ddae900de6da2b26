//! The keys of a zone, and the roll from one key to the next.
//!
//! A zone has one key, and two during a roll (RFC 6781 section 4.1.3, RFC 7583). The state of each key follows from the
//! clock and from two times that are stored with the key:
//!
//! ```text
//!          roll             + 2 hours               + 7 days: finish
//!  old  ---- active ----------|---- retired ------------|   removed
//!  new       |-- published ---|---- active ------------------------------
//! ```
//!
//! * `published`: the key is in the DNSKEY set and signs that set, so that caches learn the key.
//! * `active`: the key signs everything, and the CDS and CDNSKEY sets ask the parent for its DS.
//! * `retired`: the key is still in the DNSKEY set and signs that set, for caches hold signatures of the key, and DS
//!   records that name it.
//!
//! It is always safe to change the DS at the parent while the new key is active and the old one retired: both sign the
//! DNSKEY set, and either DS leads to it. The old key is removed by command only, once an operator knows that its DS is
//! gone, and not before its last signature has expired. A set other than DNSKEY is signed by one key of each algorithm,
//! so that a roll within an algorithm makes no answer longer, and a roll to another algorithm signs with both (RFC 4035
//! section 2.2; the liberal approach of RFC 6781 section 4.1.4).
//!
//! No clock, no files and no key generation here; all of them are the caller's.

use data_encoding::BASE64;

use super::{
    DNSKEY_TTL_SECONDS, SIGNATURE_SECONDS,
    keys::{Algorithm, Key},
};
use crate::protocol::dns::{ZoneError, zone_labels};

/// Maximum number of keys of a zone.
pub const KEYS_MAX: usize = 2;
/// Time from the publication of a new key until it signs, in seconds: by then caches have dropped the set without it,
/// twice over.
pub const PUBLISH_SECONDS: u32 = 2 * DNSKEY_TTL_SECONDS;
/// Time from the last signature of an old key until its removal, in seconds: by then none of its signatures is valid.
pub const RETIRE_SECONDS: u32 = SIGNATURE_SECONDS;

/// First line of a file of keys of this version. Another layout gets another number.
const FORMAT: &str = "touchmark dnssec keys 1";

/// State of a key at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// In the DNSKEY set, not yet in use for other sets.
    Published,
    /// In use for all signatures.
    Active,
    /// In the DNSKEY set for the sake of signatures still in caches.
    Retired,
}

impl KeyState {
    /// The state in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// A key of a zone with its times, in seconds since 1970 UTC.
#[derive(Clone, Debug)]
pub struct ZoneKey {
    /// The key.
    pub key: Key,
    /// Time of its generation and publication.
    pub published_at: u32,
    /// Time from which the key signs; the key before it is retired then.
    pub active_at: u32,
}

/// The keys of a zone, from the oldest to the newest: at least one, at most [`KEYS_MAX`].
#[derive(Clone, Debug)]
pub struct KeyRing {
    zone: String,
    apex: Vec<u8>,
    keys: Vec<ZoneKey>,
}

/// Error of starting or finishing a roll.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// A roll is under way.
    #[error("a roll is under way: key {old} gives way to key {new}; finish it before the next one begins")]
    UnderWay {
        /// The tag of the old key.
        old: u16,
        /// The tag of the new key.
        new: u16,
    },
    /// The new key has the tag of the old one, so that validators would have to try signatures with both. Of 65,536
    /// keys about one has a given tag: generate another.
    #[error("the new key has the tag of the old one, {tag}")]
    SameTag {
        /// The tag.
        tag: u16,
    },
    /// No roll is under way.
    #[error("no roll is under way: key {tag} is the only one")]
    NotUnderWay {
        /// The tag of the only key.
        tag: u16,
    },
    /// Signatures of the old key may still be valid.
    #[error("what key {old} signed is valid for another {left_seconds} s; it can go then")]
    TooEarly {
        /// The tag of the old key.
        old: u16,
        /// Remaining time, in seconds.
        left_seconds: u32,
    },
}

/// Choice to finish a roll before it is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Wait until it is safe.
    Wait,
    /// Finish at once, for a key that is compromised: answers in caches may fail to validate.
    Now,
}

impl KeyRing {
    /// The keys of a new zone: this one alone.
    ///
    /// # Errors
    ///
    /// [`ZoneError`] if the zone is not a valid name.
    pub fn new(zone: &str, key: Key, now_unix: u32) -> Result<Self, ZoneError> {
        let (zone, apex) = names(zone)?;
        let key = ZoneKey { key, published_at: now_unix, active_at: now_unix };
        Ok(Self { zone, apex, keys: vec![key] })
    }

    /// The zone, in lower case, with the dot at its end.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The zone in wire form, in lower case.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// The keys and their states, from the oldest to the newest.
    pub fn keys(&self, now_unix: u32) -> impl Iterator<Item = (&ZoneKey, KeyState)> {
        let current = self.current(now_unix);
        self.keys.iter().enumerate().map(move |(place, key)| match place.cmp(&current) {
            std::cmp::Ordering::Less => (key, KeyState::Retired),
            std::cmp::Ordering::Equal => (key, KeyState::Active),
            std::cmp::Ordering::Greater => (key, KeyState::Published),
        })
    }

    /// The active key.
    pub fn active(&self, now_unix: u32) -> &ZoneKey {
        // A ring is never empty.
        &self.keys[self.current(now_unix)]
    }

    /// The keys of the DNSKEY set, which also sign that set: all of them.
    pub(super) fn published(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|key| &key.key)
    }

    /// The keys that sign other sets: one of each algorithm.
    pub(super) fn signing(&self, now_unix: u32) -> impl Iterator<Item = &Key> {
        let algorithm = self.active(now_unix).key.algorithm();
        let signs = move |key: &&ZoneKey, state| state == KeyState::Active || key.key.algorithm() != algorithm;
        self.keys(now_unix).filter(move |(key, state)| signs(key, *state)).map(|(key, _)| &key.key)
    }

    /// Place of the newest key that is active by its time. Before the time of the first key, as with a clock that was
    /// set back, it is the first key.
    fn current(&self, now_unix: u32) -> usize {
        self.keys.iter().rposition(|key| key.active_at <= now_unix).unwrap_or(0)
    }

    /// Starts a roll: adds a key that will replace the present one.
    ///
    /// # Errors
    ///
    /// [`RollError::UnderWay`], [`RollError::SameTag`].
    pub fn roll(&self, key: Key, now_unix: u32) -> Result<Self, RollError> {
        if let [old, new] = self.keys.as_slice() {
            return Err(RollError::UnderWay { old: old.key.tag(), new: new.key.tag() });
        }
        let tag = key.tag();
        if self.published().any(|old| old.tag() == tag) {
            return Err(RollError::SameTag { tag });
        }
        // Not before the time of the present key: the order of the keys is that of their times.
        let published_at = self.keys.iter().map(|key| key.active_at).fold(now_unix, u32::max);
        let active_at = published_at.saturating_add(PUBLISH_SECONDS);
        let mut rolled = self.clone();
        rolled.keys.push(ZoneKey { key, published_at, active_at });
        Ok(rolled)
    }

    /// Time from which the roll may be finished, in seconds since 1970 UTC; `None` if no roll is under way.
    pub fn finish_from(&self) -> Option<u32> {
        match self.keys.as_slice() {
            [_, new] => Some(new.active_at.saturating_add(RETIRE_SECONDS)),
            _ => None,
        }
    }

    /// Finishes a roll: returns the ring without the old key, and the old key. The DS of the old key must be gone from
    /// the parent, which cannot be checked here.
    ///
    /// # Errors
    ///
    /// [`RollError::NotUnderWay`], [`RollError::TooEarly`].
    pub fn finish(&self, haste: Haste, now_unix: u32) -> Result<(Self, ZoneKey), RollError> {
        let [old, new] = self.keys.as_slice() else {
            return Err(RollError::NotUnderWay { tag: self.active(now_unix).key.tag() });
        };
        let left_seconds = self.finish_from().unwrap_or(0).saturating_sub(now_unix);
        if haste == Haste::Wait && left_seconds > 0 {
            return Err(RollError::TooEarly { old: old.key.tag(), left_seconds });
        }
        Ok((Self { keys: vec![new.clone()], ..self.clone() }, old.clone()))
    }

    /// The text of the file of keys: the format, the zone, then a line for each key with algorithm, tag, both times,
    /// public and private half.
    pub fn to_text(&self) -> String {
        let mut text = format!("{FORMAT}\nzone {}", self.zone);
        for ZoneKey { key, published_at, active_at } in &self.keys {
            let algorithm = key.algorithm();
            let tag = key.tag();
            let public = key.public_text();
            let secret = BASE64.encode(key.secret());
            text.push_str(&format!(
                "\nkey {algorithm} {tag} published {published_at} active {active_at} {public} {secret}"
            ));
        }
        text
    }

    /// Reads the text of [`KeyRing::to_text`], spelled exactly so: a half, a tag or a time that does not fit the rest
    /// is detected. Returns `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(FORMAT)?.strip_prefix("\nzone ")?.split('\n');
        let (zone, apex) = names(lines.next()?).ok()?;
        let keys = lines.map(ZoneKey::from_line).collect::<Option<Vec<_>>>()?;
        let in_order =
            keys.is_sorted_by_key(|key| key.active_at) && keys.iter().all(|key| key.published_at <= key.active_at);
        let ring = Self { zone, apex, keys };
        ((1..=KEYS_MAX).contains(&ring.keys.len()) && in_order && ring.to_text() == text).then_some(ring)
    }
}

impl ZoneKey {
    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = |place: usize| words.nth(place);
        let algorithm: Algorithm = word(1)?.parse().ok()?;
        let published_at = word(2)?.parse().ok()?;
        let active_at = word(1)?.parse().ok()?;
        let public = BASE64.decode(word(0)?.as_bytes()).ok()?;
        let secret = BASE64.decode(word(0)?.as_bytes()).ok()?;
        let key = Key::new(algorithm, &public, secret.as_slice().try_into().ok()?)?;
        Some(Self { key, published_at, active_at })
    }
}

/// The name of a zone as text and in wire form.
fn names(zone: &str) -> Result<(String, Vec<u8>), ZoneError> {
    let labels = zone_labels(zone)?;
    let mut apex = Vec::new();
    for label in &labels {
        // A label has at most 63 octets.
        apex.push(label.len() as u8);
        apex.extend_from_slice(label.as_bytes());
    }
    apex.push(0);
    Ok((labels.join(".") + ".", apex))
}

#[cfg(test)]
mod tests {
    use super::{super::keys::tests::two_keys, *};

    const START: u32 = 1_763_820_000;

    fn ring(key: &Key) -> KeyRing {
        KeyRing::new("ID.test", key.clone(), START).unwrap()
    }

    fn states(ring: &KeyRing, now_unix: u32) -> Vec<&'static str> {
        ring.keys(now_unix).map(|(_, state)| state.as_str()).collect()
    }

    #[test]
    fn a_roll_from_its_beginning_to_its_end() {
        let [first, second] = two_keys(Algorithm::EcdsaP256Sha256);
        let before = ring(&first);
        assert_eq!((before.zone(), before.apex()), ("id.test.", &b"\x02id\x04test\x00"[..]));
        let rolled = before.roll(second, START + 10).unwrap();
        let [old, new] = [&rolled.keys[0].key, &rolled.keys[1].key].map(Key::tag);
        let (active, finish) = (START + 10 + PUBLISH_SECONDS, START + 10 + PUBLISH_SECONDS + RETIRE_SECONDS);
        let table: [(u32, &[&str], u16); 6] = [
            (0, &["active", "published"], old),
            (START, &["active", "published"], old),
            (active - 1, &["active", "published"], old),
            (active, &["retired", "active"], new),
            (finish, &["retired", "active"], new),
            (u32::MAX, &["retired", "active"], new),
        ];
        for (now, expected, signs) in table {
            assert_eq!(states(&rolled, now), expected, "{now}");
            assert_eq!(rolled.active(now).key.tag(), signs, "{now}");
            assert_eq!(rolled.signing(now).map(Key::tag).collect::<Vec<_>>(), [signs], "{now}");
            assert_eq!(rolled.published().map(Key::tag).collect::<Vec<_>>(), [old, new], "{now}");
        }
        assert_eq!(rolled.finish_from(), Some(finish));
        let early = rolled.finish(Haste::Wait, finish - 1).unwrap_err();
        assert_eq!(early, RollError::TooEarly { old, left_seconds: 1 });
        let [third, _] = two_keys(Algorithm::Ed25519);
        let again = rolled.roll(third, finish).unwrap_err();
        assert_eq!(again, RollError::UnderWay { old, new });
        let (after, dropped) = rolled.finish(Haste::Wait, finish).unwrap();
        assert_eq!((states(&after, finish), after.active(finish).key.tag()), (vec!["active"], new));
        assert_eq!((dropped.key.tag(), after.finish_from()), (old, None));
        assert_eq!(after.finish(Haste::Now, finish).unwrap_err(), RollError::NotUnderWay { tag: new });
        // In haste, the new key signs at once.
        let (hasty, _) = rolled.finish(Haste::Now, START + 20).unwrap();
        assert_eq!((states(&hasty, START + 20), hasty.active(START + 20).key.tag()), (vec!["active"], new));
    }

    #[test]
    fn a_roll_to_another_algorithm_signs_everything_with_both() {
        let [[one, _], [other, _]] = Algorithm::ALL.map(two_keys);
        let rolled = ring(&other).roll(one, START).unwrap();
        for now in [START, START + PUBLISH_SECONDS] {
            assert_eq!(rolled.signing(now).count(), 2, "{now}");
        }
    }

    #[test]
    fn no_two_keys_have_the_same_tag() {
        let [first, _] = two_keys(Algorithm::Ed25519);
        let same = ring(&first).roll(first.clone(), START).unwrap_err();
        assert_eq!(same, RollError::SameTag { tag: first.tag() });
    }

    /// The text of a file as it was written when another library signed, with the tags and DS of that time.
    #[test]
    fn texts_of_before() {
        let text = "touchmark dnssec keys 1\nzone id.test.\n\
            key ED25519 31353 published 1795383637 active 1795383637 \
            vrxkrXhi64/qpR1vVG3fvmMpyD1DgKZyNVKckMqsAOI= +xyHPMKJjcLfqBRN0pE7Iq1zXxonr9eyXoMr6Sxc4yY=\n\
            key ECDSAP256SHA256 39097 published 1795383641 active 1795390841 \
            hZM5X/yGpvGb1NLzUMJ8MAvAC+4xFwZVd+YUouVo1qaE03FkNkE+5gLLb1H1jpwYyftToNyfjQsTvwTufkTRdQ== \
            oEji+Vsj/w1FWN7awsulmLS9D4C+3AqoKGq2i3+CT24=";
        let ring = KeyRing::from_text(text).unwrap();
        assert_eq!(ring.to_text(), text);
        let expected = [
            "31353 15 2 EA5132DA45CBD87F0769EF4E1C388CB60319BCDE1A0F623255A297F858EEDA22",
            "39097 13 2 2AC4918EAF78756B017D805D1AC77861BB8D746DB1F1415C64F8DEC5137965C4",
        ];
        assert_eq!(ring.published().map(|key| key.ds_text(ring.apex())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn texts() {
        let [[first, _], [second, _]] = Algorithm::ALL.map(two_keys);
        let one = ring(&first);
        let two = one.roll(second, START + 7).unwrap();
        for ring in [&one, &two] {
            let again = KeyRing::from_text(&ring.to_text()).unwrap();
            assert_eq!(again.to_text(), ring.to_text());
            assert_eq!((again.zone(), again.apex()), (ring.zone(), ring.apex()));
        }
        let text = two.to_text();
        assert_eq!(text.lines().count(), 4);
        // A flipped bit in any part of a key is detected.
        for (place, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte != b'\n') {
            let mut damaged = text.clone().into_bytes();
            damaged[place] = byte ^ 1;
            let damaged = String::from_utf8(damaged).unwrap();
            let read = KeyRing::from_text(&damaged).map(|ring| {
                ring.keys.iter().map(|key| (key.published_at, key.active_at)).collect::<Vec<_>>()
                    != [(START, START), (START + 7, START + 7 + PUBLISH_SECONDS)]
                    || ring.zone() != "id.test."
            });
            assert_ne!(read, Some(false), "octet {place}");
        }
        for text in ["", FORMAT, "touchmark dnssec keys 1\nzone id.test.", "touchmark dnssec keys 1\nzone -.\n"] {
            assert!(KeyRing::from_text(text).is_none(), "{text}");
        }
        let three = format!("{text}\n{}", text.lines().last().unwrap());
        assert!(KeyRing::from_text(&three).is_none());
    }
}
