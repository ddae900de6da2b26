//! The `Auditor` service.

mod trace;

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{Peer, unreadable};
use crate::{
    id::{Identifier, Subtree},
    ledger::{LedgerError, Publication},
    protocol::grpc::{
        Encoded, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, encode_answer, fed_to_pb, history_to_pb, lookup_kind,
        lookup_to_pb, path_to_pb,
        pb::{self, prove_request, resolve_at_request::At},
        proof_to_pb, recall_request, recall_step_to_pb,
        services::auditor_server,
        trace_request, trace_step_to_pb,
    },
    resolver::{
        Disclosure, Filter, HistoryError, Moment, ProveError, Resolver, Subject,
        feed::{FeedError, Feeds},
    },
    server::{
        admission::Shares,
        frontend::{AuditHandles, FollowHandles},
    },
    store::ReadError,
    vindex::{Lookups, NoLookup},
};

/// The most reads of the past at once; more wait for one of them. A page of a history takes some megabytes.
const READS_MAX: usize = 16;

/// Answers questions about the past from the read core.
#[derive(Clone)]
pub(super) struct AuditorService {
    resolver: Arc<Resolver>,
    feeds: Arc<Feeds>,
    lookups: Option<Lookups>,
    publication: Arc<Publication>,
    traces: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    watchers: Arc<Shares>,
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::ChangeEvent, Status>> + Send>>;

impl AuditorService {
    pub(super) fn new(resolver: Arc<Resolver>, audit: AuditHandles, follow: FollowHandles) -> Self {
        let (AuditHandles { publication, lookups, .. }, FollowHandles { feeds, shares: watchers }) = (audit, follow);
        let traces = Arc::new(Semaphore::new(trace::TRACES_AT_ONCE_MAX));
        let reads = Arc::new(Semaphore::new(READS_MAX));
        Self { resolver, feeds, lookups, publication, traces, reads, watchers }
    }

    /// Asks the read core on the blocking pool, [`READS_MAX`] at a time: the past is read entry by entry, and is hardly in
    /// memory.
    async fn read<T: Send + 'static, E: Send + 'static>(
        &self,
        read: impl FnOnce(&Resolver) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Status> {
        let resolver = Arc::clone(&self.resolver);
        let place = Arc::clone(&self.reads).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the node is stopping"))?;
        let read = tokio::task::spawn_blocking(move || {
            let read = read(&resolver);
            // Not when the caller is gone, but when the work is done.
            drop(place);
            read
        });
        read.await.map_err(|_| Status::internal("the past could not be read"))
    }
}

#[tonic::async_trait]
impl auditor_server::Auditor for AuditorService {
    type WatchStream = Watched;
    type TraceStream = trace::Messages<pb::TraceResponse>;
    type RecallStream = trace::Messages<pb::RecallResponse>;

    async fn resolve_at(&self, request: Request<pb::ResolveAtRequest>) -> Result<Response<Encoded>, Status> {
        let pb::ResolveAtRequest { request, at } = request.into_inner();
        let pb::ResolveRequest { identifier: asked, types, indexes, .. } = request.unwrap_or_default();
        let identifier = identifier(&asked)?;
        let moment = match at {
            Some(At::LedgerIndex(index)) => Moment::Index(index),
            Some(At::Time(time_ms)) => Moment::Time(time_ms),
            None => return Err(Status::invalid_argument("no point of the ledger is given: an index or a time")),
        };
        let answer = self.read(move |resolver| {
            let answer = resolver.resolve_at(&identifier, moment)?;
            Ok(encode_answer(&answer, &asked, &Filter { types, indexes }))
        });
        Ok(Response::new(answer.await?.map_err(|error: HistoryError| without_answer(&error))?))
    }

    async fn history(&self, request: Request<pb::HistoryRequest>) -> Result<Response<pb::HistoryResponse>, Status> {
        let pb::HistoryRequest { identifier: asked, limit, before } = request.into_inner();
        let identifier = identifier(&asked)?;
        let limit = limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
        if !(1..=HISTORY_LIMIT_MAX).contains(&limit) {
            return Err(Status::invalid_argument(format!(
                "{limit} versions in one page; ask for 1 to {HISTORY_LIMIT_MAX}"
            )));
        }
        let history = self.read(move |resolver| {
            let history = resolver.history(&identifier, before, limit as usize)?;
            Ok(history_to_pb(&history))
        });
        Ok(Response::new(history.await?.map_err(|error: HistoryError| without_answer(&error))?))
    }

    async fn prove(&self, request: Request<pb::ProveRequest>) -> Result<Response<pb::ProveResponse>, Status> {
        let request = request.into_inner();
        let disclosure = match request.disclosure() {
            pb::prove_request::Disclosure::Listed => Disclosure::Listed(request.value_indexes),
            _ if request.value_indexes.is_empty() => Disclosure::Public,
            _ => {
                return Err(Status::invalid_argument("values are listed, and the disclosure is not DISCLOSURE_LISTED"));
            }
        };
        let subject = match request.entry {
            Some(prove_request::Entry::Identifier(asked)) => Subject::Newest(identifier(&asked)?),
            Some(prove_request::Entry::LedgerIndex(index)) => Subject::Index(index),
            None => return Err(Status::invalid_argument("no entry is named: give an identifier or a ledger index")),
        };
        let publication = Arc::clone(&self.publication);
        let proof = self.read(move |resolver| resolver.prove(&subject, &disclosure, &publication)).await?;
        Ok(Response::new(proof_to_pb(&proof.map_err(|error| without_proof(&error))?)))
    }

    async fn consistency(
        &self,
        request: Request<pb::ConsistencyRequest>,
    ) -> Result<Response<pb::ConsistencyResponse>, Status> {
        let pb::ConsistencyRequest { old_size, new_size } = request.into_inner();
        if let Some(new_size) = new_size.filter(|&new_size| new_size < old_size) {
            return Err(Status::invalid_argument(format!(
                "the old size, {old_size}, is more than the new one, {new_size}"
            )));
        }
        let publication = Arc::clone(&self.publication);
        let proof = self.read(move |resolver| resolver.prove_consistency(old_size, new_size, &publication)).await?;
        let (path, newest) = proof.map_err(|error| match error {
            ReadError::Ledger(LedgerError::OutOfTree { .. }) => Status::out_of_range(error.to_string()),
            error => unreadable(&error),
        })?;
        let (path, checkpoint) =
            (path_to_pb(&path), newest.map_or_else(String::new, |newest| newest.note.as_ref().into()));
        Ok(Response::new(pb::ConsistencyResponse { path, checkpoint }))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Watched>, Status> {
        let watcher = self.watchers.enter(Peer::address_of(&request).map(|address| address.ip()));
        let watcher = watcher.map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let pb::WatchRequest { from_index, prefix } = request.into_inner();
        let subtree = Subtree::parse(&prefix).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let feed = self.feeds.begin(from_index, subtree).map_err(|error| without_feed(&error))?;
        let events = stream::unfold(Some((feed, watcher)), |feed| async {
            let (mut feed, watcher) = feed?;
            Some(match feed.next().await {
                Ok(fed) => (Ok(fed_to_pb(&fed)), Some((feed, watcher))),
                Err(error) => (Err(without_feed(&error)), None),
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn lookup(&self, request: Request<pb::LookupRequest>) -> Result<Response<pb::LookupResponse>, Status> {
        let pb::LookupRequest { identifier: asked, kind } = request.into_inner();
        let identifier = identifier(&asked)?;
        let kind = lookup_kind(kind).ok_or_else(|| Status::invalid_argument(format!("{kind} is no kind of lookup")))?;
        let Some(lookups) = &self.lookups else {
            return Err(Status::unimplemented(
                "this node has no verifiable index: it is a mirror (ask its primary), was promoted under its primary's key, or has \
                 `verifiable = \"off\"` in [index]",
            ));
        };
        match lookups.lookup(&kind.key(&identifier)) {
            Ok(lookup) => Ok(Response::new(lookup_to_pb(&lookup))),
            Err(error @ NoLookup::TooMany { .. }) => Err(Status::resource_exhausted(error.to_string())),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<Self::TraceStream>, Status> {
        let request = trace_request(request.get_ref()).map_err(Status::invalid_argument)?;
        let messages = trace::start(&self.resolver, &self.traces, move |resolver, sender| {
            resolver.trace(&request, &mut |step| sender.add(|message| trace_step_to_pb(step, message)))
        });
        Ok(Response::new(messages?))
    }

    async fn recall(&self, request: Request<pb::RecallRequest>) -> Result<Response<Self::RecallStream>, Status> {
        let request = recall_request(request.get_ref()).map_err(Status::invalid_argument)?;
        let messages = trace::start(&self.resolver, &self.traces, move |resolver, sender| {
            resolver.recall(&request, &mut |step| sender.add(|message| recall_step_to_pb(step, message)))
        });
        Ok(Response::new(messages?))
    }
}

fn identifier(asked: &str) -> Result<Identifier, Status> {
    Identifier::parse(asked).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn without_feed(error: &FeedError) -> Status {
    match error {
        FeedError::TooMany => Status::resource_exhausted(error.to_string()),
        FeedError::ToCome { .. } => Status::out_of_range(error.to_string()),
        FeedError::Closed { .. } => Status::unavailable(error.to_string()),
        FeedError::Read(error) => unreadable(error),
    }
}

fn without_proof(error: &ProveError) -> Status {
    match error {
        ProveError::NotFound { .. } => Status::not_found(error.to_string()),
        ProveError::ToCome { .. } => Status::out_of_range(error.to_string()),
        ProveError::NoSuchValue { .. } => Status::invalid_argument(error.to_string()),
        ProveError::NotPublic { .. } => Status::permission_denied(error.to_string()),
        ProveError::Read(error) => unreadable(error),
    }
}

fn without_answer(error: &HistoryError) -> Status {
    match error {
        HistoryError::ToCome { .. } => Status::out_of_range(error.to_string()),
        HistoryError::Read(error) => unreadable(error),
    }
}
