//! The recursor as the DNS sees it: what is kept, and walks.

use std::sync::Arc;

use crate::{
    id::Identifier,
    protocol::dns::{Recursion, Responder, WalkFailure, Walked, WalkedAnswer, Walker},
    resolver::{
        Resolver,
        recursion::{RecursionError, Recursor, Resolved, Said},
    },
    server::{
        dns::walks::{AsyncWalker, WalkFuture},
        recursive::{Recursive, start_of},
    },
};

/// Walks for clients over DNS.
struct DnsWalker {
    recursor: Recursor,
    resolver: Arc<Resolver>,
}

/// Gives the responder what is kept, and the listeners one who walks.
pub(super) fn start(recursive: &Recursive, resolver: &Arc<Resolver>, responder: &Responder) -> Arc<dyn AsyncWalker> {
    let walker = Arc::new(DnsWalker { recursor: recursive.recursor.clone(), resolver: Arc::clone(resolver) });
    let recursive = recursive.clone();
    responder.set_recursion(Recursion {
        walker: Arc::clone(&walker) as Arc<dyn Walker>,
        allow: Box::new(move |client| recursive.allows(Some(client))),
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
        let (recursor, resolver) = (self.recursor.clone(), Arc::clone(&self.resolver));
        Box::pin(async move {
            let start = || start_of(&resolver.prefixes().responsibility(identifier.key()));
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
    let answer = match &resolved.answer.said {
        Said::Found(record) => WalkedAnswer::Found(Arc::new(record.clone())),
        Said::Retired(tombstone) if tombstone.erased => WalkedAnswer::Erased,
        Said::Retired(_) => WalkedAnswer::Retired,
        Said::NotFound => WalkedAnswer::NotFound,
        Said::Denied => WalkedAnswer::Denied,
        // A walk never ends so.
        Said::NotResponsible | Said::Referral(_) => return None,
    };
    Some(Walked { answer, ttl_seconds: resolved.ttl_seconds, stale: resolved.stale })
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
