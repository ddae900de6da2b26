//! Single flight: one walk at a time per key, whose result all callers share.
//!
//! A flight does not depend on its waiters: if they go away, it still ends. Its result is in the cache before the
//! flight is removed: a caller who finds neither flight nor cache hit under the shard's lock is the first.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{error::RecursionError, resolved::Resolved};
use crate::id::Key;

const SHARD_COUNT: usize = 16;

/// Result of a flight.
pub(super) type Landing = Result<Resolved, RecursionError>;

/// Flights in progress.
#[derive(Debug)]
pub(super) struct Flights {
    shards: [Mutex<HashMap<Key, watch::Receiver<Option<Landing>>>>; SHARD_COUNT],
    hasher: RandomState,
}

/// Seat of a waiter.
#[derive(Debug)]
pub(super) struct Seat(watch::Receiver<Option<Landing>>);

/// Owner of a flight. Dropping it lands the flight with an error, so that no waiter hangs.
#[derive(Debug)]
pub(super) struct Pilot {
    flights: Arc<Flights>,
    key: Key,
    landing: watch::Sender<Option<Landing>>,
    landed: bool,
}

/// Result of boarding.
#[derive(Debug)]
pub(super) enum Boarded<T> {
    /// The cache was filled meanwhile.
    Kept(T),
    /// Another caller's flight.
    Joined(Seat),
    /// A new flight, to be landed by this caller.
    First(Pilot, Seat),
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// Joins the flight of a key; else returns the cache hit of `look`, or begins a flight. `look` runs under the
    /// shard's lock.
    pub(super) fn board<T>(self: &Arc<Self>, key: &Key, look: impl FnOnce() -> Option<T>) -> Boarded<T> {
        let mut shard = self.shard(key);
        if let Some(landing) = shard.get(key) {
            return Boarded::Joined(Seat(landing.clone()));
        }
        if let Some(kept) = look() {
            return Boarded::Kept(kept);
        }
        let (landing, seat) = watch::channel(None);
        shard.insert(key.clone(), seat.clone());
        Boarded::First(Pilot { flights: Arc::clone(self), key: key.clone(), landing, landed: false }, Seat(seat))
    }

    /// Number of flights in progress.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Landing>>>> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARD_COUNT])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// Waits for the landing.
    pub(super) async fn wait(mut self) -> Landing {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|landing| landing.clone()).unwrap_or(Err(RecursionError::BrokenOff))
    }
}

impl Pilot {
    /// Removes the flight and wakes its waiters with the result.
    pub(super) fn land(mut self, landing: Landing) {
        self.finish(landing);
    }

    fn finish(&mut self, landing: Landing) {
        if !std::mem::replace(&mut self.landed, true) {
            self.flights.shard(&self.key).remove(&self.key);
            self.landing.send_replace(Some(landing));
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.finish(Err(RecursionError::BrokenOff));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Option<()> {
        None
    }

    #[tokio::test]
    async fn whoever_comes_later_waits_for_the_first() {
        let (flights, key) = (Arc::new(Flights::new()), Key::from_bytes(*b"a"));
        let Boarded::First(pilot, first) = flights.board(&key, nothing) else { panic!() };
        let Boarded::Joined(second) = flights.board(&key, || Some(())) else {
            panic!("a flight goes before the cache")
        };
        assert!(matches!(flights.board(&Key::from_bytes(*b"b"), || Some(7)), Boarded::Kept(7)));
        assert_eq!(flights.count(), 1);
        let error = RecursionError::Overloaded { limit: 1, what: "walks" };
        pilot.land(Err(error.clone()));
        assert_eq!(flights.count(), 0);
        assert_eq!([first.wait().await.err(), second.wait().await.err()], [Some(error.clone()), Some(error)]);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_died() {
        let (flights, key) = (Arc::new(Flights::new()), Key::from_bytes(*b"a"));
        let Boarded::First(pilot, seat) = flights.board(&key, nothing) else { panic!() };
        drop(pilot);
        assert_eq!(seat.wait().await.err(), Some(RecursionError::BrokenOff));
        assert!(matches!(flights.board(&key, nothing), Boarded::First(..)));
    }
}
