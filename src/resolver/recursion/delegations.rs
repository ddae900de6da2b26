//! The cache of delegations found by walks, valid for their TTL.
//!
//! The longest covering prefix is searched from the longest down, over those path lengths that were ever cached: a tree
//! has few. An expired delegation counts as absent; none is used stale.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::Mutex, time::Instant};

use super::resolved::Verification;
use crate::{
    cache::shelf::Shelf,
    id::{Key, Prefix},
    record::{Delegation, Endpoint},
};

/// Bytes that an entry is charged on top of its content.
const ENTRY_BYTES: usize = 256;
const LENGTH_WORDS: usize = Prefix::BYTES_MAX / 64 + 1;

/// A delegation found by a walk.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The delegated prefix.
    pub(super) prefix: Arc<Prefix>,
    /// Its sites and signers.
    pub(super) delegation: Arc<Delegation>,
    /// Weakest verification of the chain, this delegation included.
    pub(super) verification: Verification,
    /// End of validity.
    pub(super) until: Instant,
    /// Prefix and endpoint of the site that gave the referral.
    pub(super) said_by: (Arc<Prefix>, Endpoint),
    /// Time before which the parent is not asked again, even if no site is of use.
    pub(super) quiet_until: Option<Instant>,
    /// Held by the walk that asks the parent; other walks wait for it.
    pub(super) turn: Arc<Mutex<()>>,
}

/// The cache of delegations.
#[derive(Debug)]
pub(super) struct Delegations {
    known: Shelf<Box<[u8]>, Known>,
    /// One bit for each path length that was ever cached.
    lengths: [AtomicU64; LENGTH_WORDS],
}

impl Delegations {
    pub(super) fn new(bytes_max: usize) -> Self {
        #[expect(clippy::borrowed_box, reason = "a shelf weighs its keys as it holds them")]
        let weigh = |path: &Box<[u8]>, known: &Known| {
            let sites = known.delegation.sites().iter();
            let sites = sites.map(|site| 64 + site.key.as_ref().map_or(0, |key| key.len()) + 40 * site.endpoints.len());
            let signers = known.delegation.signers().iter().map(|signer| 32 + signer.digest.len());
            ENTRY_BYTES + 2 * path.len() + known.prefix.as_str().len() + sites.sum::<usize>() + signers.sum::<usize>()
        };
        Self { known: Shelf::new(bytes_max, weigh), lengths: [const { AtomicU64::new(0) }; LENGTH_WORDS] }
    }

    /// The delegation with the longest prefix that covers an identifier; with `shorter_than`, only shorter paths.
    pub(super) fn deepest(&self, key: &Key, shorter_than: Option<usize>, now: Instant) -> Option<Known> {
        let bytes = key.as_bytes();
        let end = shorter_than.unwrap_or(usize::MAX).min(bytes.len() + 1);
        let counts = |known: &Known| (known.until > now && known.prefix.covers(key)).then(|| known.clone());
        (0..end).rev().filter(|length| self.has_length(*length)).find_map(|length| {
            let path = bytes.get(..length)?;
            self.known.read(path, counts).flatten()
        })
    }

    /// Caches a delegation, unless it has expired.
    pub(super) fn keep(&self, known: Known, now: Instant) {
        let path = known.prefix.path();
        if known.until <= now || path.len() > Prefix::BYTES_MAX {
            return;
        }
        self.lengths[path.len() / 64].fetch_or(1 << (path.len() % 64), Ordering::Relaxed);
        self.known.put(path.into(), known);
    }

    /// Invalidates everything.
    pub(super) fn clear(&self) {
        self.known.clear();
    }

    /// Invalidates a delegation.
    pub(super) fn forget(&self, prefix: &Prefix) {
        self.known.remove(prefix.path());
    }

    /// The cached delegation of a prefix, unless it has expired.
    pub(super) fn of(&self, prefix: &Prefix, now: Instant) -> Option<Known> {
        self.known.read(prefix.path(), |known| (known.until > now).then(|| known.clone())).flatten()
    }

    /// Keeps walks from asking the parent of a delegation until a time; never shortens an earlier call.
    pub(super) fn hush(&self, prefix: &Prefix, until: Instant) {
        self.known.change(prefix.path(), |known| known.quiet_until = known.quiet_until.max(Some(until)));
    }

    /// Number of entries, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.known.size()
    }

    fn has_length(&self, length: usize) -> bool {
        let word = self.lengths.get(length / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        word >> (length % 64) & 1 == 1
    }
}

impl Known {
    /// True if the parent is not to be asked now.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::Identifier;

    fn known(prefix: &str, until: Instant) -> Known {
        let prefix = Arc::new(Prefix::parse(prefix).unwrap());
        let delegation = Delegation::new(60, vec!["grpc://192.0.2.1:1".parse().unwrap()], Vec::new()).unwrap();
        let said_by = (Arc::clone(&prefix), delegation.sites()[0].endpoints[0]);
        let (delegation, verification) = (Arc::new(delegation), Verification::None);
        Known { prefix, delegation, verification, until, said_by, quiet_until: None, turn: Arc::default() }
    }

    #[test]
    fn the_longest_one_that_counts_is_found() {
        let (now, delegations) = (Instant::now(), Delegations::new(1 << 20));
        let later = now + Duration::from_secs(60);
        for prefix in [".", "88", "88.118", "88.118.8", "1.3", "gs1:06", "https://a.example/p"] {
            delegations.keep(known(prefix, later), now);
        }
        let check = |identifier: &str, now: Instant, found: Option<&str>| {
            let identifier = Identifier::parse(identifier).unwrap();
            let deepest = delegations.deepest(identifier.key(), None, now);
            assert_eq!(deepest.map(|known| known.prefix.as_str().to_owned()).as_deref(), found, "{identifier}");
        };
        check("88.118.8/x", now, Some("hdl:88.118.8"));
        check("88.118.80/x", now, Some("hdl:88.118"));
        check("88.1180/x", now, Some("hdl:88"));
        check("https://a.example/pq", now, Some("."));
        check("https://a.example/p/q", now, Some("https://a.example/p"));
        check("(01)00614141322602", now, Some("gs1:06"));
        check("88.118.8/x", later, None);
        let identifier = Identifier::parse("88.118.8/x").unwrap();
        let length = Prefix::parse("88.118").unwrap().path().len();
        let shorter = delegations.deepest(identifier.key(), Some(length), now).unwrap();
        assert_eq!(shorter.prefix.as_str(), "hdl:88");
        delegations.forget(&Prefix::parse("88.118.8").unwrap());
        check("88.118.8/x", now, Some("hdl:88.118"));
        delegations.keep(known("88.118.8", now), now);
        check("88.118.8/x", now, Some("hdl:88.118"));
    }

    #[test]
    fn a_parent_is_left_alone_for_the_longest_time_that_was_said() {
        let (now, delegations) = (Instant::now(), Delegations::new(1 << 20));
        let second = Duration::from_secs(1);
        let prefix = Prefix::parse("88").unwrap();
        delegations.keep(known("88", now + second * 40), now);
        let is_quiet = |after: u32| delegations.of(&prefix, now).unwrap().is_quiet(now + second * after);
        assert!(!is_quiet(0));
        delegations.hush(&prefix, now + second * 30);
        delegations.hush(&prefix, now + second * 5);
        assert_eq!([0, 5, 29, 30].map(is_quiet), [true, true, true, false]);
        assert!(delegations.of(&prefix, now + second * 40).is_none(), "its time is over");
    }

    #[test]
    fn the_budget_holds() {
        let (now, delegations) = (Instant::now(), Delegations::new(1 << 16));
        for number in 0..5_000 {
            delegations.keep(known(&format!("88.{number}"), now + Duration::from_secs(60)), now);
        }
        let (entries, bytes) = delegations.size();
        assert!(bytes <= 1 << 16 && entries > 50, "{entries} {bytes}");
    }
}
