//! The `Resolver` service.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{GrpcParts, unreadable};
use crate::{
    entry::{EntryKind, EntryText},
    id::{Identifier, ParseError, Prefix},
    ledger::Publication,
    protocol::{
        grpc::{
            Encoded, EncodedAnswers, PREFIXES_LIMIT_MAX, RESOLVE_BATCH_MAX, encode_answer, encode_failed,
            encode_invalid, encode_resolved, encode_traced, failure, lookup_to_pb, pb, prefix_to_pb, proof_to_pb,
            services::resolver_server,
        },
        outcome::Outcome,
    },
    resolver::{
        Answer, Disclosure, Filter, ProveError, Resolver, Subject,
        recursion::{RecursionError, Recursor},
    },
    server::recursive::{Recursive, start_of},
    store::Responsibility,
    vindex::{
        Lookups,
        keys::{LookupKind, prefix_key},
    },
};

/// The most questions of one batch or stream that wait for other nodes side by side.
const WALKS_AT_ONCE: usize = 64;

/// Answers questions from the read core.
#[derive(Clone)]
pub(super) struct ResolverService {
    resolver: Arc<Resolver>,
    publication: Arc<Publication>,
    lookups: Option<Lookups>,
    recursive: Option<Recursive>,
}

/// What kept one question from being answered.
enum Unanswered {
    Invalid(ParseError),
    Failed(Status),
    /// A walk came to nothing.
    NotFound(Box<RecursionError>),
}

impl ResolverService {
    pub(super) fn new(parts: &GrpcParts) -> Self {
        let (resolver, publication) = (Arc::clone(&parts.resolver), Arc::clone(&parts.publication));
        Self { resolver, publication, lookups: parts.lookups.clone(), recursive: parts.recursive.clone() }
    }

    /// The recursor, when the node has one and walks for a client.
    fn recursor_for(&self, client: Option<SocketAddr>) -> Option<&Recursor> {
        let recursive = self.recursive.as_ref()?;
        recursive.allows(client.map(|client| client.ip())).then_some(&recursive.recursor)
    }

    async fn answer(&self, request: pb::ResolveRequest, recursor: Option<&Recursor>) -> Result<Encoded, Unanswered> {
        let (evidence, recursion, trace) = (request.evidence(), request.recursion(), request.trace);
        let pb::ResolveRequest { identifier: asked, types, indexes, delegated_prefix, .. } = request;
        let filter = Filter { types, indexes };
        let identifier = Identifier::parse(&asked).map_err(Unanswered::Invalid)?;
        let delegated = match delegated_prefix.as_str() {
            "" => Prefix::everything(),
            text => Prefix::parse(text).map_err(Unanswered::Invalid)?,
        };
        if let Some(recursor) = recursor.filter(|_| recursion != pb::Recursion::None)
            && self.resolver.prefixes().responsibility(identifier.key()) != Responsibility::Home
        {
            let start = || start_of(&self.resolver.prefixes().responsibility(identifier.key()));
            if trace || recursion == pb::Recursion::Fresh {
                let traced = recursor.trace(&identifier, start).await;
                return Ok(encode_traced(&traced, &asked, &filter));
            }
            let resolved = match recursor.kept(identifier.key()) {
                Some(kept) => Ok(kept),
                None => recursor.resolve_from(&identifier, start).await,
            };
            return resolved
                .map(|resolved| encode_resolved(&resolved, &asked, &filter))
                .map_err(|error| Unanswered::NotFound(Box::new(error)));
        }
        let answer = self.resolver.resolve(&identifier);
        let answer = answer.map_err(|error| Unanswered::Failed(unreadable(&error)))?;
        let encoded = encode_answer(&answer, &asked, &filter);
        if evidence == pb::Evidence::None {
            return Ok(encoded);
        }
        let service = self.clone();
        let make = move || service.evidence(&identifier, &answer, evidence, &delegated);
        let fields = tokio::task::spawn_blocking(make).await;
        let fields = fields.map_err(|_| Unanswered::Failed(Status::internal("the proof could not be made")))?;
        Ok(encoded.with(&fields.map_err(Unanswered::Failed)?))
    }

    /// What shows that an answer is true, as far as there is something; `delegated` is what the node is asked as.
    fn evidence(
        &self,
        identifier: &Identifier,
        answer: &Answer,
        evidence: pb::Evidence,
        delegated: &Prefix,
    ) -> Result<pb::Answer, Status> {
        let subject = match answer {
            Answer::Found(found) => Some(Subject::Index(found.record().version.ledger_index)),
            Answer::Retired(tombstone) => Some(Subject::Index(tombstone.version.ledger_index)),
            Answer::Delegated(version) => Some(Subject::Index(version.version.ledger_index)),
            Answer::Denied => Some(Subject::Newest(identifier.clone())),
            Answer::NotFound | Answer::NotResponsible => None,
        };
        let prove = |subject| self.resolver.prove(&subject, &Disclosure::Public, &self.publication);
        let proof =
            subject.map(prove).transpose().map_err(|error: ProveError| Status::unavailable(error.to_string()))?;
        let key = match answer {
            Answer::NotResponsible => None,
            // No entry says that there is none: the index does.
            Answer::NotFound => Some(LookupKind::Id.key(identifier)),
            _ if evidence != pb::Evidence::Latest => None,
            Answer::Delegated(version) => Some(prefix_key(&version.prefix)),
            Answer::Found(_) | Answer::Retired(_) | Answer::Denied => Some(LookupKind::Id.key(identifier)),
        };
        // An index that catches up has nothing to say yet; the answer stands without it.
        let lookup = self.lookups.as_ref().zip(key).and_then(|(lookups, key)| lookups.lookup(&key).ok());
        let prefixes = match answer {
            _ if evidence != pb::Evidence::Latest => Vec::new(),
            Answer::NotResponsible => Vec::new(),
            Answer::Delegated(version) => self.prefixes(identifier, &version.prefix)?,
            Answer::Found(_) | Answer::Retired(_) | Answer::Denied | Answer::NotFound => {
                self.prefixes(identifier, delegated)?
            }
        };
        Ok(pb::Answer {
            proof: proof.as_ref().map(proof_to_pb),
            lookup: lookup.as_ref().map(lookup_to_pb),
            prefixes,
            ..pb::Answer::default()
        })
    }

    /// What shows of the prefixes that cover an identifier and are longer than `upper` that they are not delegated, from the longest
    /// down to the first that is homed, behind which none counts. Nothing when they are too many, or the index has nothing to say.
    fn prefixes(&self, identifier: &Identifier, upper: &Prefix) -> Result<Vec<pb::PrefixEvidence>, Status> {
        let longer = self.lookups.as_ref().zip(Prefix::covering(identifier, upper));
        let Some((lookups, longer)) = longer else { return Ok(Vec::new()) };
        let mut shown = Vec::with_capacity(longer.len());
        for prefix in longer {
            // First the lookup: what the ledger takes meanwhile stands behind its end.
            let Ok(lookup) = lookups.lookup(&prefix_key(&prefix)) else { return Ok(Vec::new()) };
            let text = prefix.to_string();
            let last = self.resolver.prove(&Subject::NewestOf(prefix), &Disclosure::Public, &self.publication);
            let last = match last {
                Ok(last) => Some(last),
                Err(ProveError::NotFound { .. }) => None,
                Err(error) => return Err(Status::unavailable(error.to_string())),
            };
            let kind = last.as_ref().and_then(|last| EntryText::parse(&last.text).ok()).map(|entry| entry.kind);
            let (lookup, last) = (Some(lookup_to_pb(&lookup)), last.as_ref().map(proof_to_pb));
            shown.push(pb::PrefixEvidence { prefix: text, lookup, last });
            if kind == Some(EntryKind::Home) {
                break;
            }
        }
        Ok(shown)
    }

    /// Answers one of many questions: an ill-formed one gets an answer that says so.
    async fn answer_in_place(
        &self,
        request: pb::ResolveRequest,
        recursor: Option<&Recursor>,
    ) -> Result<Encoded, Status> {
        let asked = request.identifier.clone();
        match self.answer(request, recursor).await {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Invalid(error)) => Ok(encode_invalid(&asked, &error)),
            Err(Unanswered::NotFound(error)) => Ok(encode_failed(&error, &asked)),
            Err(Unanswered::Failed(status)) => Err(status),
        }
    }
}

#[tonic::async_trait]
impl resolver_server::Resolver for ResolverService {
    type ResolveStreamStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Result<Response<Encoded>, Status> {
        let recursor = self.recursor_for(request.remote_addr());
        let asked = request.get_ref().identifier.clone();
        match self.answer(request.into_inner(), recursor).await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(Unanswered::NotFound(error)) if failure(&error) == Outcome::NotResponsible => {
                Ok(Response::new(encode_failed(&error, &asked)))
            }
            Err(Unanswered::NotFound(error)) => {
                Err(Status::new(Code::from_i32(failure(&error).spelling().grpc), error.to_string()))
            }
            Err(Unanswered::Invalid(error)) => Err(Status::invalid_argument(error.to_string())),
            Err(Unanswered::Failed(status)) => Err(status),
        }
    }

    async fn resolve_batch(
        &self,
        request: Request<pb::ResolveBatchRequest>,
    ) -> Result<Response<EncodedAnswers>, Status> {
        let recursor = self.recursor_for(request.remote_addr());
        let requests = request.into_inner().requests;
        if !(1..=RESOLVE_BATCH_MAX).contains(&requests.len()) {
            let count = requests.len();
            return Err(Status::invalid_argument(format!(
                "{count} identifiers in one batch; give 1 to {RESOLVE_BATCH_MAX}"
            )));
        }
        // What is here comes at once; walks go side by side.
        let answers = stream::iter(requests).map(|request| self.answer_in_place(request, recursor));
        let answers: Vec<Encoded> = answers.buffered(WALKS_AT_ONCE).try_collect().await?;
        let answers = answers.into_iter().map(|answer| answer.0).collect();
        Ok(Response::new(EncodedAnswers { answers }))
    }

    async fn resolve_stream(
        &self,
        request: Request<Streaming<pb::ResolveRequest>>,
    ) -> Result<Response<Self::ResolveStreamStream>, Status> {
        let recursor = self.recursor_for(request.remote_addr()).cloned();
        let service = self.clone();
        let answers = request.into_inner().map(move |request| {
            let (service, recursor) = (service.clone(), recursor.clone());
            async move { service.answer_in_place(request?, recursor.as_ref()).await }
        });
        let answers = answers.buffered(WALKS_AT_ONCE);
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
