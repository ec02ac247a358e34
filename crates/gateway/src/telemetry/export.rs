//! The thread that exports: traces and metrics side by side, so that neither waits for the other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        ManualReader, Temporality, data::ResourceMetrics, exporter::PushMetricExporter as _, reader::MetricReader as _,
    },
    trace::SpanExporter as _,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{metadata::MetadataMap, transport::Endpoint};

use super::{Counts, Finished, Waiting, config::OtlpProtocol, dial::Dial, plan::Plan};

/// Time for one export, tries included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last one, when the gateway stops.
const LAST: Duration = Duration::from_secs(2);
/// How long traces gather.
const GATHER: Duration = Duration::from_millis(500);
/// Exchanges of one export: less than 1 MiB.
const BATCH: usize = 256;

/// Exports what waits.
pub(super) struct Exporters {
    spans: SpanExporter,
    metrics: MetricExporter,
    waiting: Waiting,
    reader: Arc<ManualReader>,
}

impl Exporters {
    pub(super) fn new(
        plan: &Plan,
        waiting: Waiting,
        reader: Arc<ManualReader>,
        resource: &Resource,
    ) -> Result<Self, ExporterBuildError> {
        let (mut spans, metrics) = match plan.protocol {
            OtlpProtocol::Grpc => grpc(plan)?,
            OtlpProtocol::Http => http(plan)?,
        };
        spans.set_resource(resource);
        Ok(Self { spans, metrics, waiting, reader })
    }

    /// Exports until `stop`, and then once more.
    pub(super) async fn run(self, plan: &Plan, stop: CancellationToken) {
        let Self { spans, metrics, waiting: Waiting { queue, counts }, reader } = self;
        tokio::join!(
            traces(&spans, queue, &counts, &stop),
            all_metrics(&metrics, (&reader, plan.interval), &counts, &stop),
        );
    }
}

fn grpc(plan: &Plan) -> Result<(SpanExporter, MetricExporter), ExporterBuildError> {
    // A connector that does its own TLS wants a plain endpoint.
    let plain = plan.target.endpoint.replacen("https://", "http://", 1);
    let endpoint =
        Endpoint::from_shared(plain).map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    let endpoint = match plan.target.endpoint.parse() {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint,
    };
    let channel = endpoint.connect_with_connector_lazy(Dial(plan.target.clone()));
    let metadata = MetadataMap::from_headers(plan.headers.clone());
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel.clone())
        .with_metadata(metadata.clone())
        .with_timeout(TIMEOUT)
        .build()?;
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_metadata(metadata)
        .with_timeout(TIMEOUT)
        .with_temporality(Temporality::Cumulative)
        .build()?;
    Ok((spans, metrics))
}

fn http(plan: &Plan) -> Result<(SpanExporter, MetricExporter), ExporterBuildError> {
    let client = HyperClient::new(Dial(plan.target.clone()), TIMEOUT, None);
    // The exporter takes values as percent-encoded.
    let headers: HashMap<String, String> = plan
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.replace('%', "%25"))))
        .collect();
    let endpoint = &plan.target.endpoint;
    let spans = SpanExporter::builder()
        .with_http()
        .with_http_client(client.clone())
        .with_headers(headers.clone())
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_timeout(TIMEOUT)
        .build()?;
    let metrics = MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_headers(headers)
        .with_endpoint(format!("{endpoint}/v1/metrics"))
        .with_timeout(TIMEOUT)
        .with_temporality(Temporality::Cumulative)
        .build()?;
    Ok((spans, metrics))
}

async fn traces(
    exporter: &SpanExporter,
    mut queue: mpsc::Receiver<Finished>,
    counts: &Counts,
    stop: &CancellationToken,
) {
    let mut health = Told::new("traces");
    let mut batch = Vec::new();
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            received = queue.recv() => match received {
                Some(first) => {
                    batch.push(first);
                    tokio::select! {
                        () = stop.cancelled() => true,
                        () = tokio::time::sleep(GATHER) => false,
                    }
                }
                None => true,
            },
        };
        loop {
            while batch.len() < BATCH
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            if batch.is_empty() {
                break;
            }
            let spans: Vec<_> = batch.drain(..).flat_map(Finished::spans).collect();
            let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
            let ok = health.tell(within(stop, exporter.export(spans)).await);
            counts.sent(count, ok);
            // What still waits at the end goes to a collector that takes it, and nobody waits for another.
            if stopped && !ok {
                break;
            }
        }
        if stopped {
            return;
        }
    }
}

async fn all_metrics(
    exporter: &MetricExporter,
    (reader, interval): (&ManualReader, Duration),
    counts: &Counts,
    stop: &CancellationToken,
) {
    let mut health = Told::new("metrics");
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once, when nothing has been counted.
    tick.tick().await;
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        let mut collected = ResourceMetrics::default();
        let outcome = match reader.collect(&mut collected) {
            Ok(()) => within(stop, exporter.export(&collected)).await,
            Err(error) => Err(error.to_string()),
        };
        counts.metrics(health.tell(outcome));
        if stopped {
            return;
        }
    }
}

/// Waits for an export as long as there is time.
async fn within(stop: &CancellationToken, export: impl Future<Output = OTelSdkResult>) -> Result<(), String> {
    let late = async {
        tokio::select! {
            () = tokio::time::sleep(TIMEOUT) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(LAST).await; } => {}
        }
    };
    tokio::select! {
        outcome = export => outcome.map_err(|error| error.to_string()),
        () = late => Err("the collector did not answer in time".to_owned()),
    }
}

/// Says once that exports fail, and once that they work again.
struct Told {
    signal: &'static str,
    failing: bool,
}

impl Told {
    fn new(signal: &'static str) -> Self {
        Self { signal, failing: false }
    }

    fn tell(&mut self, outcome: Result<(), String>) -> bool {
        let ok = outcome.is_ok();
        match outcome {
            Err(error) if !self.failing => {
                tracing::warn!(signal = self.signal, %error, "telemetry cannot be exported; exchanges go on without");
            }
            Ok(()) if self.failing => tracing::info!(signal = self.signal, "telemetry is exported again"),
            Ok(()) | Err(_) => {}
        }
        self.failing = !ok;
        ok
    }
}
