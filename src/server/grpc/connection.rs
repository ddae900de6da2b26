//! A connection whose replies leave in one piece, and that can be cut.
//!
//! The HTTP/2 library sends a reply in two system calls, and so in two segments, when the connection takes several
//! buffers at once: the data as they lie, then the trailers. From a connection that takes one buffer at a time it gathers
//! whatever is shorter than 1 KiB and sends it at once. For replies of a few hundred bytes, as ours are, copying them
//! is much cheaper than a second segment, at both ends.
//!
//! A connection has no end as long as a call on it has none, and a client that takes nothing keeps a call from ending. When
//! the server has waited long enough, it cuts what is left.

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

/// What a client says first, in octets (RFC 9113 section 3.4): with it the connection is open.
const PREFACE_OCTETS: usize = 24;

/// Who calls: each request has it among its extensions.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) activity: Activity,
}

impl Peer {
    /// The address that a call comes from, when it is known.
    pub(super) fn address_of<T>(request: &tonic::Request<T>) -> Option<SocketAddr> {
        request.extensions().get::<Self>().map(|peer| peer.address)
    }
}

/// A connection that does not say that it can write several buffers at once.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Octets of the preface that did not come yet.
    preface_left: usize,
    cut: oneshot::Receiver<()>,
    /// Dropped with the connection.
    _ended: oneshot::Sender<()>,
}

/// Has a connection served by whoever receives from `connections`, until it ends; it is cut when it is silent for too long, and
/// when this future is dropped.
pub(super) async fn attend(accepted: Accepted, connections: mpsc::Sender<Connection>) {
    let Accepted { stream, peer: address, activity, mut ending } = accepted;
    let (_cut, cutting) = oneshot::channel();
    let (ended, ending_of_it) = oneshot::channel::<()>();
    let peer = Peer { address, activity };
    let connection = Connection { stream, peer, preface_left: PREFACE_OCTETS, cut: cutting, _ended: ended };
    // Nobody receives when the server has stopped meanwhile.
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
        // Whoever serves the connection waits here for more to be read, whatever else it does.
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
