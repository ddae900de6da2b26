//! The `Registry` service.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{Peer, refused, without_answer};
use crate::{
    entry::Principal,
    id::{Key, KeyPrefix, Scheme},
    protocol::grpc::{
        Encoded, EncodedCommands, decode_command, pb, prefix_command, receipt_to_pb, record_to_pb, result_to_pb,
        services::registry_server,
    },
    registry::{Atomicity, BATCH_COMMANDS_MAX, Prepared, Receipt, Refusal, Registry, WhenFull},
    resolver::Desk,
    rights,
};

/// Maximum size of a batch that is prepared inline; hashing a command takes some microseconds, so larger ones go to the
/// blocking pool.
const INLINE_COMMANDS_MAX: usize = 64;
/// Maximum number of commands of a stream that go to the ledger together.
const STREAM_CHUNK_COMMANDS: usize = 512;
/// Maximum number of chunks of one stream that are processed at once.
const STREAM_CHUNKS_AHEAD: usize = 4;
/// Number of records that an export reads at once.
const EXPORT_PAGE_RECORDS: usize = 500;

/// The `Registry` service: hands commands to the write core.
#[derive(Clone)]
pub(super) struct RegistryService {
    registry: Registry,
    desk: Desk,
}

type Results = Pin<Box<dyn Stream<Item = Result<pb::ApplyResult, Status>> + Send>>;
type Exported = Pin<Box<dyn Stream<Item = Result<pb::Record, Status>> + Send>>;

impl RegistryService {
    pub(super) fn new(registry: Registry, desk: Desk) -> Self {
        Self { registry, desk }
    }

    fn prepare(&self, message: Bytes, principal: Principal) -> Result<Prepared, Refusal> {
        self.registry.prepare(decode_command(message)?, principal)
    }

    /// Decodes, checks and hashes commands; on the blocking pool if there are many.
    async fn prepare_all(
        &self,
        messages: Vec<Bytes>,
        principal: Principal,
    ) -> Result<Vec<Result<Prepared, Refusal>>, Status> {
        let service = self.clone();
        let inline = messages.len() <= INLINE_COMMANDS_MAX;
        let prepare = move || messages.into_iter().map(|message| service.prepare(message, principal.clone())).collect();
        if inline {
            return Ok(prepare());
        }
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared.map_err(|_| Status::internal("the commands could not be prepared"))
    }
}

/// Principal of a call that may write.
fn principal(address: Option<SocketAddr>) -> Result<Principal, Status> {
    let principal = rights::may_write(address.map(|address| address.ip()));
    principal.map_err(|denied| refused(&Refusal::Denied { reason: denied.reason }))
}

/// Converts results to messages; a checkpoint is sent once for all receipts that it covers.
fn results_to_pb(checkpoint: &mut Arc<str>, results: Vec<Result<Receipt, Refusal>>) -> Vec<pb::ApplyResult> {
    let message = |result: Result<Receipt, Refusal>| {
        let next = result.as_ref().ok().map(|receipt| Arc::clone(&receipt.checkpoint));
        let message = result_to_pb(result, checkpoint);
        if let Some(next) = next {
            *checkpoint = next;
        }
        message
    };
    results.into_iter().map(message).collect()
}

#[tonic::async_trait]
impl registry_server::Registry for RegistryService {
    type ApplyStreamStream = Results;
    type ExportStream = Exported;

    async fn apply(&self, request: Request<Encoded>) -> Result<Response<pb::Receipt>, Status> {
        let principal = principal(Peer::address_of(&request))?;
        let prepared = self.prepare(request.into_inner().0, principal).map_err(|refusal| {
            self.registry.stats().count_refusal(&refusal);
            refused(&refusal)
        })?;
        match self.registry.submit(vec![Ok(prepared)], Atomicity::Each, WhenFull::Refuse).await.pop() {
            Some(Ok(receipt)) => Ok(Response::new(receipt_to_pb(receipt, ""))),
            Some(Err(refusal)) => Err(refused(&refusal)),
            None => Err(Status::internal("a command got no result")),
        }
    }

    async fn apply_batch(&self, request: Request<EncodedCommands>) -> Result<Response<pb::ApplyBatchResponse>, Status> {
        let principal = principal(Peer::address_of(&request))?;
        let EncodedCommands { commands, atomic } = request.into_inner();
        match commands.len() {
            // Lets a client test whether the node knows the field.
            0 if atomic => return Ok(Response::new(pb::ApplyBatchResponse::default())),
            0 => {
                return Err(Status::invalid_argument(format!(
                    "an empty batch; give 1 to {BATCH_COMMANDS_MAX} commands"
                )));
            }
            1..=BATCH_COMMANDS_MAX => {}
            count => return Err(refused(&Refusal::TooMany { count })),
        }
        let prepared = self.prepare_all(commands, principal).await?;
        let atomicity = if atomic { Atomicity::All } else { Atomicity::Each };
        let results = self.registry.submit(prepared, atomicity, WhenFull::Refuse).await;
        if let Some(Err(refusal @ Refusal::TryLater)) = results.first() {
            return Err(refused(refusal));
        }
        Ok(Response::new(pb::ApplyBatchResponse { results: results_to_pb(&mut Arc::from(""), results) }))
    }

    async fn apply_stream(
        &self,
        request: Request<Streaming<Encoded>>,
    ) -> Result<Response<Self::ApplyStreamStream>, Status> {
        let principal = principal(Peer::address_of(&request))?;
        let service = self.clone();
        let chunks = request.into_inner().ready_chunks(STREAM_CHUNK_COMMANDS);
        let prepared = chunks.map(move |chunk| {
            let (service, principal) = (service.clone(), principal.clone());
            async move {
                // A broken stream ends with its status, after the commands received before have been carried out.
                let mut broken = None;
                let mut messages = Vec::with_capacity(chunk.len());
                for item in chunk {
                    match item {
                        Ok(Encoded(message)) => messages.push(message),
                        Err(status) => broken = Some(status),
                    }
                }
                (service.prepare_all(messages, principal).await, broken)
            }
        });
        // Chunks are prepared in parallel, enter the queue in order, and wait for the ledger in parallel.
        let registry = self.registry.clone();
        let enqueued = prepared.buffered(STREAM_CHUNKS_AHEAD).then(move |(prepared, broken)| {
            let registry = registry.clone();
            async move {
                match prepared {
                    Ok(prepared) => (Ok(registry.enqueue(prepared, Atomicity::Each, WhenFull::Wait).await), broken),
                    Err(status) => (Err(status), broken),
                }
            }
        });
        let applied = enqueued.map(|(enqueued, broken)| async {
            match enqueued {
                Ok(enqueued) => (Ok(enqueued.results().await), broken),
                Err(status) => (Err(status), broken),
            }
        });
        let results = applied.buffered(STREAM_CHUNKS_AHEAD).scan(Arc::from(""), |checkpoint, (results, broken)| {
            let mut items: Vec<Result<pb::ApplyResult, Status>> = match results {
                Ok(results) => results_to_pb(checkpoint, results).into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            items.extend(broken.map(Err));
            std::future::ready(Some(stream::iter(items)))
        });
        Ok(Response::new(Box::pin(results.flatten())))
    }

    async fn apply_prefix(&self, request: Request<pb::PrefixCommand>) -> Result<Response<pb::Receipt>, Status> {
        let principal = principal(Peer::address_of(&request))?;
        let command = prefix_command(&request.into_inner()).map_err(|refusal| {
            self.registry.stats().count_refusal(&refusal);
            refused(&refusal)
        })?;
        let receipt = self.registry.apply_prefix(command, principal).await;
        Ok(Response::new(receipt_to_pb(receipt.map_err(|refusal| refused(&refusal))?, "")))
    }

    async fn export(&self, request: Request<pb::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        principal(Peer::address_of(&request))?;
        let scheme = request.into_inner().scheme;
        let prefix = match scheme.as_str() {
            "" => KeyPrefix::from_bytes([]),
            scheme => match scheme.parse::<Scheme>() {
                Ok(scheme) => scheme.key_prefix(),
                Err(error) => return Err(Status::invalid_argument(error.to_string())),
            },
        };
        let desk = self.desk.clone();
        let pages = stream::try_unfold(Some(None::<Key>), move |after| {
            let (desk, prefix) = (desk.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = desk.scan(prefix, after, EXPORT_PAGE_RECORDS).await;
                let page = page.map_err(|none| without_answer(&none))?;
                let next = page.last().map(|record| Some(record.identifier.key().clone()));
                let records: Vec<_> = page.iter().map(|record| Ok(record_to_pb(record))).collect();
                Ok::<_, Status>(Some((stream::iter(records), next)))
            }
        });
        Ok(Response::new(Box::pin(futures_util::TryStreamExt::try_flatten(pages))))
    }
}
