//! What is known of another gateway's log: its newest checkpoint, and the leaves that were seen of late.
//!
//! Leaves come without proofs of their own: the tree of all of them has to be the one that the checkpoint signs, which proves
//! each. So a promise is mostly checked by looking it up here, and costs its provider nothing.

use std::collections::VecDeque;

use federation::{Federation, GatewayId};
use ledger::{
    Checkpoint, Hash,
    merkle::{self, Frontier},
};
use note::{Note, VerifierKey};
use proto::link::ProveResponse;

/// Leaves that are kept of one log: 2 MiB.
const RECENT: usize = 65_536;

/// One log as it was last seen.
#[derive(Debug, Default)]
pub(super) struct View {
    frontier: Frontier,
    /// The last leaves of the frontier's tree.
    recent: VecDeque<Hash>,
}

/// Who signs a log's checkpoints.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) origin: String,
    pub(super) keys: Vec<VerifierKey>,
}

impl Signer {
    /// Returns the signer of a gateway's log; `None` where the directory no longer lists the gateway.
    pub(super) fn of(gateway: &GatewayId, federation: &Federation) -> Option<Self> {
        let origin = federation.gateway(gateway)?.log_origin.clone();
        Some(Self { keys: federation.log_keys(&origin), origin })
    }
}

/// What a response has shown of a log, once it was verified.
#[derive(Debug)]
pub(super) struct Shown {
    frontier: Frontier,
    /// Every leaf since the frontier before, or nothing where the log did not hand them over.
    leaves: Vec<Hash>,
    /// The promises asked about one by one that the checkpoint covers, and whether each is kept.
    pub(super) singly: Vec<(u64, bool)>,
}

impl View {
    /// Returns the frontier of the newest checkpoint; of no leaves while none was seen.
    pub(super) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Returns the leaf at `index` where it was seen of late.
    pub(super) fn leaf(&self, index: u64) -> Option<Hash> {
        let behind = self.frontier.size().checked_sub(index)?;
        let at = self.recent.len().checked_sub(usize::try_from(behind).ok()?)?;
        self.recent.get(at).copied()
    }

    /// Moves on to what was shown.
    pub(super) fn advance(&mut self, shown: Shown) {
        let grown = shown.frontier.size().saturating_sub(self.frontier.size());
        if grown != shown.leaves.len() as u64 {
            // Leaves in between are not known.
            self.recent.clear();
        }
        self.recent.extend(shown.leaves);
        let surplus = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..surplus);
        self.frontier = shown.frontier;
    }
}

/// Holds a response against what was known of the log and what it promised. The promises are (index, leaf).
///
/// # Errors
///
/// What is wrong with the log as a whole: its checkpoint is not its own, or does not continue the one before.
pub(super) fn verify(
    signer: &Signer,
    promises: &[(u64, Hash)],
    response: &ProveResponse,
    known: &Frontier,
) -> Result<Shown, String> {
    let checkpoint = signed_checkpoint(signer, &response.checkpoint)?;
    if checkpoint.size < known.size() {
        return Err(format!(
            "its log has {} leaves and had {} before: it was rewritten",
            checkpoint.size,
            known.size()
        ));
    }
    let (frontier, leaves) = grown(&checkpoint, response, known)?;
    let singly = promises.iter().filter(|(index, _)| *index < checkpoint.size).map(|(index, leaf)| {
        let path = response.inclusions.iter().find(|i| i.index == *index).and_then(|i| hashes(&i.path));
        let proven = path.is_some_and(|path| {
            merkle::verify_inclusion(*leaf, *index, checkpoint.size, &path, checkpoint.root).is_ok()
        });
        (*index, proven)
    });
    let singly = singly.collect();
    Ok(Shown { frontier, leaves, singly })
}

/// Returns the frontier at the checkpoint, and the leaves since the one before where they were handed over.
fn grown(checkpoint: &Checkpoint, response: &ProveResponse, known: &Frontier) -> Result<(Frontier, Vec<Hash>), String> {
    let rewritten = || {
        let (now, before) = (checkpoint.size, known.size());
        format!("its log of {now} leaves does not continue its log of {before}: it was rewritten")
    };
    let malformed = || "its proof is malformed".to_owned();
    let grown = checkpoint.size.saturating_sub(known.size());
    let (leaves, odd) = response.leaves.as_chunks::<32>();
    let follows = odd.is_empty() && leaves.len() as u64 == grown && response.frontier.is_empty();
    let (frontier, leaves) = if follows {
        let leaves: Vec<Hash> = leaves.iter().copied().map(Hash).collect();
        let mut frontier = known.clone();
        for leaf in &leaves {
            frontier.push(*leaf);
        }
        (frontier, leaves)
    } else {
        if known.size() > 0 {
            let path = hashes(&response.consistency).ok_or_else(malformed)?;
            merkle::verify_consistency(known.size(), checkpoint.size, known.root(), checkpoint.root, &path)
                .map_err(|_| rewritten())?;
        }
        let frontier = hashes(&response.frontier).and_then(|complete| Frontier::new(checkpoint.size, complete));
        (frontier.ok_or_else(malformed)?, Vec::new())
    };
    if frontier.root() == checkpoint.root { Ok((frontier, leaves)) } else { Err(rewritten()) }
}

fn signed_checkpoint(signer: &Signer, text: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(text).map_err(|e| format!("its checkpoint cannot be read: {e}"))?;
    let by = note.verified_by(&signer.keys).map_err(|e| format!("its checkpoint's signature is wrong: {e}"))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| format!("its checkpoint cannot be read: {e}"))?;
    if by.is_empty() || checkpoint.origin != signer.origin {
        return Err("its checkpoint is not signed by its log key".to_owned());
    }
    Ok(checkpoint)
}

fn hashes(path: &[bytes::Bytes]) -> Option<Vec<Hash>> {
    path.iter().map(|h| h.as_ref().try_into().ok().map(Hash)).collect()
}
