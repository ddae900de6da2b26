//! Answers of other nodes: the branch WALK, and the cache of earlier walks.

use super::{Desk, Follow, NoAnswer, NoRoom, Question, Recursive, Reply, question::FailedWalk, walks::WalkPlace};
use crate::{
    id::Identifier,
    resolver::recursion::{RecursionError, RecursionStats, Resolved, Start},
    rights::{self, Caller},
    store::Responsibility,
};

impl Desk {
    /// True if this node walks for the caller.
    pub fn walks_for(&self, caller: &Caller) -> bool {
        self.inner.recursive.as_ref().is_some_and(|recursive| rights::may_walk(&recursive.allow, caller.address))
    }

    /// The cached answer of an earlier walk, while it is valid; never waits.
    pub fn kept(&self, identifier: &Identifier) -> Option<Resolved> {
        self.inner.recursive.as_ref()?.recursor.kept(identifier.key())
    }

    /// Begins a walk for a caller whom [`Desk::walks_for`] admits. The future ends by itself within seconds; dropping
    /// it does not end a walk shared with other callers. Without recursion the future fails at once.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], before anything is sent.
    pub fn begin_walk(
        &self,
        identifier: Identifier,
        caller: &Caller,
    ) -> Result<impl Future<Output = Result<Resolved, NoAnswer>> + Send + 'static, NoRoom> {
        let place = self.inner.walks.enter(caller.address)?;
        let desk = self.clone();
        Ok(async move { desk.walk(&identifier, place).await })
    }

    async fn walk(&self, identifier: &Identifier, _place: WalkPlace) -> Result<Resolved, NoAnswer> {
        let Some(Recursive { recursor, .. }) = &self.inner.recursive else {
            return Err(RecursionError::NotResponsible { identifier: identifier.to_string() }.into());
        };
        Ok(recursor.resolve_from(identifier, || self.start_of(identifier)).await?)
    }

    pub(super) async fn ask_others(&self, question: &Question) -> Result<Reply, NoAnswer> {
        let (identifier, caller) = (&question.identifier, &question.caller);
        if question.follow == Follow::Anew {
            return self.trace_walk(identifier, caller).await;
        }
        let resolved = match self.kept(identifier) {
            Some(kept) => kept,
            None => self.walk(identifier, self.inner.walks.enter(caller.address)?).await?,
        };
        Ok(Reply::walked(resolved, None))
    }

    async fn trace_walk(&self, identifier: &Identifier, caller: &Caller) -> Result<Reply, NoAnswer> {
        let _place = self.inner.walks.enter(caller.address)?;
        let Some(Recursive { recursor, .. }) = &self.inner.recursive else {
            return Err(RecursionError::NotResponsible { identifier: identifier.to_string() }.into());
        };
        let traced = recursor.trace(identifier, || self.start_of(identifier)).await;
        match traced.result {
            Ok(resolved) => Ok(Reply::walked(resolved, Some(traced.hops))),
            Err(error) => Err(NoAnswer::Walk(Box::new(FailedWalk { error, hops: Some(traced.hops) }))),
        }
    }

    /// The node's own delegation for the identifier as start of a walk; `None` leaves the start to cache and roots.
    fn start_of(&self, identifier: &Identifier) -> Option<Start> {
        let Responsibility::Delegated(version) = self.responsibility(identifier.key()) else { return None };
        let delegation = version.delegation()?.clone();
        Some((version.prefix.clone().into(), delegation.into()))
    }

    /// Counters and sizes of the recursor, on a recursive node.
    pub fn recursion_stats(&self) -> Option<RecursionStats> {
        self.inner.recursive.as_ref().map(|recursive| recursive.recursor.stats())
    }
}
