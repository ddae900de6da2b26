//! DNS over TCP (RFC 7766) and what else is a stream: a connection takes requests one after the other, as many as wait, until
//! it says nothing for too long.
//!
//! The stream may be any that reads and writes octets; DNS over TLS brings its own, after a handshake.
//!
//! Answers are made inline, on the task that received the request. A cold one blocks for an index lookup and a read of
//! the ledger: microseconds when the page cache has them, which is less than handing the question to another thread
//! and back. A stopping server finishes what it has read.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    DnsLimits, Respond,
    sources::{SourceGuard, Sources},
};

/// The longest request over a connection, in octets: one question and EDNS options with padding. A longer one ends the
/// connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;
/// How long to wait when the system has no more connections to give, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Waits until the server stops, or is gone.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What the connections of a listener share, of whichever protocol.
pub(super) struct Connections {
    /// What log lines call it.
    pub(super) protocol: &'static str,
    pub(super) respond: Arc<Respond>,
    pub(super) sources: Arc<Sources>,
    pub(super) limits: DnsLimits,
}

/// Where a response is made. It is kept for the next one, which then finds its memory.
#[derive(Default)]
pub(super) struct Buffers {
    response: Vec<u8>,
    framed: Vec<u8>,
}

impl Connections {
    /// Takes connections until the server stops, then waits for those that are there. `handshake` makes of a connection
    /// the stream that carries messages.
    pub(super) async fn accept<S, H>(
        self,
        listener: TcpListener,
        handshake: impl Fn(TcpStream) -> H + Send,
        stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<S>> + Send + 'static,
    {
        let shared = Arc::new(self);
        let mut stop = stopping.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < shared.limits.connections_max => match accepted {
                    Ok((stream, peer)) => {
                        // A network that has all that it may have is turned away; the others find room.
                        if let Some(guard) = shared.sources.admit(peer.ip()) {
                            // Responses leave whole; there is nothing to wait for.
                            let _ = stream.set_nodelay(true);
                            let stream = handshake(stream);
                            connections.spawn(Arc::clone(&shared).serve(stream, peer.ip(), stopping.clone(), guard));
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, protocol = shared.protocol, "a connection for DNS was not accepted");
                        sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                    }
                },
            }
        }
        drop(listener);
        shared.drain(connections).await;
    }

    /// Waits for connections to end, as long as the limits allow; the rest is cut off.
    pub(super) async fn drain(&self, mut connections: JoinSet<()>) {
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(Duration::from_millis(self.limits.drain_timeout_ms), drained).await.is_err() {
            tracing::warn!(count = connections.len(), protocol = self.protocol, "connections for DNS are cut off");
        }
    }

    /// Shakes hands, answers what comes, and says that this is the end.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        handshake: impl Future<Output = io::Result<S>>,
        client: IpAddr,
        mut stopping: watch::Receiver<bool>,
        _guard: SourceGuard,
    ) {
        let stream = tokio::select! {
            () = stopped(&mut stopping) => return,
            stream = timeout(self.limits.handshake_timeout(), handshake) => stream,
        };
        let Ok(Ok(mut stream)) = stream else { return };
        if self.answer(&mut stream, client, stopping).await.is_ok() {
            // Over TLS, a client cannot tell an end without close_notify from one that an attacker made.
            let _ = timeout(self.limits.idle_timeout(), stream.shutdown()).await;
        }
    }

    /// Answers the requests of one connection, one after the other (RFC 7766 section 6.2.1.1), until it idles, sends what
    /// gets no response, or the server stops. An error says that the client takes nothing more.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        client: IpAddr,
        mut stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let idle_timeout = self.limits.idle_timeout();
        let mut buffers = Buffers::default();
        loop {
            let request = tokio::select! {
                () = stopped(&mut stopping) => return Ok(()),
                request = timeout(idle_timeout, read_request(stream)) => request,
            };
            let Ok(Ok(request)) = request else { return Ok(()) };
            let Some(framed) = self.respond(&request, client, &mut buffers).await else { return Ok(()) };
            let sent = async {
                // In one piece (RFC 7766 section 8).
                stream.write_all(framed).await?;
                stream.flush().await
            };
            timeout(idle_timeout, sent).await??;
        }
    }

    /// The response to a request, with its length before it (RFC 1035 section 4.2.2); `None` for what gets none.
    pub(super) async fn respond<'a>(
        &self,
        request: &[u8],
        client: IpAddr,
        buffers: &'a mut Buffers,
    ) -> Option<&'a [u8]> {
        let Buffers { response, framed } = buffers;
        if !self.respond.respond(request, client, response).await {
            return None;
        }
        let octets = u16::try_from(response.len()).ok()?;
        framed.clear();
        framed.extend_from_slice(&octets.to_be_bytes());
        framed.extend_from_slice(response);
        Some(framed)
    }
}

/// Reads a message with its length before it (RFC 1035 section 4.2.2).
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    if octets > TCP_REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::from(octets)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}
