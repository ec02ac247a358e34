//! What a call says beside its request.

use std::time::Duration;

use clap::Args;
use federation::MemberId;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::failure::{Failure, Outcome};

/// Everything but printable ASCII, and what has a meaning of its own.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// In the two parts of an actor, `;` is what separates them.
const ESCAPED_PART: &AsciiSet = &ESCAPED.add(b';');
/// Largest number in a `grpc-timeout`. Source: gRPC over HTTP/2.
const MAX_TIMEOUT: u128 = 99_999_999;

/// Why the system asks, and for whom.
#[derive(Debug, Args)]
pub(super) struct Metadata {
    /// Why it asks: one of the purposes that the agreement names
    #[arg(long)]
    pub(super) purpose: Option<String>,
    /// The person for whom the system asks; `ID;role=ROLE` says both
    #[arg(long, value_name = "ID")]
    pub(super) actor: Option<String>,
    /// That person's role
    #[arg(long, requires = "actor")]
    role: Option<String>,
    /// The case in which it asks, where the agreement wants one
    #[arg(long, value_name = "CASE")]
    pub(super) case: Option<String>,
    /// Why this once, in free text, where the agreement wants it
    #[arg(long, value_name = "TEXT")]
    pub(super) justification: Option<String>,
    /// Of a command: a text of your own for this one, the same each time that you ask for it again
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
}

impl Metadata {
    /// Writes the headers.
    pub(super) fn headers(&self, provider: &MemberId) -> Outcome<HeaderMap> {
        let mut headers = HeaderMap::new();
        insert(&mut headers, "drawbridge-provider", provider.to_string())?;
        if let Some(purpose) = &self.purpose {
            insert(&mut headers, "drawbridge-purpose", escaped(purpose, ESCAPED))?;
        }
        if let Some(actor) = self.person() {
            insert(&mut headers, "drawbridge-actor", actor)?;
        }
        if let Some(case) = &self.case {
            insert(&mut headers, "drawbridge-case", escaped(case, ESCAPED))?;
        }
        if let Some(justification) = &self.justification {
            insert(&mut headers, "drawbridge-justification", escaped(justification, ESCAPED))?;
        }
        if let Some(key) = &self.idempotency_key {
            insert(&mut headers, "drawbridge-idempotency-key", escaped(key, ESCAPED))?;
        }
        Ok(headers)
    }

    fn person(&self) -> Option<String> {
        let actor = self.actor.as_deref()?;
        let (id, role) = match (&self.role, actor.split_once(";role=")) {
            (Some(role), _) => (actor, Some(role.as_str())),
            (None, Some((id, role))) => (id, Some(role)),
            (None, None) => (actor, None),
        };
        let id = escaped(id, ESCAPED_PART);
        Some(role.map_or_else(|| id.clone(), |role| format!("{id};role={}", escaped(role, ESCAPED_PART))))
    }
}

fn escaped(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(text, set).to_string()
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: String) -> Outcome {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Failure::usage(format!("the value of `{name}` cannot stand in a header"), "leave out what is not text")
    })?;
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Writes the deadline, in the finest unit that has room for it.
pub(super) fn deadline(deadline: Duration, headers: &mut HeaderMap) {
    let text = [(deadline.as_micros(), 'u'), (deadline.as_millis(), 'm'), (u128::from(deadline.as_secs()), 'S')]
        .into_iter()
        .find(|(number, _)| *number <= MAX_TIMEOUT)
        .map_or_else(|| format!("{MAX_TIMEOUT}S"), |(number, unit)| format!("{number}{unit}"));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(HeaderName::from_static("grpc-timeout"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(actor: &str, role: Option<&str>) -> Metadata {
        Metadata {
            purpose: Some("care".to_owned()),
            actor: Some(actor.to_owned()),
            role: role.map(str::to_owned),
            case: Some("Fall 7 ½; 100 %".to_owned()),
            justification: None,
            idempotency_key: None,
        }
    }

    #[test]
    fn what_is_said_reads_back_at_the_gateway() {
        let provider = "trust.example".parse().unwrap();
        for (given, role, expected) in [
            ("sw-1;role=social worker", None, ("sw-1", "social worker")),
            ("sw-1", Some("social; worker"), ("sw-1", "social; worker")),
            ("née;1", None, ("née;1", "")),
        ] {
            let headers = metadata(given, role).headers(&provider).unwrap();
            let Ok(read) = exchange::CallMetadata::read(&headers) else { panic!("{given} is refused") };
            let (id, role) = read.actor.unwrap();
            assert_eq!((id.as_str(), role.as_str()), expected);
            assert_eq!(read.case.as_deref(), Some("Fall 7 ½; 100 %"));
            assert_eq!((read.provider.as_deref(), read.purpose.as_deref()), (Some("trust.example"), Some("care")));
        }
    }

    #[test]
    fn a_deadline_takes_the_finest_unit_with_room() {
        for (given, expected) in [
            (Duration::from_millis(500), "500000u"),
            (Duration::from_mins(1), "60000000u"),
            (Duration::from_secs(1000), "1000000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::from_secs(u64::MAX), "99999999S"),
        ] {
            let mut headers = HeaderMap::new();
            deadline(given, &mut headers);
            assert_eq!(headers["grpc-timeout"], expected);
        }
    }
}
