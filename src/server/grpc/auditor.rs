//! The `Auditor` service.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::unreadable;
use crate::{
    id::{Identifier, Subtree},
    protocol::grpc::{
        Encoded, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, encode_answer, fed_to_pb, history_to_pb, lookup_kind,
        lookup_to_pb,
        pb::{self, resolve_at_request::At},
        services::auditor_server,
    },
    resolver::{
        Filter, HistoryError, Moment, Resolver,
        feed::{FeedError, Feeds},
    },
    vindex::{Lookups, NoLookup},
};

/// Answers questions about the past from the read core.
#[derive(Clone)]
pub(super) struct AuditorService {
    resolver: Arc<Resolver>,
    feeds: Arc<Feeds>,
    lookups: Option<Lookups>,
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::ChangeEvent, Status>> + Send>>;

impl AuditorService {
    pub(super) fn new(resolver: Arc<Resolver>, feeds: Arc<Feeds>, lookups: Option<Lookups>) -> Self {
        Self { resolver, feeds, lookups }
    }

    /// Asks the read core on the blocking pool: the past is read entry by entry, and is hardly in memory.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Resolver) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Status> {
        let resolver = Arc::clone(&self.resolver);
        let read = tokio::task::spawn_blocking(move || read(&resolver)).await;
        let read = read.map_err(|_| Status::internal("the past could not be read"))?;
        read.map_err(|error| without_answer(&error))
    }
}

#[tonic::async_trait]
impl auditor_server::Auditor for AuditorService {
    type WatchStream = Watched;

    async fn resolve_at(&self, request: Request<pb::ResolveAtRequest>) -> Result<Response<Encoded>, Status> {
        let pb::ResolveAtRequest { request, at } = request.into_inner();
        let pb::ResolveRequest { identifier: asked, types, indexes } = request.unwrap_or_default();
        let identifier = identifier(&asked)?;
        let moment = match at {
            Some(At::LedgerIndex(index)) => Moment::Index(index),
            Some(At::Time(time_ms)) => Moment::Time(time_ms),
            None => return Err(Status::invalid_argument("no point of the ledger is given: an index or a time")),
        };
        let answer = self.read(move |resolver| resolver.resolve_at(&identifier, moment)).await?;
        Ok(Response::new(encode_answer(&answer, &asked, &Filter { types, indexes })))
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
        let history = self.read(move |resolver| resolver.history(&identifier, before, limit as usize)).await?;
        Ok(Response::new(history_to_pb(&history)))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Watched>, Status> {
        let pb::WatchRequest { from_index, prefix } = request.into_inner();
        let subtree = Subtree::parse(&prefix).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let feed = self.feeds.begin(from_index, subtree).map_err(|error| without_feed(&error))?;
        let events = stream::unfold(Some(feed), |feed| async {
            let mut feed = feed?;
            Some(match feed.next().await {
                Ok(fed) => (Ok(fed_to_pb(&fed)), Some(feed)),
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
            return Err(Status::unimplemented("this node has no verifiable index (`verifiable_index = \"off\"`)"));
        };
        match lookups.lookup(&kind.key(&identifier)) {
            Ok(lookup) => Ok(Response::new(lookup_to_pb(&lookup))),
            Err(error @ NoLookup::TooMany { .. }) => Err(Status::resource_exhausted(error.to_string())),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
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

fn without_answer(error: &HistoryError) -> Status {
    match error {
        HistoryError::ToCome { .. } => Status::out_of_range(error.to_string()),
        HistoryError::Read(error) => unreadable(error),
    }
}
