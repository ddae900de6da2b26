//! What other nodes answer for: WALK, or what is kept of earlier walks.

use super::{Desk, Follow, NoAnswer, NoRoom, Question, Recursive, Reply, question::FailedWalk, walks::WalkPlace};
use crate::{
    id::Identifier,
    resolver::recursion::{RecursionError, RecursionStats, Resolved, Start},
    rights::{self, Caller},
    store::Responsibility,
};

impl Desk {
    /// True if this node walks for a caller.
    pub fn walks_for(&self, caller: &Caller) -> bool {
        self.inner.recursive.as_ref().is_some_and(|recursive| rights::may_walk(&recursive.allow, caller.address))
    }

    /// What is kept of other nodes' answers about an identifier, as long as it counts. It never waits.
    pub fn kept(&self, identifier: &Identifier) -> Option<Resolved> {
        self.inner.recursive.as_ref()?.recursor.kept(identifier.key())
    }

    /// Begins a walk for a caller for whom this node walks; the future ends by itself, in some seconds at most, and is nobody's but the
    /// caller's. Without recursion there is nothing to walk for.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], before anything is done.
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

    /// Where a walk begins when this node itself delegates; `None` when a root has to tell.
    fn start_of(&self, identifier: &Identifier) -> Option<Start> {
        let Responsibility::Delegated(version) = self.responsibility(identifier.key()) else { return None };
        let delegation = version.delegation()?.clone();
        Some((version.prefix.clone().into(), delegation.into()))
    }

    /// What recursion has done and holds, on a recursive node.
    pub fn recursion_stats(&self) -> Option<RecursionStats> {
        self.inner.recursive.as_ref().map(|recursive| recursive.recursor.stats())
    }
}
