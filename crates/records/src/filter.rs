//! Which records an auditor wants to see.

use proto::records::Kind;

use crate::{ExchangeId, Record};

/// Conditions that a record has to meet, all of them. The default lets everything pass.
///
/// Texts are compared as they are; a record that was erased meets no condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before, in milliseconds since the Unix epoch.
    pub from: Option<u64>,
    /// Before, in milliseconds since the Unix epoch.
    pub until: Option<u64>,
    /// Consumer or provider.
    pub member: Option<String>,
    /// Name of the system within the consumer, or `member/name`.
    pub system: Option<String>,
    /// `package.Service/Method`, with or without a leading slash, or a `package.Service`.
    pub method: Option<String>,
    /// The purpose in the claims.
    pub purpose: Option<String>,
    /// The acting person's id, or `id;role=role`.
    pub actor: Option<String>,
    /// The case.
    pub case: Option<String>,
    /// `answered`, `refused`, `cancelled`, `unanswered`, `failed`, or a reason as `NO_AGREEMENT`.
    pub outcome: Option<String>,
    /// One exchange.
    pub exchange: Option<ExchangeId>,
    /// Also intents, progress and events; by default only what settles an exchange.
    pub all_kinds: bool,
}

impl Filter {
    /// Returns whether `record` meets every condition.
    #[must_use]
    pub fn admits(&self, record: &Record) -> bool {
        let Some(opened) = &record.opened else {
            return self.is_unconditional();
        };
        let private = &opened.private;
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
        if !self.all_kinds
            && self.exchange.is_none()
            && !matches!(record.kind(), Kind::Outcome | Kind::Refusal | Kind::Aggregate)
        {
            return false;
        }
        self.from.is_none_or(|from| private.time >= from)
            && self.until.is_none_or(|until| private.time < until)
            && self.exchange.is_none_or(|id| record.exchange() == Some(id))
            && self.member.as_deref().is_none_or(|m| m == private.consumer || m == private.provider)
            && self.system.as_deref().is_none_or(|s| is_system(s, &private.consumer, &private.system))
            && self.method.as_deref().is_none_or(|m| is_method(m, &private.method))
            && is(&self.purpose, &private.purpose)
            && self.actor.as_deref().is_none_or(|a| is_person(a, &private.actor, &private.actor_role))
            && is(&self.case, &private.case_reference)
            && self
                .outcome
                .as_deref()
                .is_none_or(|o| o.eq_ignore_ascii_case(&private.outcome) || o.eq_ignore_ascii_case(opened.refusal()))
    }

    fn is_unconditional(&self) -> bool {
        self.all_kinds
            && self.from.is_none()
            && self.until.is_none()
            && self.exchange.is_none()
            && [&self.member, &self.system, &self.method, &self.purpose, &self.actor, &self.case, &self.outcome]
                .iter()
                .all(|c| c.is_none())
    }
}

fn is_system(wanted: &str, member: &str, system: &str) -> bool {
    wanted == system || wanted.split_once('/').is_some_and(|(m, s)| m == member && s == system)
}

/// As a call writes a person: an id that itself reads so is found by all of it.
fn is_person(wanted: &str, id: &str, role: &str) -> bool {
    wanted == id || wanted.split_once(";role=").is_some_and(|(i, r)| i == id && r == role)
}

fn is_method(wanted: &str, path: &str) -> bool {
    let wanted = wanted.trim_start_matches('/');
    let path = path.trim_start_matches('/');
    wanted == path || path.split_once('/').is_some_and(|(service, _)| service == wanted)
}

#[cfg(test)]
mod tests {
    use ledger::{Hash, Leaf};
    use proto::records::{Private, Shared, Side};

    use super::*;
    use crate::record::Halves;

    fn record(kind: Kind) -> Record {
        let shared = Shared {
            kind: kind.into(),
            side: Side::Provider.into(),
            refusal: "NO_AGREEMENT".into(),
            ..Shared::default()
        };
        let private = Private {
            time: 1000,
            consumer: "council.example".into(),
            provider: "trust.example".into(),
            system: "revenues".into(),
            method: "/health.v1.Patients/Find".into(),
            purpose: "care".into(),
            outcome: "refused".into(),
            actor: "a1".into(),
            actor_role: "Späher".into(),
            case_reference: "c1".into(),
            ..Private::default()
        };
        let opened = Halves { shared_bytes: vec![], salt: [0; 32], shared, private, claims: None, closing: None };
        Record {
            index: 0,
            leaf: Leaf { shared: Hash([0; 32]), private: Hash([0; 32]) },
            seal: None,
            opened: Some(opened),
        }
    }

    fn check(filter: &Filter, expected: bool) {
        assert_eq!(filter.admits(&record(Kind::Refusal)), expected, "{filter:?}");
    }

    #[test]
    fn each_condition_lets_pass_and_holds_back() {
        let text = |s: &str| Some(s.to_owned());
        check(&Filter::default(), true);
        check(&Filter { from: Some(1000), until: Some(1001), ..Filter::default() }, true);
        check(&Filter { from: Some(1001), ..Filter::default() }, false);
        check(&Filter { until: Some(1000), ..Filter::default() }, false);
        check(&Filter { member: text("trust.example"), ..Filter::default() }, true);
        check(&Filter { member: text("police.example"), ..Filter::default() }, false);
        check(&Filter { system: text("council.example/revenues"), ..Filter::default() }, true);
        check(&Filter { system: text("trust.example/revenues"), ..Filter::default() }, false);
        check(&Filter { method: text("health.v1.Patients"), ..Filter::default() }, true);
        check(&Filter { method: text("health.v1.Patients/Find"), ..Filter::default() }, true);
        check(&Filter { method: text("health.v1.Patients/Fin"), ..Filter::default() }, false);
        check(&Filter { purpose: text("care"), actor: text("a1"), case: text("c1"), ..Filter::default() }, true);
        check(&Filter { actor: text("a2"), ..Filter::default() }, false);
        check(&Filter { actor: text("a1;role=Späher"), ..Filter::default() }, true);
        check(&Filter { actor: text("a1;role=nurse"), ..Filter::default() }, false);
        check(&Filter { actor: text("a2;role=Späher"), ..Filter::default() }, false);
        check(&Filter { outcome: text("refused"), ..Filter::default() }, true);
        check(&Filter { outcome: text("no_agreement"), ..Filter::default() }, true);
        check(&Filter { outcome: text("answered"), ..Filter::default() }, false);
    }

    #[test]
    fn progress_is_shown_on_request_only() {
        assert!(!Filter::default().admits(&record(Kind::Progress)));
        assert!(Filter { all_kinds: true, ..Filter::default() }.admits(&record(Kind::Progress)));
    }
}
