//! The spans of one exchange, made once it has settled: one for the exchange, and one for each verb in it.
//!
//! Attributes come from what the application log says of an exchange, which holds nothing about persons. Source of names:
//! OpenTelemetry's semantic conventions for RPC.

use std::{
    borrow::Cow,
    time::{Duration, Instant, SystemTime},
};

use exchange::{Steps, Verb};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// A traced exchange that has settled.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) steps: Box<Steps>,
    pub(crate) exchange: String,
    /// `consumer` or `provider`.
    pub(crate) side: &'static str,
    pub(crate) consumer: String,
    pub(crate) provider: String,
    /// `/package.Service/Method`, or `unknown`.
    pub(crate) method: String,
    pub(crate) outcome: &'static str,
    /// The reason of a refusal, or empty.
    pub(crate) reason: &'static str,
    pub(crate) hop: &'static str,
    pub(crate) status: i32,
    pub(crate) messages: u64,
    /// When the first byte of the question was there.
    pub(crate) arrived: Instant,
    /// When it had settled, by both clocks.
    pub(crate) settled: (Instant, SystemTime),
}

impl Finished {
    /// Returns how many spans it makes.
    pub(crate) fn count(&self) -> u64 {
        // The exchange itself, and its arrival.
        u64::try_from(self.steps.begun.len()).unwrap_or(u64::MAX).saturating_add(2)
    }

    /// Makes its spans.
    pub(crate) fn spans(self) -> Vec<SpanData> {
        let begun = &self.steps.begun;
        let first = begun.first().map_or(self.settled.0, |(_, at)| *at);
        let mut spans = vec![
            self.whole(),
            self.child("receive", self.fresh(0), SpanKind::Internal, (self.arrived, first), Vec::new()),
        ];
        let ends = begun.iter().skip(1).map(|(_, at)| *at).chain([self.settled.0]);
        // The span whose id was handed on is the last that asked; an earlier one found nobody.
        let asked = begun.iter().rposition(|(verb, _)| verb.asks());
        let failed = (!self.reason.is_empty()).then(|| self.failed_at()).flatten();
        for ((at, (verb, start)), end) in begun.iter().enumerate().zip(ends) {
            let id = if asked == Some(at) { self.steps.onward } else { self.fresh(at.saturating_add(1)) };
            let kind = if verb.asks() { SpanKind::Client } else { SpanKind::Internal };
            let mut span = self.child(verb.as_str(), id, kind, (*start, end), self.of_verb(*verb));
            if failed == Some(at) {
                span.attributes.push(KeyValue::new("error.type", self.reason));
                span.status = Status::error("");
            }
            spans.push(span);
        }
        spans
    }

    /// Where it went wrong: the last verb before it was settled.
    fn failed_at(&self) -> Option<usize> {
        self.steps.begun.iter().rposition(|(verb, _)| *verb != Verb::Settle)
    }

    fn whole(&self) -> SpanData {
        let mut attributes = self.rpc();
        attributes.extend([
            KeyValue::new("rpc.response.status_code", rest::status_name(self.status)),
            KeyValue::new("drawbridge.exchange.id", self.exchange.clone()),
            KeyValue::new("drawbridge.side", self.side),
            KeyValue::new("drawbridge.consumer", self.consumer.clone()),
            KeyValue::new("drawbridge.provider", self.provider.clone()),
            KeyValue::new("drawbridge.outcome", self.outcome),
            KeyValue::new("drawbridge.messages", i64::try_from(self.messages).unwrap_or(i64::MAX)),
        ]);
        if !self.reason.is_empty() {
            attributes.push(KeyValue::new("drawbridge.reason", self.reason));
            attributes.push(KeyValue::new("drawbridge.hop", self.hop));
        }
        let failed = is_failure_of_a_server(self.status);
        if failed {
            attributes.push(KeyValue::new(
                "error.type",
                if self.reason.is_empty() { rest::status_name(self.status) } else { self.reason },
            ));
        }
        let parent = self.steps.parent.map_or(SpanId::INVALID, SpanId::from_bytes);
        SpanData {
            parent_span_id: parent,
            parent_span_is_remote: self.steps.parent.is_some(),
            span_kind: SpanKind::Server,
            name: Cow::Owned(self.name().to_owned()),
            status: if failed { Status::error("") } else { Status::Unset },
            ..self.child("", self.steps.own, SpanKind::Server, (self.arrived, self.settled.0), attributes)
        }
    }

    fn child(
        &self,
        name: &'static str,
        id: [u8; 8],
        span_kind: SpanKind,
        (start, end): (Instant, Instant),
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.steps.trace),
                SpanId::from_bytes(id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: SpanId::from_bytes(self.steps.own),
            parent_span_is_remote: false,
            span_kind,
            name: Cow::Borrowed(name),
            start_time: self.clock(start),
            end_time: self.clock(end),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("drawbridge")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }

    fn of_verb(&self, verb: Verb) -> Vec<KeyValue> {
        match verb {
            Verb::Send => {
                let mut attributes = self.rpc();
                attributes.push(KeyValue::new("server.address", self.provider.clone()));
                attributes
            }
            Verb::Identify
            | Verb::Permit
            | Verb::Open
            | Verb::Sign
            | Verb::Record
            | Verb::Answer
            | Verb::Verify
            | Verb::Settle => Vec::new(),
        }
    }

    fn rpc(&self) -> Vec<KeyValue> {
        let method = if self.method == "unknown" { "_OTHER" } else { self.name() };
        vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method.to_owned())]
    }

    /// The name of the exchange's span.
    fn name(&self) -> &str {
        if self.method == "unknown" { "grpc" } else { self.method.trim_start_matches('/') }
    }

    /// The id of the span at this place: as random as the exchange's own, which it is made of.
    fn fresh(&self, at: usize) -> [u8; 8] {
        let at = u64::try_from(at).unwrap_or_default().saturating_add(1);
        let own = u64::from_be_bytes(self.steps.own);
        let mixed = own ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Zero is no id.
        mixed.max(1).to_be_bytes()
    }

    fn clock(&self, at: Instant) -> SystemTime {
        let (instant, clock) = self.settled;
        let before: Duration = instant.saturating_duration_since(at);
        clock.checked_sub(before).unwrap_or(clock)
    }
}

/// Of a server's statuses these are its failures; the others are answers that the caller did not like.
fn is_failure_of_a_server(status: i32) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(verbs: &[Verb], reason: &'static str, status: i32) -> Finished {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let begun = verbs.iter().zip(1..).map(|(verb, place)| (*verb, at(place * 10))).collect();
        let steps = Steps { trace: [1; 16], parent: Some([2; 8]), own: [3; 8], onward: [4; 8], begun };
        Finished {
            steps: Box::new(steps),
            exchange: "0193a1c4".to_owned(),
            side: "consumer",
            consumer: "council.example".to_owned(),
            provider: "trust.example".to_owned(),
            method: "/test.v1.Records/Find".to_owned(),
            outcome: "answered",
            reason,
            hop: "",
            status,
            messages: 1,
            arrived: now,
            settled: (at(100), SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
        }
    }

    #[test]
    fn verbs_follow_one_another_inside_the_exchange() {
        let finished = finished(&[Verb::Identify, Verb::Send, Verb::Settle], "", 0);
        let count = finished.count();
        let spans = finished.spans();
        assert_eq!(count, spans.len() as u64);
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["test.v1.Records/Find", "receive", "identify", "send", "settle"]);
        let [whole, rest @ ..] = spans.as_slice() else { panic!("there is one") };
        assert_eq!((whole.parent_span_id, whole.span_kind.clone()), (SpanId::from_bytes([2; 8]), SpanKind::Server));
        assert_eq!(whole.end_time.duration_since(whole.start_time).unwrap(), Duration::from_millis(100));
        for pair in rest.windows(2) {
            assert_eq!((pair[0].end_time, pair[0].parent_span_id), (pair[1].start_time, SpanId::from_bytes([3; 8])));
        }
        let ids: std::collections::BTreeSet<_> =
            spans.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
        assert_eq!(ids.len(), spans.len());
        assert_eq!((rest[2].span_context.span_id().to_bytes(), rest[2].span_kind.clone()), ([4; 8], SpanKind::Client));
        assert!(spans.iter().all(|span| span.status == Status::Unset));
    }

    #[test]
    fn the_last_that_asked_has_the_id_that_was_handed_on() {
        let spans = finished(&[Verb::Send, Verb::Open, Verb::Send, Verb::Settle], "", 0).spans();
        let onward: Vec<usize> =
            (0..spans.len()).filter(|at| spans[*at].span_context.span_id().to_bytes() == [4; 8]).collect();
        assert_eq!(onward, [4]);
    }

    #[test]
    fn a_refusal_marks_the_verb_that_refused_and_the_exchange_only_where_the_server_failed() {
        let error = |span: &SpanData| span.attributes.iter().any(|kv| kv.key.as_str() == "error.type");
        for (status, failure) in [(7, false), (14, true)] {
            let spans = finished(&[Verb::Identify, Verb::Permit, Verb::Settle], "NO_AGREEMENT", status).spans();
            let marked: Vec<&str> = spans.iter().filter(|span| error(span)).map(|span| span.name.as_ref()).collect();
            let expected = if failure { vec!["test.v1.Records/Find", "permit"] } else { vec!["permit"] };
            assert_eq!(marked, expected);
        }
    }
}
