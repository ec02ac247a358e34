//! A record as an auditor sees it: one name for each fact, whichever half or claim it stands in.

use proto::records::{CommandStep, Kind, Side};
use records::Record;
use serde::Serialize;

use crate::{commands::call::status_name, moments};

/// What is readable of a record. What is not there is left out of the JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct View {
    pub(super) index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
    /// `intent`, `progress`, `outcome`, `refusal`, `aggregate`, `event` or `unreadable`.
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exchange: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) consumer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) system: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) provider: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) purpose: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) legal_basis: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) agreement: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) agreement_digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) actor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) case: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) justification: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) outcome: String,
    /// Of a refusal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) hop: String,
    /// gRPC's name of the status that the caller had.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) status: String,
    /// Keys of the application's metadata that came with the request; its values are nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) request_metadata: Vec<String>,
    /// As the last, of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) answer_metadata: Vec<String>,
    /// Of a command at the provider, what the record says of its key: `taken`, `done`, `freed` (nothing was done) or `unknown`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) command: &'static str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// From arrival to settling, in milliseconds.
    pub(super) duration_ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<String>,
    /// Of an aggregate: how many refusals.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) count: u64,
    /// Of an aggregate: when the first was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<String>,
    /// Hash of the leaf, in hexadecimal digits.
    pub(super) leaf: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl View {
    pub(super) fn of(record: &Record) -> Self {
        let mut view = Self {
            index: record.index,
            kind: kind(record),
            side: side(record),
            leaf: record.leaf.hash().to_string(),
            ..Self::default()
        };
        view.exchange = record.exchange().map(|id| id.to_string());
        let Some(opened) = &record.opened else { return view };
        let (shared, private, claims, closing) =
            (&opened.shared, &opened.private, opened.claims.as_ref(), opened.closing.as_ref());
        view.time = Some(moments::for_programs(private.time));
        view.consumer.clone_from(&private.consumer);
        view.system.clone_from(&private.system);
        view.provider.clone_from(&private.provider);
        private.method.trim_start_matches('/').clone_into(&mut view.method);
        view.purpose.clone_from(&private.purpose);
        view.legal_basis = claims.map(|claims| claims.legal_basis.clone()).unwrap_or_default();
        view.agreement.clone_from(&private.agreement);
        view.agreement_digest = digest(&private.agreement_digest);
        view.actor.clone_from(&private.actor);
        view.role.clone_from(&private.actor_role);
        view.case.clone_from(&private.case_reference);
        view.justification.clone_from(&private.justification);
        view.outcome.clone_from(&private.outcome);
        view.reason = reason(record);
        view.hop.clone_from(&private.hop);
        if record.settles() {
            let status = closing.map_or(shared.status, |closing| shared.status.max(closing.status));
            view.status = status_name(i32::try_from(status).unwrap_or(i32::MAX));
        }
        view.messages = closing.map_or(0, |closing| closing.messages).max(shared.messages);
        view.command = match private.command_step() {
            CommandStep::Unspecified => "",
            CommandStep::Taken => "taken",
            CommandStep::Done => "done",
            CommandStep::Freed => "freed",
            CommandStep::Unknown => "unknown",
        };
        view.request_metadata.clone_from(&private.request_metadata);
        view.answer_metadata.clone_from(&private.answer_metadata);
        view.bytes = private.bytes;
        view.duration_ms = private.duration;
        view.detail.clone_from(&private.detail);
        view.conditions.clone_from(&private.conditions);
        view.count = private.count;
        view.since = (private.since > 0).then(|| moments::for_programs(private.since));
        view
    }

    /// How it ended, on one line.
    pub(super) fn ended(&self) -> String {
        match (self.outcome.as_str(), self.reason.as_str()) {
            ("", "") => self.kind.to_owned(),
            (outcome, "") => match self.status.as_str() {
                "" | "OK" => outcome.to_owned(),
                status => format!("{outcome} {status}"),
            },
            ("", reason) => reason.to_owned(),
            (outcome, reason) if outcome.eq_ignore_ascii_case(reason) => outcome.to_owned(),
            (outcome, reason) => format!("{outcome} {reason}"),
        }
    }

    /// The consumer's system, in full.
    pub(super) fn asker(&self) -> String {
        if self.system.is_empty() { self.consumer.clone() } else { format!("{}/{}", self.consumer, self.system) }
    }
}

/// Returns why an exchange was refused: by this side, or by the provider's closing claims. Empty where it was not.
pub(super) fn reason(record: &Record) -> String {
    let Some(opened) = &record.opened else { return String::new() };
    let own = &opened.shared.refusal;
    let theirs = opened.closing.as_ref().map(|closing| &closing.refusal);
    if own.is_empty() { theirs.cloned().unwrap_or_default() } else { own.clone() }
}

fn kind(record: &Record) -> &'static str {
    if record.opened.is_none() {
        return "unreadable";
    }
    match record.kind() {
        Kind::Unspecified => "unknown",
        Kind::Intent => "intent",
        Kind::Progress => "progress",
        Kind::Outcome => "outcome",
        Kind::Refusal => "refusal",
        Kind::Aggregate => "aggregate",
        Kind::Event => "event",
    }
}

fn side(record: &Record) -> &'static str {
    match record.side() {
        Side::Unspecified => "",
        Side::Consumer => "consumer",
        Side::Provider => "provider",
    }
}

/// Writes a digest as people compare it; nothing for none.
pub(super) fn digest(bytes: &[u8]) -> String {
    if bytes.is_empty() { String::new() } else { format!("sha256:{}", hex::encode(bytes)) }
}
