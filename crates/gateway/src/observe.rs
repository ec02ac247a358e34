//! Metrics, and the one line a settled exchange leaves in the application log.
//!
//! Labels come from closed sets: members of the directory, methods of loaded contracts, outcomes and reasons. An exchange's
//! id, a person, a case or free text is never one.

mod exemplars;
pub(crate) mod openmetrics;
mod standing;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;
use exchange::{Rules, Settled};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality, data::ResourceMetrics,
        reader::MetricReader,
    },
};
use prometheus::{Registry, TextEncoder};
use records::Side;
use tracing::info;

use self::exemplars::Exemplars;
use crate::{
    security::Security,
    status::Source,
    telemetry::{Counts, Finished, Spans},
};

/// What a gateway counts.
pub struct Observer {
    registry: Registry,
    // Held: dropping it ends collection.
    _provider: SdkMeterProvider,
    meter: Meter,
    exchanges: Counter<u64>,
    duration: Histogram<f64>,
    messages: Counter<u64>,
    shed: Counter<u64>,
    shed_since: std::sync::atomic::AtomicU64,
    security: Arc<Security>,
    exemplars: Exemplars,
    spans: Option<Spans>,
    rules: Arc<ArcSwap<Rules>>,
}

/// A number that is read when metrics are.
pub type Gauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// What an observer is made of.
pub(crate) struct Setup {
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    /// Read at each scrape.
    pub(crate) gauges: Vec<(&'static str, &'static str, Gauge)>,
    pub(crate) security: Arc<Security>,
    /// What was exported.
    pub(crate) counts: Arc<Counts>,
    /// Where traced exchanges go.
    pub(crate) spans: Option<Spans>,
    /// Where metrics are collected for export, and as whose.
    pub(crate) export: Option<(Arc<ManualReader>, Resource)>,
}

/// Bounds of the duration's buckets, in seconds.
const BOUNDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Observer {
    /// Sets up metrics.
    ///
    /// # Errors
    ///
    /// What the exporter says; it does not happen with a fresh registry.
    pub(crate) fn new(setup: Setup) -> Result<Self, String> {
        let Setup { rules, gauges, security, counts, spans, export } = setup;
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|error| error.to_string())?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter);
        if let Some((reader, resource)) = export {
            provider = provider.with_reader(Shared(reader)).with_resource(resource);
        }
        let provider = provider.build();
        let meter = provider.meter("drawbridge");
        for (name, description, read) in gauges {
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| observer.observe(read(), &[]))
                .build();
        }
        counted(&meter, &security, &counts);
        let shed = meter
            .u64_counter("drawbridge.exchange.shed")
            .with_unit("{exchange}")
            .with_description("Exchanges refused because there were too many at once")
            .build();
        // There from the start, so that the first of them is a change.
        for side in ["consumer", "provider"] {
            shed.add(0, &[KeyValue::new("side", side)]);
        }
        Ok(Self {
            exchanges: meter
                .u64_counter("drawbridge.exchange.settled")
                .with_unit("{exchange}")
                .with_description("Exchanges settled")
                .build(),
            duration: meter
                .f64_histogram("drawbridge.exchange.duration")
                .with_unit("s")
                .with_description("From arrival to settling")
                .with_boundaries(BOUNDS.to_vec())
                .build(),
            messages: meter
                .u64_counter("drawbridge.exchange.messages")
                .with_unit("{message}")
                .with_description("Messages of answers")
                .build(),
            shed,
            shed_since: std::sync::atomic::AtomicU64::new(0),
            security,
            exemplars: Exemplars::default(),
            spans,
            registry,
            _provider: provider,
            meter,
            rules,
        })
    }

    /// Adds what is told of the gateway's standing.
    pub(crate) fn watch(&self, source: &Arc<Source>) {
        standing::gauges(&self.meter, source);
    }

    /// Counts a settled exchange, whose first byte was there at `arrived`, and writes its line.
    pub(crate) fn settled(&self, settled: &Settled, arrived: Instant) {
        let rules = self.rules.load();
        let method =
            if rules.contracts.method(&settled.method).is_some() { settled.method.as_str() } else { "unknown" };
        let known = |member: &str| {
            let listed = member.parse().ok().is_some_and(|m| rules.federation.member(&m).is_some());
            if listed { member.to_owned() } else { "unknown".to_owned() }
        };
        let (consumer, provider) = (known(&settled.consumer), known(&settled.provider));
        let side = if settled.side == Side::Consumer { "consumer" } else { "provider" };
        let reason = settled.refusal.map_or("", exchange::Reason::as_str);
        let labels = [
            KeyValue::new("side", side),
            KeyValue::new("consumer", consumer.clone()),
            KeyValue::new("provider", provider.clone()),
            KeyValue::new("method", method.to_owned()),
            KeyValue::new("outcome", settled.outcome),
            KeyValue::new("reason", reason),
        ];
        self.exchanges.add(1, &labels);
        let [side_label, _, _, method_label, ..] = labels;
        let labels = [side_label, method_label];
        self.duration.record(settled.took.as_secs_f64(), &labels);
        if settled.messages > 0 {
            self.messages.add(settled.messages, &labels);
        }
        let span = tracing::Span::current();
        span.record("exchange.id", tracing::field::display(&settled.id));
        span.record("consumer", consumer.as_str());
        span.record("provider", provider.as_str());
        span.record("method", method);
        if let Some(steps) = &settled.steps {
            self.exemplars.note((side, method), &BOUNDS, settled.took.as_secs_f64(), &steps.trace);
        }
        let own = settled.hop == Some(exchange::Hop::Legacy) && settled.side == Side::Provider;
        let system = if own { rules.legacy.name(&settled.method) } else { None };
        info!(
            event = "exchange-settled",
            outcome = settled.outcome,
            reason,
            hop = settled.hop.map_or("", exchange::Hop::as_str),
            system = system.as_deref(),
            status = settled.status,
            messages = settled.messages,
            index = settled.index,
            duration_us = u64::try_from(settled.took.as_micros()).unwrap_or(u64::MAX),
            trace.id = settled.trace.as_deref().unwrap_or(""),
            "exchange settled"
        );
        if let (Some(spans), Some(steps)) = (&self.spans, &settled.steps) {
            spans.finished(Finished {
                steps: steps.clone(),
                exchange: settled.id.to_string(),
                side,
                consumer,
                provider,
                method: method.to_owned(),
                outcome: settled.outcome,
                reason,
                hop: settled.hop.map_or("", exchange::Hop::as_str),
                status: settled.status,
                messages: settled.messages,
                arrived,
                settled: (Instant::now(), SystemTime::now()),
            });
        }
    }

    /// Counts an exchange that was refused for want of room.
    pub fn shed(&self, side: &'static str) {
        self.shed_since.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.shed.add(1, &[KeyValue::new("side", side)]);
    }

    /// Returns how many were refused for want of room since the last call of this.
    pub fn shed_since(&self) -> u64 {
        self.shed_since.swap(0, std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns what was turned away.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// What the encoder says.
    pub fn text(&self) -> Result<String, String> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(|error| error.to_string())
    }

    /// Returns all metrics as OpenMetrics text, with exemplars. Blocks on the disk, as [`Observer::text`] does.
    #[must_use]
    pub(crate) fn openmetrics(&self) -> String {
        openmetrics::encode(&self.registry.gather(), &self.exemplars)
    }
}

/// Counters of what is counted elsewhere.
fn counted(meter: &Meter, security: &Arc<Security>, counts: &Arc<Counts>) {
    let security = security.clone();
    meter
        .u64_observable_counter("drawbridge.security.events")
        .with_unit("{event}")
        .with_description("Peers turned away")
        .with_callback(move |observer| {
            security.counts().for_each(|(kind, count)| observer.observe(count, &[KeyValue::new("kind", kind)]));
        })
        .build();
    let spans = counts.clone();
    meter
        .u64_observable_counter("drawbridge.telemetry.spans")
        .with_unit("{span}")
        .with_description("Spans that the collector took, did not take, or that there was no room for")
        .with_callback(move |observer| {
            spans.spans().for_each(|(outcome, count)| observer.observe(count, &[KeyValue::new("outcome", outcome)]));
        })
        .build();
    let exports = counts.clone();
    meter
        .u64_observable_counter("drawbridge.telemetry.exports")
        .with_unit("{export}")
        .with_description("Exports of metrics that the collector took, or did not take")
        .with_callback(move |observer| {
            exports
                .exports()
                .for_each(|(outcome, count)| observer.observe(count, &[KeyValue::new("outcome", outcome)]));
        })
        .build();
}

/// A reader that others hold too.
#[derive(Debug)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: std::sync::Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: std::time::Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
