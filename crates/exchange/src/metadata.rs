//! What a partner system says beside its request, read from gRPC metadata and held to its limits.

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::refusal::{Hop, Reason, Refusal};

/// Largest justification, in bytes after decoding.
pub const MAX_JUSTIFICATION_BYTES: usize = 1024;
/// Largest actor (id and role together) and largest case, in bytes after decoding.
pub const MAX_REFERENCE_BYTES: usize = 256;
/// Largest purpose, in bytes.
const MAX_PURPOSE_BYTES: usize = 128;

/// The metadata of one call.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallMetadata {
    /// `drawbridge-provider`: the member that is asked.
    pub provider: Option<String>,
    /// `drawbridge-purpose`.
    pub purpose: Option<String>,
    /// `drawbridge-actor`: id and, after `;role=`, role of the acting person.
    pub actor: Option<(String, String)>,
    /// `drawbridge-case`.
    pub case: Option<String>,
    /// `drawbridge-justification`.
    pub justification: Option<String>,
    /// `drawbridge-idempotency-key`.
    pub idempotency_key: Option<String>,
}

impl CallMetadata {
    /// Reads the metadata of a call from a partner system.
    ///
    /// Free text is percent-encoded UTF-8. `authorization`, `cookie` and all that is not named here stay behind.
    ///
    /// # Errors
    ///
    /// [`Reason::Metadata`] for a `drawbridge-*` key that is not one of ours, one that stands twice, is not text, or is
    /// above its limit. The value is never part of the text.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut metadata = Self::default();
        for name in headers.keys() {
            let Some(key) = name.as_str().strip_prefix("drawbridge-") else { continue };
            match key {
                "provider" => metadata.provider = Some(one(headers, name, 253)?),
                "purpose" => metadata.purpose = Some(one(headers, name, MAX_PURPOSE_BYTES)?),
                "actor" => metadata.actor = Some(actor(headers, name)?),
                "case" => metadata.case = Some(one(headers, name, MAX_REFERENCE_BYTES)?),
                "justification" => metadata.justification = Some(one(headers, name, MAX_JUSTIFICATION_BYTES)?),
                "idempotency-key" => metadata.idempotency_key = Some(one(headers, name, MAX_REFERENCE_BYTES)?),
                _ => return Err(refuse(name, "is not a key that a system may set")),
            }
        }
        Ok(metadata)
    }
}

fn refuse(name: &HeaderName, what: &str) -> Refusal {
    let cure = "see `drawbridge explain METADATA` for the keys and their limits";
    Refusal::new(Reason::Metadata, Hop::Consumer, format!("the metadata key `{name}` {what}; {cure}"))
}

fn one(headers: &HeaderMap, name: &HeaderName, limit: usize) -> Result<String, Refusal> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(refuse(name, "stands more than once"));
    };
    let text = value.to_str().map_err(|_| refuse(name, "is not ASCII; percent-encode it"))?;
    let text = percent_decode_str(text).decode_utf8().map_err(|_| refuse(name, "is not percent-encoded UTF-8"))?;
    if text.len() > limit {
        return Err(refuse(name, &format!("has {} bytes, the limit is {limit}", text.len())));
    }
    if text.is_empty() {
        return Err(refuse(name, "is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse(name, "holds a control character"));
    }
    Ok(text.into_owned())
}

/// `id;role=…`: split before decoding, so that an encoded semicolon stays part of the id.
fn actor(headers: &HeaderMap, name: &HeaderName) -> Result<(String, String), Refusal> {
    let raw = headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| refuse(name, "is not ASCII; percent-encode it"))?;
    one(headers, name, MAX_REFERENCE_BYTES)?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match raw.split_once(';') {
        None => Ok((decode(raw), String::new())),
        Some((id, role)) => match role.strip_prefix("role=") {
            Some(role) if !id.is_empty() && !role.contains(';') => Ok((decode(id), decode(role))),
            _ => Err(refuse(name, "is not of the form `id;role=…`")),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (key, value) in pairs {
            map.append(*key, HeaderValue::from_static(value));
        }
        map
    }

    fn told(pairs: &[(&'static str, &'static str)]) -> String {
        CallMetadata::read(&headers(pairs)).err().map_or_else(String::new, |r| r.told)
    }

    #[test]
    fn keys_are_read_and_decoded() {
        let metadata = CallMetadata::read(&headers(&[
            ("drawbridge-provider", "trust.example"),
            ("drawbridge-purpose", "care"),
            ("drawbridge-actor", "j%C3%B8rgen%3B1;role=case%20worker"),
            ("drawbridge-justification", "r%C3%A9f"),
            ("authorization", "Bearer x"),
        ]))
        .unwrap();
        assert_eq!(metadata.actor, Some(("jørgen;1".into(), "case worker".into())));
        assert_eq!(metadata.justification.as_deref(), Some("réf"));
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        assert!(told(&[("drawbridge-consumer", "canary")]).contains("`drawbridge-consumer` is not a key"));
        assert!(told(&[("drawbridge-case", "canary"), ("drawbridge-case", "b")]).contains("more than once"));
        assert!(told(&[("drawbridge-case", "%ff")]).contains("UTF-8"));
        assert!(told(&[("drawbridge-actor", "a;kind=canary")]).contains("id;role="));
        assert!(told(&[("drawbridge-case", "%0acanary")]).contains("control"));
        for pairs in [&[("drawbridge-consumer", "canary")][..], &[("drawbridge-case", "%0acanary")]] {
            assert!(!told(pairs).contains("canary"));
        }
    }
}
