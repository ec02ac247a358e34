//! How a call ended that was not answered, for people.

use std::time::Duration;

use contract::status;
use exchange::{Reason, Retry, Status};
use records::ExchangeId;

use crate::{
    moments,
    terminal::{colour_on_stderr, say, shown},
};

/// `UNKNOWN`, gRPC's code 2.
const UNKNOWN: i32 = 2;

/// Returns gRPC's name of a status code.
pub(in crate::commands) fn status_name(code: i32) -> String {
    status::name(code).map_or_else(|| format!("STATUS_{code}"), str::to_owned)
}

/// Says on standard error what became of the call.
pub(super) fn refusal(status: &Status, hop: Option<&str>, exchange: Option<ExchangeId>) {
    say(text(status, hop, exchange, colour_on_stderr()));
}

fn text(status: &Status, hop: Option<&str>, exchange: Option<ExchangeId>, colour: bool) -> String {
    let reason = status.reason();
    let code = status_name(status.code);
    let (red, end) = if colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let by = match (reason, hop) {
        (None, Some("legacy") | None) => "answered by the legacy system".to_owned(),
        (_, Some("legacy")) => "at the provider's legacy system".to_owned(),
        (_, Some("link")) => "on the link between the gateways".to_owned(),
        (_, Some(hop)) => format!("refused by the {}'s gateway", shown(hop)),
        (Some(_), None) => "refused by a gateway".to_owned(),
    };
    let id = exchange.map(|id| format!(", exchange {id}")).unwrap_or_default();
    let head = match reason {
        Some(reason) => format!("{red}{reason}{end} ({code}, {by}{id}):"),
        None => format!("{red}{code}{end} ({by}{id}):"),
    };
    let message = shown(&status.message);
    let message =
        reason.map_or(message.as_str(), |reason| message.strip_prefix(&format!("{reason}: ")).unwrap_or(&message));
    let mut text = head;
    let (violations, total) = status.violations();
    for violation in &violations {
        text = format!("{text}\n  `{}` {}", shown(&violation.field), shown(&violation.description));
    }
    if total > violations.len() {
        text = format!("{text}\n  and {} more", total.saturating_sub(violations.len()));
    }
    // The message is what these lines say, cut short.
    if !message.is_empty() && violations.is_empty() {
        text = format!("{text}\n  {message}");
    }
    let Some(reason) = reason else { return text };
    // What the message says itself of asking again counts.
    if message.ends_with(AGAIN_THEN) {
        return format!("{text}\n  help: `drawbridge explain {reason}`");
    }
    format!("{text}\n  {}\n  help: `drawbridge explain {reason}`", again(reason, status.code, status.retry_after()))
}

/// How a message ends that names the moment from which on the call is answered.
const AGAIN_THEN: &str = "call again then";

fn again(reason: Reason, code: i32, told: Option<Duration>) -> String {
    match (reason.retry(), told) {
        (Retry::Later(_) | Retry::Told, Some(after)) | (Retry::Later(after), None) => {
            format!("ask again after {}", pause(after))
        }
        (Retry::No | Retry::Told, _) => "asking again does not help until something is changed".to_owned(),
        // Of a command it would be `UNKNOWN` if anything of it could have been done.
        (Retry::QueryOnly, _) if code != UNKNOWN => "it may be asked again".to_owned(),
        (Retry::QueryOnly, _) => {
            "a command is asked again, with another key, only once it is known that it was not done".to_owned()
        }
    }
}

/// Writes a pause; one of minutes and hours is rounded up, so that nobody comes too early.
fn pause(pause: Duration) -> String {
    let minutes = pause.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, 0..=2) => moments::took(pause),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use exchange::{Hop, Refusal};

    use super::*;

    #[test]
    fn a_refusal_names_reason_status_hop_and_exchange() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let status = Refusal::new(Reason::LinkDown, Hop::Link, "no link to `trust.example/main`").status(id);
        let told = text(&status, Some("link"), Some(id), false);
        assert_eq!(
            told,
            format!(
                "LINK_DOWN (UNAVAILABLE, on the link between the gateways, exchange {id}):\n  no link to `trust.example/main`\n  ask again \
                 after 1.0 s\n  help: `drawbridge explain LINK_DOWN`"
            )
        );
    }

    #[test]
    fn a_limit_that_is_reached_is_told_with_the_time_until_there_is_room() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let reached = Refusal::new(Reason::QuotaExceeded, Hop::Provider, "enough").limit("calls_per_day");
        let told = |after: Option<u64>| {
            let reached = reached.clone();
            text_of(&after.map_or(reached.clone(), |after| reached.after(Duration::from_secs(after))).status(id))
        };
        assert!(told(Some(9 * 3600 + 61)).contains("\n  ask again after 9 h 2 min\n"), "{}", told(Some(9 * 3600 + 61)));
        assert!(told(Some(90)).contains("\n  ask again after 90.0 s\n") && told(Some(500)).contains(" 9 min\n"));
        assert!(told(None).contains("\n  asking again does not help"), "{}", told(None));
    }

    #[test]
    fn what_is_to_come_is_not_said_to_be_of_no_use() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let told = text_of(
            &Refusal::new(Reason::NoAgreement, Hop::Consumer, "in force from tomorrow on; call again then").status(id),
        );
        assert!(told.contains("call again then\n  help: ") && !told.contains("asking again"), "{told}");
    }

    #[test]
    fn every_rule_that_is_broken_has_a_line() {
        let text = "syntax = \"proto3\"; package t; import \"drawbridge/options/v1/options.proto\";
            message A { repeated uint32 a = 1 [(drawbridge.options.v1.field).maximum = \"3\"]; } service S { rpc Ask(A) returns (A); }";
        let source =
            contract::Source::Protos { name: "proto".to_owned(), files: vec![("t.proto".to_owned(), text.to_owned())] };
        let contracts = contract::Contracts::load(&[source]).unwrap();
        let told = |count: u8| {
            let request = [vec![0x0a, count], vec![9; usize::from(count)]].concat();
            let misfit = contracts.method("/t.S/Ask").unwrap().check_request(&request).unwrap_err();
            let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
            text_of(&Refusal::misfit(misfit, Hop::Consumer).status(id))
        };
        assert!(
            told(2).contains("gateway):\n  `a[1]` has to be at most 3\n  `a[2]` has to be at most 3\n  asking again")
        );
        assert!(told(20).contains("\n  `a[16]` has to be at most 3\n  and 4 more\n  asking again"), "{}", told(20));
    }

    fn text_of(status: &Status) -> String {
        text(status, Some("consumer"), None, false)
    }

    /// `UNKNOWN` is the status of a command of which nobody can say whether it was done, and of no other refusal.
    #[test]
    fn a_command_that_may_have_been_done_is_not_asked_for_again() {
        let id = ExchangeId::new(SystemTime::UNIX_EPOCH, [3; 10]);
        let refusal = Refusal::new(Reason::ConnectorFailed, Hop::Legacy, "it could not answer");
        let told = text_of(&refusal.status(id));
        assert!(told.contains("(UNAVAILABLE,") && told.contains("it may be asked again"), "{told}");
        let told = text_of(&Status { code: UNKNOWN, ..refusal.status(id) });
        assert!(told.contains("(UNKNOWN,") && told.contains("only once it is known"), "{told}");
    }

    #[test]
    fn an_answer_that_is_a_status_is_told_as_one() {
        let status = Status { code: 5, message: "no such \x1b[2Jperson".to_owned(), ..Status::OK };
        assert_eq!(
            text(&status, None, None, false),
            "NOT_FOUND (answered by the legacy system):\n  no such \u{fffd}[2Jperson"
        );
        assert_eq!(status_name(99), "STATUS_99");
    }
}
