//! DNS over TCP (RFC 7766): a connection takes requests one after the other, as many as wait, until it says nothing for too
//! long.
//!
//! Answers are made inline, on the task that received the request. A cold one blocks for an index lookup and a read of
//! the ledger: microseconds when the page cache has them, which is less than handing the question to another thread
//! and back. A stopping server finishes what it has read.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::DnsLimits;
use crate::protocol::dns::{Client, Depth, Responded, Responder, Transport};

/// The longest request over TCP, in octets: one question and EDNS options with padding. A longer one ends the connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;
/// How long to wait when the system has no more connections to give, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Waits until the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Takes TCP connections until the server stops, then waits for those that are there.
pub(super) async fn accept(
    listener: TcpListener,
    responder: Arc<Responder>,
    limits: DnsLimits,
    stopping: watch::Receiver<bool>,
) {
    let mut stop = stopping.clone();
    let mut connections = JoinSet::new();
    let idle_timeout = Duration::from_millis(limits.tcp_idle_timeout_ms);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.tcp_connections_max => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, Arc::clone(&responder), idle_timeout, stopping.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a TCP connection for DNS was not accepted");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(Duration::from_millis(limits.drain_timeout_ms), drained).await.is_err() {
        tracing::warn!(count = connections.len(), "TCP connections for DNS are cut off");
    }
}

/// Answers the requests of one connection, one after the other (RFC 7766 section 6.2.1.1).
async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    responder: Arc<Responder>,
    idle_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    // Responses leave whole; there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let client = Client { address: peer.ip().to_canonical(), transport: Transport::Stream };
    let (mut response, mut framed) = (Vec::new(), Vec::new());
    loop {
        let request = tokio::select! {
            () = stopped(&mut stopping) => return,
            request = timeout(idle_timeout, read_request(&mut stream)) => request,
        };
        let Ok(Ok(request)) = request else { return };
        // The length stands before the message (RFC 1035 section 4.2.2); both leave in one piece (RFC 7766 section 8).
        let Responded::Written(_) = responder.respond(&request, &client, Depth::Whole, &mut response) else { return };
        let Ok(octets) = u16::try_from(response.len()) else { return };
        framed.clear();
        framed.extend_from_slice(&octets.to_be_bytes());
        framed.extend_from_slice(&response);
        let Ok(Ok(())) = timeout(idle_timeout, stream.write_all(&framed)).await else { return };
    }
}

/// Reads a message with its length before it (RFC 1035 section 4.2.2).
async fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    if octets > TCP_REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::from(octets)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}
