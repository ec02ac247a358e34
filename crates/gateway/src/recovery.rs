//! Records of the gateway's own: what the last run left open is settled, and what it did or saw is noted.

use exchange::{House, LeftOpen};
use ledger::AppendError;
use prost::Message as _;
use proto::{
    link::ConsumerClaims,
    records::{CommandStep, Kind, Private, Shared},
};
use records::{Draft, Unsettled, Usage};

/// Counts what the log says was used of agreements' limits.
pub(crate) fn restore(house: &House, usage: &[Usage]) {
    for Usage { agreement, grant, day, calls, rows } in usage {
        house
            .meters
            .of(contract::Digest(*agreement), *grant)
            .restore(*day, policy::Used { calls: *calls, rows: *rows });
    }
}

/// How old a command that was left open may be to be asked about, in milliseconds. A record that comes more than a day after its
/// exchange began is not found by its id.
const ASKED_ABOUT: u64 = 22 * 60 * 60 * 1000;

/// Settles every intent without outcome as `UNANSWERED`, with its last progress; returns how many, and those that are left: commands
/// that this gateway asked another for, which knows what became of them.
pub(crate) async fn settle(
    house: &House,
    unsettled: Vec<Unsettled>,
) -> Result<(usize, Vec<(Unsettled, LeftOpen)>), AppendError> {
    let mut left = Vec::new();
    let mut settled = 0_usize;
    for open in unsettled {
        let began = open.intent.opened.as_ref().map_or(0, |opened| opened.private.time);
        let young = house.millis().saturating_sub(began) < ASKED_ABOUT;
        if let Some(command) = LeftOpen::of(&open.intent).filter(|_| young) {
            left.push((open, command));
        } else {
            Box::pin(unanswered(house, open, "what passed after its last progress is not known")).await?;
            settled = settled.saturating_add(1);
        }
    }
    Ok((settled, left))
}

/// Settles one intent as `UNANSWERED`, with its last progress and why no more is known.
pub(crate) async fn unanswered(
    house: &House,
    Unsettled { intent, progress, requests }: Unsettled,
    why: &str,
) -> Result<(), AppendError> {
    let Some(opened) = intent.opened else { return Ok(()) };
    let mut draft = Draft { shared: opened.shared, private: opened.private };
    if let Some(progress) = progress.and_then(|p| p.opened) {
        draft.shared.messages = progress.shared.messages;
        draft.shared.running_digest = progress.shared.running_digest;
        draft.private.bytes = progress.private.bytes;
    }
    if let Some(requests) = requests.and_then(|p| p.opened) {
        draft.shared.request_messages = requests.shared.request_messages;
        draft.shared.request_digest = requests.shared.request_digest;
        draft.private.bytes = draft.private.bytes.saturating_add(requests.private.bytes);
    }
    draft.shared.kind = Kind::Refusal.into();
    draft.shared.refusal = exchange::Reason::Unanswered.as_str().to_owned();
    // Of a command nobody knows whether it was done: no caller may take it for undone.
    let command = intent_of_command(&draft.shared);
    let code = if command { tonic::Code::Unknown } else { exchange::Reason::Unanswered.code() };
    draft.shared.status = u32::try_from(code as i32).unwrap_or(2);
    if !draft.private.command_key.is_empty() {
        draft.private.command_step = CommandStep::Unknown.into();
    }
    draft.private.outcome = "unanswered".to_owned();
    draft.private.detail = format!("the gateway stopped after the intent at index {}; {why}", intent.index);
    draft.private.duration = house.millis().saturating_sub(draft.private.time);
    draft.private.time = house.millis();
    house.records.append(draft, None).await.map(drop)
}

fn intent_of_command(shared: &Shared) -> bool {
    ConsumerClaims::decode(shared.consumer_claims.clone()).is_ok_and(|claims| !claims.idempotency_key.is_empty())
}

/// Records something that the gateway itself did or saw.
pub(crate) async fn event(house: &House, detail: String) -> Result<(), AppendError> {
    let private = Private { time: house.millis(), detail, conditions: house.conditions.clone(), ..Private::default() };
    let shared = Shared { kind: Kind::Event.into(), ..Shared::default() };
    house.records.append(Draft { shared, private }, None).await.map(drop)
}

/// Records how many exchanges were refused in the last second because there were too many at once.
pub(crate) async fn shed(house: &House, count: u64) -> Result<(), AppendError> {
    let private = Private {
        time: house.millis(),
        outcome: "refused".to_owned(),
        detail: "as many exchanges at once as the gateway takes".to_owned(),
        count,
        since: house.millis().saturating_sub(1000),
        conditions: house.conditions.clone(),
        ..Private::default()
    };
    let refusal = exchange::Reason::Overloaded.as_str().to_owned();
    let shared = Shared { kind: Kind::Aggregate.into(), refusal, ..Shared::default() };
    house.records.append(Draft { shared, private }, None).await.map(drop)
}
