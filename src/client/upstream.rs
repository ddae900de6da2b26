//! Client of other nodes for the recursion: over gRPC, and over DNS where a site speaks nothing else.
//!
//! Connections over gRPC are reused, one for each endpoint, shared by concurrent questions. Replies are untrusted: they
//! are parsed into the types of the read core, or refused, and the walk verifies them.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;

use super::{Client, ClientError, dns};
use crate::{
    id::{Identifier, Prefix},
    protocol::{
        grpc::{
            delegation_from_pb, lookup_from_pb,
            pb::{self, answer::Outcome as Said},
            proof_from_pb, record_from_pb,
        },
        outcome::Outcome,
    },
    record::{SiteProtocol, Version},
    resolver::{
        Answer, Evidence, Referral, Tombstone,
        recursion::{BoxFuture, PrefixEvidence, SiteQuestion, SiteReply, Target, Upstream, UpstreamError},
    },
};

/// Maximum number of open connections; the least recently used one is evicted.
const CONNECTIONS_MAX: usize = 1_024;
/// Maximum wait for an answer over DNS; the caller may have a shorter one.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Client of other nodes.
pub struct NodeUpstream {
    zone: String,
    connections: Mutex<LruCache<SocketAddr, Client>>,
}

impl NodeUpstream {
    /// A client that uses names in this zone over DNS.
    pub fn new(zone: &str) -> Self {
        let connections = NonZeroUsize::new(CONNECTIONS_MAX).unwrap_or(NonZeroUsize::MIN);
        Self { zone: zone.into(), connections: Mutex::new(LruCache::new(connections)) }
    }

    /// The connection to an endpoint; it opens with the first question.
    fn connection(&self, address: SocketAddr) -> Result<Client, UpstreamError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = connections.get(&address) {
            return Ok(client.clone());
        }
        let client = Client::lazy(&address.to_string()).map_err(upstream_error)?;
        connections.put(address, client.clone());
        Ok(client)
    }

    async fn over_grpc(&self, to: &Target, question: &SiteQuestion) -> Result<SiteReply, UpstreamError> {
        let evidence = match question.evidence {
            Evidence::None => pb::Evidence::None,
            Evidence::Inclusion => pb::Evidence::Inclusion,
            Evidence::Latest => pb::Evidence::Latest,
        };
        let request = pb::ResolveRequest {
            identifier: question.identifier.to_string(),
            recursion: pb::Recursion::None.into(),
            evidence: evidence.into(),
            // The node is asked as the holder of this prefix: evidence is needed for longer prefixes only.
            delegated_prefix: if question.evidence == Evidence::Latest { to.prefix.to_string() } else { String::new() },
            ..pb::ResolveRequest::default()
        };
        let client = self.connection(to.endpoint.address)?;
        let (answer, lag_seconds) = client.resolve_with_lag(request).await.map_err(upstream_error)?;
        let reply = reply(answer)?;
        Ok(SiteReply { lag_seconds, ..reply })
    }

    async fn over_dns(&self, address: SocketAddr, identifier: &Identifier) -> Result<SiteReply, UpstreamError> {
        let dns::DnsReply { said, authoritative, ttl_seconds } =
            dns::ask(identifier, &self.zone, address, DNS_TIMEOUT).await.map_err(upstream_error)?;
        let refused = |reason: &str| Err(UpstreamError::Refused { reason: reason.into() });
        let answer = match said {
            dns::Said::Found(record) => Answer::found(record_from_pb(*record).map_err(garbled)?),
            dns::Said::NoSuchName | dns::Said::NoData => Answer::NotFound,
            dns::Said::Retired => Answer::Retired(ended(identifier, false).into()),
            dns::Said::Erased => Answer::Retired(ended(identifier, true).into()),
            dns::Said::NotResponsible => Answer::NotResponsible,
            dns::Said::Referral(referral) => Answer::Delegated(Arc::from(referral)),
            dns::Said::Delegated => return refused("others answer, and it does not say where"),
            dns::Said::Refused(None) => return refused("it may not say"),
            dns::Said::Refused(Some(text)) if text == Outcome::Denied.spelling().word => Answer::Denied,
            dns::Said::Refused(Some(text)) => return refused(&text),
        };
        // A server without authority passes on answers of others.
        if !authoritative && matches!(answer, Answer::Found(_) | Answer::Retired(_) | Answer::NotFound) {
            return Err(garbled("it answers without authority"));
        }
        Ok(SiteReply { ttl_seconds, ..SiteReply::bare(answer) })
    }
}

impl Upstream for NodeUpstream {
    fn ask<'a>(
        &'a self,
        to: &'a Target,
        question: &'a SiteQuestion,
    ) -> BoxFuture<'a, Result<SiteReply, UpstreamError>> {
        Box::pin(async move {
            match to.endpoint.protocol {
                SiteProtocol::Grpc => self.over_grpc(to, question).await,
                SiteProtocol::Dns => self.over_dns(to.endpoint.address, &question.identifier).await,
                other => Err(UpstreamError::Refused { reason: format!("{} is not spoken to others", other.as_str()) }),
            }
        })
    }
}

fn upstream_error(error: ClientError) -> UpstreamError {
    match error {
        ClientError::Refused { message, .. } => UpstreamError::Refused { reason: message },
        ClientError::Protocol { reason, .. } => UpstreamError::Garbled { reason },
        ClientError::Unreachable { reason, .. } => UpstreamError::Unreachable { reason },
        error => UpstreamError::Unreachable { reason: error.to_string() },
    }
}

fn garbled(reason: impl Into<String>) -> UpstreamError {
    UpstreamError::Garbled { reason: reason.into() }
}

/// Parses an answer.
fn reply(answer: pb::Answer) -> Result<SiteReply, UpstreamError> {
    // An intermediate node walked: its answer is not one of the site.
    if answer.resolution.is_some() {
        return Err(garbled("it passes on what others said"));
    }
    let said = match answer.outcome.ok_or_else(|| garbled("there is no answer in it"))? {
        Said::Found(record) => Answer::found(record_from_pb(record).map_err(garbled)?),
        Said::Retired(retired) => Answer::Retired(tombstone(&retired)?.into()),
        Said::NotFound(_) => Answer::NotFound,
        Said::Denied(_) => Answer::Denied,
        Said::NotResponsible(_) => Answer::NotResponsible,
        Said::Delegated(delegated) => Answer::Delegated(referral(&delegated)?.into()),
        Said::Invalid(invalid) => return Err(UpstreamError::Refused { reason: invalid.reason }),
        Said::Failed(failed) => return Err(UpstreamError::Refused { reason: failed.reason }),
    };
    let lookup = answer.lookup.map(|lookup| lookup_from_pb(lookup).ok_or_else(|| garbled("its lookup is ill-formed")));
    let proof = answer.proof.map(|proof| proof_from_pb(&proof).ok_or_else(|| garbled("its proof is ill-formed")));
    if answer.prefixes.len() > Prefix::COVERING_MAX {
        let count = answer.prefixes.len();
        return Err(garbled(format!("it shows {count} prefixes; at most {} are asked for", Prefix::COVERING_MAX)));
    }
    let prefixes = answer.prefixes.into_iter().map(prefix_evidence).collect::<Result<_, _>>()?;
    Ok(SiteReply { proof: proof.transpose()?, lookup: lookup.transpose()?, prefixes, ..SiteReply::bare(said) })
}

fn prefix_evidence(shown: pb::PrefixEvidence) -> Result<PrefixEvidence, UpstreamError> {
    let prefix = Prefix::parse(&shown.prefix).map_err(|error| garbled(error.to_string()))?;
    let ill_formed = |what: &str| garbled(format!("the {what} of {} is ill-formed", shown.prefix));
    let lookup = shown.lookup.and_then(lookup_from_pb).ok_or_else(|| ill_formed("lookup"))?;
    let last = shown.last.map(|last| proof_from_pb(&last).ok_or_else(|| ill_formed("proof"))).transpose()?;
    Ok(PrefixEvidence { prefix, lookup, last })
}

fn tombstone(retired: &pb::Retired) -> Result<Tombstone, UpstreamError> {
    let identifier = Identifier::parse(&retired.identifier).map_err(|error| garbled(error.to_string()))?;
    let version = Version { number: retired.version, ledger_index: retired.ledger_index, time_ms: retired.time };
    Ok(Tombstone { identifier, version, erased: retired.erased })
}

/// The tombstone of a record, as far as the DNS tells.
fn ended(identifier: &Identifier, erased: bool) -> Tombstone {
    Tombstone { identifier: identifier.clone(), version: Version { number: 0, ledger_index: 0, time_ms: 0 }, erased }
}

fn referral(delegated: &pb::Delegated) -> Result<Referral, UpstreamError> {
    let prefix = Prefix::parse(&delegated.prefix).map_err(|error| garbled(error.to_string()))?;
    let delegation = delegated.delegation.as_ref().ok_or_else(|| garbled("its referral names no sites"))?;
    let delegation = delegation_from_pb(delegation).map_err(|fault| garbled(fault.to_string()))?;
    Ok(Referral { prefix, delegation, ledger_index: Some(delegated.ledger_index) })
}
