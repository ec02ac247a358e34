//! Proofs from tiles: read from the published folder, so that they need no more than an outsider has.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use thiserror::Error;

use crate::Hash;
use crate::files::{Damage, StorageError, read_if_there};
use crate::ledger::lock;
use crate::merkle::{self, Nodes};
use crate::tiles::{HEIGHT, Kind, TileName, WIDTH};

/// Tiles kept in memory, 16 KiB each.
const CACHED: usize = 128;

/// Why a proof could not be made.
#[derive(Debug, Clone, Error)]
pub enum ProofError {
    /// The tree is larger than what a checkpoint covers.
    #[error("no checkpoint covers {size} leaves yet; the latest covers {covered}")]
    NotCovered {
        /// The size asked for.
        size: u64,
        /// The size of the latest checkpoint.
        covered: u64,
    },
    /// There is no such leaf or smaller tree in the tree.
    #[error("{index} is not within a tree of {size} leaves")]
    OutOfRange {
        /// The leaf, or the size of the smaller tree.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The operating system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A tile is missing or has the wrong length.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// Makes proofs from a folder of tiles.
#[derive(Debug)]
pub(crate) struct Proofs {
    tlog: PathBuf,
    cache: Mutex<Cache>,
}

impl Proofs {
    pub fn new(tlog: PathBuf) -> Self {
        Self { tlog, cache: Mutex::default() }
    }

    /// The audit path of `index` in the tree of `size` leaves; `covered` is the size of the latest checkpoint.
    pub fn inclusion(&self, index: u64, size: u64, covered: u64) -> Result<Vec<Hash>, ProofError> {
        if size > covered {
            return Err(ProofError::NotCovered { size, covered });
        }
        if index >= size {
            return Err(ProofError::OutOfRange { index, size });
        }
        merkle::inclusion_path(&Tree { proofs: self, covered }, index, size)
    }

    /// The proof that `old` leaves are a prefix of `new` ones.
    pub fn consistency(&self, old: u64, new: u64, covered: u64) -> Result<Vec<Hash>, ProofError> {
        if new > covered {
            return Err(ProofError::NotCovered { size: new, covered });
        }
        if old > new {
            return Err(ProofError::OutOfRange { index: old, size: new });
        }
        merkle::consistency_path(&Tree { proofs: self, covered }, old, new)
    }

    /// The leaf hashes from `from` on, up to `to`, from the tiles of the lowest level.
    pub fn leaves(&self, from: u64, to: u64, covered: u64) -> Result<Vec<Hash>, ProofError> {
        if to > covered {
            return Err(ProofError::NotCovered { size: to, covered });
        }
        if from > to {
            return Err(ProofError::OutOfRange { index: from, size: to });
        }
        let mut leaves = Vec::new();
        let mut at = from;
        while at < to {
            let out_of_range = || ProofError::OutOfRange { index: at, size: covered };
            let name = TileName::in_tree(Kind::Hashes(0), at / WIDTH as u64, covered).ok_or_else(out_of_range)?;
            let tile = self.tile(name)?;
            let start = usize::try_from(at % WIDTH as u64).unwrap_or(usize::MAX);
            let wanted = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
            let part = tile.hashes.get(start..).ok_or_else(out_of_range)?;
            let part = part.get(..wanted.min(part.len())).filter(|part| !part.is_empty()).ok_or_else(out_of_range)?;
            leaves.extend_from_slice(part);
            at = at.saturating_add(part.len() as u64);
        }
        Ok(leaves)
    }

    /// The roots of the complete subtrees of the first `size` leaves, largest first.
    pub fn frontier(&self, size: u64, covered: u64) -> Result<Vec<Hash>, ProofError> {
        if size > covered {
            return Err(ProofError::NotCovered { size, covered });
        }
        let tree = Tree { proofs: self, covered };
        let mut complete = Vec::new();
        let mut at = 0_u64;
        while at < size {
            let level = size.saturating_sub(at).ilog2();
            complete.push(tree.node(level, at >> level)?);
            at = at.saturating_add(1 << level);
        }
        Ok(complete)
    }

    fn tile(&self, name: TileName) -> Result<Arc<Tile>, ProofError> {
        if let Some(tile) = lock(&self.cache).tiles.get(&name) {
            return Ok(Arc::clone(tile));
        }
        let full = TileName { width: WIDTH, ..name };
        let path = name.within(&self.tlog);
        // The publisher removes a partial tile once the full one is there.
        let bytes = match read_if_there(&path)? {
            Some(bytes) => bytes,
            None => read_if_there(&full.within(&self.tlog))?.ok_or_else(|| missing(&path))?,
        };
        let (hashes, left_over) = bytes.as_chunks::<32>();
        if !left_over.is_empty() || hashes.len() < name.width {
            return Err(
                Damage::new(&path, format!("it has {} bytes instead of {}", bytes.len(), name.width * 32)).into()
            );
        }
        let hashes = hashes.iter().take(name.width).map(|hash| Hash(*hash)).collect();
        let tile = Arc::new(Tile { hashes, above: OnceLock::new() });
        // A tile of one width never changes, so a partial one is kept as well.
        lock(&self.cache).keep(name, Arc::clone(&tile));
        Ok(tile)
    }
}

fn missing(path: &Path) -> Damage {
    Damage::new(path, "it is missing")
}

/// The hashes of a tile, and the nodes between them and the tile above.
#[derive(Debug)]
struct Tile {
    hashes: Vec<Hash>,
    /// Complete nodes by level, from the one above the hashes on. Made when the first of them is asked for: reading leaves alone
    /// needs none.
    above: OnceLock<Vec<Vec<Hash>>>,
}

impl Tile {
    /// Returns the root over the hashes `at << level .. (at + 1) << level`.
    fn node(&self, level: u32, at: usize) -> Option<Hash> {
        let Some(above) = level.checked_sub(1) else { return self.hashes.get(at).copied() };
        let levels = self.above.get_or_init(|| {
            let mut levels: Vec<Vec<Hash>> = Vec::new();
            for _ in 0..HEIGHT {
                let below = levels.last().unwrap_or(&self.hashes);
                let (pairs, _) = below.as_chunks::<2>();
                levels.push(pairs.iter().map(|[left, right]| merkle::node_hash(left, right)).collect());
            }
            levels
        });
        levels.get(usize::try_from(above).ok()?)?.get(at).copied()
    }
}

#[derive(Debug, Default)]
struct Cache {
    tiles: HashMap<TileName, Arc<Tile>>,
    in_order: VecDeque<TileName>,
}

impl Cache {
    fn keep(&mut self, name: TileName, tile: Arc<Tile>) {
        if self.tiles.insert(name, tile).is_some() {
            return;
        }
        self.in_order.push_back(name);
        if self.in_order.len() > CACHED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.tiles.remove(&oldest);
        }
    }
}

/// The tree of the latest checkpoint.
struct Tree<'a> {
    proofs: &'a Proofs,
    covered: u64,
}

impl Nodes for Tree<'_> {
    type Error = ProofError;

    fn node(&self, level: u32, index: u64) -> Result<Hash, ProofError> {
        let within = level % HEIGHT;
        let first = index.checked_shl(within).unwrap_or(u64::MAX);
        let out_of_range = ProofError::OutOfRange { index, size: self.covered };
        let name = TileName::in_tree(Kind::Hashes(level / HEIGHT), first / WIDTH as u64, self.covered);
        let tile = self.proofs.tile(name.ok_or_else(|| out_of_range.clone())?)?;
        let at = usize::try_from((first % WIDTH as u64) >> within).unwrap_or(usize::MAX);
        tile.node(within, at).ok_or(out_of_range)
    }
}
