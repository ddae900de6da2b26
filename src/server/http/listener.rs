//! Connections over HTTP/1.1, each with timeouts for heads and for reading responses.
//!
//! [`crate::server::accept`] bounds the number of connections and evicts them. A client is cut off if its head, or the
//! next head on a persistent connection, is late; if it does not read its response; or if its system does not
//! acknowledge sent data.

use std::{
    io,
    net::IpAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::server::{
    accept::{Accepted, Stream, Timeouts},
    activity::Attended,
};

/// Maximum length of a request's head, in bytes (431 beyond it), and of buffered response data.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Number of bytes of a response that a client must take within [`HttpLimits::write_timeout_ms`] while more waits.
const TAKEN_BYTES_MIN: usize = 16 << 10;

/// Bounds of the listener. A connection takes some tens of KiB, without its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum number of connections at once; more wait.
    pub connections_max: usize,
    /// Maximum number of connections of one client network at once; 0: no limit.
    pub connections_per_network_max: usize,
    /// Timeout for a request's head, and for the start of the next one, in milliseconds.
    pub head_timeout_ms: u64,
    /// Timeout for 16 KiB of a response, in milliseconds.
    pub write_timeout_ms: u64,
    /// Timeout for connections when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            connections_per_network_max: 128,
            head_timeout_ms: 10_000,
            write_timeout_ms: 30_000,
            drain_timeout_ms: 2_000,
        }
    }
}

impl HttpLimits {
    pub(super) fn timeouts(&self) -> Timeouts {
        let head = Duration::from_millis(self.head_timeout_ms);
        Timeouts {
            handshake: head,
            first_request: head,
            idle: head,
            drain: Duration::from_millis(self.drain_timeout_ms),
        }
    }
}

/// Sender of a request, in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Answers the requests of one connection.
pub(super) async fn attend(accepted: Accepted, routes: Router, limits: HttpLimits) {
    let Accepted { stream, peer, activity, mut ending } = accepted;
    let peer = Peer(peer.ip());
    // HTTP/1.1 has no opening before the first head.
    activity.opened();
    let _ = end_unanswered(stream.tcp(), limits.write_timeout_ms);
    let stream = Impatient::new(stream, Duration::from_millis(limits.write_timeout_ms));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let under_way = activity.begin();
        let response = routes.call(request);
        async move { response.await.map(|response| response.map(|body| Attended::new(body, under_way))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = ending.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection over HTTP ended badly");
    }
}

/// Sets the TCP user timeout: the system ends a connection whose peer does not acknowledge data in time. A client may
/// vanish silently, and the few bytes of a quiet stream take long to fill a buffer.
fn end_unanswered(stream: &TcpStream, timeout_ms: u64) -> nix::Result<()> {
    setsockopt(stream, TcpUserTimeout, &timeout_ms.try_into().unwrap_or(u32::MAX))
}

/// A connection that fails if the client does not read.
#[derive(Debug)]
struct Impatient {
    stream: Stream,
    timeout: Duration,
    /// While the client is behind: the deadline for taking more, and the number of bytes taken since.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Impatient {
    fn new(stream: Stream, timeout: Duration) -> Self {
        Self { stream, timeout, waiting: None }
    }

    /// Notes the number of bytes that the system took; fails after the deadline.
    fn note(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                if let Some((_, taken)) = &mut self.waiting {
                    *taken += count;
                    if *taken >= TAKEN_BYTES_MIN {
                        self.waiting = None;
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                let until = Instant::now() + self.timeout;
                let (deadline, _) = self.waiting.get_or_insert_with(|| (Box::pin(sleep_until(until)), 0));
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its response")))
            }
            failed => failed,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
