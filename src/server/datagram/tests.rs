//! The loop with a test service that is not DNS: it sends requests back in capitals.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    rate::{AnswerClass, RateLimits},
    *,
};

/// Service that sends requests back, by the first octet: `d` takes a disk, `l` comes late, `s` gets no response.
struct Echo {
    users: Users,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

/// Answer to a request to [`Echo`].
#[derive(Clone, Copy)]
enum Echoed {
    Written,
    Cut,
    Dropped,
    OnDisk,
    Later,
    Silent,
}

impl Echo {
    fn new() -> Self {
        Self { users: Users::AnyThread, counts: Arc::default() }
    }

    fn count(&self, what: &'static str, number: u64) {
        *self.counts.lock().unwrap().entry(what).or_default() += number;
    }

    fn counted(&self, what: &str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl DatagramService for Echo {
    type Answer = Echoed;

    fn instance(&self, users: Users) -> Self {
        Self { users, counts: Arc::clone(&self.counts) }
    }

    fn answer(&self, request: &[u8], client: &DatagramClient, depth: Depth, out: &mut Vec<u8>) -> Echoed {
        assert!(client.address.is_loopback() && client.now_unix > 0);
        assert_eq!(self.users, Users::OneThread);
        match (request.first(), depth) {
            (Some(b's'), _) => return Echoed::Silent,
            (Some(b'l'), _) => return Echoed::Later,
            (Some(b'd'), Depth::Resident) => return Echoed::OnDisk,
            _ => {}
        }
        out.clear();
        out.extend(request.to_ascii_uppercase());
        Echoed::Written
    }

    fn rate_key(&self, echoed: &Echoed) -> Option<RateKey> {
        matches!(echoed, Echoed::Written).then_some(RateKey { class: AnswerClass::Positive, name_hash: 1 })
    }

    fn within(&self, echoed: Echoed, verdict: Verdict, response: &mut Vec<u8>) -> Echoed {
        match verdict {
            Verdict::Send => echoed,
            Verdict::Slip => {
                response.truncate(1);
                Echoed::Cut
            }
            Verdict::Drop => Echoed::Dropped,
        }
    }

    fn conclude(&self, echoed: Echoed, request: &[u8], path: &ReplyPath<'_, Self>) -> Sent {
        assert!(path.client().is_loopback());
        match echoed {
            Echoed::Written => self.count("written", 1),
            Echoed::Cut => self.count("cut", 1),
            Echoed::Dropped => self.count("dropped", 1),
            Echoed::OnDisk => return Sent::Deferred,
            Echoed::Silent => return Sent::Nothing,
            Echoed::Later => {
                let reply = path.later().unwrap();
                let request = request.to_vec();
                thread::spawn(move || {
                    reply.respond(&request, |service, _, out| {
                        assert_eq!(service.users, Users::AnyThread);
                        out.extend(b"late ");
                        out.extend(&request);
                        Echoed::Written
                    });
                });
                return Sent::Nothing;
            }
        }
        if matches!(echoed, Echoed::Dropped) { Sent::Nothing } else { Sent::Response }
    }

    fn ignored(&self, datagrams: u64) {
        self.count("ignored", datagrams);
    }

    fn shed(&self, requests: u64) {
        self.count("shed", requests);
    }
}

/// A listener, its address, and a client of it.
struct Served {
    echo: Echo,
    listener: DatagramListener,
    client: UdpSocket,
}

fn serve(limits: RateLimits, workers: usize) -> Served {
    let mut sockets = vec![open(([127, 0, 0, 1], 0).into(), workers > 1).unwrap()];
    let address: SocketAddr = sockets[0].local_addr().unwrap();
    sockets.extend((1..workers).map(|_| open(address, true).unwrap()));
    let echo = Echo::new();
    let listener = DatagramListener::run(sockets, &echo, &Arc::new(RateLimiter::new(limits, [7; 16]))).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    Served { echo, listener, client }
}

impl Served {
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.client.send(request).unwrap();
        self.receive()
    }

    fn receive(&self) -> Vec<u8> {
        let mut response = vec![0; 2_000];
        let octets = self.client.recv(&mut response).unwrap();
        response.truncate(octets);
        response
    }
}

#[test]
fn any_protocol_is_answered() {
    for workers in [1, 2] {
        let served = serve(RateLimits::default(), workers);
        for (request, expected) in [("hello", "HELLO"), ("disk", "DISK"), ("later", "late later"), ("x", "X")] {
            assert_eq!(served.ask(request.as_bytes()), expected.as_bytes());
        }
        // These two get no response: the next response is to the third.
        served.client.send(b"silence").unwrap();
        served.client.send(&[b'x'; 1_233]).unwrap();
        assert_eq!(served.ask(&[b'y'; 1_232]), [b'Y'; 1_232]);
        assert_eq!((served.echo.counted("written"), served.echo.counted("ignored")), (5, 1));
        served.listener.shutdown();
        assert_eq!(served.echo.counted("shed"), 0);
    }
}

#[test]
fn many_are_answered_in_batches() {
    let served = serve(RateLimits::default(), 1);
    let requests: Vec<String> = (0..100).map(|number| format!("request {number:03}")).collect();
    for request in &requests {
        served.client.send(request.as_bytes()).unwrap();
    }
    let mut responses: Vec<_> = requests.iter().map(|_| String::from_utf8(served.receive()).unwrap()).collect();
    responses.sort();
    assert_eq!(responses, requests.iter().map(|request| request.to_uppercase()).collect::<Vec<_>>());
}

/// Responses over the limit are decided about after they were written: one in two is cut, the other dropped.
#[test]
fn limits_are_those_of_the_loop() {
    let limits = RateLimits { responses_per_second: 1, slip: 2, exempt: Vec::new(), ..RateLimits::default() };
    let served = serve(limits, 1);
    assert_eq!(served.ask(b"first"), b"FIRST");
    for _ in 0..20 {
        served.client.send(b"more").unwrap();
    }
    let until = Instant::now() + Duration::from_secs(10);
    let counted = || ["written", "cut", "dropped"].map(|what| served.echo.counted(what));
    while counted().iter().sum::<u64>() < 21 && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    let [written, cut, dropped] = counted();
    assert_eq!(written + cut + dropped, 21);
    assert!(written < 10 && cut > 0 && dropped > 0, "{written} {cut} {dropped}");
    let responses: Vec<_> = (1..written + cut).map(|_| served.receive()).collect();
    assert_eq!(responses.iter().filter(|response| response.as_slice() == b"M").count() as u64, cut);
}

/// A dropped listener does not keep its threads.
#[test]
fn a_dropped_listener_stops() {
    let served = serve(RateLimits::default(), 1);
    let address = served.client.peer_addr().unwrap();
    drop(served.listener);
    let until = Instant::now() + Duration::from_secs(10);
    // The port is free once the last thread is gone.
    while UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < until, "the socket is still open");
        thread::sleep(Duration::from_millis(20));
    }
}
