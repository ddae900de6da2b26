//! The accept loop with a test protocol: an octet is a request, and the same octet the response; `w` waits for a
//! signal.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::server::admission::{Admission, AdmissionLimits, ClientNetworks};

/// Timeout of every wait in these tests.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);
const TIMEOUTS: Timeouts = Timeouts { handshake: LONG, first_request: LONG, idle: LONG, drain: LONG };

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Releases requests that wait.
    go: Arc<Notify>,
}

/// Silent connections make room after 50 ms; nobody is exempt if `shared`.
fn admission(shared: bool) -> Admission {
    let mut clients = ClientNetworks::default();
    if shared {
        clients.exempt.clear();
    }
    Admission::new(AdmissionLimits { room_after_ms: 50, clients, ..AdmissionLimits::default() })
}

async fn server(gate: Gate, timeouts: Timeouts) -> Server {
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = ([127, 0, 0, 1], socket.local_addr().unwrap().port()).into();
    let (stop, stopping) = watch::channel(false);
    let go = Arc::<Notify>::default();
    let waiting = Arc::clone(&go);
    let attend = move |accepted| echo(accepted, Arc::clone(&waiting));
    let listener = Listener { name: "test", socket, tls: None, gate, timeouts };
    Server { address, stop, task: tokio::spawn(serve(listener, stopping, attend)), go }
}

/// An `o` finishes the handshake.
async fn echo(accepted: Accepted, go: Arc<Notify>) {
    let Accepted { mut stream, activity, mut ending, .. } = accepted;
    loop {
        let octet = tokio::select! {
            () = ending.asked() => break,
            octet = stream.read_u8() => octet,
        };
        let Ok(octet) = octet else { return };
        if octet == b'o' {
            activity.opened();
            continue;
        }
        let _under_way = activity.begin();
        if octet == b'w' {
            go.notified().await;
        }
        if stream.write_u8(octet).await.is_err() {
            return;
        }
    }
    let _ = stream.write_u8(b'.').await;
}

async fn connect_from(source: [u8; 4], server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Sends octets and gives back as many.
async fn ask(stream: &mut TcpStream, octets: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(octets).await?;
    let mut answer = vec![0; octets.len()];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut answer)).await.unwrap()?;
    Ok(answer)
}

/// Reads until the server ends the connection.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut octets)).await.expect("the connection stays");
    octets
}

#[tokio::test]
async fn silent_connections_make_room_wherever_they_come_from() {
    let sources: [fn(u8) -> [u8; 4]; 2] = [|_| [127, 0, 0, 1], |number| [127, 0, number, 1]];
    for (shared, source) in [(false, sources[0]), (false, sources[1]), (true, sources[1])] {
        let admission = admission(shared);
        let server = server(admission.frontend(2).listener("test", 8), TIMEOUTS).await;
        let mut working = connect_from([127, 9, 9, 9], &server).await;
        assert_eq!(ask(&mut working, b"a").await.unwrap(), b"a");
        working.write_all(b"w").await.unwrap();
        // Half of them got an answer first.
        let mut silent = Vec::new();
        for number in 0..80 {
            let mut stream = connect_from(source(number), &server).await;
            if number % 2 == 0 {
                stream.write_all(b"x").await.unwrap();
            }
            silent.push(stream);
        }
        let mut newcomer = connect_from([127, 8, 8, 8], &server).await;
        assert_eq!(ask(&mut newcomer, b"a").await.unwrap(), b"a");
        let counts = admission.counted()[0];
        assert!(counts.open <= 8 && counts.evicted >= 70, "{counts:?}");
        // The connection with a request under way was not evicted.
        server.go.notify_one();
        assert_eq!(timeout(TEST_TIMEOUT, working.read_u8()).await.unwrap().unwrap(), b'w');
    }
}

#[tokio::test]
async fn a_network_has_its_share_and_the_others_theirs() {
    let admission = admission(true);
    let server = server(admission.frontend(3).listener("test", 100), TIMEOUTS).await;
    let mut greedy = Vec::new();
    for number in 0..3 {
        let mut stream = connect_from([127, 0, 1, number + 1], &server).await;
        assert_eq!(ask(&mut stream, b"a").await.unwrap(), b"a");
        stream.write_all(b"w").await.unwrap();
        greedy.push(stream);
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(rest(connect_from([127, 0, 1, 9], &server).await).await, b"");
    let mut other = connect_from([127, 0, 2, 1], &server).await;
    assert_eq!(ask(&mut other, b"a").await.unwrap(), b"a");
    assert_eq!(admission.counted()[0].turned_away, 1);
    // A silent connection of the same network makes room.
    server.go.notify_one();
    let mut again = connect_from([127, 0, 1, 9], &server).await;
    let answered = async {
        while ask(&mut again, b"a").await.is_err() {
            again = connect_from([127, 0, 1, 9], &server).await;
        }
    };
    timeout(TEST_TIMEOUT, answered).await.expect("no place for it");
}

#[tokio::test]
async fn silence_ends_a_connection_by_stage() {
    let short = Duration::from_millis(100);
    // sent before the silence, the short timeout, received before the end
    let table = [
        ("", Timeouts { handshake: short, ..TIMEOUTS }, ""),
        ("o", Timeouts { first_request: short, handshake: short * 2, ..TIMEOUTS }, "."),
        ("oa", Timeouts { idle: short, handshake: short * 2, ..TIMEOUTS }, "a."),
    ];
    for (said, timeouts, answered) in table {
        let server = server(admission(false).frontend(0).listener("test", 8), timeouts).await;
        let mut stream = connect_from([127, 0, 0, 1], &server).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(rest(stream).await, answered.as_bytes(), "{said}");
    }
    // A connection with a request under way is not silent.
    let timeouts = Timeouts { handshake: short, first_request: short, idle: short, ..TIMEOUTS };
    let server = server(admission(false).frontend(0).listener("test", 8), timeouts).await;
    let mut stream = connect_from([127, 0, 0, 1], &server).await;
    stream.write_all(b"ow").await.unwrap();
    sleep(short * 5).await;
    server.go.notify_one();
    assert_eq!(rest(stream).await, b"w.");
}

#[tokio::test]
async fn a_stopping_server_finishes_and_then_cuts() {
    for (goes_on, drain, expected) in [(true, LONG, "w."), (false, Duration::from_millis(100), "")] {
        let server = server(admission(false).frontend(0).listener("test", 8), Timeouts { drain, ..TIMEOUTS }).await;
        let (idle, mut working) =
            (connect_from([127, 0, 0, 1], &server).await, connect_from([127, 0, 0, 1], &server).await);
        assert_eq!(ask(&mut working, b"a").await.unwrap(), b"a");
        working.write_all(b"w").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        server.stop.send_replace(true);
        assert_eq!(rest(idle).await, b".");
        assert!(TcpStream::connect(server.address).await.is_err(), "it still listens");
        if goes_on {
            server.go.notify_one();
        }
        timeout(TEST_TIMEOUT, server.task).await.unwrap().unwrap();
        assert_eq!(rest(working).await, expected.as_bytes());
    }
}

#[tokio::test]
async fn who_waits_for_a_place_does_not_hold_up_a_stop() {
    let limits = AdmissionLimits { room_after_ms: 60_000, ..AdmissionLimits::default() };
    let server = server(Admission::new(limits).frontend(0).listener("test", 1), TIMEOUTS).await;
    let _taken = connect_from([127, 0, 0, 1], &server).await;
    let _waiting = connect_from([127, 0, 0, 1], &server).await;
    sleep(Duration::from_millis(50)).await;
    server.stop.send_replace(true);
    timeout(TEST_TIMEOUT, server.task).await.unwrap().unwrap();
}

#[test]
fn errors_that_stay_and_errors_that_pass() {
    let mut exhausted = Exhausted { name: "test", said: None };
    for (error, stays) in [
        (Errno::MFILE, true),
        (Errno::NFILE, true),
        (Errno::NOBUFS, true),
        (Errno::NOMEM, true),
        (Errno::CONNABORTED, false),
        (Errno::INTR, false),
    ] {
        assert_eq!(exhausted.note(&error.into()), stays, "{error}");
    }
}
