//! Admission to places, the choice of the evicted connection, and the agreement of table and open connections.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::server::activity::UnderWay;

fn places(connections_max: usize, room_after_ms: u64) -> Arc<Places> {
    let clients = ClientNetworks { exempt: vec!["127.0.0.0/8".parse().unwrap()], ..ClientNetworks::default() };
    let limits = AdmissionLimits { connections_max, room_after_ms, stalled_after_ms: 60_000, clients: clients.clone() };
    Places::new(&limits, Arc::new(clients))
}

fn client(network: u8) -> IpAddr {
    [192, 0, network, 1].into()
}

/// Sleeps longer than a step of the table's clock.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(3));
}

/// True if the connection of this place was evicted.
fn is_told(place: &Place) -> bool {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(Duration::from_millis(1), place.activity().evicted()).await.is_ok() })
}

#[test]
fn who_is_silent_longest_in_the_largest_network_makes_room() {
    let places = places(1_000, 0);
    let gate = places.frontend(0).listener("a", 4);
    let enter = |network| {
        a_moment();
        gate.try_enter(client(network)).unwrap()
    };
    let (single, first, second, third) = (enter(1), enter(2), enter(2), enter(2));
    // The first connection of the large network was active since.
    drop(first.activity().begin());
    a_moment();
    assert_eq!(gate.try_enter(client(3)).unwrap_err(), Full::MakingRoom);
    assert_eq!([&single, &first, &second, &third].map(is_told), [false, false, true, false]);
    // No other is evicted while that one is closing, and its place is taken until it is closed.
    assert_eq!(gate.try_enter(client(3)).unwrap_err(), Full::MakingRoom);
    assert_eq!([&single, &first, &third].map(is_told), [false; 3]);
    drop(second);
    let _new = gate.try_enter(client(3)).unwrap();
    let counted = places.counted();
    assert_eq!((counted[0].open, counted[0].evicted, counted[0].turned_away), (4, 1, 0));
}

#[test]
fn who_is_at_work_or_new_makes_no_room() {
    let at_work = places(1_000, 0);
    let gate = at_work.frontend(0).listener("a", 2);
    let taken = [1, 2].map(|network| gate.try_enter(client(network)).unwrap());
    let mut requests = taken.iter().map(|place| place.activity().begin()).collect::<Vec<_>>();
    a_moment();
    assert_eq!(gate.try_enter(client(3)).unwrap_err(), Full::Busy);
    requests.pop();
    a_moment();
    assert_eq!(gate.try_enter(client(3)).unwrap_err(), Full::MakingRoom);
    assert_eq!([&taken[0], &taken[1]].map(is_told), [false, true]);

    let new = places(1_000, 60_000);
    let gate = new.frontend(0).listener("a", 1);
    let _taken = gate.try_enter(client(1)).unwrap();
    assert_eq!(gate.try_enter(client(2)).unwrap_err(), Full::Busy);
}

#[test]
fn who_is_at_work_without_a_sign_makes_room() {
    let clients = ClientNetworks::default();
    let limits =
        AdmissionLimits { connections_max: 9, room_after_ms: 1, stalled_after_ms: 50, clients: clients.clone() };
    let places = Places::new(&limits, Arc::new(clients));
    let gate = places.frontend(0).listener("a", 1);
    let taken = gate.try_enter(client(1)).unwrap();
    let request = taken.activity().begin();
    let begun = Instant::now();
    while gate.try_enter(client(2)).unwrap_err() == Full::Busy {
        if begun.elapsed() < Duration::from_millis(100) {
            request.sign();
        }
        a_moment();
    }
    assert!(begun.elapsed() >= Duration::from_millis(130), "{:?}", begun.elapsed());
    assert!(is_told(&taken));
}

#[test]
fn a_network_makes_room_for_itself_or_is_turned_away() {
    let places = places(1_000, 0);
    let frontend = places.frontend(2);
    let gates = [frontend.listener("a", 100), frontend.listener("b", 100)];
    let taken = [gates[0].try_enter(client(1)).unwrap(), gates[1].try_enter(client(1)).unwrap()];
    let requests = [taken[0].activity().begin(), taken[1].activity().begin()];
    a_moment();
    assert_eq!(gates[0].try_enter(client(1)).unwrap_err(), Full::Network);
    assert!(gates[0].try_enter(client(2)).is_ok());
    let exempt: Vec<_> = (0..10).map(|_| gates[0].try_enter([127, 0, 0, 1].into()).unwrap()).collect();
    // Another front end has shares of its own.
    assert!(places.frontend(2).listener("c", 100).try_enter(client(1)).is_ok());
    drop(requests);
    a_moment();
    assert_eq!(gates[0].try_enter(client(1)).unwrap_err(), Full::MakingRoom);
    assert_eq!(taken.each_ref().map(is_told).iter().filter(|told| **told).count(), 1);
    drop(exempt);
}

#[test]
fn a_listener_has_its_own_part_whatever_the_others_have() {
    let places = places(40, 60_000);
    let [busy, other] = ["busy", "other"].map(|name| places.frontend(0).listener(name, 1_000));
    let mut taken = Vec::new();
    let full = loop {
        match busy.try_enter(client(taken.len() as u8)) {
            Ok(place) => taken.push(place),
            Err(full) => break full,
        }
    };
    // A quarter of all places is the other listener's own.
    assert_eq!((taken.len(), full), (30, Full::Busy));
    let own: Vec<_> = (0..10).map(|network| other.try_enter(client(network)).unwrap()).collect();
    assert_eq!(other.try_enter(client(1)).unwrap_err(), Full::Busy);
    assert_eq!(places.counted().iter().map(|counts| counts.open).sum::<usize>(), 40);
    drop(own);
}

#[test]
fn who_is_beyond_its_own_part_makes_room_for_others() {
    let places = places(40, 0);
    let [large, other] = ["large", "other"].map(|name| places.frontend(0).listener(name, 1_000));
    let taken: Vec<_> = (0..30).map(|network| large.try_enter(client(network)).unwrap()).collect();
    let own: Vec<_> = (0..10).map(|network| other.try_enter(client(network)).unwrap()).collect();
    a_moment();
    assert_eq!(other.try_enter(client(99)).unwrap_err(), Full::MakingRoom);
    assert_eq!(taken.iter().filter(|place| is_told(place)).count(), 1);
    assert_eq!(own.iter().filter(|place| is_told(place)).count(), 0);
    // When the system is out of descriptors, the listener with the most connections loses one.
    large.relieve();
}

#[tokio::test]
async fn who_waits_gets_the_next_place() {
    let places = places(1_000, 60_000);
    let gate = places.frontend(0).listener("a", 1);
    let taken = gate.try_enter(client(1)).unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.enter(client(2)).await }
    });
    sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    drop(taken);
    assert!(waiting.await.unwrap().is_some());
}

/// An open connection.
struct Open {
    listener: usize,
    network: u8,
    place: Place,
    request: Option<UnderWay>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Whatever comes and goes: no bound is passed, one connection at a time is evicted, and the table agrees with the
    // open ones.
    #[test]
    fn no_bound_is_passed(steps in proptest::collection::vec((0usize..3, 0u8..5, 0u8..4), 0..200)) {
        let places = places(12, 0);
        let frontends = [places.frontend(0), places.frontend(3)];
        let gates = [
            frontends[0].listener("a", 100),
            frontends[1].listener("b", 4),
            frontends[1].listener("c", 100),
        ];
        let mut open: Vec<Open> = Vec::new();
        for (listener, network, step) in steps {
            match step {
                0 if !open.is_empty() => drop(open.swap_remove(usize::from(network) % open.len())),
                1 if !open.is_empty() => {
                    let at = usize::from(network) % open.len();
                    open[at].request = match open[at].request.take() {
                        Some(_) => None,
                        None => Some(open[at].place.activity().begin()),
                    };
                }
                _ => {
                    if let Ok(place) = gates[listener].try_enter(client(network)) {
                        open.push(Open { listener, network, place, request: None });
                    }
                }
            }
            let count = |of: fn(&Open, u8) -> bool, network| open.iter().filter(|one| of(one, network)).count();
            prop_assert!(open.len() <= 12);
            prop_assert!(count(|one, _| one.listener == 1, 0) <= 4);
            for network in 0..5 {
                // An eighth of twelve, and no less than one.
                prop_assert!(count(|one, network| one.listener > 0 && one.network == network, network) <= 1);
            }
            let table = places.table();
            prop_assert_eq!(table.lines.iter().map(|line| line.taken).sum::<usize>(), open.len());
            for line in &table.lines {
                prop_assert_eq!(line.connections.len() + line.leaving, line.taken);
                prop_assert_eq!(line.networks.values().map(BTreeSet::len).sum::<usize>(), line.connections.len());
                prop_assert_eq!(line.order.len(), line.networks.len());
            }
        }
        open.clear();
        let table = places.table();
        prop_assert!(table.shares.is_empty());
        prop_assert!(table.lines.iter().all(|line| line.taken == 0 && line.leaving == 0 && line.networks.is_empty()));
    }
}
