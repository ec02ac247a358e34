//! What names in an agreement look like.

/// Longest name of a purpose, in bytes.
const MAX_PURPOSE_BYTES: usize = 64;

/// Returns whether `text` is an id of an agreement: 1 to 128 of `a-z`, `0-9`, `.`, `-`, the first and last not `.` or `-`.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() <= 128 && is_word(text, |byte| matches!(byte, b'.' | b'-'))
}

/// Returns whether `text` can name a purpose: 1 to 64 of `a-z`, `0-9`, `-`, the first and last not `-`.
pub(crate) fn is_purpose(text: &str) -> bool {
    text.len() <= MAX_PURPOSE_BYTES && is_word(text, |byte| byte == b'-')
}

/// Returns whether `text` is a key of gRPC metadata with ASCII values or, with `-bin`, binary ones.
pub(crate) fn is_metadata_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}

/// Returns whether a metadata key belongs to gateways, to gRPC or to HTTP, so that an agreement cannot let it cross.
pub(crate) fn is_reserved_metadata(key: &str) -> bool {
    const KEYS: [&str; 30] = [
        "accept",
        "accept-encoding",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "date",
        "etag",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "location",
        "origin",
        "range",
        "retry-after",
        "server",
        "set-cookie",
        "strict-transport-security",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "www-authenticate",
    ];
    const PREFIXES: [&str; 6] = ["drawbridge-", "grpc-", "proxy-", "content-", "access-control-", "sec-"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || KEYS.contains(&key)
}

/// Returns whether `text` is a full name such as `health.v1.Patients`.
pub(crate) fn looks_like_service(text: &str) -> bool {
    text.len() <= 512 && text.split('.').all(is_identifier)
}

/// Returns whether `text` is an identifier of protobuf.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_word(text: &str, also: impl Fn(u8) -> bool) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || also(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        assert!(is_id("council-trust-2026.1") && is_id("a"));
        for text in ["", "-a", "a.", "A", "a b", "a/b", "../a", &"a".repeat(129)] {
            assert!(!is_id(text), "{text}");
        }
        assert!(is_purpose("council-tax-support"));
        for text in ["", "Safeguarding", "a.b", "child protection", "a-", &"a".repeat(65)] {
            assert!(!is_purpose(text), "{text}");
        }
        assert!(looks_like_service("health.v1.Patients"));
        for text in ["", "health..v1", "health.v1.Patients/Find", ".a.b", "1.2"] {
            assert!(!looks_like_service(text), "{text}");
        }
        for key in
            ["drawbridge-x", "grpc-timeout", "cookie", "authorization", "content-encoding", "location", "proxy-x"]
        {
            assert!(is_reserved_metadata(key), "{key}");
        }
        for key in ["x-request-id", "accept-language", "tenant-bin", "contents"] {
            assert!(!is_reserved_metadata(key), "{key}");
        }
    }
}
