//! `/metrics` in the text of OpenMetrics, as Prometheus reads it.
//!
//! Nothing is counted here but HTTP: the cores and listeners count for themselves, and are asked when somebody scrapes.

mod process;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::reply::{NOT_KEPT, Problem, read};
use crate::{
    ledger::Ledger,
    mirror::Lag,
    protocol::outcome::Outcome,
    registry::stats::{Counted, Resulted, Stats},
    resolver::{Desk, ReadCounts, ReadPool, feed::Feeds},
    server::{
        dns::counters::{AllCounters, Count},
        grpc::Calls,
    },
    store::Store,
};

/// Media type of the text (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Status codes of HTTP that can be counted.
const STATUS_CODES: std::ops::Range<u16> = 100..600;

/// Who is asked when somebody scrapes.
#[derive(Clone)]
pub struct MetricSources {
    /// The read core.
    pub desk: Desk,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The index.
    pub store: Arc<dyn Store>,
    /// The write core.
    pub registry: Arc<Stats>,
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
    /// The DNS listeners.
    pub dns: Arc<AllCounters>,
    /// The gRPC listener.
    pub grpc: Arc<Calls>,
    /// How far behind its primary the node is, when it is a mirror.
    pub lag: Option<Arc<Lag>>,
}

impl fmt::Debug for MetricSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricSources")
    }
}

/// Responses over HTTP, counted by their status.
#[derive(Debug)]
pub(super) struct HttpCounts(Vec<AtomicU64>);

impl Default for HttpCounts {
    fn default() -> Self {
        Self(STATUS_CODES.map(|_| AtomicU64::default()).collect())
    }
}

impl HttpCounts {
    pub(super) fn count(&self, status: u16) {
        let place = status.checked_sub(STATUS_CODES.start).map(usize::from);
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted, without the zeros.
    fn counted(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUS_CODES.zip(self.0.iter().map(|count| count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }
}

#[derive(Clone)]
struct Metrics {
    registry: Arc<Registry>,
    reads: ReadPool,
}

/// The routes.
pub(super) fn routes(sources: MetricSources, http: Arc<HttpCounts>, reads: ReadPool) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { sources, http }));
    Router::new().route("/metrics", get(metrics)).with_state(Metrics { registry: Arc::new(registry), reads })
}

async fn metrics(State(Metrics { registry, reads }): State<Metrics>) -> Result<Response, Problem> {
    let encoded = read(&reads, move || {
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    });
    let text = encoded.await?.map_err(|error| Problem::of(Outcome::Unavailable, format!("no metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS), NOT_KEPT], text).into_response())
}

/// Asks everyone, at the time of the scrape.
#[derive(Debug)]
struct Scrape {
    sources: MetricSources,
    http: Arc<HttpCounts>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        out.family("touchmark_build_info", "The program", MetricType::Gauge, [(build, 1)])?;
        self.ledger(&mut out)?;
        self.registry(&mut out)?;
        self.resolver(&mut out)?;
        self.prefixes(&mut out)?;
        self.recursor(&mut out)?;
        self.listeners(&mut out)?;
        self.mirror(&mut out)?;
        process::put(&mut out)
    }
}

impl Scrape {
    fn ledger(&self, out: &mut Out<'_>) -> fmt::Result {
        let MetricSources { ledger, store, feeds, .. } = &self.sources;
        let (entries, durable) = (ledger.size(), store.durable().entries);
        out.gauge("touchmark_ledger_entries", "Entries that the newest checkpoint covers", entries)?;
        // An empty ledger has no entry, and a time that cannot be read is none.
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
        let stats = &self.sources.registry;
        let results = Resulted::ALL.map(|resulted| ([("result", resulted.as_str())], stats.results(resulted)));
        out.family("touchmark_registry_results", "Commands by what came of them", MetricType::Counter, results)?;
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
        let cache = self.sources.desk.cache_stats();
        out.counter("touchmark_cache_hits", "Questions answered from the cache", cache.hits)?;
        out.counter("touchmark_cache_misses", "Questions that were not", cache.misses)?;
        out.gauge("touchmark_cache_entries", "Answers in the cache", cache.entries as u64)?;
        out.gauge("touchmark_cache_bytes", "About how much memory they take", cache.bytes as u64)?;
        let counts = self.sources.desk.reads().counts();
        let by_share =
            |number: fn(&ReadCounts) -> u64| counts.map(|read| ([("share", read.share.as_str())], number(&read)));
        let help = "Reads of index and ledger that are under way";
        out.family("touchmark_reads_running", help, MetricType::Gauge, by_share(|read| read.running as u64))?;
        let help = "Reads of index and ledger that wait for one of those to end";
        out.family("touchmark_reads_waiting", help, MetricType::Gauge, by_share(|read| read.waiting as u64))?;
        let help = "Reads of index and ledger for which there was no room";
        out.family("touchmark_reads_refused", help, MetricType::Counter, by_share(|read| read.refused))
    }

    fn prefixes(&self, out: &mut Out<'_>) -> fmt::Result {
        let (homed, delegated) = self.sources.desk.prefixes().count();
        let prefixes = [([("kind", "homed")], homed as u64), ([("kind", "delegated")], delegated as u64)];
        out.family("touchmark_prefixes", "Prefixes that are homed, and delegated", MetricType::Gauge, prefixes)
    }

    fn recursor(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(stats) = self.sources.desk.recursion_stats() else { return Ok(()) };
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
        out.family("touchmark_recursion_failures", help, MetricType::Counter, failures)?;
        let help = "Endpoints of other nodes that are not asked for a while, because they failed";
        out.gauge("touchmark_recursion_breakers_open", help, stats.breakers_open as u64)?;
        out.gauge("touchmark_recursion_flights", "Walks that are under way", stats.flights as u64)?;
        out.gauge("touchmark_recursion_entries", "Answers of other nodes that are kept", stats.answers as u64)?;
        let bytes = (stats.answer_bytes + stats.delegation_bytes) as u64;
        out.gauge("touchmark_recursion_bytes", "About how much memory they and delegations take", bytes)?;
        out.gauge("touchmark_recursion_delegations", "Delegations that are kept", stats.delegations as u64)
    }

    fn mirror(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(lag) = &self.sources.lag else { return Ok(()) };
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

    fn listeners(&self, out: &mut Out<'_>) -> fmt::Result {
        let dns = self.sources.dns.counted();
        out.counter("touchmark_dns_requests", "Requests over DNS that were read", dns.get(Count::Requests))?;
        out.counter("touchmark_dns_cached", "Those that were answered from the cache", dns.get(Count::Cached))?;
        let kinds = [Count::Txt, Count::Naptr, Count::Uri, Count::Record, Count::OtherTypes];
        let kinds = kinds.map(|count| ([("type", count.as_str())], dns.get(count)));
        out.family("touchmark_dns_questions", "Requests over DNS by type", MetricType::Counter, kinds)?;
        let outcomes = [Count::Data, Count::NoData, Count::NxDomain, Count::Refused, Count::Malformed, Count::Failed];
        let outcomes = outcomes.map(|count| ([("outcome", count.as_str())], dns.get(count)));
        out.family("touchmark_dns_responses", "Requests over DNS by outcome", MetricType::Counter, outcomes)?;
        let limited = [Count::Truncated, Count::Withheld, Count::Shed, Count::Ignored];
        let limited = limited.map(|count| ([("how", count.as_str())], dns.get(count)));
        out.family("touchmark_dns_limited", "Requests over DNS not answered in full", MetricType::Counter, limited)?;
        let calls = self.sources.grpc.counted();
        let calls = calls.iter().map(|(method, code, count)| ([("method", *method), ("code", *code)], *count));
        out.family("touchmark_grpc_calls", "Calls over gRPC that ended", MetricType::Counter, calls)?;
        let codes: Vec<(String, u64)> = self.http.counted().map(|(code, count)| (code.to_string(), count)).collect();
        let codes = codes.iter().map(|(code, count)| ([("code", code.as_str())], *count));
        out.family("touchmark_http_responses", "Responses over HTTP", MetricType::Counter, codes)
    }
}

/// Writes one metric after the other.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        ConstCounter::new(count).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counter_real(&mut self, name: &str, help: &str, sum: f64) -> fmt::Result {
        ConstCounter::new(sum).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn real(&mut self, name: &str, help: &str, number: f64) -> fmt::Result {
        ConstGauge::new(number).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// One number for each set of labels.
    fn family<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        numbers: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, number) in numbers {
            let metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(number).encode(metric)?,
                _ => ConstGauge::new(number).encode(metric)?,
            }
        }
        Ok(())
    }

    /// Numbers by class; `scale` of them make one of the unit in the name.
    fn histogram(&mut self, name: &str, help: &str, counted: &Counted, scale: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let count = counted.classes.iter().map(|(_, count)| count).sum();
        // The library writes the largest number as +Inf.
        let bound = |bound: &Option<u64>| bound.map_or(f64::MAX, |bound| bound as f64 / scale);
        let classes: Vec<_> = counted.classes.iter().map(|(upper, count)| (bound(upper), *count)).collect();
        metric.encode_histogram::<NoLabelSet>(counted.sum as f64 / scale, count, &classes, None)
    }
}
