//! Going through a part of the ledger, some entries at a time.

use crate::ledger::{EntryBytes, Ledger, LedgerError};

/// Whoever makes something of every entry, one after the other.
pub trait Follower {
    /// Why it cannot go on.
    type Error: From<LedgerError>;

    /// Takes the entry with this index.
    ///
    /// # Errors
    ///
    /// Whatever the follower cannot make anything of.
    fn take(&mut self, index: u64, entry: &EntryBytes) -> Result<Taken, Self::Error>;
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken, and the next one may come.
    More,
    /// It was taken, and it is the last one for now.
    Last,
    /// It was not taken: it comes again.
    Refused,
}

/// A part of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The index of its first entry.
    pub start: u64,
    /// The index behind its last entry.
    pub end: u64,
    /// How many entries are read from the disk at once.
    pub at_once: usize,
}

/// Gives the entries of a span to a follower, until it has enough or the span ends; gives the index behind the last one that was
/// taken.
///
/// # Errors
///
/// [`LedgerError`] when an entry cannot be read; what the follower says.
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

/// How many erasures were finished when something was read: it may hold what was erased since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasures(u64);

impl Erasures {
    /// Those that are finished now; to be asked before anything is read.
    pub fn now(ledger: &Ledger) -> Self {
        Self(ledger.erasures_finished())
    }

    /// True if what was read then may hold what was erased since, and has to be read again.
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

    /// Takes entries until one that it was told of.
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
        // From where, to where, where the follower stops and how; what it sees, and where it goes on.
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
