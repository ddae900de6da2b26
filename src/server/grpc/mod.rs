//! The gRPC listener: the services of `proto/`, health and reflection.
//!
//! All limits are in `protocol::grpc` and in the comments of the definitions. A question is answered on the thread that
//! read it if the answer is in memory: from the cache in about a microsecond. A question that may wait for a disk waits
//! at the [`Desk`](crate::resolver::Desk). Large batches of commands are checked and hashed on the blocking pool, so
//! that they delay nobody.

mod auditor;
mod calls;
mod codec;
mod connection;
mod registry;
mod resolver;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

pub use calls::Calls;
use calls::Counted;
pub use codec::{RequestCodec, RequestDecoder};
use connection::{Connection, Peer};
use futures_util::{Stream, stream};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{Code, Request, Status, transport::Server};

use crate::{
    protocol::{
        grpc::{
            APPLY_REQUEST_BYTES_MAX, CALLS_PER_CONNECTION_MAX, DESCRIPTORS, REPLY_BYTES_MAX, RESOLVE_REQUEST_BYTES_MAX,
            services::{
                auditor_server::AuditorServer, registry_server::RegistryServer, resolver_server::ResolverServer,
            },
        },
        outcome::Outcome,
    },
    registry::Refusal,
    resolver::{NoAnswer, ProveError},
    rights::Caller,
    server::{
        accept::{self, Listener, Timeouts, stopped},
        frontend::{Draining, Frontend, Listening, ReadHandles, Services},
        metrics::Metered,
    },
    store::ReadError,
};

/// Name of the front end and its listener.
pub const GRPC: &str = "gRPC";

/// Flow-control window of a stream and of a connection, in bytes: the size of one batch of commands.
const WINDOW_BYTES: u32 = 4 << 20;

/// Interval of HTTP/2 pings on a connection: some calls have no end of their own.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum number of accepted connections that wait for the library.
const CONNECTIONS_AHEAD: usize = 16;

/// Bounds of the listener. A connection takes some tens of KiB, without its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcLimits {
    /// Maximum number of connections at once.
    pub connections_max: usize,
    /// Maximum number of connections of one client network at once; 0: no limit.
    pub connections_per_network_max: usize,
    /// Timeout for the preface of HTTP/2, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Timeout of a connection without a call, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Timeout for calls under way when the server stops, in milliseconds. Without it a client that reads nothing would
    /// block the stop.
    pub drain_timeout_ms: u64,
}

impl Default for GrpcLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_network_max: 1_024,
            handshake_timeout_ms: 10_000,
            idle_timeout_ms: 600_000,
            drain_timeout_ms: 10_000,
        }
    }
}

impl GrpcLimits {
    fn timeouts(&self) -> Timeouts {
        let idle = Duration::from_millis(self.idle_timeout_ms);
        Timeouts {
            handshake: Duration::from_millis(self.handshake_timeout_ms),
            first_request: idle,
            idle,
            drain: Duration::from_millis(self.drain_timeout_ms),
        }
    }
}

/// A running gRPC listener.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    calls: Arc<Calls>,
    stop: watch::Sender<bool>,
    /// Task that accepts connections.
    accepting: JoinHandle<()>,
    /// Task that answers the calls.
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl GrpcServer {
    /// Binds the address and serves until [`GrpcServer::shutdown`].
    ///
    /// # Errors
    ///
    /// Error of the system about the address.
    pub async fn start(address: SocketAddr, limits: GrpcLimits, services: &Services) -> io::Result<Self> {
        let Services { reads: ReadHandles { desk, lag }, writes, follow, admission, .. } = services.clone();
        let calls = Arc::<Calls>::default();
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let resolver_service = ResolverServer::new(resolver::ResolverService::new(desk.clone()))
            .max_decoding_message_size(RESOLVE_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let auditor_service = AuditorServer::new(auditor::AuditorService::new(desk.clone(), follow))
            .max_decoding_message_size(RESOLVE_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let registry_service = RegistryServer::new(registry::RegistryService::new(writes, desk))
            .max_decoding_message_size(APPLY_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<ResolverServer<resolver::ResolverService>>().await;
        health.set_serving::<AuditorServer<auditor::AuditorService>>().await;
        health.set_serving::<RegistryServer<registry::RegistryService>>().await;
        // Two versions of the reflection protocol, as clients use either.
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection_v1 = reflection().build_v1().map_err(io::Error::other)?;
        let reflection_v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
        let (stop, stopping) = watch::channel(false);
        let (connections, incoming) = mpsc::channel(CONNECTIONS_AHEAD);
        let gate = admission.frontend(limits.connections_per_network_max).listener(GRPC, limits.connections_max);
        let listener = Listener { name: GRPC, socket, tls: None, gate, timeouts: limits.timeouts() };
        let attend = move |accepted| connection::attend(accepted, connections.clone());
        let accepting = tokio::spawn(accept::serve(listener, stopping.clone(), attend));
        let mut stop_asked = stopping;
        let server = Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX as usize)
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .add_service(Counted::new(resolver_service, &calls, &lag))
            .add_service(Counted::new(registry_service, &calls, &lag))
            .add_service(Counted::new(auditor_service, &calls, &lag))
            .add_service(Counted::new(health_service, &calls, &None))
            .add_service(Counted::new(reflection_v1, &calls, &None))
            .add_service(Counted::new(reflection_v1alpha, &calls, &None))
            .serve_with_incoming_shutdown(received(incoming), async move { stopped(&mut stop_asked).await });
        Ok(Self { address, calls, stop, accepting, serving: tokio::spawn(server) })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new calls, waits for those under way up to the drain timeout, and returns.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the gRPC listener died");
        }
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the gRPC listener ended badly"),
            Err(error) => tracing::error!(%error, "the gRPC listener died"),
        }
    }
}

impl Frontend for GrpcServer {
    fn name(&self) -> &'static str {
        GRPC
    }

    fn addresses(&self) -> Vec<Listening> {
        vec![Listening { protocol: GRPC, address: self.address }]
    }

    fn metrics(&self) -> Arc<dyn Metered> {
        Arc::clone(&self.calls) as Arc<dyn Metered>
    }

    fn drain(self: Box<Self>) -> Draining {
        Box::pin(self.shutdown())
    }
}

/// Stream of accepted connections, until the sender is gone.
fn received(connections: mpsc::Receiver<Connection>) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold(connections, |mut connections| async {
        connections.recv().await.map(|connection| (Ok(connection), connections))
    })
}

/// A refusal as the status of a call.
fn refused(refusal: &Refusal) -> Status {
    Status::new(Code::from_i32(Outcome::from(refusal).spelling().grpc), refusal.to_string())
}

/// A failed read as the status of a call.
fn unreadable(error: &ReadError) -> Status {
    tracing::error!(%error, "a record could not be read; check the disk, then run `touchmark fsck`");
    Status::unavailable(error.to_string())
}

/// The caller of a request.
fn caller<T>(request: &Request<T>) -> Caller {
    Caller::anonymous(Peer::address_of(request).map(|address| address.ip()))
}

/// A missing answer as the status of a call.
fn without_answer(none: &NoAnswer) -> Status {
    match none {
        NoAnswer::Read(error) | NoAnswer::Proof(ProveError::Read(error)) => unreadable(error),
        NoAnswer::ToCome { .. } | NoAnswer::Proof(ProveError::ToCome { .. }) => Status::out_of_range(none.to_string()),
        none => Status::new(Code::from_i32(Outcome::from(none).spelling().grpc), none.to_string()),
    }
}
