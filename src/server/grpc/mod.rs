//! The gRPC listener: the services of `proto/`, health and reflection.
//!
//! Every limit stands in `protocol::grpc` and in the comments of the definitions. A question is answered on the thread that
//! read it as far as its answer lies in memory: from the cache in about a microsecond. What may wait for a disk waits at the
//! [`Desk`]. Batches of commands are checked and hashed on the
//! blocking pool, so that a large one delays nobody.

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
use connection::Connection;
use futures_util::StreamExt as _;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tonic::{
    Code, Request, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    mirror::Lag,
    protocol::{
        grpc::{
            APPLY_REQUEST_BYTES_MAX, CALLS_PER_CONNECTION_MAX, DESCRIPTORS, REPLY_BYTES_MAX, RESOLVE_REQUEST_BYTES_MAX,
            services::{
                auditor_server::AuditorServer, registry_server::RegistryServer, resolver_server::ResolverServer,
            },
        },
        outcome::Outcome,
    },
    registry::{Refusal, Registry},
    resolver::{Desk, NoAnswer, ProveError, feed::Feeds},
    rights::Caller,
    store::ReadError,
};

/// Flow-control window of a stream and of a connection, in bytes: what one batch of commands takes.
const WINDOW_BYTES: u32 = 4 << 20;

/// How often a client is asked for a sign of life while calls are under way: some calls have no end of their own.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long calls may go on when the server stops. A client that takes nothing would hold it up for ever.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What the services answer from.
pub struct GrpcParts {
    /// The read core.
    pub desk: Desk,
    /// The write core.
    pub registry: Registry,
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
    /// Where calls are counted.
    pub calls: Arc<Calls>,
    /// How far behind its primary the node is, when it is a mirror.
    pub lag: Option<Arc<Lag>>,
}

/// A running gRPC listener.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Ends connections as they are.
    cut: watch::Sender<bool>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl GrpcServer {
    /// Binds the address and serves until [`GrpcServer::shutdown`].
    ///
    /// # Errors
    ///
    /// Whatever the system says about the address.
    pub async fn start(address: SocketAddr, parts: GrpcParts) -> io::Result<Self> {
        let GrpcParts { desk, registry, feeds, calls, lag } = parts;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let resolver_service = ResolverServer::new(resolver::ResolverService::new(desk.clone()))
            .max_decoding_message_size(RESOLVE_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let auditor_service = auditor::AuditorService::new(desk.clone(), feeds);
        let auditor_service = AuditorServer::new(auditor_service)
            .max_decoding_message_size(RESOLVE_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let registry_service = RegistryServer::new(registry::RegistryService::new(registry, desk))
            .max_decoding_message_size(APPLY_REQUEST_BYTES_MAX)
            .max_encoding_message_size(REPLY_BYTES_MAX);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<ResolverServer<resolver::ResolverService>>().await;
        health.set_serving::<AuditorServer<auditor::AuditorService>>().await;
        health.set_serving::<RegistryServer<registry::RegistryService>>().await;
        // Clients are divided between the two versions of the reflection protocol.
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection_v1 = reflection().build_v1().map_err(io::Error::other)?;
        let reflection_v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let (cut, cutting) = watch::channel(false);
        let incoming = incoming.map(move |accepted| accepted.map(|stream| Connection::new(stream, cutting.clone())));
        let server = Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX as usize)
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .add_service(Counted::new(resolver_service, &calls, &lag))
            .add_service(Counted::new(registry_service, &calls, &lag))
            .add_service(Counted::new(auditor_service, &calls, &lag))
            .add_service(health_service)
            .add_service(reflection_v1)
            .add_service(reflection_v1alpha)
            .serve_with_incoming_shutdown(incoming, async {
                // A dropped sender stops the server, too.
                let _ = stopped.await;
            });
        Ok(Self { address, stop, cut, task: tokio::spawn(server) })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new calls, finishes those under way as far as that can be waited for, and returns.
    pub async fn shutdown(mut self) {
        drop(self.stop);
        let ended = match tokio::time::timeout(DRAIN_TIMEOUT, &mut self.task).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("clients over gRPC do not come to an end: their connections are cut");
                self.cut.send_replace(true);
                self.task.await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the gRPC listener ended badly"),
            Err(error) => tracing::error!(%error, "the gRPC listener died"),
        }
    }
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

/// Who calls.
fn caller<T>(request: &Request<T>) -> Caller {
    Caller::anonymous(request.remote_addr().map(|address| address.ip()))
}

/// Why a question has no answer, as the status of a call.
fn without_answer(none: &NoAnswer) -> Status {
    match none {
        NoAnswer::Read(error) | NoAnswer::Proof(ProveError::Read(error)) => unreadable(error),
        NoAnswer::ToCome { .. } | NoAnswer::Proof(ProveError::ToCome { .. }) => Status::out_of_range(none.to_string()),
        none => Status::new(Code::from_i32(Outcome::from(none).spelling().grpc), none.to_string()),
    }
}
