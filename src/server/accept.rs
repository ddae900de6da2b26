//! The accept loop of all protocols over TCP, with TLS where configured.
//!
//! ```text
//! accept -- place (network, listener, in all) -- handshake of TLS -- the protocol, until it ends
//!   |          |                                    |                   |
//!   |          +-- a silent connection makes room   +-- in time         +-- first request, and each next one, in time
//!   +-- pause while the system has no descriptors
//! ```
//!
//! Invariants:
//!
//! * A connection has a place ([`places`](super::places)) as long as it has a descriptor: [`Stream`] holds both.
//! * A connection without a request under way ends after [`Timeouts`]: it is asked to end ([`Ending`]), and cut
//!   [`CLOSING_TIMEOUT`] later. A connection that has to make room is cut at once.
//! * When the server stops, it closes the listening socket, asks the connections to end, and cuts the remaining ones
//!   after [`Timeouts::drain`].
//!
//! Cost of a silent client: a descriptor, a task, and the memory of its protocol, for [`Timeouts::handshake`] or
//! [`Timeouts::first_request`]; less when other connections need the place ([`AdmissionLimits::room_after_ms`]).
//!
//! Deliberately absent: a bound on slow readers of responses, which each protocol sets itself; datagrams.
//!
//! [`AdmissionLimits::room_after_ms`]: super::admission::AdmissionLimits::room_after_ms

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    activity::{Activity, Stage},
    places::{Gate, Place},
};

/// Pause before the next accept after the system had no descriptor or no memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Minimum time between two log lines about exhausted descriptors or memory.
const EXHAUSTED_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Time that a silent connection has for an orderly end after it was asked, such as the end of TLS.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeouts of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// From the accept to the end of the handshake: that of TLS, and the opening of the protocol.
    pub(super) handshake: Duration,
    /// From the end of the handshake until the first request has been read.
    pub(super) first_request: Duration,
    /// From the end of a response until the next request has been read.
    pub(super) idle: Duration,
    /// From the stop of the server until connections are cut.
    pub(super) drain: Duration,
}

/// A bound listener.
pub(super) struct Listener {
    /// Name in log lines.
    pub(super) name: &'static str,
    /// The socket.
    pub(super) socket: TcpListener,
    /// TLS for one protocol, with its certificate; `None` for plain TCP.
    pub(super) tls: Option<TlsAcceptor>,
    /// Source of places for the connections.
    pub(super) gate: Gate,
    /// Timeouts of the connections.
    pub(super) timeouts: Timeouts,
}

/// A connection with a place and, if the listener has TLS, a finished TLS handshake.
pub(super) struct Accepted {
    /// Byte stream under the protocol.
    pub(super) stream: Stream,
    /// Address of the client.
    pub(super) peer: SocketAddr,
    /// Record of the connection's activity. The protocol calls [`Activity::opened`] when its own opening is finished,
    /// and [`Activity::begin`] for each request.
    pub(super) activity: Activity,
    /// Signal to end the connection.
    pub(super) ending: Ending,
}

/// Signal that tells a connection to end.
pub(super) struct Ending {
    stopping: watch::Receiver<bool>,
    activity: Activity,
}

impl Ending {
    /// Waits until the connection must take no more requests, finish those under way and end: the server stops, or the
    /// connection was silent for too long.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            () = stopped(&mut self.stopping) => {}
            () = self.activity.closing() => {}
        }
    }

    /// Waits until the connection was silent for too long.
    pub(super) async fn silent(&mut self) {
        self.activity.closing().await;
    }
}

/// Waits until the server is told to stop, or is gone.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Serves connections until the server stops, then waits up to [`Timeouts::drain`] for them to end. `attend` speaks the
/// protocol on one connection; its future is dropped when the connection is cut.
pub(super) async fn serve<F>(
    listener: Listener,
    mut stopping: watch::Receiver<bool>,
    attend: impl Fn(Accepted) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Listener { name, socket, tls, gate, timeouts } = listener;
    let stop = stopping.clone();
    let mut exhausted = Exhausted { name, said: None };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stopping) => break,
            // Reaps connections that ended.
            Some(_) = connections.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if exhausted.note(&error) {
                    gate.relieve();
                    sleep(EXHAUSTED_PAUSE).await;
                }
                continue;
            }
        };
        // The next connection waits in the system's backlog while this one waits for a place.
        let place = tokio::select! {
            () = stopped(&mut stopping) => break,
            place = gate.enter(peer.ip()) => place,
        };
        let Some(place) = place else { continue };
        // Responses are written whole; Nagle's delay would gain nothing.
        let _ = stream.set_nodelay(true);
        let connection = Connection { stream, peer, place, tls: tls.clone(), timeouts };
        connections.spawn(connection.run(stop.clone(), attend.clone()));
    }
    drop(socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(timeouts.drain, drained).await.is_err() {
        tracing::warn!(listener = name, connections = connections.len(), "connections do not end: they are cut");
        connections.shutdown().await;
    }
}

/// A connection with a place.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    tls: Option<TlsAcceptor>,
    timeouts: Timeouts,
}

impl Connection {
    /// Runs the handshake and the protocol of the connection, and enforces its timeouts.
    async fn run<F: Future<Output = ()> + Send>(
        self,
        stopping: watch::Receiver<bool>,
        attend: impl Fn(Accepted) -> F + Send,
    ) {
        let Self { stream, peer, place, tls, timeouts } = self;
        let activity = place.activity().clone();
        let (watched, mut stop) = (activity.clone(), stopping.clone());
        let work = async move {
            let ending = Ending { stopping, activity: activity.clone() };
            let stream = tokio::select! {
                () = stopped(&mut stop) => return,
                stream = Stream::open(stream, place, tls) => stream,
            };
            if let Ok(stream) = stream {
                attend(Accepted { stream, peer, activity, ending }).await;
            }
        };
        let mut work = pin!(work);
        // One timer for all stages: when it fires, the stage decides how much longer the connection may stay.
        let mut timer = pin!(sleep_until(Instant::now() + timeouts.handshake));
        let mut was_asked = false;
        loop {
            tokio::select! {
                () = &mut work => return,
                () = watched.evicted() => return,
                () = &mut timer => match timeouts.left(&watched) {
                    Some(left) => timer.as_mut().reset(Instant::now() + left),
                    // A connection that was never open has nothing to finish.
                    None if was_asked || watched.stage() == Stage::Opening => return,
                    None => {
                        was_asked = true;
                        watched.close();
                        timer.as_mut().reset(Instant::now() + CLOSING_TIMEOUT);
                    }
                },
            }
        }
    }
}

impl Timeouts {
    /// Time until the connection has to be checked again; `None` if it was silent for too long.
    fn left(&self, activity: &Activity) -> Option<Duration> {
        let may_take = match activity.stage() {
            Stage::Opening => self.handshake,
            Stage::Open => self.first_request,
            Stage::Asked => self.idle,
        };
        if activity.is_under_way() {
            return Some(may_take.max(Duration::from_millis(1)));
        }
        let silent = Duration::from_millis(activity.now_ms().saturating_sub(activity.last_sign_ms()));
        may_take.checked_sub(silent).filter(|left| !left.is_zero())
    }
}

/// State of the log about exhausted descriptors or memory.
struct Exhausted {
    name: &'static str,
    said: Option<Instant>,
}

impl Exhausted {
    /// Logs the remedy for an accept error, at most once in [`EXHAUSTED_LOG_INTERVAL`]. False for an error of one
    /// connection, which its client gave up: the next accept may succeed at once.
    fn note(&mut self, error: &io::Error) -> bool {
        let advice = match Errno::from_io_error(error) {
            Some(Errno::MFILE) => {
                "this process has no file descriptor left: raise its limit (`ulimit -n`, LimitNOFILE= of systemd)"
            }
            Some(Errno::NFILE) => "the system has no file descriptor left: raise fs.file-max, or end other processes",
            Some(Errno::NOBUFS | Errno::NOMEM) => "the system has no memory left for connections",
            Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::AGAIN) => {
                tracing::debug!(%error, listener = self.name, "a connection was given up before it was accepted");
                return false;
            }
            _ => "see what the system says",
        };
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= EXHAUSTED_LOG_INTERVAL) {
            self.said = Some(now);
            tracing::warn!(%error, listener = self.name, "a connection could not be accepted, and others wait: {advice}");
        }
        true
    }
}

/// Byte stream under a protocol; holds the place of its connection.
#[derive(Debug)]
pub(super) struct Stream {
    // Before the place, as fields are dropped in this order: the descriptor must be closed before the place is free.
    octets: Octets,
    _place: Place,
}

#[derive(Debug)]
enum Octets {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Runs the TLS handshake, if the listener has TLS.
    async fn open(stream: TcpStream, place: Place, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let octets = match tls {
            None => Octets::Plain(stream),
            Some(tls) => Octets::Tls(Box::new(tls.accept(stream).await?)),
        };
        Ok(Self { octets, _place: place })
    }

    /// The TCP connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.octets {
            Octets::Plain(stream) => stream,
            Octets::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.octets {
            Octets::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Octets::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.octets {
            Octets::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Octets::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.octets {
            Octets::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Octets::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.octets {
            Octets::Plain(stream) => stream.is_write_vectored(),
            Octets::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.octets {
            Octets::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Octets::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.octets {
            Octets::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Octets::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
