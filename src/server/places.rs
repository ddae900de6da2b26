//! The table of places: which connections are open, and which of them makes room when a new one comes.
//!
//! # Bounds
//!
//! * In all: [`AdmissionLimits::connections_max`]. Half of it is divided among the listeners, each of which has its part at
//!   any time ("own"); the other half is for whoever comes first. So no listener is shut out by what happens on another one.
//! * Of a listener: what it was made with, and no more than its own part and the shared half.
//! * Of a client network over all listeners of a front end: its share.
//!
//! # Who makes room
//!
//! Where a bound is reached and a new connection comes, another one is told to end: one without a request under way, for
//! [`AdmissionLimits::room_after_ms`] at least, or with requests and without any part of a response for
//! [`AdmissionLimits::stalled_after_ms`]. Of those the one that is silent for the longest time, of the network with the most
//! connections. A half-open connection has no request under way, whatever it sends.
//!
//! | bound | who makes room | when nobody can |
//! |---|---|---|
//! | share of a network | another one of the network | the new one is turned away |
//! | of a listener | another one of the listener | the new one waits, and the system's queue with it |
//! | in all | one of the listener that is the farthest beyond its own part | the same |
//!
//! What a flood costs: an attacker with N addresses replaces at most [`AdmissionLimits::connections_max`] silent connections
//! in every `room_after_ms`, and each replacement takes a logarithm of their number; who has a request under way loses
//! nothing, and who comes waits for one replacement.
//!
//! A place is free when its connection is gone, and not before: there are never more connections than places.

mod table;

use std::{
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use self::table::{Key, Line, Table, Times};
use super::{
    activity::Activity,
    admission::{AdmissionLimits, ClientNetworks},
};

/// The part of all places that a client network has over one front end at most: one of so many.
const PER_NETWORK_DIVISOR: usize = 8;
/// How often a connection that waits for a place looks whether another one is due by now.
const RETRY: Duration = Duration::from_millis(20);

/// All places of a node.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    clients: Arc<ClientNetworks>,
    times: Times,
    /// What milliseconds are counted from.
    epoch: Instant,
    table: Mutex<Table>,
    /// Told of every place that becomes free.
    freed: Notify,
}

/// The places of a front end: its listeners share what one client network may have.
#[derive(Clone, Debug)]
pub struct FrontendPlaces {
    places: Arc<Places>,
    frontend: usize,
    /// The most connections of a network; 0 limits nothing.
    per_network_max: usize,
}

impl FrontendPlaces {
    /// The places of one more listener, `connections_max` at most.
    pub fn listener(&self, name: &'static str, connections_max: usize) -> Gate {
        let Self { places, frontend, per_network_max } = self.clone();
        let line = Line { name, frontend, per_network_max, connections_max, ..Line::default() };
        let mut table = places.table();
        table.lines.push(line);
        let listener = table.lines.len() - 1;
        drop(table);
        Gate { places, listener }
    }
}

/// Where the connections of one listener get their places.
#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Places>,
    listener: usize,
}

/// Why there is no place at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The client's network has all that it may have, and all of it is at work or new: there will be none.
    Network,
    /// Another connection was told to make room: there is one soon.
    MakingRoom,
    /// All places are taken, and all connections are at work or new: there is one later.
    Busy,
}

impl Gate {
    /// A place for a connection from this address.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn try_enter(&self, client: IpAddr) -> Result<Place, Full> {
        self.places.enter(self.listener, client)
    }

    /// The same, waiting until there is one; `None` for a client whose network has all that it may have.
    pub async fn enter(&self, client: IpAddr) -> Option<Place> {
        loop {
            let mut freed = pin!(self.places.freed.notified());
            // Before the table is asked, so that no place becomes free unnoticed in between.
            freed.as_mut().enable();
            match self.try_enter(client) {
                Ok(place) => return Some(place),
                Err(Full::Network) => return None,
                Err(Full::MakingRoom | Full::Busy) => tokio::select! {
                    () = freed => {}
                    () = sleep(RETRY) => {}
                },
            }
        }
    }

    /// Tells one connection to make room, of whichever listener: the system has no more to give.
    pub fn relieve(&self) {
        let now_ms = self.places.now_ms();
        let mut table = self.places.table();
        let lines = table.lines_by(|line| line.taken);
        table.make_room(&lines, now_ms, self.places.times);
    }
}

/// The place of one connection, free again when it is dropped. It has to be dropped after the connection's descriptor.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    listener: usize,
    key: Key,
    activity: Activity,
}

impl Place {
    /// What the connection is doing.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().leave(self.listener, self.key);
        self.places.freed.notify_waiters();
    }
}

/// What a listener has open, and has done with newcomers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// What the listener is called.
    pub name: &'static str,
    /// Connections that are open.
    pub open: usize,
    /// The most that may be.
    pub connections_max: usize,
    /// Connections that made room for others.
    pub evicted: u64,
    /// Connections that were turned away, for their network had all that it may have.
    pub turned_away: u64,
}

impl Places {
    pub(super) fn new(limits: &AdmissionLimits, clients: Arc<ClientNetworks>) -> Arc<Self> {
        let AdmissionLimits { connections_max, room_after_ms, stalled_after_ms, .. } = *limits;
        Arc::new(Self {
            connections_max: connections_max.max(1),
            clients,
            times: Times { room_after_ms, stalled_after_ms },
            epoch: Instant::now(),
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    pub(super) fn connections_max(&self) -> usize {
        self.connections_max
    }

    pub(super) fn frontend(self: &Arc<Self>, per_network_max: usize) -> FrontendPlaces {
        let part = (self.connections_max / PER_NETWORK_DIVISOR).max(1);
        let mut table = self.table();
        table.frontends += 1;
        let frontend = table.frontends;
        drop(table);
        FrontendPlaces { places: Arc::clone(self), frontend, per_network_max: per_network_max.min(part) }
    }

    pub(super) fn counted(&self) -> Vec<ListenerCounts> {
        let table = self.table();
        let counted = table.lines.iter().map(|line| ListenerCounts {
            name: line.name,
            open: line.taken,
            connections_max: table.connections_max(line, self.connections_max),
            evicted: line.evicted,
            turned_away: line.turned_away,
        });
        counted.collect()
    }

    fn enter(self: &Arc<Self>, listener: usize, client: IpAddr) -> Result<Place, Full> {
        let network = self.clients.network(client);
        let is_exempt = self.clients.is_exempt(client);
        let now_ms = self.now_ms();
        let mut table = self.table();
        let Some(line) = table.lines.get(listener) else { return Err(Full::Busy) };
        let shared = (!is_exempt && line.per_network_max > 0).then_some((line.frontend, network));
        if let Some(holder) = shared {
            table.share_of(listener, holder, now_ms, self.times)?;
        }
        table.room_for(listener, self.connections_max, now_ms, self.times)?;
        let activity = Activity::new(self.epoch);
        let key = table.take(listener, network, shared, &activity, self.times);
        Ok(Place { places: Arc::clone(self), listener, key, activity })
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held, and the counts are right after every step.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
