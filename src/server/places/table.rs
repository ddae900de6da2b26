//! The connections of all listeners, by listener and network: who is next to make room.
//!
//! Each listener keeps its connections by network, each with the time when it may be told to end ("due"), and its networks
//! by how many connections they have. A connection says nothing to the table while it works: a due time is corrected when
//! it is looked at, and that is at most once in `room_after_ms` for each connection.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use super::Full;
use crate::{network::Network, server::activity::Activity};

/// The part of all places that is divided among the listeners: one of so many.
const OWN_DIVISOR: usize = 2;
/// The most connections and groups of networks that are looked at for one that makes room.
const LOOKS_MAX: usize = 512;

/// When connections may be told to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) room_after_ms: u64,
    pub(super) stalled_after_ms: u64,
}

impl Times {
    /// When a connection may be told to end, as things stand, in milliseconds since the epoch.
    fn due(self, activity: &Activity) -> u64 {
        let after = if activity.is_under_way() { self.stalled_after_ms } else { self.room_after_ms };
        activity.last_sign_ms().saturating_add(after)
    }
}

/// Who holds a share: a front end's client network.
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
    pub(super) fn connections_max(&self, line: &Line, connections_max: usize) -> usize {
        line.connections_max.min(self.own(line, connections_max) + self.unowned(connections_max))
    }

    /// Room in a holder's share, as far as it goes.
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

    /// Room at a listener, and in all.
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
        // The listener itself is among them when it has its own part: it makes room itself when nobody is beyond.
        let mut lines = self.lines_by(beyond);
        if lines.is_empty() {
            lines.push(listener);
        }
        Err(self.make_room(&lines, now_ms, times))
    }

    /// The listeners of which this is more than nothing, most first.
    pub(super) fn lines_by(&self, count: impl Fn(&Line) -> usize) -> Vec<usize> {
        let mut lines: Vec<(usize, usize)> = self.lines.iter().map(count).enumerate().collect();
        lines.retain(|(_, count)| *count > 0);
        lines.sort_by_key(|(_, count)| Reverse(*count));
        lines.into_iter().map(|(place, _)| place).collect()
    }

    /// Tells a connection of the first of these listeners that has one to end, unless one is about to.
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

    /// The connection is gone.
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
    /// Places that are taken, those of connections that were told to end among them.
    pub(super) taken: usize,
    pub(super) leaving: usize,
    pub(super) evicted: u64,
    pub(super) turned_away: u64,
    /// Connections that were not told to end.
    pub(super) connections: HashMap<u64, Connection>,
    /// Each network's connections by when they are due, as far as is known: (due, id).
    pub(super) networks: HashMap<Network, BTreeSet<(u64, u64)>>,
    /// The networks, those with the most connections first; of equal ones, the one whose first connection is due first.
    pub(super) order: BTreeSet<(Reverse<usize>, u64, Network)>,
}

#[derive(Debug)]
pub(super) struct Connection {
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
