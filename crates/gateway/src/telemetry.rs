//! Traces and metrics for a collector, by OTLP: off unless an endpoint is set, and never in an exchange's way.
//!
//! What is to be exported waits in a bounded queue for a thread of its own. A collector that hangs or is down costs spans, which
//! are counted, and nothing else.

pub(crate) mod config;
mod dial;
mod export;
mod plan;
mod spans;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use federation::GatewayId;
use opentelemetry_sdk::{Resource, metrics::ManualReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use plan::Plan;
pub(crate) use spans::Finished;

/// How long the end of a gateway waits for the last export.
const LAST: Duration = Duration::from_secs(3);

/// What has been exported, and what not.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    spans: [AtomicU64; 3],
    exports: [AtomicU64; 2],
}

/// What became of spans: the label `outcome`.
pub(crate) const SPAN_OUTCOMES: [&str; 3] = ["exported", "failed", "dropped"];
/// What became of exports of metrics.
pub(crate) const EXPORT_OUTCOMES: [&str; 2] = ["exported", "failed"];

impl Counts {
    /// Returns numbers of spans, in the order of [`SPAN_OUTCOMES`].
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        SPAN_OUTCOMES.into_iter().zip(self.spans.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Returns numbers of exports of metrics, in the order of [`EXPORT_OUTCOMES`].
    pub(crate) fn exports(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EXPORT_OUTCOMES.into_iter().zip(self.exports.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    fn sent(&self, spans: u64, ok: bool) {
        let [exported, failed, _] = &self.spans;
        if ok { exported } else { failed }.fetch_add(spans, Ordering::Relaxed);
    }

    fn dropped(&self, spans: u64) {
        let [_, _, dropped] = &self.spans;
        dropped.fetch_add(spans, Ordering::Relaxed);
    }

    fn metrics(&self, ok: bool) {
        let [exported, failed] = &self.exports;
        if ok { exported } else { failed }.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes finished exchanges for export.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    queue: mpsc::Sender<Finished>,
    counts: Arc<Counts>,
}

impl Spans {
    /// Hands an exchange over, if there is room; does not wait.
    pub(crate) fn finished(&self, finished: Finished) {
        if let Err(mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) =
            self.queue.try_send(finished)
        {
            self.counts.dropped(lost.count());
        }
    }
}

/// What waits to be exported.
struct Waiting {
    queue: mpsc::Receiver<Finished>,
    counts: Arc<Counts>,
}

/// Telemetry that is ready to be exported, while nobody does it yet.
pub(crate) struct Exporting {
    plan: Plan,
    waiting: Waiting,
    reader: Arc<ManualReader>,
    resource: Resource,
}

/// Where an observer's metrics are collected for export, and as whose.
pub(crate) type Collected = (Arc<ManualReader>, Resource);

/// Makes what an observer is joined to the exporting thread by, where there is a plan.
pub(crate) fn prepare(
    plan: Option<Plan>,
    gateway: &GatewayId,
    counts: &Arc<Counts>,
) -> (Option<Exporting>, Option<Spans>, Option<Collected>) {
    let Some(plan) = plan else { return (None, None, None) };
    let (sender, receiver) = mpsc::channel(plan.queue);
    let (reader, resource) = (Arc::new(ManualReader::default()), plan.resource(gateway));
    let waiting = Waiting { queue: receiver, counts: counts.clone() };
    let exporting = Exporting { plan, waiting, reader: reader.clone(), resource: resource.clone() };
    (Some(exporting), Some(Spans { queue: sender, counts: counts.clone() }), Some((reader, resource)))
}

/// Telemetry cannot be exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The exporters refuse the plan.
    #[error("the exporter of telemetry cannot be made")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The system gives no thread.
    #[error("the thread that exports telemetry cannot be started")]
    Thread(#[from] io::Error),
}

/// The thread that exports.
pub(crate) struct Telemetry {
    stop: CancellationToken,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Exporting {
    /// Starts to export what waits, and the metrics that are collected.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or the exporters refuse the plan.
    pub(crate) fn start(self) -> Result<Telemetry, ExportError> {
        let Self { plan, waiting, reader, resource } = self;
        if plan.plaintext() {
            tracing::warn!(endpoint = plan.endpoint(), "DANGEROUS: telemetry crosses the network in plain text");
        }
        let stop = CancellationToken::new();
        let (end, ended) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exporters = {
            // Channels to the collector are driven by this runtime.
            let _guard = runtime.enter();
            export::Exporters::new(&plan, waiting, reader, &resource)?
        };
        let stopped = stop.clone();
        thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            runtime.block_on(exporters.run(&plan, stopped));
            // Nobody may wait any more.
            let _ = end.send(());
        })?;
        Ok(Telemetry { stop, ended })
    }
}

impl Telemetry {
    /// Exports what waits, once, and ends; waits 3 s at most. Blocks.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        let _ = self.ended.recv_timeout(LAST);
    }
}
