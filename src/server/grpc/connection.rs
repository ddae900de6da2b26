//! A connection that sends each reply in one piece, and that can be cut.
//!
//! Over a connection with vectored writes the HTTP/2 library sends a reply in two system calls, and so in two segments:
//! data, then trailers. Without vectored writes it copies parts shorter than 1 KiB into one buffer and sends that at
//! once. For replies of a few hundred bytes, as ours are, the copy is much cheaper than a second segment, at both ends.
//!
//! A connection does not end before its last call, and a client that reads nothing keeps a call from ending. So after
//! the drain timeout the server cuts the remaining connections.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
};
use tonic::transport::server::Connected;

use crate::server::{
    accept::{Accepted, Stream},
    activity::Activity,
};

/// Length of the client preface, in octets (RFC 9113 section 3.4), after which the connection is open.
const PREFACE_OCTETS: usize = 24;

/// Origin of a call, in the extensions of each request.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) activity: Activity,
}

impl Peer {
    /// Address that a call comes from, if known.
    pub(super) fn address_of<T>(request: &tonic::Request<T>) -> Option<SocketAddr> {
        request.extensions().get::<Self>().map(|peer| peer.address)
    }
}

/// A connection that reports no support for vectored writes.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Octets of the preface still to come.
    preface_left: usize,
    cut: oneshot::Receiver<()>,
    /// Dropped with the connection.
    _ended: oneshot::Sender<()>,
}

/// Hands a connection to the receiver of `connections` and waits for its end. The connection is cut if it is silent for
/// too long, and if this future is dropped.
pub(super) async fn attend(accepted: Accepted, connections: mpsc::Sender<Connection>) {
    let Accepted { stream, peer: address, activity, mut ending } = accepted;
    let (_cut, cutting) = oneshot::channel();
    let (ended, ending_of_it) = oneshot::channel::<()>();
    let peer = Peer { address, activity };
    let connection = Connection { stream, peer, preface_left: PREFACE_OCTETS, cut: cutting, _ended: ended };
    // Sending fails if the server has stopped meanwhile.
    if connections.send(connection).await.is_ok() {
        tokio::select! {
            _ = ending_of_it => {}
            () = ending.silent() => {}
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            if self.preface_left > 0 {
                self.preface_left = self.preface_left.saturating_sub(buf.filled().len() - before);
                if self.preface_left == 0 {
                    self.peer.activity.opened();
                }
            }
            return Poll::Ready(read);
        }
        // The HTTP/2 library always waits for more to read, so that a cut is noticed here.
        Pin::new(&mut self.cut).poll(cx).map(|_| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
