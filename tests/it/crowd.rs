//! A node with few file descriptors, and ten times as many connections as it can hold, which send nothing or half a
//! request: every listener still answers, and writes go on.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use touchmark::server::descriptors::Descriptors;

use crate::{
    dns_support::{
        Query, Tcp,
        encrypted::{Certificate, Encrypted},
        kind,
    },
    http_support::get,
    program::{Program, TIMEOUT, file, touchmark},
    required,
    support::directory,
};

/// File descriptors of the node: 160 are kept back, 96 are for connections.
const DESCRIPTORS: u64 = 256;
/// Idle connections to each listener: ten times as many as a listener can have.
const CROWD: usize = 600;
/// Descriptors that the test itself needs besides the crowd.
const SPARE: u64 = 256;
const NAME: &str = "one._.118.88.hdl.id.test.";

/// Source address of the connection with a number.
type Source = fn(usize) -> Ipv4Addr;

/// Starts a node that cannot raise its limit of file descriptors.
fn start(data: &Path, config: &str) -> Program {
    let program = touchmark();
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    command.args(["-c", &limited]).arg(program.get_program()).args(["serve", "--config", config, "--data"]).arg(data);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Program::spawn(&mut command)
}

/// TCP listeners of the node, each with the first half of a request.
fn listeners(node: &Program) -> [(SocketAddr, &'static [u8]); 5] {
    let hello = b"\x16\x03\x01\x02\x00\x01";
    [
        (node.grpc.parse().unwrap(), b"PRI * HTTP/2.0\r\n"),
        (node.http, b"GET /healthz HTTP/1.1\r\nHost:"),
        (node.dns, b"\0"),
        (node.dns_over("TLS").unwrap(), hello),
        (node.dns_over("HTTPS").unwrap(), hello),
    ]
}

/// Opens connections that stay, in turn over the listeners; every other connection sends half a request.
async fn crowd(node: &Program, source: Source) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        for (address, half) in listeners(node) {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source(number), 0).into()).unwrap();
            // A connection that finds the system's backlog full comes too late.
            let Ok(Ok(mut stream)) = timeout(Duration::from_secs(1), socket.connect(address)).await else { continue };
            if number % 2 == 0 {
                // The node may have closed the connection already.
                let _ = stream.write_all(half).await;
            }
            crowd.push(stream);
        }
    }
    crowd
}

/// Repeats a request until it succeeds, as a client would.
async fn until_answered<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let begun = Instant::now();
    while !timeout(TIMEOUT, ask()).await.unwrap_or(false) {
        assert!(begun.elapsed() < TIMEOUT, "no answer over {what}");
    }
}

/// Sends a request to every listener, and a write.
async fn check_all_answer(node: &Program, certificate: &Certificate, round: usize) {
    let query = Query::new(NAME, kind::TXT);
    until_answered("HTTP", || async {
        tokio::task::spawn_blocking({
            let http = node.http;
            move || std::panic::catch_unwind(|| get(http, "/healthz")).is_ok()
        })
        .await
        .unwrap()
    })
    .await;
    let dns = node.dns;
    until_answered("DNS over TCP", || async {
        tokio::task::spawn_blocking(move || {
            let query = Query::new(NAME, kind::TXT);
            std::panic::catch_unwind(|| Tcp::to(dns).ask(&query)).is_ok()
        })
        .await
        .unwrap()
    })
    .await;
    for protocol in ["TLS", "HTTPS", "QUIC"] {
        until_answered(protocol, || async {
            let (address, certificate, query) = (node.dns_over(protocol).unwrap(), certificate.clone(), query.clone());
            // A rejected connection panics.
            let asked = tokio::spawn(async move {
                let connection = match protocol {
                    "TLS" => Encrypted::tls(address, &certificate).await,
                    "HTTPS" => Encrypted::https(address, &certificate).await,
                    _ => Encrypted::quic(address, &certificate).await,
                };
                connection.ask(&query).await;
            });
            asked.await.is_ok()
        })
        .await;
    }
    let identifier = format!("88.118/written-{round}");
    until_answered("gRPC", || async {
        let ran = tokio::task::block_in_place(|| node.run(&["register", &identifier, "--value", "NAME=x"]));
        ran.exit == 0 || ran.err.contains("exists")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let needed = (CROWD * 5) as u64 + SPARE;
    if !required::is_met("descriptors", Descriptors::raise().limit >= needed) {
        return;
    }
    let directory = directory();
    let certificate = Certificate::make(directory.path());
    let [chain, key] = certificate.files();
    let config = |exempt: &str| {
        format!("{}dns_certificate = {chain:?}\ndns_certificate_key = {key:?}\n{exempt}", crate::program::ENCRYPTED)
    };
    let one = |_| Ipv4Addr::LOCALHOST;
    let many = |number: usize| Ipv4Addr::new(127, (number / 250) as u8, (number % 250) as u8, 2);
    let sources: [(&str, Source); 3] = [("", one), ("", many), ("dns_rate_exempt = \"192.0.2.0/24\"\n", many)];
    for (round, (exempt, source)) in sources.into_iter().enumerate() {
        let config = file(&directory, "node.toml", config(exempt));
        let node = start(&directory.path().join(format!("data-{round}")), &config);
        assert_eq!(node.run(&["register", "88.118/one", "--value", "NAME=x"]).exit, 0);
        let crowd = crowd(&node, source).await;
        assert!(crowd.len() > CROWD * 4, "{} connections", crowd.len());
        check_all_answer(&node, &certificate, round).await;
        drop(crowd);
        assert!(!node.log().contains("no file descriptor left"), "{}", node.log());
        assert_eq!(node.stop("TERM"), Some(0));
    }
}
