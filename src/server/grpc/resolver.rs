//! The `Resolver` service.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{caller, without_answer};
use crate::{
    id::{Identifier, ParseError, Prefix},
    protocol::{
        grpc::{
            EncodedAnswer, EncodedAnswers, PREFIXES_LIMIT_MAX, RESOLVE_BATCH_MAX, encode_answer, encode_failed,
            encode_invalid, encode_resolved, encode_traced, pb, prefix_to_pb, proofs_to_pb, services::resolver_server,
        },
        outcome::Outcome,
    },
    resolver::{Desk, Evidence, Filter, Follow, How, NoAnswer, Question, Reply},
    rights::Caller,
};

/// Maximum number of questions of one batch or stream that wait for a disk or for other nodes in parallel.
const WAITING_AT_ONCE: usize = 64;

/// The `Resolver` service: answers questions from the desk.
#[derive(Clone)]
pub(super) struct ResolverService {
    desk: Desk,
}

/// Error of answering one question.
enum Unanswered {
    Invalid(ParseError),
    NoAnswer(NoAnswer),
}

impl ResolverService {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk }
    }

    async fn answer(&self, request: &pb::ResolveRequest, caller: Caller) -> Result<EncodedAnswer, Unanswered> {
        let evidence = match request.evidence() {
            pb::Evidence::None => Evidence::None,
            pb::Evidence::Inclusion => Evidence::Inclusion,
            pb::Evidence::Latest => Evidence::Latest,
        };
        let follow = match request.recursion() {
            pb::Recursion::None => Follow::Never,
            _ if request.trace => Follow::Anew,
            pb::Recursion::Fresh => Follow::Anew,
            _ => Follow::Wanted,
        };
        let pb::ResolveRequest { identifier: asked, types, indexes, delegated_prefix, .. } = request;
        let filter = Filter { types: types.clone(), indexes: indexes.clone() };
        let identifier = Identifier::parse(asked).map_err(Unanswered::Invalid)?;
        let delegated = match delegated_prefix.as_str() {
            "" => None,
            text => Some(Prefix::parse(text).map_err(Unanswered::Invalid)?),
        };
        let question = Question { identifier, moment: None, evidence, delegated, caller, follow };
        let Reply { answer, how, proofs } = self.desk.ask(question).await.map_err(Unanswered::NoAnswer)?;
        Ok(match how {
            How::Walked { resolved, hops: Some(hops) } => encode_traced(&resolved, &hops, asked, &filter).into(),
            How::Walked { resolved, hops: None } => encode_resolved(&resolved, asked, &filter).into(),
            How::Own => match proofs {
                Some(proofs) => encode_answer(&answer, asked, &filter).with(&proofs_to_pb(&proofs)),
                None => encode_answer(&answer, asked, &filter),
            },
        })
    }

    /// Answers one of many questions; a failure that concerns this question alone becomes an answer, so that the others
    /// go on.
    async fn answer_in_place(&self, request: pb::ResolveRequest, caller: Caller) -> Result<EncodedAnswer, Status> {
        match self.answer(&request, caller).await {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Invalid(error)) => Ok(encode_invalid(&request.identifier, &error).into()),
            Err(Unanswered::NoAnswer(none @ (NoAnswer::Walk(_) | NoAnswer::NoRoom(_) | NoAnswer::Busy(_)))) => {
                Ok(encode_failed(&none, &request.identifier).into())
            }
            Err(Unanswered::NoAnswer(none)) => Err(without_answer(&none)),
        }
    }
}

#[tonic::async_trait]
impl resolver_server::Resolver for ResolverService {
    type ResolveStreamStream = Pin<Box<dyn Stream<Item = Result<EncodedAnswer, Status>> + Send>>;

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Result<Response<EncodedAnswer>, Status> {
        let caller = caller(&request);
        let request = request.get_ref();
        match self.answer(request, caller).await {
            Ok(answer) => Ok(Response::new(answer)),
            // A traced walk is an answer even if it failed; so is "not responsible".
            Err(Unanswered::NoAnswer(none)) if is_answer(&none) => {
                Ok(Response::new(encode_failed(&none, &request.identifier).into()))
            }
            Err(Unanswered::NoAnswer(none)) => Err(without_answer(&none)),
            Err(Unanswered::Invalid(error)) => Err(Status::invalid_argument(error.to_string())),
        }
    }

    async fn resolve_batch(
        &self,
        request: Request<pb::ResolveBatchRequest>,
    ) -> Result<Response<EncodedAnswers>, Status> {
        let caller = caller(&request);
        let requests = request.into_inner().requests;
        if !(1..=RESOLVE_BATCH_MAX).contains(&requests.len()) {
            let count = requests.len();
            return Err(Status::invalid_argument(format!(
                "{count} identifiers in one batch; give 1 to {RESOLVE_BATCH_MAX}"
            )));
        }
        // Cached answers are ready at once; those that wait for a disk or for other nodes wait in parallel.
        let answers = stream::iter(requests).map(|request| self.answer_in_place(request, caller.clone()));
        let answers = answers.buffered(WAITING_AT_ONCE).try_collect().await?;
        Ok(Response::new(EncodedAnswers { answers }))
    }

    async fn resolve_stream(
        &self,
        request: Request<Streaming<pb::ResolveRequest>>,
    ) -> Result<Response<Self::ResolveStreamStream>, Status> {
        let caller = caller(&request);
        let service = self.clone();
        let answers = request.into_inner().map(move |request| {
            let (service, caller) = (service.clone(), caller.clone());
            async move { service.answer_in_place(request?, caller).await }
        });
        let answers = answers.buffered(WAITING_AT_ONCE);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_prefixes(
        &self,
        request: Request<pb::ListPrefixesRequest>,
    ) -> Result<Response<pb::ListPrefixesResponse>, Status> {
        let pb::ListPrefixesRequest { after, limit } = request.into_inner();
        let limit = limit.unwrap_or(PREFIXES_LIMIT_MAX);
        if !(1..=PREFIXES_LIMIT_MAX).contains(&limit) {
            return Err(Status::invalid_argument(format!(
                "{limit} prefixes in one page; ask for 1 to {PREFIXES_LIMIT_MAX}"
            )));
        }
        let after = Some(after).filter(|after| !after.is_empty()).map(|after| Prefix::parse(&after)).transpose();
        let after = after.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let prefixes = self.desk.prefixes().list(after.as_ref(), limit as usize);
        let prefixes = prefixes.iter().map(|version| prefix_to_pb(version)).collect();
        Ok(Response::new(pb::ListPrefixesResponse { prefixes, key: self.desk.verifier_key().into() }))
    }
}

/// True for a failure that a single call reports as an answer, not as its status.
fn is_answer(none: &NoAnswer) -> bool {
    match none {
        NoAnswer::Walk(walk) => walk.hops.is_some() || Outcome::from(none) == Outcome::NotResponsible,
        _ => false,
    }
}
