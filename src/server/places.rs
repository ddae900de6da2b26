//! The table of places: the open connections, and the choice of the one that makes room for a new one.
//!
//! # Bounds
//!
//! * In all: [`AdmissionLimits::connections_max`]. Half of it is divided among the listeners, each of which can use its
//!   part ("own") at any time; the other half is shared, first come, first served. So no listener can be starved by
//!   another.
//! * Of a listener: its configured maximum, and no more than its own part and the shared half.
//!
//! # Choice of the connection to evict
//!
//! When a bound is reached and a new connection arrives, an old one is evicted: one without a request under way that
//! was silent for at least [`AdmissionLimits::room_after_ms`], or one with requests but without any part of a response
//! for at least [`AdmissionLimits::stalled_after_ms`]. Candidates are taken from the network with the most connections,
//! and of these the one that was silent longest. A half-open connection has no request under way, whatever it sends.
//!
//! | bound | candidates | if there is none |
//! |---|---|---|
//! | share of a network | connections of the network | the new one is refused |
//! | of a listener | connections of the listener | the new one waits, and the system's backlog with it |
//! | in all | connections of the listeners beyond their own part, the farthest first | the same |
//!
//! Cost of a flood: an attacker with N addresses replaces at most [`AdmissionLimits::connections_max`] silent
//! connections every `room_after_ms`, each in time logarithmic in their number. A client with a request under way loses
//! nothing, and a new client waits for one replacement.
//!
//! A place is freed only after its connection is closed: there are never more connections than places.

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
    clients::{AdmissionLimits, ClientNetworks},
};

/// Maximum part of all places that one client network holds over one front end: one in this many.
const PER_NETWORK_DIVISOR: usize = 8;
/// Interval at which a connection that waits for a place checks again for one to evict.
const RETRY: Duration = Duration::from_millis(20);

/// All places of a node.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    clients: Arc<ClientNetworks>,
    times: Times,
    /// Zero of the milliseconds.
    epoch: Instant,
    table: Mutex<Table>,
    /// Notified of every place that is freed.
    freed: Notify,
}

/// Places of a front end: its listeners share the limit of a client network.
#[derive(Clone, Debug)]
pub struct FrontendPlaces {
    places: Arc<Places>,
    frontend: usize,
    /// Maximum number of connections of one network; 0: no limit.
    per_network_max: usize,
}

impl FrontendPlaces {
    /// Adds a listener with at most `connections_max` places.
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

/// Entry of one listener to the places.
#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Places>,
    listener: usize,
}

/// Reasons why there is no place at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The client's network has its maximum, and all of its connections are busy or new: refuse.
    Network,
    /// Another connection was evicted: a place is free soon.
    MakingRoom,
    /// All places are taken, and all connections are busy or new: wait.
    Busy,
}

impl Gate {
    /// Takes a place for a connection from this address.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no place at once.
    pub fn try_enter(&self, client: IpAddr) -> Result<Place, Full> {
        self.places.enter(self.listener, client)
    }

    /// Waits for a place; `None` if the client's network has its maximum.
    pub async fn enter(&self, client: IpAddr) -> Option<Place> {
        loop {
            let mut freed = pin!(self.places.freed.notified());
            // Before the table is asked, so that no place is freed unnoticed in between.
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

    /// Evicts one connection, of any listener: the system is out of descriptors or memory.
    pub fn relieve(&self) {
        let now_ms = self.places.now_ms();
        let mut table = self.places.table();
        let lines = table.lines_by(|line| line.taken);
        table.make_room(&lines, now_ms, self.places.times);
    }
}

/// Place of one connection, freed when dropped. Drop it after the connection's descriptor.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    listener: usize,
    key: Key,
    activity: Activity,
}

impl Place {
    /// Activity of the connection.
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

/// Counts of a listener since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Name of the listener.
    pub name: &'static str,
    /// Open connections.
    pub open: usize,
    /// Maximum number of connections.
    pub connections_max: usize,
    /// Connections evicted to make room for others.
    pub evicted: u64,
    /// Connections refused because their network had its maximum.
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
        // A poisoned lock is safe to use: nothing panics while it is held, and every step leaves the counts right.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
