//! The `Auditor` service.

mod trace;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::unreadable;
use crate::{
    id::Identifier,
    protocol::grpc::{
        Encoded, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, encode_answer, history_to_pb,
        pb::{self, resolve_at_request::At},
        recall_request, recall_step_to_pb,
        services::auditor_server,
        trace_request, trace_step_to_pb,
    },
    resolver::{Filter, HistoryError, Moment, Resolver},
};

/// Answers questions about the past from the read core.
#[derive(Clone)]
pub(super) struct AuditorService {
    resolver: Arc<Resolver>,
    traces: Arc<Semaphore>,
}

impl AuditorService {
    pub(super) fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver, traces: Arc::new(Semaphore::new(trace::TRACES_AT_ONCE_MAX)) }
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
    type TraceStream = trace::Messages<pb::TraceResponse>;
    type RecallStream = trace::Messages<pb::RecallResponse>;

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

fn without_answer(error: &HistoryError) -> Status {
    match error {
        HistoryError::ToCome { .. } => Status::out_of_range(error.to_string()),
        HistoryError::Read(error) => unreadable(error),
    }
}
