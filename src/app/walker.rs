//! The recursor as the DNS sees it: what is kept, and walks.

use std::sync::Arc;

use crate::{
    id::Identifier,
    protocol::dns::{Recursion, Responder, WalkFailure, Walked, WalkedAnswer, Walker},
    resolver::{
        Answer, Desk, Recursive,
        recursion::{RecursionError, Recursor, Resolved, Start},
    },
    rights,
    server::dns::walks::{AsyncWalker, WalkFuture},
    store::Responsibility,
};

/// Walks for clients over DNS.
struct DnsWalker {
    recursor: Recursor,
    desk: Desk,
}

/// Gives the responder what is kept, and the listeners one who walks.
pub(super) fn start(recursive: &Recursive, desk: &Desk, responder: &Responder) -> Arc<dyn AsyncWalker> {
    let walker = Arc::new(DnsWalker { recursor: recursive.recursor.clone(), desk: desk.clone() });
    let recursive = recursive.clone();
    responder.set_recursion(Recursion {
        walker: Arc::clone(&walker) as Arc<dyn Walker>,
        allow: Box::new(move |client| rights::may_walk(&recursive.allow, Some(client))),
    });
    walker
}

impl Walker for DnsWalker {
    fn kept(&self, identifier: &Identifier) -> Option<Walked> {
        walked(&self.recursor.kept(identifier.key())?)
    }
}

impl AsyncWalker for DnsWalker {
    fn walk(&self, identifier: Identifier) -> WalkFuture {
        let (recursor, desk) = (self.recursor.clone(), self.desk.clone());
        Box::pin(async move {
            let start = || start_of(&desk.prefixes().responsibility(identifier.key()));
            match recursor.resolve_from(&identifier, start).await {
                Ok(resolved) => walked(&resolved).ok_or_else(|| WalkFailure::Other("nobody answers for it".into())),
                Err(error) => Err(failure(&error)),
            }
        })
    }
}

/// Why a walk failed, as the DNS tells it.
fn failure(error: &RecursionError) -> WalkFailure {
    use RecursionError::{BrokenOff, NotResponsible, Overloaded, Unverified};
    match error {
        NotResponsible { .. } => WalkFailure::NotResponsible,
        // Sites were reached: what they said is not believed.
        Unverified { .. } | Overloaded { .. } | BrokenOff => WalkFailure::Other(error.to_string()),
        _ => WalkFailure::Unreachable(error.to_string()),
    }
}

fn walked(resolved: &Resolved) -> Option<Walked> {
    let answer = match &resolved.resolution.answer {
        Answer::Found(found) => WalkedAnswer::Found(Arc::new(found.record().clone())),
        Answer::Retired(tombstone) if tombstone.erased => WalkedAnswer::Erased,
        Answer::Retired(_) => WalkedAnswer::Retired,
        Answer::NotFound => WalkedAnswer::NotFound,
        Answer::Denied => WalkedAnswer::Denied,
        // A walk never ends so.
        Answer::NotResponsible | Answer::Delegated(_) => return None,
    };
    Some(Walked { answer, ttl_seconds: resolved.ttl_seconds, stale: resolved.stale })
}

fn start_of(responsibility: &Responsibility) -> Option<Start> {
    let Responsibility::Delegated(version) = responsibility else { return None };
    let delegation = version.delegation()?.clone();
    Some((version.prefix.clone().into(), delegation.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::Prefix, resolver::recursion::Reasons};

    #[test]
    fn what_failures_are_over_dns() {
        let prefix = || Arc::new(Prefix::parse("88.118").unwrap());
        for (error, expected) in [
            (RecursionError::NotResponsible { identifier: "88.118/a".into() }, "NotResponsible"),
            (RecursionError::Unverified { prefix: prefix(), reasons: Reasons::default() }, "Other(\"no site of"),
            (RecursionError::Overloaded { limit: 1, what: "walks" }, "Other(\"1 walks"),
            (RecursionError::BrokenOff, "Other("),
            (RecursionError::AllFailed { prefix: prefix(), reasons: Reasons::default() }, "Unreachable(\"no site of"),
            (RecursionError::NoSite { prefix: prefix(), missing: "is asked" }, "Unreachable("),
        ] {
            let failure = format!("{:?}", failure(&error));
            assert!(failure.starts_with(expected), "{error:?}: {failure}");
        }
    }
}
