//! Metrics as OpenMetrics text, which carries exemplars, for whom asks for it.
//!
//! Source: OpenMetrics 1.0.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};

/// The content type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns `families` as text.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut text = String::new();
    for family in families {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        let name = family.name().strip_suffix("_total").unwrap_or(family.name());
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(family.help()));
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    sample(&mut text, (name, "_total"), (metric, None), metric.get_counter().get_value(), None);
                }
                MetricType::GAUGE => {
                    sample(&mut text, (name, ""), (metric, None), metric.get_gauge().get_value(), None);
                }
                MetricType::HISTOGRAM => histogram(&mut text, name, metric, exemplars),
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn histogram(text: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) {
    let label = |wanted: &str| {
        metric.get_label().iter().find(|pair| pair.name() == wanted).map_or("", LabelPair::value).to_owned()
    };
    let (side, method) = (label("side"), label("method"));
    let mut exemplars = exemplars.of(&side, &method).into_iter();
    let histogram = metric.get_histogram();
    let total = histogram.get_sample_count();
    let bounded = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let buckets = bounded.map(|bucket| (number(bucket.upper_bound()), bucket.cumulative_count()));
    for (bound, count) in buckets.chain([("+Inf".to_owned(), total)]) {
        let exemplar = exemplars.next().flatten();
        sample(text, (name, "_bucket"), (metric, Some(&bound)), counted(count), exemplar);
    }
    sample(text, (name, "_count"), (metric, None), counted(total), None);
    sample(text, (name, "_sum"), (metric, None), histogram.get_sample_sum(), None);
}

fn sample(
    text: &mut String,
    (name, suffix): (&str, &str),
    (metric, bound): (&Metric, Option<&str>),
    value: f64,
    exemplar: Option<Exemplar>,
) {
    let labels = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    let labels: Vec<String> = labels
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    let _ = write!(text, "{name}{suffix}");
    if !labels.is_empty() {
        let _ = write!(text, "{{{}}}", labels.join(","));
    }
    let _ = write!(text, " {}", number(value));
    if let Some(Exemplar { trace, value, at }) = exemplar {
        let _ = write!(text, " # {{trace_id=\"{trace}\"}} {value} {at:.3}");
    }
    text.push('\n');
}

/// A number as OpenMetrics writes it: with a point.
fn number(value: f64) -> String {
    format!("{value:?}")
}

#[expect(clippy::cast_precision_loss, reason = "counts in the text are floating point, as in Prometheus")]
#[expect(clippy::as_conversions, reason = "as above")]
fn counted(count: u64) -> f64 {
    count as f64
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn counters_lose_their_suffix_in_the_name_and_buckets_gain_exemplars() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("some_events_total", "Ev\"ents"), &["kind"]).unwrap();
        let buckets = HistogramOpts::new("took_seconds", "How long").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(buckets, &["side", "method"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.with_label_values(&["a\\b"]).inc();
        histogram.with_label_values(&["consumer", "/m"]).observe(0.75);
        let exemplars = Exemplars::default();
        exemplars.note(("consumer", "/m"), &[0.5, 1.0], 0.75, &[0xab; 16]);
        let text = encode(&registry.gather(), &exemplars);
        for line in [
            "# TYPE some_events counter",
            "some_events_total{kind=\"a\\\\b\"} 1.0",
            "took_seconds_bucket{method=\"/m\",side=\"consumer\",le=\"0.5\"} 0.0",
            "took_seconds_sum{method=\"/m\",side=\"consumer\"} 0.75",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let trace = "ab".repeat(16);
        let with = format!(
            "took_seconds_bucket{{method=\"/m\",side=\"consumer\",le=\"1.0\"}} 1.0 # {{trace_id=\"{trace}\"}} 0.75 "
        );
        assert!(text.lines().any(|l| l.starts_with(&with)), "{text}");
        assert!(text.contains("le=\"+Inf\"} 1.0\n") && text.ends_with("# EOF\n"), "{text}");
    }
}
