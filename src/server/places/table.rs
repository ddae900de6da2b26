//! The connections of all listeners, by listener and network, in the order of eviction.
//!
//! Each listener groups its connections by network, each connection with the time from which it may be evicted ("due"),
//! and orders its networks by their number of connections. Connections never update the table while they work: a due
//! time is corrected when the eviction looks at it, at most once in `room_after_ms` for each connection.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use super::Full;
use crate::{network::Network, server::activity::Activity};

/// Part of all places that is divided among the listeners: one in this many.
const OWN_DIVISOR: usize = 2;
/// Maximum number of connections and groups of networks that one search of a listener looks at.
const LOOKS_MAX: usize = 512;

/// Minimum times of silence before an eviction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) room_after_ms: u64,
    pub(super) stalled_after_ms: u64,
}

impl Times {
    /// Time from which a connection may be evicted, by its activity so far, in milliseconds since the epoch.
    fn due(self, activity: &Activity) -> u64 {
        let after = if activity.is_under_way() { self.stalled_after_ms } else { self.room_after_ms };
        activity.last_sign_ms().saturating_add(after)
    }
}

/// Holder of a share: a client network at a front end.
pub(super) type Holder = (usize, Network);

/// A connection in the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    id: u64,
    shared: Option<Holder>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) lines: Vec<Line>,
    pub(super) shares: HashMap<Holder, Held>,
    pub(super) frontends: usize,
    last_id: u64,
}

/// Places of a holder.
#[derive(Debug, Default)]
pub(super) struct Held {
    taken: usize,
    /// Number of these whose connections were evicted and are not closed yet.
    leaving: usize,
}

impl Table {
    /// Number of places reserved for the listener.
    fn own(&self, line: &Line, connections_max: usize) -> usize {
        (connections_max / OWN_DIVISOR / self.lines.len().max(1)).max(1).min(line.connections_max)
    }

    /// Number of places reserved for no listener.
    fn unowned(&self, connections_max: usize) -> usize {
        connections_max.saturating_sub(self.lines.iter().map(|line| self.own(line, connections_max)).sum())
    }

    /// Maximum number of places that a listener may take.
    pub(super) fn connections_max(&self, line: &Line, connections_max: usize) -> usize {
        line.connections_max.min(self.own(line, connections_max) + self.unowned(connections_max))
    }

    /// Checks the holder's share; at the limit evicts one of the holder's connections.
    pub(super) fn share_of(&mut self, listener: usize, holder: Holder, now_ms: u64, times: Times) -> Result<(), Full> {
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

    /// Checks the bounds of the listener and of all listeners together; at a bound evicts a connection.
    pub(super) fn room_for(
        &mut self,
        listener: usize,
        connections_max: usize,
        now_ms: u64,
        times: Times,
    ) -> Result<(), Full> {
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
        // If the other listeners hold only their own parts, the listener itself has to make room.
        let mut lines = self.lines_by(beyond);
        if lines.is_empty() {
            lines.push(listener);
        }
        Err(self.make_room(&lines, now_ms, times))
    }

    /// The listeners with a count above 0, largest first.
    pub(super) fn lines_by(&self, count: impl Fn(&Line) -> usize) -> Vec<usize> {
        let mut lines: Vec<(usize, usize)> = self.lines.iter().map(count).enumerate().collect();
        lines.retain(|(_, count)| *count > 0);
        lines.sort_by_key(|(_, count)| Reverse(*count));
        lines.into_iter().map(|(place, _)| place).collect()
    }

    /// Evicts a connection of the first of these listeners that has one due, unless one of them is evicting already.
    pub(super) fn make_room(&mut self, listeners: &[usize], now_ms: u64, times: Times) -> Full {
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

    /// Evicts a connection. It keeps its place until it is closed.
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

    pub(super) fn take(
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

    /// Frees the place of a closed connection.
    pub(super) fn leave(&mut self, listener: usize, key: Key) {
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
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) frontend: usize,
    pub(super) per_network_max: usize,
    pub(super) connections_max: usize,
    /// Number of places taken, including those of evicted connections that are not closed yet.
    pub(super) taken: usize,
    pub(super) leaving: usize,
    pub(super) evicted: u64,
    pub(super) turned_away: u64,
    /// Connections that were not evicted.
    pub(super) connections: HashMap<u64, Connection>,
    /// Queue of each network: (due, id), with due times as last seen.
    pub(super) networks: HashMap<Network, BTreeSet<(u64, u64)>>,
    /// Networks with the most connections first; among equals, the one with the earliest due time first.
    pub(super) order: BTreeSet<(Reverse<usize>, u64, Network)>,
}

#[derive(Debug)]
pub(super) struct Connection {
    network: Network,
    shared: Option<Holder>,
    /// Due time in the queue of its network.
    due_ms: u64,
    activity: Activity,
}

impl Line {
    /// A connection that may be evicted now.
    fn due(&mut self, now_ms: u64, times: Times) -> Option<u64> {
        let mut looks = LOOKS_MAX;
        let mut next = self.order.first().copied();
        while let Some((count, due_ms, network)) = next {
            looks = looks.checked_sub(1)?;
            // If the earliest due time among networks of one count is to come, skip all networks of that count.
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

    /// The connection of a network that may be evicted now, the longest due first.
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
            // The connection was active since, and others may be due before it. A connection that is busy now may be
            // done before it counts as stalled: check again soon.
            let again_ms = due_now_ms.min(now_ms.saturating_add(times.room_after_ms.max(1)));
            connection.due_ms = again_ms;
            self.change(network, |queue| {
                queue.remove(&(due_ms, id));
                queue.insert((again_ms, id));
            });
        }
    }

    /// Removes a connection from the queues.
    fn forget(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.change(connection.network, |queue| _ = queue.remove(&(connection.due_ms, id)));
        Some(connection)
    }

    /// Changes the queue of a network, and updates the order of the networks.
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
