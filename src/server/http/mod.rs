//! The HTTP listener: health, metrics, the ledger's tiles, the feed of changes, records and their history.
//!
//! Each file beside this one has the routes of one subject and returns a [`Router`]; [`routes`] merges them.
//! Connections come from [`crate::server::accept`], and [`listener`] speaks HTTP/1.1 on them. All routes answer GET and
//! HEAD only; reads that may wait for a disk wait at the desk ([`crate::resolver::Desk`]). Absent so far: writing, as
//! there are no permits to write, and TLS, which a proxy in front terminates.

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
use metrics::HttpCounts;
pub use replica::Replicas;
use reply::Problem;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    mirror::Lag,
    server::{
        accept::{self, Listener},
        admission::Admission,
        frontend::{AuditHandles, Draining, FollowHandles, Frontend, Listening, ReadHandles, Services},
        metrics::Metered,
    },
};

/// Name of the front end and its listener.
pub const HTTP: &str = "HTTP";

/// Header of a mirror's responses with its lag: `entries=N, seconds=S`.
const LAG: HeaderName = HeaderName::from_static("touchmark-mirror-lag");

/// The HTTP front end of a node.
pub struct HttpFrontend {
    server: HttpServer,
    counts: Arc<HttpCounts>,
}

impl HttpFrontend {
    /// Binds the address and serves all routes of a node.
    ///
    /// # Errors
    ///
    /// Error of the system about the address.
    pub async fn start(
        address: SocketAddr,
        limits: HttpLimits,
        replicas: Replicas,
        services: &Services,
    ) -> io::Result<Self> {
        let counts = Arc::<HttpCounts>::default();
        let routes = routes(services, replicas, Arc::clone(&counts));
        Ok(Self { server: HttpServer::start(address, routes, limits, &services.admission).await?, counts })
    }
}

impl Frontend for HttpFrontend {
    fn name(&self) -> &'static str {
        HTTP
    }

    fn addresses(&self) -> Vec<Listening> {
        vec![Listening { protocol: HTTP, address: self.server.local_addr() }]
    }

    fn metrics(&self) -> Arc<dyn Metered> {
        Arc::clone(&self.counts) as Arc<dyn Metered>
    }

    fn drain(self: Box<Self>) -> Draining {
        Box::pin(self.server.shutdown())
    }
}

/// All routes. None of them holds the write core: HTTP only reads.
fn routes(services: &Services, replicas: Replicas, counts: Arc<HttpCounts>) -> Router {
    let Services { reads, writes, audit, follow, metrics, .. } = services.clone();
    let ReadHandles { desk, lag } = reads;
    let AuditHandles { ledger, publication } = audit;
    let FollowHandles { feeds, shares } = follow;
    let reads = desk.reads();
    Router::new()
        .merge(health::routes(Arc::clone(writes.stats())))
        .merge(metrics::routes(metrics, reads.clone()))
        .merge(log::routes(Arc::clone(&ledger), publication, reads.clone()))
        .merge(replica::routes(ledger, Arc::clone(&feeds), reads.clone(), replicas))
        .merge(events::routes(feeds, shares))
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

/// Adds the lag of a mirror to every response.
async fn say_lag(State(lag): State<Option<Arc<Lag>>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(lag) = lag.and_then(|lag| HeaderValue::try_from(lag.now().to_string()).ok()) {
        response.headers_mut().insert(LAG, lag);
    }
    response
}

async fn count(State(counts): State<Arc<HttpCounts>>, request: Request, next: Next) -> Response {
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
    /// Error of the system about the address.
    pub async fn start(
        address: SocketAddr,
        routes: Router,
        limits: HttpLimits,
        admission: &Admission,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let gate = admission.frontend(limits.connections_per_network_max).listener(HTTP, limits.connections_max);
        let listener = Listener { name: HTTP, socket, tls: None, gate, timeouts: limits.timeouts() };
        let attend = move |accepted| listener::attend(accepted, routes.clone(), limits);
        let task = tokio::spawn(accept::serve(listener, stopping, attend));
        Ok(Self { address, stop, task })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, waits for those under way up to [`HttpLimits::drain_timeout_ms`], and returns.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the HTTP listener died");
        }
    }
}
