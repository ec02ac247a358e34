//! How the agreements of a gateway's member stand: by time, and by the contracts that are loaded.

use std::time::SystemTime;

use exchange::Rules;
use federation::MemberId;
use policy::{ContractState, Ended, Limit, Meters, NEAR_END, Served, Standing};

use super::{Agreement, AgreementState, Agreements, ContractMatch, DayLimit, Grant};
use crate::when;

/// Tells how they stand.
pub(super) fn of(rules: &Rules, own: &MemberId, now: SystemTime, meters: &Meters) -> Agreements {
    let mut told = Agreements::default();
    for agreement in rules.agreements.iter().filter(|agreement| agreement.is_party(own)) {
        let one = one(rules, agreement, now);
        let count = match one.state {
            AgreementState::Ended => &mut told.ended,
            AgreementState::ToCome => &mut told.to_come,
            AgreementState::NotServed => &mut told.not_served,
            AgreementState::ServedInPart | AgreementState::NearItsEnd | AgreementState::InForce => &mut told.in_force,
        };
        *count = count.saturating_add(1);
        if !matches!(one.state, AgreementState::Ended | AgreementState::ToCome) {
            told.limits.extend(limits(agreement, now, meters));
        }
        told.each.push(one);
    }
    told.limits.sort_by(|a, b| (&a.agreement, a.grant, &a.limit).cmp(&(&b.agreement, b.grant, &b.limit)));
    told.each.sort_by(|a, b| {
        (!a.look_at, a.ends_in_seconds, &a.agreement).cmp(&(!b.look_at, b.ends_in_seconds, &b.agreement))
    });
    told
}

fn one(rules: &Rules, agreement: &policy::Agreement, now: SystemTime) -> Agreement {
    let over = rules.agreements.ended(&agreement.digest(), now);
    let standings = rules.agreements.standings(&agreement.digest());
    let until = over.as_ref().map_or(agreement.valid_until(), Ended::at);
    let ends_in_seconds = when::seconds_until(until, now);
    let state = state(agreement, over.as_ref(), standings, now);
    let ended_by = match over {
        Some(Ended::ByNote { by, .. }) => Some(by.to_string()),
        Some(Ended::Expired { .. }) | None => None,
    };
    let review = Review::of(agreement, now);
    Agreement {
        agreement: agreement.id().to_owned(),
        consumer: agreement.consumer().to_string(),
        provider: agreement.provider().to_string(),
        state,
        // Who ended it by a note knows that it is over.
        look_at: ended_by.is_none() && (is_hindered(state, standings) || is_near(ends_in_seconds, review)),
        from: when::rfc3339(agreement.valid_from()),
        until: when::rfc3339(until),
        ends_in_seconds,
        ended_by,
        review_on: agreement.review_on().to_string(),
        review_overdue: review == Review::Overdue,
        grants: if state == AgreementState::Ended { Vec::new() } else { standings.iter().map(grant).collect() },
    }
}

fn state(
    agreement: &policy::Agreement,
    over: Option<&Ended>,
    standings: &[Standing],
    now: SystemTime,
) -> AgreementState {
    if over.is_some() {
        return AgreementState::Ended;
    }
    if agreement.valid_from() > now {
        return AgreementState::ToCome;
    }
    let near = agreement.valid_until().duration_since(now).is_ok_and(|left| left <= NEAR_END);
    match Served::of(standings) {
        Served::Not => AgreementState::NotServed,
        Served::Partly => AgreementState::ServedInPart,
        Served::Whole if near => AgreementState::NearItsEnd,
        Served::Whole => AgreementState::InForce,
    }
}

fn is_hindered(state: AgreementState, standings: &[Standing]) -> bool {
    state != AgreementState::Ended && Served::of(standings) != Served::Whole
}

/// One that ended more than 30 days ago is history, whatever its review.
fn is_near(ends_in_seconds: i64, review: Review) -> bool {
    let near = i64::try_from(NEAR_END.as_secs()).unwrap_or(i64::MAX);
    ends_in_seconds >= near.saturating_neg() && (ends_in_seconds <= near || review != Review::Later)
}

/// How a review stands to today.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Review {
    Overdue,
    Soon,
    Later,
}

impl Review {
    fn of(agreement: &policy::Agreement, now: SystemTime) -> Self {
        let Ok(now) = jiff::Timestamp::try_from(now) else { return Self::Later };
        let (today, day) = (jiff::tz::Offset::UTC.to_datetime(now).date(), agreement.review_on());
        let soon = today.checked_add(jiff::Span::new().days(30)).is_ok_and(|soon| day <= soon);
        match day < today {
            true => Self::Overdue,
            false if soon => Self::Soon,
            false => Self::Later,
        }
    }
}

fn grant(standing: &Standing) -> Grant {
    let (contract, loaded) = match standing.contract {
        ContractState::Same => (ContractMatch::Same, Some(standing.agreed)),
        ContractState::Later { loaded } => (ContractMatch::Later, Some(loaded)),
        ContractState::Different { loaded } => (ContractMatch::Different, Some(loaded)),
        ContractState::NotLoaded => (ContractMatch::NotLoaded, None),
    };
    let hindrance = standing.hindrance.as_ref();
    Grant {
        service: standing.service.to_string(),
        agreed: standing.agreed.to_string(),
        loaded: loaded.map(|loaded| loaded.to_string()),
        contract,
        served: hindrance.is_none(),
        why: hindrance.map(|hindrance| hindrance.what.clone()),
        cure: hindrance.map(|hindrance| hindrance.help.clone()),
    }
}

/// Tells how much is used of the limits that an agreement sets for a day.
fn limits(agreement: &policy::Agreement, now: SystemTime, meters: &Meters) -> Vec<DayLimit> {
    let mut told = Vec::new();
    for (position, grant) in agreement.grants().iter().enumerate() {
        let (calls, rows) = (grant.limits.calls_per_day, grant.limits.rows_per_day);
        if calls.is_none() && rows.is_none() {
            continue;
        }
        let used = meters.of(agreement.digest(), position).used(now);
        for (limit, most, used) in [(Limit::CallsPerDay, calls, used.calls), (Limit::RowsPerDay, rows, used.rows)] {
            let Some(most) = most else { continue };
            told.push(DayLimit {
                agreement: agreement.id().to_owned(),
                consumer: agreement.consumer().to_string(),
                provider: agreement.provider().to_string(),
                grant: position.saturating_add(1),
                service: grant.service.to_string(),
                limit: limit.key().to_owned(),
                used,
                most,
            });
        }
    }
    told
}
