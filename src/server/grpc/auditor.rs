//! The `Auditor` service.

mod trace;

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{Peer, caller, unreadable, without_answer};
use crate::{
    id::{Identifier, Subtree},
    ledger::LedgerError,
    protocol::grpc::{
        EncodedAnswer, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, encode_answer, fed_to_pb, history_to_pb, lookup_kind,
        lookup_to_pb, path_to_pb,
        pb::{self, prove_request, resolve_at_request::At},
        proof_to_pb, recall_request, recall_step_to_pb,
        services::auditor_server,
        trace_request, trace_step_to_pb,
    },
    resolver::{
        Desk, Disclosure, Evidence, Filter, Follow, Moment, NoAnswer, Question, Subject,
        feed::{FeedError, Feeds},
    },
    server::{admission::Shares, frontend::FollowHandles},
    store::ReadError,
    vindex::NoLookup,
};

/// The `Auditor` service: answers questions about the past.
#[derive(Clone)]
pub(super) struct AuditorService {
    desk: Desk,
    feeds: Arc<Feeds>,
    watchers: Arc<Shares>,
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::ChangeEvent, Status>> + Send>>;

impl AuditorService {
    pub(super) fn new(desk: Desk, follow: FollowHandles) -> Self {
        let FollowHandles { feeds, shares: watchers } = follow;
        Self { desk, feeds, watchers }
    }
}

#[tonic::async_trait]
impl auditor_server::Auditor for AuditorService {
    type WatchStream = Watched;
    type TraceStream = trace::Messages<pb::TraceResponse>;
    type RecallStream = trace::Messages<pb::RecallResponse>;

    async fn resolve_at(&self, request: Request<pb::ResolveAtRequest>) -> Result<Response<EncodedAnswer>, Status> {
        let caller = caller(&request);
        let pb::ResolveAtRequest { request, at } = request.into_inner();
        let pb::ResolveRequest { identifier: asked, types, indexes, .. } = request.unwrap_or_default();
        let identifier = identifier(&asked)?;
        let moment = match at {
            Some(At::LedgerIndex(index)) => Moment::Index(index),
            Some(At::Time(time_ms)) => Moment::Time(time_ms),
            None => return Err(Status::invalid_argument("no point of the ledger is given: an index or a time")),
        };
        let (moment, evidence, follow) = (Some(moment), Evidence::None, Follow::Never);
        let question = Question { identifier, moment, evidence, delegated: None, caller, follow };
        let reply = self.desk.ask(question).await.map_err(|none| without_answer(&none))?;
        Ok(Response::new(encode_answer(&reply.answer, &asked, &Filter { types, indexes })))
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
        let history = self.desk.history(identifier, before, limit as usize).await;
        Ok(Response::new(history_to_pb(&history.map_err(|none| without_answer(&none))?)))
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
        let proof = self.desk.prove(subject, disclosure).await;
        Ok(Response::new(proof_to_pb(&proof.map_err(|none| without_answer(&none))?)))
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
        let proof = self.desk.prove_consistency(old_size, new_size).await;
        let (path, newest) = proof.map_err(|none| match none {
            NoAnswer::Read(ReadError::Ledger(LedgerError::OutOfTree { .. })) => Status::out_of_range(none.to_string()),
            none => without_answer(&none),
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
        let found = self.desk.look_up(kind.key(&identifier)).await.map_err(|none| without_answer(&none))?;
        let Some(found) = found else {
            return Err(Status::unimplemented(
                "this node has no verifiable index: it is a mirror (ask its primary), was promoted under its primary's key, or has \
                 `verifiable = \"off\"` in [index]",
            ));
        };
        match found {
            Ok(lookup) => Ok(Response::new(lookup_to_pb(&lookup))),
            Err(error @ NoLookup::TooMany { .. }) => Err(Status::resource_exhausted(error.to_string())),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<Self::TraceStream>, Status> {
        let request = trace_request(request.get_ref()).map_err(Status::invalid_argument)?;
        let messages = trace::start(&self.desk, move |tracer, sender| {
            tracer.trace(&request, &mut |step| sender.add(|message| trace_step_to_pb(step, message)))
        });
        Ok(Response::new(messages?))
    }

    async fn recall(&self, request: Request<pb::RecallRequest>) -> Result<Response<Self::RecallStream>, Status> {
        let request = recall_request(request.get_ref()).map_err(Status::invalid_argument)?;
        let messages = trace::start(&self.desk, move |tracer, sender| {
            tracer.recall(&request, &mut |step| sender.add(|message| recall_step_to_pb(step, message)))
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
