//! The HTTP listener: health, metrics, the ledger's tiles, the feed of changes, records and their history.
//!
//! Each file beside this one has the routes of one subject and gives a [`Router`]; [`routes`] puts them together. [`listener`]
//! takes connections and bounds them. Everything is read with GET and HEAD; what may wait for a disk
//! waits at the [`Desk`]. Deliberately absent: writing, and TLS (a proxy in front has the certificate).

mod bootstrap;
mod events;
mod health;
mod listener;
mod log;
mod metrics;
mod records;
mod replica;
mod reply;
mod vindex;
pub mod witness;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Uri},
    middleware::{self, Next},
    response::Response,
};
pub use listener::HttpLimits;
pub use metrics::MetricSources;
pub use replica::Replicas;
use reply::Problem;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    ledger::{Ledger, Publication},
    mirror::Lag,
    resolver::{Desk, feed::Feeds},
};

/// Where an answer of a mirror says how far behind its primary it is: `entries=N, seconds=S`.
const LAG: HeaderName = HeaderName::from_static("touchmark-mirror-lag");

/// What the routes answer from.
pub struct HttpParts {
    /// The read core.
    pub desk: Desk,
    /// The ledger, for its tiles.
    pub ledger: Arc<Ledger>,
    /// The checkpoint that is handed out.
    pub publication: Arc<Publication>,
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
    /// Whom mirrors are served by.
    pub replicas: Replicas,
    /// What is counted.
    pub metrics: MetricSources,
}

/// All routes.
pub fn routes(parts: HttpParts) -> Router {
    let HttpParts { desk, ledger, publication, feeds, replicas, metrics } = parts;
    let (counts, lag) = (Arc::<metrics::HttpCounts>::default(), metrics.lag.clone());
    let reads = desk.reads();
    Router::new()
        .merge(health::routes(Arc::clone(&metrics.registry)))
        .merge(metrics::routes(metrics, Arc::clone(&counts), reads.clone()))
        .merge(log::routes(Arc::clone(&ledger), publication, reads.clone()))
        .merge(replica::routes(ledger, Arc::clone(&feeds), reads.clone(), replicas))
        .merge(events::routes(feeds))
        .merge(bootstrap::routes(desk.clone()))
        .merge(records::routes(desk.clone()))
        .merge(vindex::routes(desk))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_read)
        .layer(middleware::from_fn_with_state(lag, say_lag))
        .layer(middleware::from_fn_with_state(counts, count))
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn only_read() -> Problem {
    Problem::new(405, "method not allowed", "only GET and HEAD are answered here")
}

/// Says with every answer of a mirror how far behind its primary it is.
async fn say_lag(State(lag): State<Option<Arc<Lag>>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(lag) = lag.and_then(|lag| HeaderValue::try_from(lag.now().to_string()).ok()) {
        response.headers_mut().insert(LAG, lag);
    }
    response
}

async fn count(State(counts): State<Arc<metrics::HttpCounts>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    counts.count(response.status().as_u16());
    response
}

/// A running HTTP listener.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Binds the address and serves until [`HttpServer::shutdown`].
    ///
    /// # Errors
    ///
    /// Whatever the system says about the address.
    pub async fn start(address: SocketAddr, routes: Router, limits: HttpLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(listener::accept(listener, routes, limits, stopping));
        Ok(Self { address, stop, task })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, lets those under way finish for [`HttpLimits::drain_timeout_ms`], and returns.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the HTTP listener died");
        }
    }
}
