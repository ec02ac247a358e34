//! Exemplars: for each bucket of the durations the last traced exchange in it, so that a slow bucket leads to a trace.
//!
//! They are told in OpenMetrics alone, which is the format that has them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Series with exemplars: side and method. Beyond so many none is kept of a new one.
const MAX_SERIES: usize = 4096;

/// One traced exchange.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    /// Its trace's id, in hexadecimal.
    pub(super) trace: String,
    /// How long it took, in seconds.
    pub(super) value: f64,
    /// When, in seconds since the Unix epoch.
    pub(super) at: f64,
}

/// Those of one series, by bucket.
type Buckets = Vec<Option<Exemplar>>;

/// By side and method.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    series: Mutex<HashMap<String, Buckets>>,
}

impl Exemplars {
    /// Keeps a traced exchange for the bucket that its duration falls into.
    pub(super) fn note(&self, (side, method): (&str, &str), bounds: &[f64], value: f64, trace: &[u8; 16]) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let trace = format!("{:032x}", u128::from_be_bytes(*trace));
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(side, method);
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            return;
        }
        let buckets = series.entry(key).or_insert_with(|| vec![None; bounds.len().saturating_add(1)]);
        if let Some(place) = buckets.get_mut(bucket) {
            *place = Some(Exemplar { trace, value, at });
        }
    }

    /// Returns those of a series.
    pub(super) fn of(&self, side: &str, method: &str) -> Buckets {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.get(&key(side, method)).cloned().unwrap_or_default()
    }
}

fn key(side: &str, method: &str) -> String {
    format!("{side} {method}")
}
