//! File descriptors: how many the process may have, and how many of them connections get.
//!
//! Every connection takes one, and so does every open file of the ledger and the index and every connection to another
//! node. When connections took them all, nothing could be written any more and nobody could be let in; so a part is kept
//! back, and [`AdmissionLimits::connections_max`](super::admission::AdmissionLimits::connections_max) is the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is kept back for ledger, index, witnesses and other nodes: of all descriptors one in so many, ...
const KEPT_BACK_DIVISOR: u64 = 4;
/// ... this number at least, ...
const KEPT_BACK_MIN: u64 = 160;
/// ... and this number at most.
const KEPT_BACK_MAX: u64 = 4_096;
/// The fewest connections that a node is run with, however few descriptors there are.
const CONNECTIONS_MIN: u64 = 32;
/// The most connections, however many descriptors there are: each takes memory, too.
const CONNECTIONS_MAX: u64 = 16_384;

/// How a process divides its file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// How many the process may have.
    pub limit: u64,
    /// How many of them are kept back for files and for connections to others.
    pub kept_back: u64,
    /// The most connections of clients.
    pub connections_max: usize,
}

impl Descriptors {
    /// As many as the system lets this process have now.
    pub fn current() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// Raises the limit of this process as far as the system lets it, and divides what there is.
    pub fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Without a current limit there is nothing to raise.
        if current.is_some_and(|current| maximum.is_none_or(|maximum| current < maximum)) {
            let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
            if let Err(error) = raised {
                tracing::warn!(%error, current, maximum, "the limit of file descriptors could not be raised");
            }
        }
        Self::current()
    }

    /// Divides a number of descriptors.
    fn of(limit: u64) -> Self {
        let kept_back = (limit / KEPT_BACK_DIVISOR).clamp(KEPT_BACK_MIN, KEPT_BACK_MAX);
        let connections = limit.saturating_sub(kept_back).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        Self { limit, kept_back, connections_max: connections.try_into().unwrap_or(usize::MAX) }
    }

    /// True when there are too few for what is kept back and the fewest connections.
    pub fn are_scarce(&self) -> bool {
        self.limit < KEPT_BACK_MIN + CONNECTIONS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_descriptors_are_divided() {
        for (limit, kept_back, connections_max, are_scarce) in [
            (64, 160, 32, true),
            (192, 160, 32, false),
            (256, 160, 96, false),
            (1_024, 256, 768, false),
            (20_000, 4_096, 15_904, false),
            (1 << 20, 4_096, 16_384, false),
            (u64::MAX, 4_096, 16_384, false),
        ] {
            let divided = Descriptors::of(limit);
            assert_eq!(divided, Descriptors { limit, kept_back, connections_max }, "{limit}");
            assert_eq!(divided.are_scarce(), are_scarce, "{limit}");
        }
    }

    #[test]
    fn raising_gives_all_that_there_is() {
        let raised = Descriptors::raise();
        assert_eq!(Some(raised.limit), getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)));
        assert_eq!(Descriptors::current(), raised);
    }
}
