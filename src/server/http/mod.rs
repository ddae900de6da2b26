//! The HTTP listener: health, metrics, the ledger's tiles and proofs, the feed of changes.
//!
//! Each file beside this one has the routes of one subject and gives a [`Router`]; [`routes`] puts them together.

pub mod witness;

use std::{io, net::SocketAddr};

use axum::{Router, routing::get};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// All routes.
pub fn routes() -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" }))
}

/// A running HTTP listener.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl HttpServer {
    /// Binds the address and serves until [`HttpServer::shutdown`].
    ///
    /// # Errors
    ///
    /// Whatever the system says about the address.
    pub async fn start(address: SocketAddr, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, routes).with_graceful_shutdown(async {
            // A dropped sender stops the server, too.
            let _ = stopped.await;
        });
        Ok(Self { address, stop, task: tokio::spawn(server.into_future()) })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, finishes those under way, and returns.
    pub async fn shutdown(self) {
        drop(self.stop);
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the HTTP listener ended badly"),
            Err(error) => tracing::error!(%error, "the HTTP listener died"),
        }
    }
}
