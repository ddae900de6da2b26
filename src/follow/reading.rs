//! Reading a span of the ledger, page by page.

use crate::ledger::{EntryBytes, Ledger, LedgerError};

/// Consumer of the entries of a span, one after the other.
pub trait Follower {
    /// Error that ends the reading.
    type Error: From<LedgerError>;

    /// Takes the entry with this index.
    ///
    /// # Errors
    ///
    /// Any error of the follower.
    fn take(&mut self, index: u64, entry: &EntryBytes) -> Result<Taken, Self::Error>;
}

/// Result of offering an entry to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Taken, and the next one may come.
    More,
    /// Taken, as the last one for now.
    Last,
    /// Not taken: the entry will be offered again.
    Refused,
}

/// A range of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The index of its first entry.
    pub start: u64,
    /// The index behind its last entry.
    pub end: u64,
    /// Number of entries read from the disk at once.
    pub at_once: usize,
}

/// Offers the entries of a span to a follower, until the follower stops or the span ends. Returns the index behind the
/// last entry taken.
///
/// # Errors
///
/// [`LedgerError`] if an entry cannot be read; any error of the follower.
pub fn read<F: Follower>(ledger: &Ledger, span: Span, follower: &mut F) -> Result<u64, F::Error> {
    let mut next = span.start;
    while next < span.end {
        let count = usize::try_from(span.end - next).unwrap_or(usize::MAX).min(span.at_once);
        let entries = ledger.entries(next, count)?;
        if entries.is_empty() {
            // The ledger ends before the span does.
            break;
        }
        for entry in entries {
            match follower.take(next, &entry)? {
                Taken::More => next += 1,
                Taken::Last => return Ok(next + 1),
                Taken::Refused => return Ok(next),
            }
        }
    }
    Ok(next)
}

/// Number of erasures that were finished when something was read, to detect that the data read may have been erased
/// since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasures(u64);

impl Erasures {
    /// The number now; take it before reading.
    pub fn now(ledger: &Ledger) -> Self {
        Self(ledger.erasures_finished())
    }

    /// True if data read since then may have been erased, and has to be read again.
    pub fn is_outdated(self, ledger: &Ledger) -> bool {
        self != Self::now(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Draft, EntryKind, Principal, Statement},
        id::Identifier,
        ledger::{DataDir, EdgesAfter, KeySource, Mark, Opening},
        record::Values,
    };

    /// Takes entries up to a given one.
    struct Until {
        seen: Vec<u64>,
        index: u64,
        taken: Taken,
    }

    impl Follower for Until {
        type Error = LedgerError;

        fn take(&mut self, index: u64, entry: &EntryBytes) -> Result<Taken, LedgerError> {
            assert_eq!(entry.decode()?.index, index);
            let taken = if index == self.index { self.taken } else { Taken::More };
            if taken != Taken::Refused {
                self.seen.push(index);
            }
            Ok(taken)
        }
    }

    #[test]
    fn every_entry_of_a_span_comes_once_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let (ledger, mut appender) = (recovered.ledger, recovered.appender);
        let mut batch = appender.begin(1).unwrap();
        for index in 0..7 {
            let statement = Statement {
                kind: EntryKind::Create,
                identifier: &Identifier::parse(&format!("88.1/{index}")).unwrap(),
                principal: &Principal::LOOPBACK,
                values: &Values::new(Vec::new()).unwrap(),
                edges: &[],
                outputs: None,
                request: None,
                erasure: None,
            };
            batch.push(&Draft::new(&statement, [7; 32]).unwrap(), 1, None, EdgesAfter::None).unwrap();
        }
        batch.commit().unwrap();
        // Start, end, entry at which the follower stops and its answer; then the entries seen, and the next index.
        let table = [
            (0, 7, 99, Taken::More, 0..7, 7),
            (2, 5, 99, Taken::More, 2..5, 5),
            (3, 3, 99, Taken::More, 3..3, 3),
            (5, 20, 99, Taken::More, 5..7, 7),
            (7, 20, 99, Taken::More, 7..7, 7),
            (1, 7, 4, Taken::Last, 1..5, 5),
            (1, 7, 4, Taken::Refused, 1..4, 4),
            (4, 7, 4, Taken::Refused, 4..4, 4),
        ];
        for (start, end, index, taken, seen, next) in table {
            for at_once in [1, 2, 100] {
                let mut follower = Until { seen: Vec::new(), index, taken };
                let behind = read(&ledger, Span { start, end, at_once }, &mut follower).unwrap();
                assert_eq!((follower.seen, behind), (seen.clone().collect(), next), "{start} to {end} by {at_once}");
            }
        }
        let erasures = Erasures::now(&ledger);
        assert!(!erasures.is_outdated(&ledger));
    }
}
