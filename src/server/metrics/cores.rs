//! Metrics of the two cores, the ledger, the index and a mirror.

use std::{fmt, sync::Arc};

use super::{Metered, Out};
use crate::{
    ledger::Ledger,
    mirror::Lag,
    registry::stats::{Resulted, Stats},
    resolver::{Desk, ReadCounts, feed::Feeds},
    store::Entries,
};

/// Sources of metrics below the front ends.
pub struct CoreMetrics {
    /// The read core.
    pub desk: Desk,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The index.
    pub entries: Arc<dyn Entries>,
    /// The write core.
    pub registry: Arc<Stats>,
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
}

impl Metered for CoreMetrics {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        out.gauges("touchmark_build_info", "The program", [([("version", env!("CARGO_PKG_VERSION"))], 1)])?;
        self.ledger(out)?;
        self.registry(out)?;
        self.resolver(out)?;
        self.prefixes(out)?;
        self.recursor(out)
    }
}

impl CoreMetrics {
    fn ledger(&self, out: &mut Out<'_>) -> fmt::Result {
        let Self { ledger, entries: engine, feeds, .. } = self;
        let (entries, durable) = (ledger.size(), engine.durable());
        out.gauge("touchmark_ledger_entries", "Entries that the newest checkpoint covers", entries)?;
        // An empty ledger has no last entry; a time that cannot be read is left out.
        let last = entries.checked_sub(1).and_then(|index| ledger.entries(index, 1).ok()?.pop());
        if let Some(last) = last.as_ref().and_then(|bytes| bytes.decode().ok()) {
            let seconds = last.time_ms as f64 / 1e3;
            let help = "When the newest checkpoint was signed, by the time of its last entry";
            out.real("touchmark_checkpoint_timestamp_seconds", help, seconds)?;
        }
        let behind = entries.saturating_sub(durable);
        let help = "Ledger entries that the index holds in memory only, and applies again after a crash";
        out.gauge("touchmark_index_overlay_entries", help, behind)?;
        out.gauge("touchmark_feeds", "Feeds of changes that are open", feeds.count() as u64)
    }

    fn registry(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = &self.registry;
        let results = Resulted::ALL.map(|resulted| ([("result", resulted.as_str())], stats.results(resulted)));
        out.counters("touchmark_registry_results", "Commands by what came of them", results)?;
        let queued = stats.queued();
        let help = "Commands that wait for the ledger or are being written";
        out.gauge("touchmark_registry_queue_commands", help, queued.commands as u64)?;
        out.gauge("touchmark_registry_queue_bytes", "About how much memory they take", queued.kib as u64 * 1_024)?;
        let help = "Whether writes are taken, as /readyz says";
        out.gauge("touchmark_registry_ready", help, u64::from(stats.ready().is_ok()))?;
        let batches = stats.batch_commands.counted();
        out.histogram("touchmark_ledger_batch_entries", "Entries of a batch of the ledger", &batches, 1.0)?;
        let help = "How long it took to write, sync and sign a batch";
        out.histogram("touchmark_ledger_commit_seconds", help, &stats.commit_us.counted(), 1e6)
    }

    fn resolver(&self, out: &mut Out<'_>) -> fmt::Result {
        let cache = self.desk.cache_stats();
        out.counter("touchmark_cache_hits", "Questions answered from the cache", cache.hits)?;
        out.counter("touchmark_cache_misses", "Questions that were not", cache.misses)?;
        out.gauge("touchmark_cache_entries", "Answers in the cache", cache.entries as u64)?;
        out.gauge("touchmark_cache_bytes", "About how much memory they take", cache.bytes as u64)?;
        let counts = self.desk.reads().counts();
        let by_share =
            |number: fn(&ReadCounts) -> u64| counts.map(|read| ([("share", read.share.as_str())], number(&read)));
        let help = "Reads of index and ledger that are under way";
        out.gauges("touchmark_reads_running", help, by_share(|read| read.running as u64))?;
        let help = "Reads of index and ledger that wait for one of those to end";
        out.gauges("touchmark_reads_waiting", help, by_share(|read| read.waiting as u64))?;
        let help = "Reads of index and ledger for which there was no room";
        out.counters("touchmark_reads_refused", help, by_share(|read| read.refused))
    }

    fn prefixes(&self, out: &mut Out<'_>) -> fmt::Result {
        let (homed, delegated) = self.desk.prefixes().count();
        let prefixes = [([("kind", "homed")], homed as u64), ([("kind", "delegated")], delegated as u64)];
        out.gauges("touchmark_prefixes", "Prefixes that are homed, and delegated", prefixes)
    }

    fn recursor(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(stats) = self.desk.recursion_stats() else { return Ok(()) };
        let help = "Questions about what other nodes answer for";
        out.counter("touchmark_recursion_questions", help, stats.questions)?;
        let help = "Those that were answered from what was kept";
        out.counter("touchmark_recursion_cached", help, stats.from_cache)?;
        let help = "Those that were answered from what was kept past its time, for nobody could be reached";
        out.counter("touchmark_recursion_stale", help, stats.stale)?;
        let help = "Those that waited for the walk of another one";
        out.counter("touchmark_recursion_joined", help, stats.flights_joined)?;
        out.counter("touchmark_recursion_walks", "Walks from node to node", stats.walks)?;
        out.counter("touchmark_recursion_upstream", "Questions to other nodes", stats.upstream_questions)?;
        let help = "Those that were asked to know how a site does";
        out.counter("touchmark_recursion_probes", help, stats.probes)?;
        let failures = stats.failures.iter().map(|(kind, count)| ([("kind", *kind)], *count));
        let help = "Questions that came to nothing";
        out.counters("touchmark_recursion_failures", help, failures)?;
        let help = "Endpoints of other nodes that are not asked for a while, because they failed";
        out.gauge("touchmark_recursion_breakers_open", help, stats.breakers_open as u64)?;
        out.gauge("touchmark_recursion_flights", "Walks that are under way", stats.flights as u64)?;
        out.gauge("touchmark_recursion_entries", "Answers of other nodes that are kept", stats.answers as u64)?;
        let bytes = (stats.answer_bytes + stats.delegation_bytes) as u64;
        out.gauge("touchmark_recursion_bytes", "About how much memory they and delegations take", bytes)?;
        out.gauge("touchmark_recursion_delegations", "Delegations that are kept", stats.delegations as u64)
    }
}

/// Metrics of a mirror's lag.
pub struct MirrorMetrics(pub Arc<Lag>);

impl Metered for MirrorMetrics {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        let Self(lag) = self;
        let now = lag.now();
        let help = "Entries that the primary is known to have and this mirror has not";
        out.gauge("touchmark_mirror_lag_entries", help, now.entries)?;
        let help = "For how long this mirror has not been in step with its primary; 0 while it is";
        out.gauge("touchmark_mirror_lag_seconds", help, now.seconds)?;
        out.gauge("touchmark_mirror_connected", "Whether the primary is followed now", u64::from(now.connected))?;
        let help = "How often something came from the primary that does not verify; nothing of it was served";
        out.counter("touchmark_mirror_rejected", help, lag.rejected())?;
        let help =
            "Whether values are missing here that nobody is known to have erased; the mirror is not in step then";
        out.gauge("touchmark_mirror_lacks_values", help, u64::from(now.lacks))?;
        let help = "Whether the primary shows another history than this mirror holds, and is not followed";
        out.gauge("touchmark_mirror_fork", help, u64::from(now.forked))?;
        out.counter("touchmark_mirror_forks", "How often the primary showed another history", lag.forks())
    }
}
