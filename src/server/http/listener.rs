//! Connections over HTTP/1.1: taken up to a number, each with bounds on its head, its silence and its slowness.
//!
//! Beyond the number a connection waits in the system's queue until one ends. A client that sends no head in time, or has
//! the next one not in time on a connection that is kept, is cut off; so is one that does not take its response, or whose system
//! does not say that it got what was sent.

use std::{
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
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
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};

/// The most bytes of a request's head (431 beyond it), and of a response that are gathered before they are sent.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What a client has to take of its response within [`HttpLimits::write_timeout_ms`] while more waits, in bytes.
const TAKEN_BYTES_MIN: usize = 16 << 10;
/// How long to wait before a connection is accepted again, after the system could not.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bounds of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most connections at once; more wait.
    pub connections_max: usize,
    /// How long a client may take to send a head, or to begin with the next one, in milliseconds.
    pub head_timeout_ms: u64,
    /// How long a client may take for 16 KiB of a response, in milliseconds.
    pub write_timeout_ms: u64,
    /// How long connections may go on when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connections_max: 512, head_timeout_ms: 10_000, write_timeout_ms: 30_000, drain_timeout_ms: 2_000 }
    }
}

/// Serves connections until it is told to stop, and then until they ended or the time for that is over.
pub(super) async fn accept(
    listener: TcpListener,
    routes: Router,
    limits: HttpLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stopped(&mut stopping) => break,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                connections.spawn(serve(accepted, routes.clone(), limits, stopping.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection over HTTP could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(limits.drain_timeout_ms), drained).await.is_err() {
        connections.shutdown().await;
    }
}

/// Waits until the server is told to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Who sent a request: each request has it among its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// A connection, and the place that it takes.
struct Accepted {
    stream: TcpStream,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

/// The next connection, once there is a place for it.
async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok(Accepted { stream, peer: Peer(address.ip()), _place: place })
}

async fn serve(accepted: Accepted, routes: Router, limits: HttpLimits, mut stopping: watch::Receiver<bool>) {
    let Accepted { stream, peer, _place } = accepted;
    // Responses are short or long; none is better late.
    let _ = stream.set_nodelay(true);
    let _ = end_unanswered(&stream, limits.write_timeout_ms);
    let stream = Impatient::new(stream, Duration::from_millis(limits.write_timeout_ms));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection over HTTP ended badly");
    }
}

/// Lets the system end a connection whose other side does not say in time that it got what was sent. A client may be gone without a
/// word, and the little that a stream sends while it is quiet fills no buffer for a long time.
fn end_unanswered(stream: &TcpStream, timeout_ms: u64) -> nix::Result<()> {
    setsockopt(stream, TcpUserTimeout, &timeout_ms.try_into().unwrap_or(u32::MAX))
}

/// A connection that fails when the client does not take what is sent.
#[derive(Debug)]
struct Impatient {
    stream: TcpStream,
    timeout: Duration,
    /// Since the client did not take all: until when it has to take more, and how much it has taken.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Impatient {
    fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self { stream, timeout, waiting: None }
    }

    /// Takes note of what the system took.
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
