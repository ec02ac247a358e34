//! W3C trace context: the client's trace goes on through both gateways, and the verbs of a traced exchange are timed.
//!
//! Who is not traced is not timed: then nothing here but the context that is handed on costs anything.

use std::time::Instant;

use http::HeaderMap;
use proto::records::Side;

/// Bit of the flags that says: the caller keeps this trace.
const SAMPLED: u8 = 1;
/// Steps kept of one exchange; a question that goes to gateway after gateway makes no more.
const MAX_STEPS: usize = 32;

/// Which exchanges are timed for traces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// None. The caller's context is handed on all the same.
    #[default]
    Off,
    /// Those whose caller keeps the trace; and of those that come without a trace this share, from 0 to 1.
    Share(f64),
}

/// What a gateway does in an exchange, in the words of `crates/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Which of our systems asks, and whom?
    Identify,
    /// May it?
    Permit,
    /// A session with the provider's gateway, dialled where there is none.
    Open,
    /// Claims over the request.
    Sign,
    /// The intent, made durable.
    Record,
    /// The question, until the reply begins.
    Send,
    /// The question of the legacy system, until it has answered.
    Answer,
    /// Claims and evidence of the other side; of a stream, all that passes until it ends.
    Verify,
    /// The outcome, signed and made durable.
    Settle,
}

impl Verb {
    /// Returns the word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Permit => "permit",
            Self::Open => "open",
            Self::Sign => "sign",
            Self::Record => "record",
            Self::Send => "send",
            Self::Answer => "answer",
            Self::Verify => "verify",
            Self::Settle => "settle",
        }
    }

    /// Whether it asks somebody else, who continues the trace.
    #[must_use]
    pub fn asks(self) -> bool {
        matches!(self, Self::Send | Self::Answer)
    }
}

/// The place of one exchange in its trace, and when each of its steps began. A step ends when the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span; none where the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// The span of the exchange at this gateway.
    pub own: [u8; 8],
    /// The span of the verb that asks somebody else: the parent in the context that is handed on.
    pub onward: [u8; 8],
    /// The steps, in order.
    pub begun: Vec<(Verb, Instant)>,
}

impl Steps {
    /// Notes that a step begins.
    pub(crate) fn begin(&mut self, verb: Verb, at: Instant) {
        if self.begun.len() < MAX_STEPS {
            self.begun.push((verb, at));
        }
    }
}

/// What an exchange has to do with traces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entered {
    /// The context that this gateway hands on.
    pub(crate) onward: Option<String>,
    /// Its steps, where they are timed.
    pub(crate) steps: Option<Box<Steps>>,
}

impl Entered {
    /// Takes up the trace of `parent`, or begins one.
    ///
    /// A consumer's gateway hands on a context even where nobody traces, with a span of its own: claims carry it. A provider's
    /// hands on the one in the claims, unless it times the exchange itself. `parent` is well-formed.
    pub(crate) fn new(sampling: Sampling, parent: Option<&str>, side: Side) -> Self {
        if sampling == Sampling::Off && side == Side::Provider {
            return Self { onward: parent.map(str::to_owned), steps: None };
        }
        let parent = parent.and_then(Context::read);
        // Without random bytes the context is all zero, which receivers ignore.
        let mut random = [0_u8; 32];
        let _ = ledger::random::fill(&mut random);
        let (trace, spans) = random.split_at(16);
        let (own, onward) = spans.split_at(8);
        let (new, own, onward) = (array(trace), array(own), array(onward));
        let sampled = match (sampling, &parent) {
            (Sampling::Off, _) => false,
            (Sampling::Share(_), Some(parent)) => parent.flags & SAMPLED != 0,
            (Sampling::Share(share), None) => of_share(&new, share),
        };
        let trace = parent.as_ref().map_or(new, |parent| parent.trace);
        let flags = parent.as_ref().map_or(u8::from(sampled), |parent| parent.flags);
        let context = Context { trace, span: onward, flags };
        let context = match &parent {
            _ if sampled || side == Side::Consumer => Some(context),
            // Nobody here times it: the caller's own context is the truer parent.
            Some(parent) => Some(Context { span: parent.span, ..context }),
            None => None,
        };
        let steps =
            Steps { trace, parent: parent.map(|parent| parent.span), own, onward, begun: Vec::with_capacity(8) };
        Self { onward: context.map(|context| context.to_string()), steps: sampled.then(|| Box::new(steps)) }
    }
}

/// Whether a trace that begins here is among `share` of all; decided by its id, as OpenTelemetry's `TraceIdRatioBased` does, so that
/// the same trace is in or out wherever the share is the same.
fn of_share(trace: &[u8; 16], share: f64) -> bool {
    let number = trace.last_chunk::<4>().map_or(0, |last| u32::from_be_bytes(*last));
    share > 0.0 && f64::from(number) <= share * f64::from(u32::MAX)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// A trace context, version 00.
#[derive(Clone, Copy)]
struct Context {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl Context {
    fn read(text: &str) -> Option<Self> {
        if !is_trace_parent(text) {
            return None;
        }
        let mut parts = text.split('-').skip(1);
        let trace = u128::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
        let span = u64::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self { trace, span, flags })
    }
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// Returns the trace context that a caller sends, where it is well-formed.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent").and_then(|value| value.to_str().ok()).filter(|text| is_trace_parent(text))
}

/// Returns whether `text` is a trace context of this form, and nothing else.
///
/// Source: W3C Trace Context, version 00.
#[must_use]
pub fn is_trace_parent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let hex =
        |part: &str, len: usize| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let set = |part: &str| part.bytes().any(|b| b != b'0');
    match parts.as_slice() {
        ["00", trace, span, flags] => hex(trace, 32) && set(trace) && hex(span, 16) && set(span) && hex(flags, 2),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn enter(sampling: Sampling, parent: Option<&str>, side: Side) -> (String, Option<Box<Steps>>) {
        let entered = Entered::new(sampling, parent, side);
        (entered.onward.unwrap_or_default(), entered.steps)
    }

    #[test]
    fn without_traces_the_consumer_makes_a_span_and_the_provider_passes_it_on() {
        let (handed_on, steps) = enter(Sampling::Off, Some(KEPT), Side::Consumer);
        assert!(handed_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && handed_on.ends_with("-01"));
        assert!(handed_on != KEPT && steps.is_none());
        let (first, second) =
            (enter(Sampling::Off, None, Side::Consumer).0, enter(Sampling::Off, None, Side::Consumer).0);
        assert!(first != second && is_trace_parent(&first) && first.ends_with("-00"), "{first} {second}");
        assert_eq!(enter(Sampling::Off, Some(KEPT), Side::Provider), (KEPT.to_owned(), None));
        assert_eq!(enter(Sampling::Off, None, Side::Provider), (String::new(), None));
    }

    #[test]
    fn a_caller_that_keeps_its_trace_has_the_exchange_in_it() {
        for side in [Side::Consumer, Side::Provider] {
            let (handed_on, steps) = enter(Sampling::Share(0.0), Some(KEPT), side);
            let steps = steps.unwrap();
            assert_eq!(u128::from_be_bytes(steps.trace), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
            assert_eq!(steps.parent.map(u64::from_be_bytes), Some(0xb7ad_6b71_6920_3331));
            let onward = u64::from_be_bytes(steps.onward);
            assert_eq!(handed_on, format!("00-0af7651916cd43dd8448eb211c80319c-{onward:016x}-01"));
            assert_ne!(steps.own, steps.onward);
        }
    }

    #[test]
    fn a_caller_that_does_not_keep_its_trace_is_not_timed_whatever_the_share() {
        assert!(enter(Sampling::Share(1.0), Some(NOT_KEPT), Side::Consumer).1.is_none());
        assert_eq!(enter(Sampling::Share(1.0), Some(NOT_KEPT), Side::Provider), (NOT_KEPT.to_owned(), None));
    }

    #[test]
    fn a_trace_that_begins_here_is_kept_by_its_share() {
        let (handed_on, steps) = enter(Sampling::Share(1.0), None, Side::Consumer);
        assert!(handed_on.ends_with("-01") && steps.unwrap().parent.is_none());
        assert!(enter(Sampling::Share(0.0), None, Side::Consumer).1.is_none());
        let mut trace = [0xff; 16];
        assert!(!of_share(&trace, 0.5) && of_share(&trace, 1.0));
        trace[12] = 0x7f;
        assert!(of_share(&trace, 0.5) && !of_share(&trace, 0.25) && !of_share(&[0; 16], 0.0));
    }

    #[test]
    fn a_malformed_trace_parent_is_left_behind() {
        for text in ["00-00000000000000000000000000000000-b7ad6b7169203331-01", "junk", "01-a-b-c"] {
            assert!(!is_trace_parent(text) && Context::read(text).is_none(), "{text}");
        }
    }
}
