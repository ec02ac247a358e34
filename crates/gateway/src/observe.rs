//! Metrics, and the one line a settled exchange leaves in the application log.
//!
//! Labels come from closed sets: members of the directory, methods of loaded contracts, outcomes and reasons. An exchange's
//! id, a person, a case or free text is never one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use exchange::{Rules, Settled};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use records::Side;
use tracing::info;

/// What a gateway counts.
pub struct Observer {
    registry: Registry,
    // Held: dropping it ends collection.
    _provider: SdkMeterProvider,
    exchanges: Counter<u64>,
    duration: Histogram<f64>,
    messages: Counter<u64>,
    shed: Counter<u64>,
    shed_since: std::sync::atomic::AtomicU64,
    events: Counter<u64>,
    rules: Arc<ArcSwap<Rules>>,
}

/// A number that is read when metrics are.
pub type Gauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// Bounds of the duration's buckets, in seconds.
const BOUNDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Observer {
    /// Sets up metrics; `gauges` are read at each scrape.
    ///
    /// # Errors
    ///
    /// What the exporter says; it does not happen with a fresh registry.
    pub fn new(rules: Arc<ArcSwap<Rules>>, gauges: Vec<(&'static str, &'static str, Gauge)>) -> Result<Self, String> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|error| error.to_string())?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("drawbridge");
        for (name, description, read) in gauges {
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| observer.observe(read(), &[]))
                .build();
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
            shed: meter
                .u64_counter("drawbridge.exchange.shed")
                .with_unit("{exchange}")
                .with_description("Exchanges refused because there were too many at once")
                .build(),
            events: meter
                .u64_counter("drawbridge.security.events")
                .with_unit("{event}")
                .with_description("Peers turned away")
                .build(),
            shed_since: std::sync::atomic::AtomicU64::new(0),
            registry,
            _provider: provider,
            rules,
        })
    }

    /// Counts a settled exchange and writes its line.
    pub fn settled(&self, settled: &Settled) {
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
        info!(
            outcome = settled.outcome,
            reason,
            hop = settled.hop.map_or("", exchange::Hop::as_str),
            status = settled.status,
            messages = settled.messages,
            index = settled.index,
            duration_us = u64::try_from(settled.took.as_micros()).unwrap_or(u64::MAX),
            trace.id = settled.trace.as_deref().unwrap_or(""),
            "exchange settled"
        );
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

    /// Counts a security event.
    pub fn event(&self, kind: &'static str) {
        self.events.add(1, &[KeyValue::new("kind", kind)]);
    }

    /// Returns all metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// What the encoder says.
    pub fn text(&self) -> Result<String, String> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(|error| error.to_string())
    }
}
