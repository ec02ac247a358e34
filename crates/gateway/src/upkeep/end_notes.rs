//! End notes that are to reach the other member's gateways.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use federation::MemberId;
use futures_util::future::join_all;
use policy::{End, MemberKeys};
use proto::link::{EndAgreementRequest, EndAgreementResponse};
use tokio::sync::watch;

use super::each_second;
use crate::{
    ends,
    ports::{END_AGREEMENT, LinkPeers},
    workers::Shared,
};

/// Hands end notes on, until every gateway of the other member that can be dialled has taken them.
pub(super) struct HandOn {
    shared: Arc<Shared>,
    peers: LinkPeers,
    ends: watch::Receiver<Vec<End>>,
    done: BTreeSet<PathBuf>,
}

impl HandOn {
    pub(super) fn new(shared: Arc<Shared>, peers: LinkPeers, ends: watch::Receiver<Vec<End>>) -> Self {
        Self { shared, peers, ends, done: BTreeSet::new() }
    }

    pub(super) async fn run(mut self) {
        let mut look = each_second();
        loop {
            look.tick().await;
            let ends = self.ends.borrow().clone();
            // At once: a member that hangs keeps no other from learning of an end.
            let taken = join_all(ends.iter().map(|end| self.hand_on(end))).await;
            self.done.extend(taken.into_iter().flatten());
        }
    }

    /// Returns the note's path once there is nobody left to hand it to.
    async fn hand_on(&self, end: &End) -> Option<PathBuf> {
        let folder = {
            let settings = self.shared.settings.load();
            settings.file.path(&settings.file.config.agreements.folder)
        };
        let (member, path) = ends::to_hand_on(end, self.shared.house.gateway.member(), &folder)?;
        if self.done.contains(&path) {
            return None;
        }
        let rules = self.shared.rules.load_full();
        let keys = |member: &MemberId| rules.federation.member_keys(member);
        let note = find_note(&folder, &path, end, &keys).ok()?;
        let gateways = rules.federation.member(&member).map(|entry| entry.gateways.clone()).unwrap_or_default();
        let dialled: Vec<_> = gateways.iter().filter(|gateway| gateway.address.is_some()).collect();
        let agreement = end.agreement_id();
        if dialled.is_empty() {
            tracing::info!(%member, agreement, "no gateway of the other member can be dialled; its next question tells it of the end");
            return Some(path);
        }
        let asked = dialled.iter().map(|gateway| async {
            let request = EndAgreementRequest { note: note.clone() };
            let taken = self.peers.control::<EndAgreementResponse>(&gateway.id, END_AGREEMENT, request).await;
            taken.inspect_err(|error| {
                tracing::debug!(gateway = %gateway.id, %error, "an end note could not be handed on yet");
            })
        });
        let all = join_all(asked).await.iter().all(Result::is_ok);
        if all {
            tracing::info!(%member, agreement, "the end note was handed on");
        }
        all.then_some(path)
    }
}

/// The note as it lies in the folder, whatever its file is called there.
fn find_note(folder: &Path, expected: &Path, end: &End, keys: &dyn MemberKeys) -> std::io::Result<String> {
    if let Ok(text) = std::fs::read_to_string(expected) {
        return Ok(text);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let same = text.contains("drawbridge.end/")
            && policy::EndNote::parse(&path, &text)
                .and_then(|note| note.verified(keys))
                .is_ok_and(|found| found.file_name() == end.file_name());
        if same {
            return Ok(text);
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}
