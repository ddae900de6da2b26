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
//! # How one is found
//!
//! Each listener keeps its connections by network, each with the time when it may be told to end ("due"), and its networks
//! by how many connections they have. A connection says nothing to the table while it works: a due time is corrected when
//! it is looked at, and that is at most once in `room_after_ms` for each connection.
//!
//! A place is free when its connection is gone, and not before: there are never more connections than places.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::Bound,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::{
    activity::Activity,
    admission::{AdmissionLimits, ClientNetworks},
    network::Network,
};

/// The part of all places that a client network has over one front end at most: one of so many.
const PER_NETWORK_DIVISOR: usize = 8;
/// The part of all places that is divided among the listeners: one of so many.
const OWN_DIVISOR: usize = 2;
/// The most connections and groups of networks that are looked at for one that makes room.
const LOOKS_MAX: usize = 512;
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

/// When connections may be told to end.
#[derive(Clone, Copy, Debug)]
struct Times {
    room_after_ms: u64,
    stalled_after_ms: u64,
}

impl Times {
    /// When a connection may be told to end, as things stand, in milliseconds since the epoch.
    fn due(self, activity: &Activity) -> u64 {
        let after = if activity.is_under_way() { self.stalled_after_ms } else { self.room_after_ms };
        activity.last_sign_ms().saturating_add(after)
    }
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

/// Who holds a share: a front end's client network.
type Holder = (usize, Network);

/// A connection in the table.
#[derive(Clone, Copy, Debug)]
struct Key {
    id: u64,
    shared: Option<Holder>,
}

#[derive(Debug, Default)]
struct Table {
    lines: Vec<Line>,
    shares: HashMap<Holder, Held>,
    frontends: usize,
    last_id: u64,
}

/// Places of a holder.
#[derive(Debug, Default)]
struct Held {
    taken: usize,
    /// Those whose connections were told to end.
    leaving: usize,
}

impl Table {
    /// Places that are the listener's own at any time.
    fn own(&self, line: &Line, connections_max: usize) -> usize {
        (connections_max / OWN_DIVISOR / self.lines.len().max(1)).max(1).min(line.connections_max)
    }

    /// Places that nobody owns.
    fn unowned(&self, connections_max: usize) -> usize {
        connections_max.saturating_sub(self.lines.iter().map(|line| self.own(line, connections_max)).sum())
    }

    /// The most places that a listener may take.
    fn connections_max(&self, line: &Line, connections_max: usize) -> usize {
        line.connections_max.min(self.own(line, connections_max) + self.unowned(connections_max))
    }

    /// Room in a holder's share, as far as it goes.
    fn share_of(&mut self, listener: usize, holder: Holder, now_ms: u64, times: Times) -> Result<(), Full> {
        let per_network_max = self.lines.get(listener).map_or(0, |line| line.per_network_max);
        let Some(held) = self.shares.get(&holder).filter(|held| held.taken >= per_network_max) else { return Ok(()) };
        if held.leaving > 0 {
            return Err(Full::MakingRoom);
        }
        let (frontend, network) = holder;
        for place in 0..self.lines.len() {
            let line = &mut self.lines[place];
            let mut looks = LOOKS_MAX;
            if line.frontend == frontend
                && let Some(id) = line.due_of(network, now_ms, times, &mut looks)
            {
                self.tell(place, id);
                return Err(Full::MakingRoom);
            }
        }
        if let Some(line) = self.lines.get_mut(listener) {
            line.turned_away += 1;
        }
        Err(Full::Network)
    }

    /// Room at a listener, and in all.
    fn room_for(&mut self, listener: usize, connections_max: usize, now_ms: u64, times: Times) -> Result<(), Full> {
        let Some(line) = self.lines.get(listener) else { return Err(Full::Busy) };
        if line.taken >= line.connections_max {
            return Err(self.make_room(&[listener], now_ms, times));
        }
        if line.taken < self.own(line, connections_max) {
            return Ok(());
        }
        let beyond = |line: &Line| line.taken.saturating_sub(self.own(line, connections_max));
        if self.lines.iter().map(beyond).sum::<usize>() < self.unowned(connections_max) {
            return Ok(());
        }
        // The listener itself is among them when it has its own part: it makes room itself when nobody is beyond.
        let mut lines = self.lines_by(beyond);
        if lines.is_empty() {
            lines.push(listener);
        }
        Err(self.make_room(&lines, now_ms, times))
    }

    /// The listeners of which this is more than nothing, most first.
    fn lines_by(&self, count: impl Fn(&Line) -> usize) -> Vec<usize> {
        let mut lines: Vec<(usize, usize)> = self.lines.iter().map(count).enumerate().collect();
        lines.retain(|(_, count)| *count > 0);
        lines.sort_by_key(|(_, count)| Reverse(*count));
        lines.into_iter().map(|(place, _)| place).collect()
    }

    /// Tells a connection of the first of these listeners that has one to end, unless one is about to.
    fn make_room(&mut self, listeners: &[usize], now_ms: u64, times: Times) -> Full {
        if listeners.iter().any(|place| self.lines.get(*place).is_some_and(|line| line.leaving > 0)) {
            return Full::MakingRoom;
        }
        for &place in listeners {
            if let Some(id) = self.lines.get_mut(place).and_then(|line| line.due(now_ms, times)) {
                self.tell(place, id);
                return Full::MakingRoom;
            }
        }
        Full::Busy
    }

    /// Tells a connection to end. It keeps its place until it is gone.
    fn tell(&mut self, place: usize, id: u64) {
        let Some(line) = self.lines.get_mut(place) else { return };
        let Some(connection) = line.forget(id) else { return };
        line.leaving += 1;
        line.evicted += 1;
        if let Some(held) = connection.shared.and_then(|holder| self.shares.get_mut(&holder)) {
            held.leaving += 1;
        }
        connection.activity.evict();
    }

    fn take(
        &mut self,
        listener: usize,
        network: Network,
        shared: Option<Holder>,
        activity: &Activity,
        times: Times,
    ) -> Key {
        self.last_id += 1;
        let key = Key { id: self.last_id, shared };
        if let Some(holder) = shared {
            self.shares.entry(holder).or_default().taken += 1;
        }
        if let Some(line) = self.lines.get_mut(listener) {
            line.taken += 1;
            let (activity, due_ms) = (activity.clone(), times.due(activity));
            line.connections.insert(key.id, Connection { network, shared, due_ms, activity });
            line.change(network, |queue| _ = queue.insert((due_ms, key.id)));
        }
        key
    }

    /// The connection is gone.
    fn leave(&mut self, listener: usize, key: Key) {
        let Some(line) = self.lines.get_mut(listener) else { return };
        let was_told = line.forget(key.id).is_none();
        line.taken = line.taken.saturating_sub(1);
        if was_told {
            line.leaving = line.leaving.saturating_sub(1);
        }
        let Some(holder) = key.shared else { return };
        let Some(held) = self.shares.get_mut(&holder) else { return };
        held.taken = held.taken.saturating_sub(1);
        if was_told {
            held.leaving = held.leaving.saturating_sub(1);
        }
        if held.taken == 0 {
            self.shares.remove(&holder);
        }
    }
}

/// The connections of one listener.
#[derive(Debug, Default)]
struct Line {
    name: &'static str,
    frontend: usize,
    per_network_max: usize,
    connections_max: usize,
    /// Places that are taken, those of connections that were told to end among them.
    taken: usize,
    leaving: usize,
    evicted: u64,
    turned_away: u64,
    /// Connections that were not told to end.
    connections: HashMap<u64, Connection>,
    /// Each network's connections by when they are due, as far as is known: (due, id).
    networks: HashMap<Network, BTreeSet<(u64, u64)>>,
    /// The networks, those with the most connections first; of equal ones, the one whose first connection is due first.
    order: BTreeSet<(Reverse<usize>, u64, Network)>,
}

#[derive(Debug)]
struct Connection {
    network: Network,
    shared: Option<Holder>,
    /// Where it stands in the queue of its network.
    due_ms: u64,
    activity: Activity,
}

impl Line {
    /// A connection that may be told to end now.
    fn due(&mut self, now_ms: u64, times: Times) -> Option<u64> {
        let mut looks = LOOKS_MAX;
        let mut next = self.order.first().copied();
        while let Some((count, due_ms, network)) = next {
            looks = looks.checked_sub(1)?;
            // When the first one of the networks with so many is not due, none of them has one.
            let behind = if due_ms > now_ms { u64::MAX } else { due_ms };
            if due_ms <= now_ms
                && let Some(id) = self.due_of(network, now_ms, times, &mut looks)
            {
                return Some(id);
            }
            next = self.order.range((Bound::Excluded((count, behind, network)), Bound::Unbounded)).next().copied();
        }
        None
    }

    /// A connection of a network that may be told to end now, the one that is due for the longest time.
    fn due_of(&mut self, network: Network, now_ms: u64, times: Times, looks: &mut usize) -> Option<u64> {
        loop {
            let (due_ms, id) = *self.networks.get(&network)?.first()?;
            if due_ms > now_ms {
                return None;
            }
            *looks = looks.checked_sub(1)?;
            let connection = self.connections.get_mut(&id)?;
            let due_now_ms = times.due(&connection.activity);
            if due_now_ms == due_ms {
                return Some(id);
            }
            // It was at work since, and others may be due before it. One that is at work now may be done before it is stalled:
            // it is looked at again soon.
            let again_ms = due_now_ms.min(now_ms.saturating_add(times.room_after_ms.max(1)));
            connection.due_ms = again_ms;
            self.change(network, |queue| {
                queue.remove(&(due_ms, id));
                queue.insert((again_ms, id));
            });
        }
    }

    /// Takes a connection out of the queues.
    fn forget(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.change(connection.network, |queue| _ = queue.remove(&(connection.due_ms, id)));
        Some(connection)
    }

    /// Changes the queue of a network, and puts the network where it belongs then.
    fn change(&mut self, network: Network, change: impl FnOnce(&mut BTreeSet<(u64, u64)>)) {
        let queue = self.networks.entry(network).or_default();
        if let Some(&(due_ms, _)) = queue.first() {
            self.order.remove(&(Reverse(queue.len()), due_ms, network));
        }
        change(queue);
        match queue.first() {
            Some(&(due_ms, _)) => _ = self.order.insert((Reverse(queue.len()), due_ms, network)),
            None => _ = self.networks.remove(&network),
        }
    }
}

#[cfg(test)]
mod tests;
