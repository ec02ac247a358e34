//! The log of a stand-in: leaves in memory, and signed checkpoints over whatever they are at that moment.

use bytes::Bytes;
use ledger::{
    Checkpoint, Hash,
    merkle::{self, Frontier},
};
use note::{Note, SigningKey};
use proto::link::{Inclusion, ProveRequest, ProveResponse};

/// A log that a test may forge.
pub struct Log {
    /// The hashes of its leaves.
    pub leaves: Vec<Hash>,
    /// Signs checkpoints.
    pub key: SigningKey,
    /// It proves nothing for now, and says so.
    pub away: bool,
    origin: String,
}

impl Log {
    /// An empty log, called as its key is.
    pub(super) fn new(key: SigningKey) -> Self {
        Self { leaves: Vec::new(), origin: key.name().to_owned(), key, away: false }
    }

    /// Its name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Proves what was asked as well as the leaves allow; `None` when it is away.
    pub(super) fn prove(&self, request: &ProveRequest) -> Option<ProveResponse> {
        if self.away {
            return None;
        }
        let leaves = self.leaves.as_slice();
        let (size, known) = (leaves.len() as u64, request.known_size);
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root: merkle::root(leaves) };
        let note = Note::sign(&checkpoint.to_text(), &[&self.key]).unwrap();
        let mut response = ProveResponse { checkpoint: note.to_string(), ..ProveResponse::default() };
        if request.follow && known <= size {
            let since = &leaves[usize::try_from(known).unwrap()..];
            response.leaves = since.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>().into();
        } else {
            if (1..=size).contains(&known) {
                response.consistency = bytes(&merkle::consistency_path(leaves, known, size).unwrap());
            }
            let mut frontier = Frontier::default();
            for leaf in leaves {
                frontier.push(*leaf);
            }
            response.frontier = bytes(frontier.complete());
        }
        for &index in request.indexes.iter().filter(|&&index| index < size) {
            let path = bytes(&merkle::inclusion_path(leaves, index, size).unwrap());
            response.inclusions.push(Inclusion { index, path });
        }
        Some(response)
    }
}

fn bytes(hashes: &[Hash]) -> Vec<Bytes> {
    hashes.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect()
}
