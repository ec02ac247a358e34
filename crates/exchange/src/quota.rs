//! Holds exchanges to the limits of their agreements, and says in their records what counts.
//!
//! The provider's count decides. The consumer's gateway keeps its own from its own log and refuses early, so it counts what the
//! provider has counted as far as it can know.

use std::time::{Instant, SystemTime};

use contract::Method;
use policy::{Admitted, Agreement, Answers, Exceeded, Plan};

use crate::{
    account::Account,
    house::{House, moment},
    refusal::{Hop, Reason, Refusal},
};

/// An exchange that is counted, or that no limit is set for.
pub(crate) struct Counted {
    admitted: Option<Admitted>,
    /// The time in the claims, and when that was.
    claimed: (SystemTime, Instant),
    hop: Hop,
}

impl House {
    /// Admits an exchange under the limits of its grant, whose claims say `time` in milliseconds, and notes in its account that it
    /// counts.
    pub(crate) fn admit(
        &self,
        (agreement, plan): (&Agreement, &Plan),
        method: &Method,
        time: u64,
        account: &mut Account,
    ) -> Result<Counted, Refusal> {
        let hop = if account.shared.side() == proto::records::Side::Consumer { Hop::Consumer } else { Hop::Provider };
        let claimed = (moment(time), Instant::now());
        if plan.limits == policy::Limits::default() {
            return Ok(Counted { admitted: None, claimed, hop });
        }
        let answers = if method.shape().streams_answers() { Answers::Many } else { Answers::One };
        let meter = self.meters.of(agreement.digest(), plan.grant);
        let admitted =
            meter.admit(&plan.limits, answers, claimed.0).map_err(|exceeded| refusal(&exceeded, hop, claimed))?;
        account.private.counted_grant = u32::try_from(plan.grant).unwrap_or(u32::MAX).saturating_add(1);
        Ok(Counted { admitted: Some(admitted), claimed, hop })
    }
}

impl Counted {
    /// An exchange of an earlier run, which was counted from its intent when the gateway started.
    pub(crate) fn before() -> Self {
        Self { admitted: None, claimed: (SystemTime::UNIX_EPOCH, Instant::now()), hop: Hop::Consumer }
    }

    /// Counts the next message of the answer, which may then go.
    pub(crate) fn row(&mut self) -> Result<(), Refusal> {
        let Some(admitted) = &mut self.admitted else { return Ok(()) };
        admitted.row().map_err(|exceeded| refusal(&exceeded, self.hop, self.claimed))
    }

    /// Counts messages that the provider has let pass.
    pub(crate) fn passed(&mut self, rows: u64) {
        if let Some(admitted) = &mut self.admitted {
            admitted.passed(rows);
        }
    }

    /// At the consumer: says whether an answer may have so many messages.
    pub(crate) fn holds(&self, rows: u64) -> Result<(), Refusal> {
        let Some(admitted) = &self.admitted else { return Ok(()) };
        admitted.holds(rows).map_err(|exceeded| refusal(&exceeded, self.hop, self.claimed))
    }

    /// Lets the exchange count, as its record says.
    pub(crate) fn keep(&mut self) {
        if let Some(admitted) = &mut self.admitted {
            admitted.keep();
        }
    }

    /// At the consumer: lets the exchange count, unless it ended so that the provider has surely not counted it.
    pub(crate) fn end(&mut self, refusal: Option<&Refusal>, account: &mut Account) {
        let opened = !account.shared.provider_opening.is_empty();
        let sent = !account.shared.consumer_claims.is_empty();
        if opened || sent && refusal.is_none_or(may_have_counted) {
            self.keep();
        } else {
            account.private.counted_grant = 0;
        }
    }
}

/// Whether the provider may have counted an exchange that ended so.
fn may_have_counted(refusal: &Refusal) -> bool {
    match refusal.reason {
        Reason::Unsettled
        | Reason::Unanswered
        | Reason::EvidenceMismatch
        | Reason::Cancelled
        | Reason::ConnectorTimeout
        | Reason::ConnectorFailed => true,
        // What the legacy system was asked is counted; what the gateway before it declined is not.
        Reason::Malformed | Reason::TooLarge => refusal.hop == Hop::Legacy,
        Reason::NoAgreement
        | Reason::WrongPurpose
        | Reason::AgreementEnded
        | Reason::UnknownMethod
        | Reason::ContractMismatch
        | Reason::Metadata
        | Reason::BadClaims
        | Reason::Replayed
        | Reason::StaleSession
        | Reason::ClockSkew
        | Reason::NotRecorded
        | Reason::LinkDown
        | Reason::Overloaded
        | Reason::QuotaExceeded
        | Reason::KeyRequired
        | Reason::KeyReused
        | Reason::InProgress
        | Reason::AlreadyDone => false,
    }
}

/// By the clock of the claims, so that it is not too early at a consumer whose clock is behind.
fn refusal(exceeded: &Exceeded, hop: Hop, (claimed, since): (SystemTime, Instant)) -> Refusal {
    let refusal = Refusal::new(Reason::QuotaExceeded, hop, exceeded.to_string()).limit(exceeded.limit.key());
    match exceeded.until {
        Some(until) => {
            let now = claimed.checked_add(since.elapsed()).unwrap_or(claimed);
            refusal.after(until.duration_since(now).unwrap_or_default())
        }
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consumer_counts_what_the_provider_may_have_counted() {
        let counted = |reason, hop| may_have_counted(&Refusal::new(reason, hop, ""));
        assert!(counted(Reason::Unanswered, Hop::Link) && counted(Reason::TooLarge, Hop::Legacy));
        assert!(!counted(Reason::TooLarge, Hop::Provider) && !counted(Reason::QuotaExceeded, Hop::Provider));
    }
}
