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

use super::{
    DnsLimits,
    counters::Counters,
    over_stream,
    sources::{SourceGuard, Sources},
};
use crate::{
    protocol::dns::{Responded, Responder},
    resolver::Depth,
};

/// The longest request over TCP, in octets: one question and EDNS options with padding. A longer one ends the connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;
/// How long to wait when the system has no more connections to give, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Waits until the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What the connections of a listener share.
pub(super) struct Connections {
    pub(super) responder: Arc<Responder>,
    pub(super) counters: Arc<Counters>,
    pub(super) sources: Arc<Sources>,
    pub(super) limits: DnsLimits,
}

impl Connections {
    /// Takes connections until the server stops, then waits for those that are there.
    pub(super) async fn accept(self, listener: TcpListener, stopping: watch::Receiver<bool>) {
        let shared = Arc::new(self);
        let mut stop = stopping.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < shared.limits.tcp_connections_max => match accepted {
                    Ok((stream, peer)) => {
                        // A network that has all that it may have is turned away; the others find room.
                        if let Some(guard) = shared.sources.admit(peer.ip()) {
                            connections.spawn(Arc::clone(&shared).serve(stream, peer, stopping.clone(), guard));
                        }
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
        if timeout(Duration::from_millis(shared.limits.drain_timeout_ms), drained).await.is_err() {
            tracing::warn!(count = connections.len(), "TCP connections for DNS are cut off");
        }
    }

    /// Answers the requests of one connection, one after the other (RFC 7766 section 6.2.1.1).
    async fn serve(
        self: Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        mut stopping: watch::Receiver<bool>,
        _guard: SourceGuard,
    ) {
        // Responses leave whole; there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let idle_timeout = Duration::from_millis(self.limits.tcp_idle_timeout_ms);
        let (mut response, mut framed) = (Vec::new(), Vec::new());
        loop {
            let request = tokio::select! {
                () = stopped(&mut stopping) => return,
                request = timeout(idle_timeout, read_request(&mut stream)) => request,
            };
            let Ok(Ok(request)) = request else { return };
            if !self.respond(&request, peer, &mut response) {
                return;
            }
            // The length stands before the message (RFC 1035 section 4.2.2); both leave in one piece (RFC 7766 section 8).
            let Ok(octets) = u16::try_from(response.len()) else { return };
            framed.clear();
            framed.extend_from_slice(&octets.to_be_bytes());
            framed.extend_from_slice(&response);
            let Ok(Ok(())) = timeout(idle_timeout, stream.write_all(&framed)).await else { return };
        }
    }

    /// Writes the response to a request; false for what gets none.
    fn respond(&self, request: &[u8], peer: SocketAddr, response: &mut Vec<u8>) -> bool {
        let responded = self.responder.respond(request, &over_stream(peer.ip()), Depth::Whole, response);
        self.counters.count(&responded);
        matches!(responded, Responded::Written(_))
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
