//! The `Resolver` service.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{GrpcParts, unreadable};
use crate::{
    id::{Identifier, ParseError, Prefix},
    ledger::Publication,
    protocol::grpc::{
        Encoded, EncodedAnswers, PREFIXES_LIMIT_MAX, RESOLVE_BATCH_MAX, encode_answer, encode_invalid, lookup_to_pb,
        pb, prefix_to_pb, proof_to_pb, services::resolver_server,
    },
    resolver::{Answer, Disclosure, Filter, ProveError, Resolver, Subject},
    vindex::{Lookups, keys::LookupKind},
};

/// Answers questions from the read core.
#[derive(Clone)]
pub(super) struct ResolverService {
    resolver: Arc<Resolver>,
    publication: Arc<Publication>,
    lookups: Option<Lookups>,
}

/// What kept one question from being answered.
enum Unanswered {
    Invalid(ParseError),
    Failed(Status),
}

impl ResolverService {
    pub(super) fn new(parts: &GrpcParts) -> Self {
        let (resolver, publication) = (Arc::clone(&parts.resolver), Arc::clone(&parts.publication));
        Self { resolver, publication, lookups: parts.lookups.clone() }
    }

    async fn answer(&self, request: pb::ResolveRequest) -> Result<Encoded, Unanswered> {
        let evidence = request.evidence();
        let pb::ResolveRequest { identifier: asked, types, indexes, .. } = request;
        let filter = Filter { types, indexes };
        let identifier = Identifier::parse(&asked).map_err(Unanswered::Invalid)?;
        let answer = self.resolver.resolve(&identifier);
        let answer = answer.map_err(|error| Unanswered::Failed(unreadable(&error)))?;
        let encoded = encode_answer(&answer, &asked, &filter);
        if evidence == pb::Evidence::None {
            return Ok(encoded);
        }
        let service = self.clone();
        let fields = tokio::task::spawn_blocking(move || service.evidence(&identifier, &answer, evidence)).await;
        let fields = fields.map_err(|_| Unanswered::Failed(Status::internal("the proof could not be made")))?;
        Ok(encoded.with(&fields.map_err(Unanswered::Failed)?))
    }

    /// What shows that an answer is true, as far as there is something.
    fn evidence(&self, identifier: &Identifier, answer: &Answer, evidence: pb::Evidence) -> Result<pb::Answer, Status> {
        let entry = match answer {
            Answer::Found(found) => Some(found.record().version.ledger_index),
            Answer::Retired(tombstone) => Some(tombstone.version.ledger_index),
            Answer::Delegated(version) => Some(version.version.ledger_index),
            Answer::NotFound | Answer::NotResponsible | Answer::Denied => None,
        };
        let prove = |index| self.resolver.prove(&Subject::Index(index), &Disclosure::Public, &self.publication);
        let proof = entry.map(prove).transpose().map_err(|error: ProveError| Status::unavailable(error.to_string()))?;
        let is_about_identifier = !matches!(answer, Answer::Delegated(_) | Answer::NotResponsible);
        let lookups = self.lookups.as_ref().filter(|_| evidence == pb::Evidence::Latest && is_about_identifier);
        // An index that catches up has nothing to say yet; the answer stands without it.
        let lookup = lookups.and_then(|lookups| lookups.lookup(&LookupKind::Id.key(identifier)).ok());
        Ok(pb::Answer {
            proof: proof.as_ref().map(proof_to_pb),
            lookup: lookup.as_ref().map(lookup_to_pb),
            ..pb::Answer::default()
        })
    }

    /// Answers one of many questions: an ill-formed one gets an answer that says so.
    async fn answer_in_place(&self, request: pb::ResolveRequest) -> Result<Encoded, Status> {
        // What a client wrote that is no identifier is shown to it again.
        let asked: Option<String> = Identifier::parse(&request.identifier).err().map(|_| request.identifier.clone());
        match self.answer(request).await {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Invalid(error)) => Ok(encode_invalid(asked.as_deref().unwrap_or_default(), &error)),
            Err(Unanswered::Failed(status)) => Err(status),
        }
    }
}

#[tonic::async_trait]
impl resolver_server::Resolver for ResolverService {
    type ResolveStreamStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Result<Response<Encoded>, Status> {
        match self.answer(request.into_inner()).await {
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
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.answer_in_place(request).await?.0);
        }
        Ok(Response::new(EncodedAnswers { answers }))
    }

    async fn resolve_stream(
        &self,
        request: Request<Streaming<pb::ResolveRequest>>,
    ) -> Result<Response<Self::ResolveStreamStream>, Status> {
        let service = self.clone();
        let answers = request.into_inner().then(move |request| {
            let service = service.clone();
            async move { service.answer_in_place(request?).await }
        });
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
        let prefixes = self.resolver.prefixes().list(after.as_ref(), limit as usize);
        let prefixes = prefixes.iter().map(|version| prefix_to_pb(version)).collect();
        Ok(Response::new(pb::ListPrefixesResponse { prefixes, key: self.resolver.verifier_key().into() }))
    }
}
