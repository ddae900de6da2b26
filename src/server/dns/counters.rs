//! Counters of DNS requests and their outcomes.
//!
//! Every worker over UDP has counters of its own, so that counting is a plain addition; the connections of a listener
//! share counters, and so do walks, and add atomically. A reader sums all of them.

use std::{
    fmt,
    ops::AddAssign,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    protocol::dns::{Responded, Summary, kind, rcode},
    server::metrics::{Metered, Out},
};

/// Counters since the start, of one worker or of several that share them.
#[derive(Debug, Default)]
pub struct Counters {
    counts: [AtomicU64; Count::ALL.len()],
    adders: Adders,
}

/// Number of threads that add to counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adders {
    /// One thread.
    #[default]
    One,
    /// Any number of threads.
    Several,
}

/// Quantities that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Requests that were read, answered or not.
    Requests,
    /// Cache hits.
    Cached,
    /// By type: TXT.
    Txt,
    /// By type: NAPTR.
    Naptr,
    /// By type: URI.
    Uri,
    /// By type: whole records.
    Record,
    /// By type: any other.
    OtherTypes,
    /// By outcome: records.
    Data,
    /// By outcome: a name without records of the type.
    NoData,
    /// By outcome: no such name.
    NxDomain,
    /// By outcome: refused.
    Refused,
    /// By outcome: ill-formed, or of a kind or version that is not answered.
    Malformed,
    /// By outcome: index or ledger could not be read.
    Failed,
    /// Truncated responses, for their length or for a rate limit.
    Truncated,
    /// Requests left unanswered by the rate limit.
    Withheld,
    /// Requests dropped because too many others waited for the disk.
    Shed,
    /// Datagrams that are not requests.
    Ignored,
}

impl Count {
    /// All quantities, in order.
    pub const ALL: [Self; 17] = [
        Self::Requests,
        Self::Cached,
        Self::Txt,
        Self::Naptr,
        Self::Uri,
        Self::Record,
        Self::OtherTypes,
        Self::Data,
        Self::NoData,
        Self::NxDomain,
        Self::Refused,
        Self::Malformed,
        Self::Failed,
        Self::Truncated,
        Self::Withheld,
        Self::Shed,
        Self::Ignored,
    ];

    /// Name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Cached => "cached",
            Self::Txt => "TXT",
            Self::Naptr => "NAPTR",
            Self::Uri => "URI",
            Self::Record => "TYPE65280",
            Self::OtherTypes => "other types",
            Self::Data => "with data",
            Self::NoData => "no data",
            Self::NxDomain => "no such name",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
            Self::Truncated => "truncated",
            Self::Withheld => "withheld (rate limit)",
            Self::Shed => "shed (disk too slow)",
            Self::Ignored => "ignored",
        }
    }

    fn of_kind(asked: u16) -> Self {
        match asked {
            kind::TXT => Self::Txt,
            kind::NAPTR => Self::Naptr,
            kind::URI => Self::Uri,
            kind::RECORD => Self::Record,
            _ => Self::OtherTypes,
        }
    }

    fn of_outcome(summary: &Summary) -> Self {
        match summary.rcode {
            rcode::NOERROR if summary.has_data => Self::Data,
            rcode::NOERROR => Self::NoData,
            rcode::NXDOMAIN => Self::NxDomain,
            rcode::REFUSED => Self::Refused,
            rcode::SERVFAIL => Self::Failed,
            _ => Self::Malformed,
        }
    }
}

/// The counters of all threads.
#[derive(Debug, Default)]
pub struct AllCounters(Mutex<Vec<Arc<Counters>>>);

impl AllCounters {
    /// Adds counters for one more thread, or for several that share them.
    pub fn add(&self, adders: Adders) -> Arc<Counters> {
        let counters = Arc::new(Counters { adders, ..Counters::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// Sums of all counters so far.
    pub fn counted(&self) -> Counted {
        let mut sum = Counted::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|counters| sum += counters.counted());
        sum
    }
}

impl Metered for AllCounters {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        let dns = self.counted();
        out.counter("touchmark_dns_requests", "Requests over DNS that were read", dns.get(Count::Requests))?;
        out.counter("touchmark_dns_cached", "Those that were answered from the cache", dns.get(Count::Cached))?;
        let kinds = [Count::Txt, Count::Naptr, Count::Uri, Count::Record, Count::OtherTypes];
        let kinds = kinds.map(|count| ([("type", count.as_str())], dns.get(count)));
        out.counters("touchmark_dns_questions", "Requests over DNS by type", kinds)?;
        let outcomes = [Count::Data, Count::NoData, Count::NxDomain, Count::Refused, Count::Malformed, Count::Failed];
        let outcomes = outcomes.map(|count| ([("outcome", count.as_str())], dns.get(count)));
        out.counters("touchmark_dns_responses", "Requests over DNS by outcome", outcomes)?;
        let limited = [Count::Truncated, Count::Withheld, Count::Shed, Count::Ignored];
        let limited = limited.map(|count| ([("how", count.as_str())], dns.get(count)));
        out.counters("touchmark_dns_limited", "Requests over DNS not answered in full", limited)
    }
}

/// Values of all counters at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted([u64; Count::ALL.len()]);

impl Counted {
    /// Value of one counter.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    /// Increase since an earlier time.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place].saturating_sub(before.0[place])))
    }
}

impl fmt::Display for Counted {
    /// Writes the counts without the zeros: `requests 12, cached 3, txt 12, data 12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = Count::ALL.into_iter().map(|count| (count, self.get(count))).filter(|(_, number)| *number > 0);
        for (place, (count, number)) in counted.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{} {number}", count.as_str())?;
        }
        Ok(())
    }
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Counters {
    /// Counts a request by type and outcome.
    pub fn count(&self, responded: &Responded) {
        let summary = match responded {
            Responded::Silent => return self.add(Count::Ignored, 1),
            // Counted when the reader or the walk has answered it.
            Responded::Deferred | Responded::Walk { .. } => return,
            Responded::Withheld(summary) => {
                self.add(Count::Withheld, 1);
                summary
            }
            Responded::Written(summary) => summary,
        };
        self.add(Count::Requests, 1);
        self.add(Count::of_kind(summary.kind), 1);
        self.add(Count::of_outcome(summary), 1);
        if summary.cached {
            self.add(Count::Cached, 1);
        }
        if summary.truncated {
            self.add(Count::Truncated, 1);
        }
    }

    /// Adds to one counter.
    pub fn add(&self, count: Count, number: u64) {
        let counter = &self.counts[count as usize];
        match self.adders {
            // No other thread writes, so that no atomic addition is needed.
            Adders::One => counter.store(counter.load(Ordering::Relaxed) + number, Ordering::Relaxed),
            Adders::Several => _ = counter.fetch_add(number, Ordering::Relaxed),
        }
    }

    /// Current values.
    pub fn counted(&self) -> Counted {
        Counted(std::array::from_fn(|place| self.counts[place].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_place() {
        assert!(Count::ALL.iter().enumerate().all(|(place, count)| *count as usize == place));
    }

    #[test]
    fn several_threads_lose_nothing() {
        let counters = AllCounters::default();
        let shared = counters.add(Adders::Several);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| shared.add(Count::Requests, 1)));
            }
        });
        assert_eq!(counters.counted().get(Count::Requests), 80_000);
    }

    #[test]
    fn requests_are_counted_by_type_and_outcome() {
        let counters = Counters::default();
        let written = |rcode, kind, has_data| {
            Responded::Written(Summary {
                rcode,
                kind,
                limited: false,
                hash: 0,
                has_data,
                cached: true,
                truncated: false,
            })
        };
        for responded in [
            written(0, kind::TXT, true),
            written(0, kind::TXT, false),
            written(3, kind::SOA, false),
            written(1, 0, false),
            Responded::Silent,
            Responded::Deferred,
        ] {
            counters.count(&responded);
        }
        let before = counters.counted();
        let gets = |counted: &Counted, counts: [Count; 6]| counts.map(|count| counted.get(count));
        let looked = [Count::Requests, Count::Txt, Count::OtherTypes, Count::Data, Count::NoData, Count::NxDomain];
        assert_eq!(gets(&before, looked), [4, 2, 2, 1, 1, 1]);
        counters.count(&written(0, kind::URI, true));
        let since = counters.counted().since(&before);
        assert_eq!(gets(&since, looked), [1, 0, 0, 1, 0, 0]);
        assert_eq!(since.to_string(), "requests 1, cached 1, URI 1, with data 1");
    }
}
