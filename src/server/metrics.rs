//! Metrics in OpenMetrics text: the list of sources, and their writer.
//!
//! Every part with counters implements [`Metered`] and is added to the [`MetricList`] that all front ends share; a
//! scrape asks all sources in turn. Nothing is counted here.

mod cores;
mod process;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

pub use cores::{CoreMetrics, MirrorMetrics};
pub use process::ProcessMetrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::registry::stats::Counted;

/// Media type of the text (OpenMetrics 1.0).
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A source of metrics.
pub trait Metered: Send + Sync {
    /// Writes the current values.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    fn put(&self, out: &mut Out<'_>) -> fmt::Result;
}

/// All sources of metrics, in the order in which they are shown. Clones share the list.
#[derive(Clone, Default)]
pub struct MetricList(Arc<RwLock<Vec<Arc<dyn Metered>>>>);

impl fmt::Debug for MetricList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricList")
    }
}

impl MetricList {
    /// Adds a source.
    pub fn add(&self, metered: Arc<dyn Metered>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(metered);
    }

    /// Text of all metrics, with their current values.
    ///
    /// # Errors
    ///
    /// Error of one of the sources.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for MetricList {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        // A copy, so that the list is not locked while a source takes locks of its own.
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        sources.iter().try_for_each(|source| source.put(&mut out))
    }
}

/// Writer of metrics. Every method fails if the text cannot be written.
#[derive(Debug)]
pub struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    /// Writes a counter.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        ConstCounter::new(count).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// Writes a counter with a fraction.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn counter_real(&mut self, name: &str, help: &str, sum: f64) -> fmt::Result {
        ConstCounter::new(sum).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// Writes a gauge.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn gauge(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// Writes a gauge with a fraction.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn real(&mut self, name: &str, help: &str, number: f64) -> fmt::Result {
        ConstGauge::new(number).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// Writes a family of counters, one for each set of labels.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn counters<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        numbers: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, numbers)
    }

    /// Writes a family of gauges, one for each set of labels.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn gauges<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        numbers: impl IntoIterator<Item = ([(&'a str, &'a str); LABELS], u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, numbers)
    }

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

    /// Writes a histogram; `scale` counted units are one unit of the metric's name.
    ///
    /// # Errors
    ///
    /// Error of the writer.
    pub fn histogram(&mut self, name: &str, help: &str, counted: &Counted, scale: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let count = counted.classes.iter().map(|(_, count)| count).sum();
        // The library writes the largest number as `+Inf`.
        let bound = |bound: &Option<u64>| bound.map_or(f64::MAX, |bound| bound as f64 / scale);
        let classes: Vec<_> = counted.classes.iter().map(|(upper, count)| (bound(upper), *count)).collect();
        metric.encode_histogram::<NoLabelSet>(counted.sum as f64 / scale, count, &classes, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str);

    impl Metered for One {
        fn put(&self, out: &mut Out<'_>) -> fmt::Result {
            out.counter(self.0, "A number", 1)?;
            out.gauges("of", "More", [([("kind", self.0)], 2)])
        }
    }

    #[test]
    fn the_list_is_shown_in_order() {
        let list = MetricList::default();
        list.clone().add(Arc::new(One("a")));
        let text = list.text().unwrap();
        assert!(text.contains("a_total 1\n") && text.contains("of{kind=\"a\"} 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
