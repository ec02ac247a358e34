//! End notes that are to reach the other member's gateways.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
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

/// Longest pause between two attempts: a member that does not know the agreement, or is away, is not asked each second for ever.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Hands end notes on, until every gateway of the other member that can be dialled has taken them.
pub(super) struct HandOn {
    shared: Arc<Shared>,
    peers: LinkPeers,
    ends: watch::Receiver<Vec<End>>,
    done: BTreeSet<PathBuf>,
    /// What could not be handed on: how often, and from when on it is tried again.
    missed: BTreeMap<PathBuf, (u32, Instant)>,
}

/// What came of handing a note on.
enum Handed {
    /// There is nobody left to hand it to.
    Over(PathBuf),
    /// Somebody did not take it.
    Missed(PathBuf),
}

impl HandOn {
    pub(super) fn new(shared: Arc<Shared>, peers: LinkPeers, ends: watch::Receiver<Vec<End>>) -> Self {
        Self { shared, peers, ends, done: BTreeSet::new(), missed: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) {
        let mut look = each_second();
        loop {
            look.tick().await;
            let ends = self.ends.borrow().clone();
            // At once: a member that hangs keeps no other from learning of an end.
            let handed = join_all(ends.iter().map(|end| self.hand_on(end))).await;
            for handed in handed.into_iter().flatten() {
                match handed {
                    Handed::Over(path) => {
                        self.missed.remove(&path);
                        self.done.insert(path);
                    }
                    Handed::Missed(path) => {
                        let times = self.missed.get(&path).map_or(0, |(times, _)| *times);
                        let pause = Duration::from_secs(1 << times.min(6)).min(LONGEST_PAUSE);
                        self.missed.insert(path, (times.saturating_add(1), Instant::now() + pause));
                    }
                }
            }
        }
    }

    /// Hands a note on, where it is time for that.
    async fn hand_on(&self, end: &End) -> Option<Handed> {
        let folder = {
            let settings = self.shared.settings.load();
            settings.file.path(&settings.file.config.agreements.folder)
        };
        let (member, path) = ends::to_hand_on(end, self.shared.house.gateway.member(), &folder)?;
        let too_soon = self.missed.get(&path).is_some_and(|(_, from)| Instant::now() < *from);
        if too_soon || self.done.contains(&path) {
            return None;
        }
        let rules = self.shared.rules.load_full();
        let keys = |member: &MemberId| rules.federation.member_keys(member);
        let note = find_note(&folder, &path, end, &keys).ok()?;
        let gateways = rules.federation.member(&member).map(|entry| entry.gateways.clone()).unwrap_or_default();
        let dialled: Vec<_> = gateways.iter().filter(|gateway| gateway.address.is_some()).collect();
        let agreement = end.agreement_id();
        if dialled.is_empty() {
            tracing::info!(%member, agreement, "no gateway of the other member can be dialled: it will ask for the end note");
            return Some(Handed::Over(path));
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
        Some(if all { Handed::Over(path) } else { Handed::Missed(path) })
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
