//! Response-rate limiting (ISC-TN-2012-1): bounds the rate of equal answers to a client network over UDP, so that an
//! attacker who forges its address cannot flood it with our answers.
//!
//! # Accounts
//!
//! Each client network has one account, a token bucket, for each kind of answer, by what repeats in an attack:
//!
//! | answer | account by |
//! |---|---|
//! | positive | network, name and type |
//! | no data | network and name |
//! | referral | network and the name of the delegated prefix: the names below it are random |
//! | NXDOMAIN | network: the names asked for are random |
//! | error | network |
//! | walk, before other nodes are asked | network; the answer counts once more when it is sent |
//!
//! An account gains `responses_per_second` tokens a second and holds no more than that; every request takes one,
//! answered or not, down to a debt of `window_seconds` seconds. In debt nothing is answered in full. So in any window
//! an account pays for at most `responses_per_second * (window_seconds + 1)` answers, and a lasting flood gets only
//! slips: every `slip`-th limited answer is sent truncated, so that a client whose address is forged can retry over
//! TCP.
//!
//! # The table
//!
//! The table has a fixed size and never grows. An account is one 64-bit word, changed by compare-and-exchange: any
//! number of threads may check at once, and none waits for another.
//!
//! ```text
//! | tag, 20 bits | limited answers since the last slip, 4 bits | time at which the account is full, 40 bits, in µs |
//! ```
//!
//! The time at which it is full is the whole state of an account: in debt if that time is more than a second ahead,
//! idle if it is past. An account may stand in one of eight places, which share a cache line. If all are taken, the
//! account closest to full is replaced: **an answer of a forgotten account is sent**, so more attackers than places
//! cost protection, never service. Two accounts collide if set and tag are equal: a chance of 1 in 130,000 for an
//! account in a full table, and no attacker can provoke it, as places are hashed with a secret. The time in a word
//! wraps after 12 days: an account that was idle just as long, and was not replaced, may look in debt for the length of
//! a window.
//!
//! Deliberately absent: clocks, counters (the caller sees each verdict), rates that differ by kind. Clients with a
//! valid cookie or over TCP are not forged: the caller does not ask for those.

use std::{
    fmt,
    hash::Hasher as _,
    net::IpAddr,
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering},
};

use siphasher::sip::SipHasher13;

use crate::network::{Network, loopback};

/// Range of `responses_per_second`; 0: no limit.
pub const RESPONSES_PER_SECOND: RangeInclusive<u32> = 0..=10_000;
/// Range of `window_seconds`.
pub const WINDOW_SECONDS: RangeInclusive<u32> = 1..=3_600;
/// Range of `slip`; 0: no slips.
pub const SLIP: RangeInclusive<u8> = 0..=10;
/// Range of `table_entries`.
pub const TABLE_ENTRIES: RangeInclusive<usize> = 1_024..=16_777_216;
/// Maximum number of networks without limits: every answer checks all of them.
pub const EXEMPT_NETWORKS_MAX: usize = 64;

/// Number of accounts of a set: those of one cache line.
const SET_ENTRIES: usize = 8;
/// Fields of an account's word, in bits from the right.
const DUE_BITS: u32 = 40;
const LIMITED_BITS: u32 = 4;
const TAG_BITS: u32 = 64 - DUE_BITS - LIMITED_BITS;
const DUE_MASK: u64 = (1 << DUE_BITS) - 1;
const LIMITED_MASK: u64 = (1 << LIMITED_BITS) - 1;
/// Maximum difference between the clocks of two threads, in microseconds.
const SKEW_US: u64 = 1_000_000;
/// Maximum number of attempts to change an account that other threads change at the same time.
const ATTEMPTS_MAX: usize = 64;
const US_PER_SECOND: u64 = 1_000_000;
const US_PER_MS: u64 = 1_000;

const _: () = assert!(*SLIP.end() as u64 <= LIMITED_MASK);
// The longest debt must be distinguishable from a past time.
const _: () = assert!((*WINDOW_SECONDS.end() as u64 + 2) * 2 * US_PER_SECOND + SKEW_US < DUE_MASK);
// Place and tag are taken from different bits of the hash.
const _: () = assert!(*TABLE_ENTRIES.end() / SET_ENTRIES <= 1 << (64 - TAG_BITS));

/// Limits of responses. Values outside the ranges of this module count as the closest inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Answers of one kind per second for a client network ([`RESPONSES_PER_SECOND`]).
    pub responses_per_second: u32,
    /// Maximum debt of an account, in seconds ([`WINDOW_SECONDS`]).
    pub window_seconds: u32,
    /// One in this many limited answers is sent truncated ([`SLIP`]): 1 is all of them, 0 none.
    pub slip: u8,
    /// Prefix length of a client network over IPv4: 0 to 32.
    pub ipv4_prefix_length: u8,
    /// Prefix length of a client network over IPv6: 0 to 128.
    pub ipv6_prefix_length: u8,
    /// Networks without limits, at most [`EXEMPT_NETWORKS_MAX`].
    pub exempt: Vec<Network>,
    /// Number of accounts in the table, of 8 bytes each ([`TABLE_ENTRIES`]); rounded up to a power of two.
    pub table_entries: usize,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            responses_per_second: 200,
            window_seconds: 15,
            slip: 2,
            ipv4_prefix_length: 24,
            ipv6_prefix_length: 56,
            exempt: loopback().into(),
            table_entries: 65_536,
        }
    }
}

/// Kinds of answers with accounts of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerClass {
    /// Records; the hash is of name and type.
    Positive,
    /// No records of the type, or a referral; the hash is of the name, or of the name of the delegated prefix.
    NoData,
    /// No such name; the hash is 0 for DNS, so that random names share an account.
    NxDomain,
    /// A refusal or an error; the hash is ignored.
    Error,
    /// A walk that is about to start; the hash is ignored.
    Walk,
}

/// Key of an account within a client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateKey {
    /// Kind of the answer.
    pub class: AnswerClass,
    /// Hash of the subject of the answer.
    pub name_hash: u64,
}

/// Decision about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the answer.
    Send,
    /// Send the answer without records and with TC; BADCOOKIE to a client with an invalid cookie.
    Slip,
    /// Send nothing.
    Drop,
}

/// Rate limiter: counts answers by client network and kind.
pub struct RateLimiter {
    sets: Box<[Set]>,
    hasher: SipHasher13,
    limits: RateLimits,
    /// Cost of an answer, capacity of an account, and capacity plus the deepest debt, all as the time in which they are
    /// regained.
    cost_us: u64,
    full_us: u64,
    owed_us_max: u64,
}

/// The accounts of one cache line.
#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; SET_ENTRIES]);

/// An account, unpacked from its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    /// Never 0, the tag of an empty place.
    tag: u64,
    limited: u64,
    due_us: u64,
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// Limiter with an empty table. `seed` keys the hash of places: it must be random and secret.
    pub fn new(limits: RateLimits, seed: [u8; 16]) -> Self {
        let within = |number: u32, range: RangeInclusive<u32>| u64::from(number.clamp(*range.start(), *range.end()));
        let rate = within(limits.responses_per_second, RESPONSES_PER_SECOND);
        let entries = limits.table_entries.clamp(*TABLE_ENTRIES.start(), *TABLE_ENTRIES.end()).next_power_of_two();
        let sets = if rate == 0 { 0 } else { entries / SET_ENTRIES };
        // Rounded up, so that the rate is never exceeded. At most rates the loss per second is less than one answer,
        // and an account holds that much more.
        let cost_us = US_PER_SECOND.div_ceil(rate.max(1));
        let full_us = rate * cost_us + cost_us - 1;
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            hasher: SipHasher13::new_with_key(&seed),
            cost_us,
            full_us,
            owed_us_max: full_us + rate * cost_us * within(limits.window_seconds, WINDOW_SECONDS),
            limits: RateLimits { slip: limits.slip.min(*SLIP.end()), ..limits },
        }
    }

    /// Counts an answer over UDP to a client without a valid cookie, and returns the decision about it. `now_ms` is of
    /// a clock that does not run backwards, equal for all threads to within a second. If many threads change an account
    /// at once, the answer is sent after 64 attempts.
    pub fn check(&self, client: IpAddr, class: AnswerClass, name_hash: u64, now_ms: u64) -> Verdict {
        if !self.limits(client) {
            return Verdict::Send;
        }
        let hash = self.hash(client, class, name_hash);
        let Some(Set(places)) = self.sets.get(hash as usize & (self.sets.len() - 1)) else { return Verdict::Send };
        let tag = (hash >> (64 - TAG_BITS)).max(1);
        let now_us = now_ms.wrapping_mul(US_PER_MS) & DUE_MASK;
        for _ in 0..ATTEMPTS_MAX {
            let (place, word) = self.find(places, tag, now_us);
            let (verdict, account) = self.count(Account::from_word(word), tag, now_us);
            let changed = place.compare_exchange(word, account.to_word(), Ordering::Relaxed, Ordering::Relaxed);
            if changed.is_ok() {
                return verdict;
            }
        }
        Verdict::Send
    }

    /// True if the client has limits.
    pub fn limits(&self, client: IpAddr) -> bool {
        !self.sets.is_empty() && !self.limits.exempt.iter().any(|network| network.contains(client))
    }

    /// Size of the table, in bytes. It never changes.
    pub fn table_bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    fn hash(&self, client: IpAddr, class: AnswerClass, name_hash: u64) -> u64 {
        let prefix_length = match client.to_canonical() {
            IpAddr::V4(_) => self.limits.ipv4_prefix_length,
            IpAddr::V6(_) => self.limits.ipv6_prefix_length,
        };
        let name_hash = if matches!(class, AnswerClass::Error | AnswerClass::Walk) { 0 } else { name_hash };
        let network = Network::of(client, prefix_length).first_bits();
        let mut hasher = self.hasher;
        hasher.write_u64((network >> 64) as u64);
        hasher.write_u64(network as u64);
        hasher.write_u64(name_hash);
        hasher.write_u8(class as u8);
        hasher.finish()
    }

    /// Finds the place and word of an account; if it has none, those of the account closest to full.
    fn find<'a>(&self, places: &'a [AtomicU64; SET_ENTRIES], tag: u64, now_us: u64) -> (&'a AtomicU64, u64) {
        let mut closest = (&places[0], 0, u64::MAX);
        for place in places {
            let word = place.load(Ordering::Relaxed);
            let account = Account::from_word(word);
            if account.tag == tag {
                return (place, word);
            }
            let owed_us = self.owed_us(account, now_us);
            if owed_us < closest.2 {
                closest = (place, word, owed_us);
            }
        }
        (closest.0, closest.1)
    }

    /// Takes a token from the account. An account with another tag is replaced by a full one.
    fn count(&self, account: Account, tag: u64, now_us: u64) -> (Verdict, Account) {
        let (owed_us, limited) =
            if account.tag == tag { (self.owed_us(account, now_us), account.limited) } else { (0, 0) };
        let owed_us = owed_us + self.cost_us;
        let due_us = (now_us + owed_us.min(self.owed_us_max)) & DUE_MASK;
        if owed_us <= self.full_us {
            return (Verdict::Send, Account { tag, limited, due_us });
        }
        let slip = u64::from(self.limits.slip);
        let verdict = if slip > 0 && limited == 0 { Verdict::Slip } else { Verdict::Drop };
        (verdict, Account { tag, limited: (limited + 1) % slip.max(1), due_us })
    }

    /// Time until an account is full, in microseconds.
    fn owed_us(&self, account: Account, now_us: u64) -> u64 {
        let owed_us = account.due_us.wrapping_sub(now_us) & DUE_MASK;
        // More than an account can owe is a time in the past.
        if owed_us > self.owed_us_max + SKEW_US { 0 } else { owed_us }
    }
}

impl Account {
    fn from_word(word: u64) -> Self {
        Self {
            tag: word >> (DUE_BITS + LIMITED_BITS),
            limited: (word >> DUE_BITS) & LIMITED_MASK,
            due_us: word & DUE_MASK,
        }
    }

    fn to_word(self) -> u64 {
        (self.tag << (DUE_BITS + LIMITED_BITS)) | (self.limited << DUE_BITS) | self.due_us
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const NOW_MS: u64 = 1_000_000;

    fn limiter(responses_per_second: u32, window_seconds: u32, slip: u8) -> RateLimiter {
        let limits = RateLimits { responses_per_second, window_seconds, slip, ..RateLimits::default() };
        RateLimiter::new(limits, [7; 16])
    }

    /// Verdicts on positive answers to one client, at these times.
    fn verdicts(limiter: &RateLimiter, times_ms: impl IntoIterator<Item = u64>) -> Vec<Verdict> {
        times_ms.into_iter().map(|now_ms| limiter.check(CLIENT, AnswerClass::Positive, 1, now_ms)).collect()
    }

    fn sent(verdicts: &[Verdict]) -> usize {
        verdicts.iter().filter(|verdict| **verdict == Verdict::Send).count()
    }

    // ISC-TN-2012-1 section 2.2.4.
    #[test]
    fn an_account_holds_a_second_and_owes_a_window() {
        for (rate, window) in [(1, 1), (5, 15), (7, 3), (200, 15), (3_333, 2), (10_000, 60)] {
            let limiter = limiter(rate, window, 0);
            let burst = vec![NOW_MS; 3 * rate as usize];
            assert_eq!(sent(&verdicts(&limiter, burst)), rate as usize);
            // A second later it holds what a second gave back.
            let limiter = self::limiter(rate, window, 0);
            assert_eq!(sent(&verdicts(&limiter, vec![NOW_MS; rate as usize])), rate as usize);
            let refilled = sent(&verdicts(&limiter, vec![NOW_MS + 1_000; 2 * rate as usize]));
            assert!((refilled as f64 / f64::from(rate)) > 0.98, "{refilled} of {rate}");
            // In the deepest debt it takes the window to get out of it, and not much longer.
            verdicts(&limiter, vec![NOW_MS + 1_000; (rate * (window + 2)) as usize]);
            let window_ms = u64::from(window) * 1_000;
            assert_eq!(verdicts(&limiter, [NOW_MS + 1_000 + window_ms * 95 / 100]), [Verdict::Drop]);
            assert_eq!(verdicts(&limiter, [NOW_MS + 1_000 + window_ms * 105 / 100 + 2_010]), [Verdict::Send]);
        }
    }

    // A cost that was rounded down would let one more through.
    #[test]
    fn rounding_gives_nothing_away() {
        let limiter = limiter(9_999, 1, 0);
        let burst = sent(&verdicts(&limiter, vec![NOW_MS; 9_999]));
        let steady = sent(&verdicts(&limiter, (0..10_000).map(|count| NOW_MS + 1 + count / 10)));
        assert!(burst + steady <= 2 * 9_999, "{burst} and {steady}");
    }

    #[test]
    fn a_steady_rate_below_the_limit_is_never_limited() {
        let limiter = limiter(100, 15, 2);
        let times = (0..10_000).map(|count| NOW_MS + count * 10);
        assert_eq!(sent(&verdicts(&limiter, times)), 10_000);
    }

    #[test]
    fn a_flood_that_goes_on_gets_slips_only() {
        use Verdict::{Drop, Slip};
        for (slip, pattern) in [
            (0, &[Drop; 6]),
            (1, &[Slip; 6]),
            (2, &[Slip, Drop, Slip, Drop, Slip, Drop]),
            (3, &[Slip, Drop, Drop, Slip, Drop, Drop]),
        ] {
            let limiter = limiter(5, 15, slip);
            assert_eq!(sent(&verdicts(&limiter, vec![NOW_MS; 5])), 5);
            assert_eq!(verdicts(&limiter, vec![NOW_MS; 6]), pattern, "slip {slip}");
            let later = verdicts(&limiter, (0..100_000).map(|count| NOW_MS + count));
            assert_eq!(sent(&later), 0, "100 seconds, 1,000 a second");
            let slips = later.iter().filter(|verdict| **verdict == Slip).count();
            assert_eq!(slips, if slip == 0 { 0 } else { later.len().div_ceil(usize::from(slip)) });
        }
    }

    #[test]
    fn slips_are_counted_over_what_is_sent_between() {
        use Verdict::{Drop, Send, Slip};
        let times = [0, 0, 1_500, 1_500, 3_500, 3_500].map(|after_ms| NOW_MS + after_ms);
        assert_eq!(verdicts(&limiter(1, 15, 2), times), [Send, Slip, Send, Drop, Send, Slip]);
    }

    #[test]
    fn what_is_counted_together() {
        use AnswerClass::{Error, NoData, NxDomain, Positive, Walk};
        let other = |client: &str, class, name_hash| (client.parse::<IpAddr>().unwrap(), class, name_hash);
        for (one, two, together) in [
            (other("192.0.2.1", Positive, 1), other("192.0.2.200", Positive, 1), true),
            (other("192.0.2.1", Positive, 1), other("::ffff:192.0.2.9", Positive, 1), true),
            (other("192.0.2.1", Positive, 1), other("192.0.3.1", Positive, 1), false),
            (other("192.0.2.1", Positive, 1), other("192.0.2.1", Positive, 2), false),
            (other("192.0.2.1", Positive, 1), other("192.0.2.1", NoData, 1), false),
            (other("192.0.2.1", NoData, 1), other("192.0.2.1", NxDomain, 1), false),
            (other("192.0.2.1", Error, 1), other("192.0.2.1", Error, 2), true),
            (other("192.0.2.1", Error, 1), other("192.0.3.1", Error, 1), false),
            (other("192.0.2.1", Walk, 1), other("192.0.2.7", Walk, 2), true),
            (other("192.0.2.1", Walk, 1), other("192.0.2.1", Error, 1), false),
            (other("2001:db8:0:ff00::1", NoData, 1), other("2001:db8:0:ffab:1::", NoData, 1), true),
            (other("2001:db8:0:ff00::1", NoData, 1), other("2001:db8:0:fe00::1", NoData, 1), false),
        ] {
            let limiter = limiter(1, 15, 0);
            assert_eq!(limiter.check(one.0, one.1, one.2, NOW_MS), Verdict::Send);
            let expected = if together { Verdict::Drop } else { Verdict::Send };
            assert_eq!(limiter.check(two.0, two.1, two.2, NOW_MS), expected, "{one:?}, {two:?}");
        }
    }

    #[test]
    fn who_is_never_limited() {
        let exempt = vec!["198.51.100.0/24".parse().unwrap()];
        let limits = RateLimits { responses_per_second: 1, exempt, ..RateLimits::default() };
        let exempting = RateLimiter::new(limits, [7; 16]);
        for (limiter, client, limited) in [
            (&limiter(1, 15, 2), "127.0.0.1", false),
            (&limiter(1, 15, 2), "::1", false),
            (&limiter(1, 15, 2), "198.51.100.7", true),
            (&exempting, "198.51.100.7", false),
            (&exempting, "127.0.0.1", true),
            (&limiter(0, 15, 2), "198.51.100.7", false),
        ] {
            let check = |_| limiter.check(client.parse().unwrap(), AnswerClass::Error, 0, NOW_MS) != Verdict::Send;
            assert_eq!((0..100).any(check), limited, "{client}");
        }
        assert_eq!(limiter(0, 15, 2).table_bytes(), 0);
    }

    #[test]
    fn the_table_has_one_size() {
        for (entries, bytes) in [(0, 8_192), (1_024, 8_192), (1_025, 16_384), (65_536, 524_288)] {
            let limits = RateLimits { responses_per_second: 1, table_entries: entries, ..RateLimits::default() };
            assert_eq!(RateLimiter::new(limits, [7; 16]).table_bytes(), bytes);
        }
    }

    #[test]
    fn a_full_table_forgets_the_innocent_first_and_sends_what_it_forgot() {
        let limits = RateLimits { responses_per_second: 10, slip: 0, table_entries: 1_024, ..RateLimits::default() };
        let limiter = RateLimiter::new(limits, [7; 16]);
        verdicts(&limiter, vec![NOW_MS; 200]);
        // A hundred times as many clients as there are places ask once each: none of them is limited.
        for client in 0..100 * 1_024u32 {
            let client = IpAddr::from((0x0a00_0000 + (client << 8)).to_be_bytes());
            assert_eq!(limiter.check(client, AnswerClass::Positive, 1, NOW_MS), Verdict::Send);
        }
        assert_eq!(verdicts(&limiter, [NOW_MS]), [Verdict::Drop], "the one in debt stays");
        // More clients in debt than places: nearly all are sent, and nothing breaks.
        let debtors = || (0..100 * 1_024u32).map(|client| IpAddr::from((0x0a00_0000 + (client << 8)).to_be_bytes()));
        for client in debtors() {
            (0..20).for_each(|_| _ = limiter.check(client, AnswerClass::Positive, 1, NOW_MS));
        }
        let limited =
            debtors().filter(|client| limiter.check(*client, AnswerClass::Positive, 1, NOW_MS) != Verdict::Send);
        assert!(limited.count() <= 1_024);
    }

    #[test]
    fn time_that_starts_again() {
        let turn_ms = (DUE_MASK + 1) / US_PER_MS;
        for start in [0, turn_ms - 1, turn_ms, 3 * turn_ms - 500, u64::MAX - 10] {
            let limiter = limiter(5, 15, 0);
            assert_eq!(sent(&verdicts(&limiter, vec![start; 50])), 5, "{start}");
            let later = |after_ms: u64| start.wrapping_add(after_ms);
            assert_eq!(sent(&verdicts(&limiter, vec![later(1_000); 50])), 0, "{start}");
        }
        // A clock that goes back a little changes nothing; one that goes back far forgives.
        let limiter = limiter(5, 15, 0);
        verdicts(&limiter, vec![NOW_MS; 200]);
        assert_eq!(verdicts(&limiter, [NOW_MS - 500]), [Verdict::Drop]);
        assert_eq!(verdicts(&limiter, [NOW_MS - 100_000]), [Verdict::Send]);
    }

    #[test]
    fn threads_share_an_account() {
        let limiter = limiter(1_000, 1, 0);
        let count = || (0..50_000).filter(|_| verdicts(&limiter, [NOW_MS]) == [Verdict::Send]).count();
        let sent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Two threads that meet an account for the first time may begin it twice.
        assert!((1_000..1_010).contains(&sent), "{sent}");
    }

    #[test]
    fn words_hold_accounts() {
        let account = Account { tag: (1 << TAG_BITS) - 1, limited: LIMITED_MASK, due_us: DUE_MASK };
        assert_eq!((account.to_word(), Account::from_word(u64::MAX)), (u64::MAX, account));
        let account = Account { tag: 1, limited: 2, due_us: 3 };
        assert_eq!(Account::from_word(account.to_word()), account);
    }

    proptest! {
        /// Never more than the rate times a second and the window, in any stretch of a window.
        #[test]
        fn sends_are_bounded(
            rate in 1u32..40, window in 1u32..5, slip in 0u8..4, start: u64,
            steps_ms in proptest::collection::vec(prop_oneof![Just(0), 0u64..20, 0u64..2_000], 1..800),
        ) {
            let limiter = limiter(rate, window, slip);
            let mut after_ms = 0;
            let mut sends = Vec::new();
            for step_ms in steps_ms {
                after_ms += step_ms;
                if verdicts(&limiter, [start.wrapping_add(after_ms)]) == [Verdict::Send] {
                    sends.push(after_ms);
                }
            }
            let window_ms = u64::from(window) * 1_000;
            for (at, first) in sends.iter().enumerate() {
                let within = sends[at..].iter().take_while(|send| **send - first <= window_ms).count();
                prop_assert!(within <= (rate * (window + 1)) as usize, "{within} within {window} s at {rate} a second");
            }
        }

        #[test]
        fn anything_is_judged(
            limits in (any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>(), any::<u8>(), 0usize..5_000),
            seed: [u8; 16], v4: [u8; 4], v6: [u8; 16],
            asked in proptest::collection::vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..100),
        ) {
            let (responses_per_second, window_seconds, slip, ipv4_prefix_length, ipv6_prefix_length, table_entries) = limits;
            let exempt = Vec::new();
            let limits = RateLimits {
                responses_per_second, window_seconds, slip, ipv4_prefix_length, ipv6_prefix_length, exempt, table_entries,
            };
            let limiter = RateLimiter::new(limits, seed);
            let bytes = limiter.table_bytes();
            for (class, name_hash, now_ms) in asked {
                use AnswerClass::{Error, NoData, NxDomain, Positive, Walk};
                let class = [Positive, NoData, NxDomain, Error, Walk][usize::from(class % 5)];
                limiter.check(v4.into(), class, name_hash, now_ms);
                limiter.check(v6.into(), class, name_hash, now_ms);
            }
            prop_assert_eq!(limiter.table_bytes(), bytes);
        }
    }
}
