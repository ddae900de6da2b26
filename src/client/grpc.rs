//! Client of a node over gRPC.

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

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of keep-alive pings while calls are in flight, and maximum time for the reply to one.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Metadata key of the lag of a mirror, beside its answers.
const MIRROR_LAG: &str = "touchmark-mirror-lag";
/// Flow control window of a stream and of the connection, in bytes.
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to one node. Cheap to clone; clones share the connection.
///
/// ```no_run
/// use touchmark::{client::Client, protocol::grpc::pb};
///
/// # async fn example() -> Result<(), touchmark::client::ClientError> {
/// let client = Client::connect("127.0.0.1:50051").await?;
/// let identifier = "88.1000.LSN/GB120-3169".to_owned();
/// let answer = client.resolve(pb::ResolveRequest { identifier, ..pb::ResolveRequest::default() }).await?;
/// match answer.outcome {
///     Some(pb::answer::Outcome::Found(record)) => println!("{} values", record.values.len()),
///     other => println!("no record: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    server: String,
    channel: Channel,
}

/// A stream of messages from a node.
#[derive(Debug)]
pub struct Incoming<M> {
    server: String,
    messages: Streaming<M>,
}

/// A stream of exported records.
pub type Exported = Incoming<pb::Record>;
/// A stream of changes.
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

    /// As [`Client::connect`], but connects with the first call, and again with the next call after the connection
    /// broke. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`].
    pub fn lazy(server: &str) -> Result<Self, ClientError> {
        Ok(Self { server: server.into(), channel: endpoint(server)?.connect_lazy() })
    }

    /// As [`Client::resolve`], with the lag of the node behind its primary, in seconds, if it is a mirror.
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
        self.reply(self.resolver().resolve(request).await)
    }

    /// Resolves up to [`RESOLVE_BATCH_MAX`](crate::protocol::grpc::RESOLVE_BATCH_MAX) identifiers; answers in their
    /// order.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resolve_batch(&self, requests: Vec<pb::ResolveRequest>) -> Result<Vec<pb::Answer>, ClientError> {
        let asked = requests.len();
        let reply = self.reply(self.resolver().resolve_batch(pb::ResolveBatchRequest { requests }).await)?;
        self.complete(asked, reply.answers)
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
        self.reply(self.resolver().list_prefixes(request).await)
    }

    /// Delegates, homes or revokes a prefix.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn apply_prefix(&self, command: pb::PrefixCommand) -> Result<pb::Receipt, ClientError> {
        self.reply(self.registry().apply_prefix(command).await)
    }

    /// Resolves one identifier as it was at a point of the ledger.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an entry that is still to come is refused as out of range.
    pub async fn resolve_at(&self, request: pb::ResolveAtRequest) -> Result<pb::Answer, ClientError> {
        self.reply(self.auditor().resolve_at(request).await)
    }

    /// A page of the versions of an identifier, newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an ill-formed identifier is refused as invalid argument.
    pub async fn history(&self, request: pb::HistoryRequest) -> Result<pb::HistoryResponse, ClientError> {
        self.reply(self.auditor().history(request).await)
    }

    /// Follows the changes from a ledger index on.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an index that is still to come is refused as out of range.
    pub async fn watch(&self, request: pb::WatchRequest) -> Result<Watched, ClientError> {
        self.incoming(self.auditor().watch(request).await)
    }

    /// Looks an identifier up in the verifiable index. The answer is not verified here.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn lookup(&self, request: pb::LookupRequest) -> Result<pb::LookupResponse, ClientError> {
        self.reply(self.auditor().lookup(request).await)
    }

    /// The proof that an entry is in the ledger, not verified here.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn prove(&self, request: pb::ProveRequest) -> Result<TlogProof, ClientError> {
        let proof = self.reply(self.auditor().prove(request).await)?;
        proof_from_pb(&proof).ok_or_else(|| self.ill_formed())
    }

    /// The proof that the ledger at one size is a beginning of the ledger at another, or of its newest published
    /// checkpoint, which is returned with it. Not verified here.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn consistency(&self, old_size: u64, new_size: Option<u64>) -> Result<(Vec<Hash>, String), ClientError> {
        let request = pb::ConsistencyRequest { old_size, new_size };
        let proof = self.reply(self.auditor().consistency(request).await)?;
        let path = path_from_pb(&proof.path).ok_or_else(|| self.ill_formed())?;
        Ok((path, proof.checkpoint))
    }

    /// Follows edges from an identifier.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a request out of bounds is refused as invalid argument.
    pub async fn trace(&self, request: pb::TraceRequest) -> Result<Incoming<pb::TraceResponse>, ClientError> {
        self.incoming(self.auditor().trace(request).await)
    }

    /// Finds every finished product into which a lot went.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a request out of bounds is refused as invalid argument.
    pub async fn recall(&self, request: pb::RecallRequest) -> Result<Incoming<pb::RecallResponse>, ClientError> {
        self.incoming(self.auditor().recall(request).await)
    }

    /// Carries out one command.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn apply(&self, command: pb::Command) -> Result<pb::Receipt, ClientError> {
        self.reply(self.registry().apply(command).await)
    }

    /// Carries out the commands of a batch, each on its own; results in their order.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; with [`ClientError::Unreachable`] some, all or none of the commands may have been carried out.
    pub async fn apply_batch(&self, batch: &CommandBatch) -> Result<Vec<pb::ApplyResult>, ClientError> {
        let results = self.apply_message(batch.message()).await.map_err(|status| self.error(&status))?;
        self.complete(batch.len(), results)
    }

    /// Carries out the commands of a batch, all or none; results in their order. A node without atomic batches gets
    /// none of them.
    ///
    /// # Errors
    ///
    /// As for [`Client::apply_batch`]; [`ClientError::Protocol`] if the node does not know atomic batches.
    pub async fn apply_all(&self, batch: &CommandBatch) -> Result<Vec<pb::ApplyResult>, ClientError> {
        // An older node would carry out each command on its own; it has no answer to a batch without any.
        let known = self.apply_message(CommandBatch::default().atomic_message()).await;
        known.map_err(|status| match status.code() {
            Code::InvalidArgument => {
                let reason =
                    "it is of a version that knows no batches which are carried out whole or not at all".into();
                ClientError::Protocol { server: self.server.clone(), reason }
            }
            _ => self.error(&status),
        })?;
        let results = self.apply_message(batch.atomic_message()).await.map_err(|status| self.error(&status))?;
        self.complete(batch.len(), results)
    }

    /// Sends an encoded `ApplyBatchRequest`. The generated client would encode a message, so the call goes below that
    /// client.
    async fn apply_message(&self, message: Encoded) -> Result<Vec<pb::ApplyResult>, Status> {
        let mut client = Grpc::new(self.channel.clone())
            .max_encoding_message_size(APPLY_REQUEST_BYTES_MAX)
            .max_decoding_message_size(REPLY_BYTES_MAX);
        client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let path = PathAndQuery::from_static("/touchmark.v1.Registry/ApplyBatch");
        let codec = ProstCodec::<Encoded, pb::ApplyBatchResponse>::default();
        Ok(client.unary(Request::new(message), path, codec).await?.into_inner().results)
    }

    /// Streams every record of a scheme (`handle`, `oid`, `gs1`, `uri`), or of all schemes if `scheme` is empty.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn export(&self, scheme: &str) -> Result<Exported, ClientError> {
        self.incoming(self.registry().export(pb::ExportRequest { scheme: scheme.into() }).await)
    }

    /// The message of a response to a unary call.
    fn reply<M>(&self, response: Result<Response<M>, Status>) -> Result<M, ClientError> {
        response.map(Response::into_inner).map_err(|status| self.error(&status))
    }

    fn incoming<M>(&self, response: Result<Response<Streaming<M>>, Status>) -> Result<Incoming<M>, ClientError> {
        Ok(Incoming { server: self.server.clone(), messages: self.reply(response)? })
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

    /// Checks that a reply has one answer for each question.
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

    fn error(&self, status: &Status) -> ClientError {
        client_error(&self.server, status)
    }
}

impl<M> Incoming<M> {
    /// The next message; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; the messages before are incomplete then.
    pub async fn next(&mut self) -> Result<Option<M>, ClientError> {
        self.messages.message().await.map_err(|status| client_error(&self.server, &status))
    }
}

/// The endpoint of a node, with the options of every connection.
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
        // A dead connection is noticed by pings, long before the system gives up sending.
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// The error of a status: a status with a cause is a broken connection, any other one the node's own.
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

/// The innermost cause of an error.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
