//! A node over gRPC.

use std::{error::Error, time::Duration};

use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::ClientError;
use crate::{
    protocol::grpc::{
        APPLY_REQUEST_BYTES_MAX, CommandBatch, Encoded, REPLY_BYTES_MAX, path_from_pb,
        pb::{self, auditor_client::AuditorClient, registry_client::RegistryClient, resolver_client::ResolverClient},
        proof_from_pb,
    },
    tlog::{Hash, tlog_proof::TlogProof},
};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the other side is asked for a sign of life while calls are under way, and how long it may take to give one.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Beside the answers of a mirror: how far it is behind.
const MIRROR_LAG: &str = "touchmark-mirror-lag";
/// Flow control window of a stream and of the connection, in bytes.
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to one node. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    server: String,
    channel: Channel,
}

/// Messages as they come.
#[derive(Debug)]
pub struct Incoming<M> {
    server: String,
    messages: Streaming<M>,
}

/// Records as they come.
pub type Exported = Incoming<pb::Record>;
/// Changes as they come.
pub type Watched = Incoming<pb::ChangeEvent>;

impl Client {
    /// Connects to a node at `host:port` or `http://host:port`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`] or [`ClientError::Unreachable`].
    pub async fn connect(server: &str) -> Result<Self, ClientError> {
        let channel = endpoint(server)?
            .connect()
            .await
            .map_err(|error| ClientError::Unreachable { server: server.into(), reason: root_cause(&error) })?;
        Ok(Self { server: server.into(), channel })
    }

    /// As [`Client::connect`], but for the connection itself, which is made with the first call, and again when it broke. It has to be
    /// called within a runtime.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`].
    pub fn lazy(server: &str) -> Result<Self, ClientError> {
        Ok(Self { server: server.into(), channel: endpoint(server)?.connect_lazy() })
    }

    /// Resolves one identifier, and says how far the node is behind its primary, in seconds, when it is a mirror.
    ///
    /// # Errors
    ///
    /// As for [`Client::resolve`].
    pub async fn resolve_with_lag(
        &self,
        request: pb::ResolveRequest,
    ) -> Result<(pb::Answer, Option<u32>), ClientError> {
        let response = self.resolver().resolve(request).await.map_err(|status| self.error(&status))?;
        let lag = response.metadata().get(MIRROR_LAG).and_then(|lag| lag.to_str().ok());
        let seconds = lag.and_then(|lag| lag.split("seconds=").nth(1)).and_then(|seconds| seconds.parse().ok());
        Ok((response.into_inner(), seconds))
    }

    /// Resolves one identifier.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an ill-formed identifier is refused as invalid argument.
    pub async fn resolve(&self, request: pb::ResolveRequest) -> Result<pb::Answer, ClientError> {
        let answer = self.resolver().resolve(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Resolves up to [`RESOLVE_BATCH_MAX`](crate::protocol::grpc::RESOLVE_BATCH_MAX) identifiers; answers in their order.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resolve_batch(&self, requests: Vec<pb::ResolveRequest>) -> Result<Vec<pb::Answer>, ClientError> {
        let asked = requests.len();
        let response = self.resolver().resolve_batch(pb::ResolveBatchRequest { requests }).await;
        let answers = response.map_err(|status| self.error(&status))?.into_inner().answers;
        self.complete(asked, answers)
    }

    /// A page of the prefixes that are homed on the node or delegated by it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn list_prefixes(
        &self,
        request: pb::ListPrefixesRequest,
    ) -> Result<pb::ListPrefixesResponse, ClientError> {
        let page = self.resolver().list_prefixes(request).await;
        page.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Says who answers for a prefix.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn apply_prefix(&self, command: pb::PrefixCommand) -> Result<pb::Receipt, ClientError> {
        let receipt = self.registry().apply_prefix(command).await;
        receipt.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Resolves one identifier as it was at a point of the ledger.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an entry that is still to come is refused as out of range.
    pub async fn resolve_at(&self, request: pb::ResolveAtRequest) -> Result<pb::Answer, ClientError> {
        let answer = self.auditor().resolve_at(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// A page of the versions of an identifier, newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an ill-formed identifier is refused as invalid argument.
    pub async fn history(&self, request: pb::HistoryRequest) -> Result<pb::HistoryResponse, ClientError> {
        let page = self.auditor().history(request).await;
        page.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Asks for changes from a ledger index on.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an index that is still to come is refused as out of range.
    pub async fn watch(&self, request: pb::WatchRequest) -> Result<Watched, ClientError> {
        let response = self.auditor().watch(request).await;
        self.incoming(response)
    }

    /// Looks an identifier up in the verifiable index. Whoever asks has to verify what comes back.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn lookup(&self, request: pb::LookupRequest) -> Result<pb::LookupResponse, ClientError> {
        let found = self.auditor().lookup(request).await;
        found.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// What shows that an entry stands in the ledger.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn prove(&self, request: pb::ProveRequest) -> Result<TlogProof, ClientError> {
        let response = self.auditor().prove(request).await.map_err(|status| self.error(&status))?;
        proof_from_pb(&response.into_inner()).ok_or_else(|| self.ill_formed())
    }

    /// What shows that the ledger at one size is a beginning of the ledger at another, or of its newest published checkpoint, which
    /// comes along.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn consistency(&self, old_size: u64, new_size: Option<u64>) -> Result<(Vec<Hash>, String), ClientError> {
        let response = self.auditor().consistency(pb::ConsistencyRequest { old_size, new_size }).await;
        let response = response.map_err(|status| self.error(&status))?.into_inner();
        let path = path_from_pb(&response.path).ok_or_else(|| self.ill_formed())?;
        Ok((path, response.checkpoint))
    }

    /// Follows edges from an identifier.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a request out of bounds is refused as invalid argument.
    pub async fn trace(&self, request: pb::TraceRequest) -> Result<Incoming<pb::TraceResponse>, ClientError> {
        let response = self.auditor().trace(request).await;
        self.incoming(response)
    }

    /// Finds every finished product that a lot went into.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a request out of bounds is refused as invalid argument.
    pub async fn recall(&self, request: pb::RecallRequest) -> Result<Incoming<pb::RecallResponse>, ClientError> {
        let response = self.auditor().recall(request).await;
        self.incoming(response)
    }

    /// Carries out one command.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn apply(&self, command: pb::Command) -> Result<pb::Receipt, ClientError> {
        let receipt = self.registry().apply(command).await;
        receipt.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Carries out the commands of a batch, each on its own; results in their order.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; with [`ClientError::Unreachable`] some, all or none of the commands may have been carried out.
    pub async fn apply_batch(&self, batch: &CommandBatch) -> Result<Vec<pb::ApplyResult>, ClientError> {
        // The generated client wants a message built; this batch is encoded already.
        let mut client = Grpc::new(self.channel.clone())
            .max_encoding_message_size(APPLY_REQUEST_BYTES_MAX)
            .max_decoding_message_size(REPLY_BYTES_MAX);
        client.ready().await.map_err(|error| self.unreachable(&error))?;
        let path = PathAndQuery::from_static("/touchmark.v1.Registry/ApplyBatch");
        let codec = ProstCodec::<Encoded, pb::ApplyBatchResponse>::default();
        let response = client.unary(Request::new(batch.message()), path, codec).await;
        let results = response.map_err(|status| self.error(&status))?.into_inner().results;
        self.complete(batch.len(), results)
    }

    /// Asks for every record of a scheme (`handle`, `oid`, `gs1`, `uri`), or of all when it is empty.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn export(&self, scheme: &str) -> Result<Exported, ClientError> {
        let response = self.registry().export(pb::ExportRequest { scheme: scheme.into() }).await;
        self.incoming(response)
    }

    fn incoming<M>(&self, response: Result<Response<Streaming<M>>, Status>) -> Result<Incoming<M>, ClientError> {
        let messages = response.map_err(|status| self.error(&status))?.into_inner();
        Ok(Incoming { server: self.server.clone(), messages })
    }

    fn resolver(&self) -> ResolverClient<Channel> {
        ResolverClient::new(self.channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    fn auditor(&self) -> AuditorClient<Channel> {
        AuditorClient::new(self.channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel.clone())
            .max_encoding_message_size(APPLY_REQUEST_BYTES_MAX)
            .max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Checks that there is one answer for each question.
    fn complete<T>(&self, asked: usize, answers: Vec<T>) -> Result<Vec<T>, ClientError> {
        if answers.len() == asked {
            return Ok(answers);
        }
        let reason = format!("{asked} were asked for, and {} came back", answers.len());
        Err(ClientError::Protocol { server: self.server.clone(), reason })
    }

    fn ill_formed(&self) -> ClientError {
        ClientError::Protocol { server: self.server.clone(), reason: "its proof is ill-formed".into() }
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), reason: root_cause(error) }
    }

    fn error(&self, status: &Status) -> ClientError {
        client_error(&self.server, status)
    }
}

impl<M> Incoming<M> {
    /// The next message; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; what came before is a part only.
    pub async fn next(&mut self) -> Result<Option<M>, ClientError> {
        self.messages.message().await.map_err(|status| client_error(&self.server, &status))
    }
}

/// The address of a node, with what holds for every connection to one.
fn endpoint(server: &str) -> Result<Endpoint, ClientError> {
    let uri = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let wrong = |reason: String| ClientError::Address { server: server.into(), reason };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| wrong(error.to_string()))?;
    if endpoint.uri().scheme_str() != Some("http") {
        return Err(wrong("only http:// is spoken here".into()));
    }
    if endpoint.uri().port_u16().is_none() {
        return Err(wrong("there is no port".into()));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        // A line that was cut is noticed by itself, and not when the system gives up sending.
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// Tells what the node said from what happened to the connection, which shows as a status with a cause.
fn client_error(server: &str, status: &Status) -> ClientError {
    let server = || server.to_owned();
    if let Some(cause) = status.source() {
        return ClientError::Unreachable { server: server(), reason: root_cause(cause) };
    }
    let message = status.message().to_owned();
    match status.code() {
        Code::Unimplemented | Code::Internal | Code::Unknown => {
            ClientError::Protocol { server: server(), reason: message }
        }
        code => ClientError::Refused { code: code.into(), message },
    }
}

/// What lies at the bottom of an error.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
