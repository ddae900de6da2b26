//! Slow, silent, too many and too long connections, against small bounds.

use axum::{body::Body, routing::get};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;
use crate::server::{
    admission::{Admission, AdmissionLimits},
    http::HttpServer,
};

const LIMITS: HttpLimits = HttpLimits {
    connections_max: 2,
    connections_per_network_max: 2,
    head_timeout_ms: 400,
    write_timeout_ms: 400,
    drain_timeout_ms: 300,
};
/// Silent connections make room only after their timeout.
const ROOM_AFTER_MS: u64 = 400;
/// Timeout of every wait in these tests.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Server with a short response, an endless one, and a silent one.
async fn server() -> HttpServer {
    let endless =
        || async { Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from(vec![b'x'; 65_536])))) };
    let silent = || async { Body::from_stream(stream::pending::<Result<Bytes, io::Error>>()) };
    let routes = Router::new().route("/", get(|| async { "short" }));
    let routes = routes.route("/endless", get(endless)).route("/silent", get(silent));
    let admission = Admission::new(AdmissionLimits { room_after_ms: ROOM_AFTER_MS, ..AdmissionLimits::default() });
    HttpServer::start("127.0.0.1:0".parse().unwrap(), routes, LIMITS, &admission).await.unwrap()
}

async fn connect(server: &HttpServer, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is cut off may end with an error.
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn heads_that_do_not_come_end_the_connection() {
    let server = server().await;
    for said in ["", "GET / HTTP/1.1\r\nHost:", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let began = Instant::now();
        let answered = rest(&mut connect(&server, said).await).await;
        assert_eq!(answered.ends_with("short"), said.ends_with("\r\n\r\n"), "{said:?} {answered:?}");
        assert!(began.elapsed() >= Duration::from_millis(LIMITS.head_timeout_ms), "{said:?}");
    }
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let server = server().await;
    let head = |len| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(len));
    let refused = rest(&mut connect(&server, &head(2 * HEAD_BYTES_MAX)).await).await;
    assert!(refused.starts_with("HTTP/1.1 431 ") || refused.is_empty(), "{refused:?}");
    let taken = rest(&mut connect(&server, &head(HEAD_BYTES_MAX / 2)).await).await;
    assert!(taken.ends_with("short"), "{taken:?}");
}

#[tokio::test]
async fn too_many_connections_wait() {
    let server = server().await;
    let idle = [connect(&server, "").await, connect(&server, "").await];
    let began = Instant::now();
    let answered = rest(&mut connect(&server, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await).await;
    assert!(answered.ends_with("short"), "{answered:?}");
    // It was served only after the silent ones were cut off.
    assert!(began.elapsed() >= Duration::from_millis(LIMITS.head_timeout_ms / 2), "{:?}", began.elapsed());
    drop(idle);
}

#[tokio::test]
async fn who_does_not_take_a_response_is_cut_off() {
    let server = server().await;
    let mut stream = connect(&server, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(4 * LIMITS.write_timeout_ms)).await;
    // The data in the buffers of the system come, then the end.
    let taken = rest(&mut stream).await.len();
    assert!(taken > TAKEN_BYTES_MIN, "{taken}");
}

#[tokio::test]
async fn endless_responses_do_not_hold_up_a_stop() {
    let server = server().await;
    let streams = [
        connect(&server, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await,
        connect(&server, "GET /silent HTTP/1.1\r\nHost: a\r\n\r\n").await,
    ];
    tokio::time::sleep(Duration::from_millis(50)).await;
    timeout(TEST_TIMEOUT, server.shutdown()).await.unwrap();
    drop(streams);
}

#[tokio::test]
async fn what_is_not_answered_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    for (timeout_ms, expected) in [(30_000, 30_000), (1 << 40, u32::MAX)] {
        let set = end_unanswered(&stream, timeout_ms);
        let found = nix::sys::socket::getsockopt(&stream, TcpUserTimeout).unwrap();
        // A system may refuse a larger number than it can hold.
        assert!(set.is_err() || found == expected, "{timeout_ms}: {found}");
        assert!(set.is_ok() || timeout_ms > 30_000);
    }
}
