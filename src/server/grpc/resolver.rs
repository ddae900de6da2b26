//! The `Resolver` service.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::unreadable;
use crate::{
    id::{Identifier, ParseError},
    protocol::grpc::{
        Encoded, EncodedAnswers, RESOLVE_BATCH_MAX, encode_answer, encode_invalid, pb, services::resolver_server,
    },
    resolver::{Filter, Resolver},
};

/// Answers questions from the read core.
#[derive(Clone)]
pub(super) struct ResolverService {
    resolver: Arc<Resolver>,
}

/// What kept one question from being answered.
enum Unanswered {
    Invalid(ParseError),
    Failed(Status),
}

impl ResolverService {
    pub(super) fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver }
    }

    fn answer(&self, asked: &str, filter: &Filter) -> Result<Encoded, Unanswered> {
        let identifier = Identifier::parse(asked).map_err(Unanswered::Invalid)?;
        let answer = self.resolver.resolve(&identifier);
        let answer = answer.map_err(|error| Unanswered::Failed(unreadable(&error)))?;
        Ok(encode_answer(&answer, asked, filter))
    }

    /// Answers one of many questions: an ill-formed one gets an answer that says so.
    fn answer_in_place(&self, request: pb::ResolveRequest) -> Result<Encoded, Status> {
        let pb::ResolveRequest { identifier, types, indexes } = request;
        match self.answer(&identifier, &Filter { types, indexes }) {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Invalid(error)) => Ok(encode_invalid(&identifier, &error)),
            Err(Unanswered::Failed(status)) => Err(status),
        }
    }
}

#[tonic::async_trait]
impl resolver_server::Resolver for ResolverService {
    type ResolveStreamStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Result<Response<Encoded>, Status> {
        let pb::ResolveRequest { identifier, types, indexes } = request.into_inner();
        match self.answer(&identifier, &Filter { types, indexes }) {
            Ok(answer) => Ok(Response::new(answer)),
            Err(Unanswered::Invalid(error)) => Err(Status::invalid_argument(error.to_string())),
            Err(Unanswered::Failed(status)) => Err(status),
        }
    }

    async fn resolve_batch(
        &self,
        request: Request<pb::ResolveBatchRequest>,
    ) -> Result<Response<EncodedAnswers>, Status> {
        let requests = request.into_inner().requests;
        if !(1..=RESOLVE_BATCH_MAX).contains(&requests.len()) {
            let count = requests.len();
            return Err(Status::invalid_argument(format!(
                "{count} identifiers in one batch; give 1 to {RESOLVE_BATCH_MAX}"
            )));
        }
        let answers = requests.into_iter().map(|request| self.answer_in_place(request).map(|answer| answer.0));
        Ok(Response::new(EncodedAnswers { answers: answers.collect::<Result<_, _>>()? }))
    }

    async fn resolve_stream(
        &self,
        request: Request<Streaming<pb::ResolveRequest>>,
    ) -> Result<Response<Self::ResolveStreamStream>, Status> {
        let service = self.clone();
        let answers = request.into_inner().map(move |request| service.answer_in_place(request?));
        Ok(Response::new(Box::pin(answers)))
    }
}
