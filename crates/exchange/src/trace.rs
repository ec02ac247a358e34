//! W3C trace context: the client's trace goes on through both gateways.

/// Returns the context that this gateway hands on: the trace of `parent`, or a new one, with a span of its own.
///
/// Source: W3C Trace Context, version 00.
#[must_use]
pub fn child_of(parent: Option<&str>) -> String {
    let mut random = [0_u8; 24];
    // Without random bytes the context is all zero, which receivers ignore.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let (trace, span) = random.split_at(16);
    let (trace, flags) = match parent.map(|p| p.split('-').collect::<Vec<_>>()).as_deref() {
        Some([_, trace, _, flags]) => ((*trace).to_owned(), (*flags).to_owned()),
        _ => (hex(trace), "00".to_owned()),
    };
    format!("00-{trace}-{}-{flags}", hex(span))
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_stays_and_the_span_is_new() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let child = child_of(Some(parent));
        assert!(child.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && child.ends_with("-01") && child != parent);
        assert_ne!(child_of(None), child_of(None));
        assert_eq!(child_of(None).len(), parent.len());
    }

    #[test]
    fn a_malformed_trace_parent_is_left_behind() {
        for text in ["00-00000000000000000000000000000000-b7ad6b7169203331-01", "junk", "01-a-b-c"] {
            assert!(!is_trace_parent(text), "{text}");
        }
    }
}
