//! One measurement: start, warm up, measure, end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    case::Case,
    contender::{Contender, Running, Workshop},
    load::{self, Length, Pressure},
    process::{self, Memory, Process},
};

/// How often the memory is looked at during a long stream.
const LOOK: Duration = Duration::from_millis(100);

/// How long a measurement takes.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Load that does not count, before the load that does.
    pub(crate) warm_up: Duration,
    /// Load that counts.
    pub(crate) window: Duration,
}

/// What one measurement found. CPU times are microseconds for each call or row.
#[derive(Clone, serde::Serialize)]
pub(crate) struct Measured {
    /// Calls, or rows, a second.
    pub(crate) rate: f64,
    pub(crate) client_cpu: f64,
    pub(crate) consumer_cpu: Option<f64>,
    pub(crate) provider_cpu: Option<f64>,
    pub(crate) backend_cpu: f64,
    /// Latency of a call, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Largest resident memory in bytes, since the start.
    pub(crate) consumer_peak: Option<u64>,
    pub(crate) provider_peak: Option<u64>,
    /// Of a long stream: how much the largest resident memory in its last three quarters is above that in its first.
    pub(crate) consumer_growth: Option<i64>,
    pub(crate) provider_growth: Option<i64>,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

/// Measures `case` once, with `contender` started for it.
///
/// # Errors
///
/// When the contender does not start, or no call at all comes through.
pub(crate) fn once(workshop: &Workshop, contender: Contender, case: &Case, pace: Pace) -> Result<Measured> {
    let running = workshop.start(contender)?;
    let (callers, connections) = case.callers();
    let length = if case.is_long() { Length::OneCall } else { Length::Time(pace.window) };
    let pressure = Pressure { callers, connections, warm_up: pace.warm_up, length, patience: load::LITTLE_PATIENCE };
    let mut marks = Vec::new();
    let done = AtomicBool::new(false);
    let (seen, watched) = std::thread::scope(|scope| {
        let watcher = case.is_long().then(|| scope.spawn(|| watch(&running, &done)));
        let seen = load::run(&running.target, &case.call(), pressure, || {
            marks.push(Usage::now(&running)?);
            Ok(())
        });
        done.store(true, Ordering::Release);
        (seen, watcher.and_then(|watcher| watcher.join().ok()))
    });
    let seen = seen?;
    let count = match case.unit() {
        "call" => seen.calls,
        _ => seen.messages,
    };
    let [before, after] = marks.as_slice() else { bail!("the measurement was not marked") };
    if count == 0 {
        bail!("no call came through: {}", seen.first_failure.as_deref().unwrap_or("none failed either"));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let count = count as f64;
    let each = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / count;
    let growth = |side: fn(&Look) -> u64| watched.as_deref().map(|looks| growth(looks, side));
    let peak = |process: &Option<Process>| {
        process.as_ref().map(|process| Ok::<_, anyhow::Error>(process.memory()?.peak)).transpose()
    };
    Ok(Measured {
        rate: count / seen.elapsed.as_secs_f64(),
        client_cpu: each(after.client, before.client),
        consumer_cpu: after.consumer.zip(before.consumer).map(|(after, before)| each(after, before)),
        provider_cpu: after.provider.zip(before.provider).map(|(after, before)| each(after, before)),
        backend_cpu: each(after.backend, before.backend),
        p50: seen.quantile(0.5),
        p99: seen.quantile(0.99),
        consumer_peak: peak(&running.consumer)?,
        provider_peak: peak(&running.provider)?,
        consumer_growth: growth(|look| look.consumer).filter(|_| running.consumer.is_some()),
        provider_growth: growth(|look| look.provider).filter(|_| running.provider.is_some()),
        failures: seen.failures,
        first_failure: seen.first_failure,
    })
}

/// CPU time used up to a moment.
struct Usage {
    client: Duration,
    consumer: Option<Duration>,
    provider: Option<Duration>,
    backend: Duration,
}

impl Usage {
    fn now(running: &Running) -> Result<Self> {
        Ok(Self {
            client: process::own_cpu()?,
            consumer: running.consumer.as_ref().map(Process::cpu).transpose()?,
            provider: running.provider.as_ref().map(Process::cpu).transpose()?,
            backend: running.backend.cpu()?,
        })
    }
}

/// Resident memory at a moment, in bytes.
struct Look {
    consumer: u64,
    provider: u64,
}

/// Looks at the memory until the load is done.
fn watch(running: &Running, done: &AtomicBool) -> Vec<Look> {
    let now = |process: &Option<Process>| {
        let memory = process.as_ref().and_then(|process| process.memory().ok());
        memory.map_or(0, |Memory { now, .. }| now)
    };
    let mut looks = Vec::new();
    while !done.load(Ordering::Acquire) {
        looks.push(Look { consumer: now(&running.consumer), provider: now(&running.provider) });
        std::thread::sleep(LOOK);
    }
    looks
}

/// How much more memory there was, at most, after the first quarter than in it.
fn growth(looks: &[Look], side: fn(&Look) -> u64) -> i64 {
    let (first, rest) = looks.split_at(looks.len().div_ceil(4));
    let largest = |looks: &[Look]| looks.iter().map(side).max().unwrap_or_default();
    if rest.is_empty() {
        return 0;
    }
    largest(rest).cast_signed() - largest(first).cast_signed()
}
