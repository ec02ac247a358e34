//! End notes of others, for a gateway that nobody can dial: what cannot be handed to it, it asks for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use federation::MemberId;
use futures_util::future::join_all;
use proto::link::{EndedRequest, EndedResponse};

use crate::{
    ends,
    ports::{ENDED, LinkPeers, MAX_ENDED},
    workers::Shared,
};

/// How often the other members are asked.
const ASK: Duration = Duration::from_secs(10);

/// Asks for end notes where this gateway has no address at which it could be told.
pub(super) struct AskedEnds {
    shared: Arc<Shared>,
    peers: LinkPeers,
}

impl AskedEnds {
    pub(super) fn new(shared: Arc<Shared>, peers: LinkPeers) -> Self {
        Self { shared, peers }
    }

    pub(super) async fn run(self) {
        let mut look = tokio::time::interval(ASK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            // At once: a member that hangs keeps this gateway from no other's word.
            join_all(self.in_force().into_iter().map(|(member, digests)| self.ask(member, digests))).await;
        }
    }

    /// Digests of the agreements in force, by the other member; nothing where this gateway can be dialled.
    fn in_force(&self) -> BTreeMap<MemberId, Vec<Bytes>> {
        let (own, rules) = (&self.shared.house.gateway, self.shared.rules.load());
        let mut found: BTreeMap<MemberId, Vec<Bytes>> = BTreeMap::new();
        if rules.federation.gateway(own).is_none_or(|entry| entry.address.is_some()) {
            return found;
        }
        let now = (self.shared.house.clock)();
        for agreement in rules.agreements.iter().filter(|agreement| rules.agreements.in_force(&agreement.digest(), now))
        {
            let other = if agreement.consumer() == own.member() { agreement.provider() } else { agreement.consumer() };
            if other != own.member() {
                found.entry(other.clone()).or_default().push(Bytes::copy_from_slice(&agreement.digest().0));
            }
        }
        found
    }

    /// Asks a member's first gateway that answers.
    async fn ask(&self, member: MemberId, digests: Vec<Bytes>) {
        let rules = self.shared.rules.load_full();
        let gateways = rules.federation.member(&member).map(|entry| entry.gateways.clone()).unwrap_or_default();
        let folder = {
            let settings = self.shared.settings.load();
            settings.file.path(&settings.file.config.agreements.folder)
        };
        for some in digests.chunks(MAX_ENDED) {
            for gateway in gateways.iter().filter(|gateway| gateway.address.is_some()) {
                let request = EndedRequest { agreements: some.to_vec() };
                let told = match self.peers.control::<EndedResponse>(&gateway.id, ENDED, request).await {
                    Ok(told) => told,
                    Err(error) => {
                        tracing::debug!(gateway = %gateway.id, %error, "cannot ask which agreements are ended");
                        continue;
                    }
                };
                for note in &told.notes {
                    match ends::accept(note, &gateway.id, &rules, &folder) {
                        Ok(ends::Accepted::New(id)) => {
                            tracing::info!(peer = %gateway.id, agreement = %id, "the other member has ended an agreement");
                        }
                        Ok(ends::Accepted::Known) => {}
                        Err(error) => tracing::warn!(peer = %gateway.id, %error, "an end note was refused"),
                    }
                }
                break;
            }
        }
    }
}
