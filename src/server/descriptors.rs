//! File descriptors: the limit of the process, and the part of it that client connections get.
//!
//! Every client connection takes one, and so do open files of ledger and index and connections to other nodes. If
//! clients took them all, the node could neither write nor accept anyone; so a part is reserved, and
//! [`AdmissionLimits::connections_max`](super::admission::AdmissionLimits::connections_max) is the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Part of all descriptors reserved for ledger, index, witnesses and other nodes: one in this many.
const KEPT_BACK_DIVISOR: u64 = 4;
/// Minimum number of reserved descriptors.
const KEPT_BACK_MIN: u64 = 160;
/// Maximum number of reserved descriptors.
const KEPT_BACK_MAX: u64 = 4_096;
/// Minimum of client connections, however few descriptors there are.
const CONNECTIONS_MIN: u64 = 32;
/// Maximum of client connections, however many descriptors there are: each takes memory, too.
const CONNECTIONS_MAX: u64 = 16_384;

/// Division of a process's file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Limit of the process.
    pub limit: u64,
    /// Number reserved for files and for connections to other nodes.
    pub kept_back: u64,
    /// Maximum number of client connections.
    pub connections_max: usize,
}

impl Descriptors {
    /// Division of the current limit of this process.
    pub fn current() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// Raises the limit of this process to the maximum that the system allows, and divides it.
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

    /// Divides a limit.
    fn of(limit: u64) -> Self {
        let kept_back = (limit / KEPT_BACK_DIVISOR).clamp(KEPT_BACK_MIN, KEPT_BACK_MAX);
        let connections = limit.saturating_sub(kept_back).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        Self { limit, kept_back, connections_max: connections.try_into().unwrap_or(usize::MAX) }
    }

    /// True if the limit is below the minimum reserve plus the minimum of connections.
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
