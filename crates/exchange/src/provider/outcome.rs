//! What became of a command whose answer was lost with the link.

use bytes::Bytes;
use federation::GatewayId;
use proto::{
    link::{Fate, OutcomeRequest, OutcomeResponse, outcome_response::Answer},
    records::KeptAnswer,
};
use records::{ExchangeId, Found, Taken, receipt};

use super::Provider;
use crate::{commands, framing, ports::Remembered, replay::NotTaken};

impl Provider {
    /// Says what became of a command of `peer`.
    ///
    /// Takes the question's sequence number first: a question that has not come yet is refused from here on, so `NOT_DONE` stays true.
    ///
    /// # Errors
    ///
    /// [`records::FindError`] when the log cannot be read.
    pub async fn outcome(
        &self,
        peer: &GatewayId,
        request: &OutcomeRequest,
    ) -> Result<OutcomeResponse, records::FindError> {
        let fate = |fate: Fate| Ok(OutcomeResponse { fate: fate.into(), answer: None });
        let Ok(exchange) = ExchangeId::from_bytes(&request.exchange_id) else { return fate(Fate::Unknown) };
        if request.sequence == 0 {
            // No question had it.
            return fate(Fate::Unknown);
        }
        let taken = self.sessions.take(peer, &request.session, request.sequence);
        let arrived = taken == Err(NotTaken::Used);
        let consumer = peer.member().as_ref();
        let key = commands::key_in(consumer, &request.consumer_system, &request.method, &request.idempotency_key);
        match self.commands.look(&key) {
            Some(Taken::Running(_)) => fate(Fate::Running),
            Some(Taken::Done(by)) if by == exchange => {
                let kept = self.answers.find(&key).await.filter(|kept| kept.exchange_id == request.exchange_id);
                let found = self.house.enquiries.settled(&self.house.records, exchange).await?;
                let answer = kept.zip(found).and_then(|(kept, found)| self.lost_answer(kept, found));
                Ok(OutcomeResponse { fate: Fate::Done.into(), answer })
            }
            Some(Taken::Done(_)) => fate(Fate::Done),
            Some(Taken::Unknown(by)) => {
                let rules = self.house.rules.load_full();
                fate(match self.remembered(&rules, &request.method, &key, by).await {
                    Remembered::Done => Fate::Done,
                    Remembered::NotDone => Fate::NotDone,
                    Remembered::NotNow => Fate::Running,
                    Remembered::Nothing => Fate::Unknown,
                })
            }
            // It came, and was refused or is still being looked at. The consumer's gateway asks again.
            Some(Taken::Free | Taken::Reused(_)) | None if arrived => {
                let enquiries = &self.house.enquiries;
                let refused =
                    !enquiries.log_is_busy() && enquiries.settled(&self.house.records, exchange).await?.is_some();
                fate(if refused { Fate::NotDone } else { Fate::Running })
            }
            Some(Taken::Free | Taken::Reused(_)) | None => fate(Fate::NotDone),
        }
    }

    /// Puts the reply that was lost together again, from the kept answer and the record that settled it.
    fn lost_answer(&self, kept: KeptAnswer, found: Found) -> Option<Answer> {
        let record = found.record;
        let opened = record.opened?;
        let rules = self.house.rules.load();
        let leaf = proto::link::LeafOpening {
            origin: rules.federation.gateway(&self.house.gateway)?.log_origin.clone(),
            index: record.index,
            leaf: record.leaf.hash().0.to_vec().into(),
            salt: opened.salt.to_vec().into(),
            private: record.leaf.private.0.to_vec().into(),
        };
        Some(Answer {
            message: if kept.has_message { framing::framed(&kept.message) } else { Bytes::new() },
            status: u32::try_from(kept.status).unwrap_or(2),
            status_message: kept.status_message,
            status_details: kept.status_details,
            initial_metadata: kept.initial_metadata,
            trailing_metadata: kept.trailing_metadata,
            claims: opened.shared.provider_closing,
            seal: record.seal.as_ref().map(receipt::seal_to_wire),
            leaf: Some(leaf),
        })
    }
}
