//! A command whose answer was lost, with the link or because this gateway was killed: ask the provider's gateway what became of it, and
//! settle by that.

use std::time::{Duration, Instant};

use bytes::Bytes;
use federation::GatewayId;
use http::HeaderMap;
use prost::Message as _;
use proto::link::{ConsumerClaims, Fate, OutcomeRequest, OutcomeResponse};

use super::{Consumer, permit::Permitted};
use crate::{
    deadline,
    headers::{self, Signed},
    refusal::{Hop, Reason, Refusal, Status},
};

/// Why an answer was lost while this gateway runs.
const CUT: &str = "the link was cut";

/// Between two times of asking; doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Consumer {
    /// Asks until the provider's gateway says what became of the command, or its deadline passes. Returns the reply that was lost,
    /// or the refusal that takes its place; where nobody says anything that is `lost`.
    pub(super) async fn find_out(
        &self,
        permitted: &Permitted,
        gateway: &GatewayId,
        lost: Refusal,
    ) -> Result<(Bytes, HeaderMap), Refusal> {
        let Ok(claims) = ConsumerClaims::decode(permitted.account.shared.consumer_claims.clone()) else {
            return Err(lost);
        };
        let request = question(&claims);
        let mut pause = PAUSES.0;
        loop {
            let asked = tokio::select! {
                biased;
                asked = self.peers.outcome(gateway, request.clone()) => asked,
                () = deadline::wait(permitted.deadline) => return Err(lost),
            };
            match asked {
                Ok(response) => {
                    if let Some(known) = settled(response, &lost, CUT) {
                        return known;
                    }
                    tracing::debug!("a command whose link was cut is still being carried out");
                }
                Err(error) => tracing::debug!(%error, "cannot ask yet what became of a command"),
            }
            let next = Instant::now().checked_add(pause);
            if deadline::earlier(permitted.deadline, next) == permitted.deadline {
                return Err(lost);
            }
            deadline::wait(next).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}

/// Asks what became of the command of these claims.
pub(super) fn question(claims: &ConsumerClaims) -> OutcomeRequest {
    OutcomeRequest {
        exchange_id: claims.exchange_id.clone(),
        session: claims.session.clone(),
        sequence: claims.sequence,
        consumer_system: claims.consumer_system.clone(),
        method: claims.method.clone(),
        idempotency_key: claims.idempotency_key.clone(),
    }
}

/// What the provider's gateway knows; `None` while it is being carried out. `why` says how its answer was lost.
pub(super) fn settled(
    response: OutcomeResponse,
    lost: &Refusal,
    why: &str,
) -> Option<Result<(Bytes, HeaderMap), Refusal>> {
    match (response.fate(), response.answer) {
        (Fate::Running, _) => None,
        (Fate::NotDone, _) => {
            let told = format!("{why}; the provider's gateway says that nothing was done, and will not be");
            Some(Err(Refusal::new(Reason::LinkDown, Hop::Link, told)))
        }
        (Fate::Done, Some(answer)) => {
            let code = i32::try_from(answer.status).unwrap_or(2);
            let status = Status { code, message: answer.status_message, details: answer.status_details };
            let mut trailers = HeaderMap::new();
            headers::write_status(&status, &mut trailers);
            headers::write_block(headers::INITIAL_METADATA, &answer.initial_metadata, &mut trailers);
            headers::write_block(headers::METADATA, &answer.trailing_metadata, &mut trailers);
            Signed { claims: answer.claims, seal: answer.seal, leaf: answer.leaf }.write(&mut trailers);
            Some(Ok((answer.message, trailers)))
        }
        (Fate::Done, None) => {
            let told = format!(
                "{why}; the provider's gateway says that the command was carried out, and has no answer of it any more"
            );
            Some(Err(Refusal::new(Reason::AlreadyDone, Hop::Link, told)))
        }
        (Fate::Unknown | Fate::Unspecified, _) => {
            let told = format!("{why}, and the provider's gateway cannot say whether the command was done");
            Some(Err(Refusal { told, ..lost.clone() }))
        }
    }
}
