//! The tree as C2SP tiles: their names, their bytes, and the builder that makes them from leaves one by one.
//!
//! A tile of level L holds up to 256 hashes, each the root over 256^L leaves; an entries tile holds up to 256 entries, each
//! after its length in two bytes. The right edge of the tree lies in partial tiles, which are replaced as it grows.
//!
//! Source: <https://c2sp.org/tlog-tiles>.

use std::path::{Path, PathBuf};

use crate::leaf::ENTRY_LEN;
use crate::merkle::{self, node_hash};
use crate::{Hash, Leaf};

/// Hashes in a full tile.
pub(crate) const WIDTH: usize = 256;

/// Length of an entry as it stands before each one.
const ENTRY_LENGTH: u16 = 83;
const _: () = assert!(ENTRY_LENGTH as usize == ENTRY_LEN);

/// log2 of [`WIDTH`].
pub(crate) const HEIGHT: u32 = 8;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The entries themselves.
    Entries,
    /// Hashes of this level, leaf hashes being level 0.
    Hashes(u32),
}

/// The name of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TileName {
    pub kind: Kind,
    pub number: u64,
    /// Number of hashes or entries, 1 to 256.
    pub width: usize,
}

impl TileName {
    /// The tile of `kind` and `number` in a tree of `size` leaves; `None` when the tree does not reach it.
    pub fn in_tree(kind: Kind, number: u64, size: u64) -> Option<Self> {
        let level = match kind {
            Kind::Entries => 0,
            Kind::Hashes(level) => level,
        };
        let nodes = size.checked_shr(level * HEIGHT).unwrap_or(0);
        let width = nodes.checked_sub(number.checked_mul(WIDTH as u64)?)?.min(WIDTH as u64);
        (width > 0).then_some(Self { kind, number, width: usize::try_from(width).ok()? })
    }

    /// Path within the log's folder: `tile/<level or entries>/<number>`, and `.p/<width>` for a partial one. The number is
    /// split into groups of three digits, all but the last with an `x` before them.
    pub fn path(&self) -> PathBuf {
        let mut number = format!("{:03}", self.number % 1000);
        let mut rest = self.number / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.width == WIDTH { String::new() } else { format!(".p/{}", self.width) };
        match self.kind {
            Kind::Entries => format!("tile/entries/{number}{partial}").into(),
            Kind::Hashes(level) => format!("tile/{level}/{number}{partial}").into(),
        }
    }

    /// The folder of this tile's partial ones.
    pub fn partials(&self) -> PathBuf {
        let mut path = Self { width: WIDTH, ..*self }.path().into_os_string();
        path.push(".p");
        path.into()
    }

    /// This tile where it lies in `tlog`.
    pub fn within(&self, tlog: &Path) -> PathBuf {
        tlog.join(self.path())
    }
}

/// Takes what a builder makes.
pub(crate) trait Sink {
    type Error;

    /// A full tile: written once, never changed.
    fn full(&mut self, name: TileName, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// The right edge of a growing tree: all that is needed to add leaves, in memory that does not grow with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    /// Entries of the last, not yet full entries tile, as it is written.
    entries: Vec<u8>,
    /// Hashes of the last, not yet full tile of each level, leaf hashes first.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; hands each tile that it completes to `sink`.
    pub fn push<S: Sink>(&mut self, leaf: &Leaf, sink: &mut S) -> Result<(), S::Error> {
        self.entries.extend_from_slice(&ENTRY_LENGTH.to_be_bytes());
        self.entries.extend_from_slice(&leaf.entry());
        let number = self.size / WIDTH as u64;
        self.size += 1;
        if self.size.is_multiple_of(WIDTH as u64) {
            sink.full(TileName { kind: Kind::Entries, number, width: WIDTH }, &self.entries)?;
            self.entries.clear();
        }
        let (mut hash, mut number) = (leaf.hash(), number);
        for level in 0.. {
            if self.levels.len() <= level as usize {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let Some(tile) = self.levels.get_mut(level as usize) else {
                break;
            };
            tile.push(hash);
            if tile.len() < WIDTH {
                break;
            }
            hash = merkle::root(tile);
            sink.full(TileName { kind: Kind::Hashes(level), number, width: WIDTH }, &bytes_of(tile))?;
            tile.clear();
            number /= WIDTH as u64;
        }
        Ok(())
    }

    /// The partial tiles of the right edge.
    pub fn partials(&self) -> Vec<(TileName, Vec<u8>)> {
        let mut partials = Vec::new();
        let leaves = self.levels.first().map_or(0, Vec::len);
        if leaves > 0 {
            let name = TileName { kind: Kind::Entries, number: self.size / WIDTH as u64, width: leaves };
            partials.push((name, self.entries.clone()));
        }
        for (level, tile) in (0u32..).zip(&self.levels) {
            if !tile.is_empty() {
                let number = self.size.checked_shr((level + 1) * HEIGHT).unwrap_or(0);
                partials.push((TileName { kind: Kind::Hashes(level), number, width: tile.len() }, bytes_of(tile)));
            }
        }
        partials
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        // From the right: the smallest complete subtrees are the leaves of level 0, the largest in the highest level.
        let mut root: Option<Hash> = None;
        for tile in &self.levels {
            let mut end = tile.len();
            while end > 0 {
                let start = end - (1 << end.trailing_zeros());
                let subtree = tile.get(start..end).map_or(Hash::ZERO, merkle::root);
                root = Some(root.map_or(subtree, |right| node_hash(&subtree, &right)));
                end = start;
            }
        }
        root.unwrap_or_else(merkle::empty_root)
    }
}

/// Writes hashes one after the other.
fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    #[derive(Default)]
    struct Kept(BTreeMap<TileName, Vec<u8>>);

    impl Sink for Kept {
        type Error = Infallible;

        fn full(&mut self, name: TileName, bytes: &[u8]) -> Result<(), Infallible> {
            assert_eq!(name.width, WIDTH);
            assert!(self.0.insert(name, bytes.to_vec()).is_none(), "{name:?} was made twice");
            Ok(())
        }
    }

    fn leaf(index: u64) -> Leaf {
        Leaf { shared: Hash::of(&index.to_be_bytes()), private: Hash([2; 32]) }
    }

    #[test]
    fn tiles_and_roots_of_a_growing_tree_are_those_of_the_definition() {
        let mut edge = Edge::default();
        let mut kept = Kept::default();
        let mut hashes = Vec::new();
        assert_eq!(edge.root(), merkle::empty_root());
        for index in 0..70_000 {
            edge.push(&leaf(index), &mut kept).unwrap();
            hashes.push(leaf(index).hash());
            let size = index + 1;
            if size < 600 || size.is_multiple_of(4999) || (65_530..65_545).contains(&size) {
                assert_eq!(edge.root(), merkle::root(&hashes), "{size}");
                let mut all = kept.0.clone();
                all.extend(edge.partials());
                let expected = |kind| (0..).map_while(move |number| TileName::in_tree(kind, number, size));
                let names: Vec<TileName> = [Kind::Entries, Kind::Hashes(0), Kind::Hashes(1), Kind::Hashes(2)]
                    .into_iter()
                    .flat_map(expected)
                    .collect();
                assert_eq!(all.keys().copied().collect::<Vec<_>>(), names, "{size}");
                for (name, bytes) in all {
                    let per_item = if name.kind == Kind::Entries { ENTRY_LEN + 2 } else { 32 };
                    assert_eq!(bytes.len(), name.width * per_item);
                }
            }
        }
        let second = &kept.0[&TileName { kind: Kind::Hashes(1), number: 0, width: WIDTH }];
        assert_eq!(second[..32], merkle::root(&hashes[..256]).0);
        let entries = &kept.0[&TileName { kind: Kind::Entries, number: 3, width: WIDTH }];
        assert_eq!(entries[..2], [0, 83]);
        assert_eq!(entries[2..85], leaf(768).entry());
    }

    proptest! {
        #[test]
        fn names_are_those_of_another_implementation(level in 0u8..7, number in prop_oneof![0u64..2000, any::<u64>()], width in 1u32..=256) {
            let theirs = tlog_tiles::Tile::new(8, level, number, width, false).path();
            let ours = TileName { kind: Kind::Hashes(level.into()), number, width: width as usize };
            let theirs = theirs.replacen("tile/8/", "tile/", 1);
            prop_assert_eq!(ours.path(), PathBuf::from(theirs));
        }
    }

    #[test]
    fn the_names_in_the_specification_come_out() {
        let path = |kind, number, width| TileName { kind, number, width }.path();
        assert_eq!(path(Kind::Hashes(0), 1_234_067, 256), Path::new("tile/0/x001/x234/067"));
        assert_eq!(path(Kind::Hashes(1), 5, 112), Path::new("tile/1/005.p/112"));
        assert_eq!(path(Kind::Entries, 1000, 256), Path::new("tile/entries/x001/000"));
    }
}
