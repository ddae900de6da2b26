//! A TCP connection whose replies leave in one piece, and that can be cut.
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
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A TCP connection that does not say that it can write several buffers at once.
pub(super) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connection {
    /// A connection that is cut when `cutting` holds true, or its sender is gone.
    pub(super) fn new(stream: TcpStream, mut cutting: watch::Receiver<bool>) -> Self {
        let cut = async move {
            // A server that was dropped cuts its connections, too.
            let _ = cutting.wait_for(|cut| *cut).await;
        };
        Self { stream, cut: Box::pin(cut) }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            return Poll::Ready(read);
        }
        // Whoever serves the connection waits here for more to be read, whatever else it does.
        self.cut.as_mut().poll(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()))
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
