//! The folder `tlog/` in the hands of the crates `tlog_tiles` and `signed_note`.

use std::fs;
use std::path::PathBuf;

use drawbridge_ledger::{Reader, merkle};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::tlog::{self, Error, HashReader};
use tlog_tiles::{Checkpoint, Hash, Tile, TileHashReader, TileReader};

use crate::common::{append, leaf, open};

/// Reads tiles as an outsider does: by their paths, which C2SP writes without the tile height.
struct Folder(PathBuf);

impl TileReader for Folder {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        tiles
            .iter()
            .map(|tile| {
                fs::read(self.0.join(tile.path().replacen("tile/8/", "tile/", 1))).map_err(|_| Error::InvalidTile)
            })
            .collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Another implementation follows the checkpoint's signature to its root, the root through the tiles to a leaf, and the
/// leaf to its entry; and its proofs are ours.
fn check(folder: &std::path::Path, size: u64, indices: &[u64]) -> Hash {
    let tlog = folder.join("tlog");
    let key = fs::read_to_string(tlog.join("log.vkey")).unwrap();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(key.trim_end()).unwrap())]);
    let note = signed_note::Note::from_bytes(&fs::read(tlog.join("checkpoint")).unwrap()).unwrap();
    assert_eq!(note.verify(&known).unwrap().0.len(), 1);
    let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("county.example/log/main", size));

    let files = Folder(tlog.clone());
    let hashes = TileHashReader::new(size, *checkpoint.hash(), &files);
    let reader = Reader::open(folder).unwrap();
    for &index in indices {
        let record = hashes.read_hashes(&[tlog::stored_hash_index(0, index)]).unwrap()[0];
        assert_eq!(record.0, leaf(index).hash().0);
        let proof = tlog::prove_record(size, index, &hashes).unwrap();
        tlog::check_record(&proof, size, *checkpoint.hash(), index, record).unwrap();
        let ours: Vec<[u8; 32]> = reader.inclusion(index, size).unwrap().into_iter().map(|hash| hash.0).collect();
        assert_eq!(ours, proof.iter().map(|hash| hash.0).collect::<Vec<_>>());

        let first = index / 256 * 256;
        let width = (size - first).min(256);
        let partial = if width == 256 { String::new() } else { format!(".p/{width}") };
        let bundle = fs::read(tlog.join(format!("tile/entries/{:03}{partial}", index / 256))).unwrap();
        let mut rest = bundle.as_slice();
        let mut entries = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry);
            rest = after;
        }
        assert_eq!(entries.len() as u64, width);
        let entry = entries[usize::try_from(index - first).unwrap()];
        assert_eq!(tlog::record_hash(entry), record);
        assert_eq!(merkle::leaf_hash(entry).0, record.0);
    }
    *checkpoint.hash()
}

#[tokio::test]
async fn others_verify_the_folder_at_every_stage_of_its_growth() {
    let folder = tempfile::tempdir().unwrap();
    let mut size = 0;
    let mut roots = Vec::new();
    for next in [1, 2, 3, 255, 256, 257, 511, 512, 700, 1025] {
        let (ledger, _) = open(folder.path());
        append(&ledger, size, next, 64).await;
        ledger.close().await;
        size = next;
        let root = check(folder.path(), size, &[0, size / 3, size / 2, size - 1]);
        roots.push((size, root));
    }
    let files = Folder(folder.path().join("tlog"));
    let (_, newest) = roots[roots.len() - 1];
    let hashes = TileHashReader::new(size, newest, &files);
    let reader = Reader::open(folder.path()).unwrap();
    for (old, root) in roots {
        let proof = tlog::prove_tree(size, old, &hashes).unwrap();
        tlog::check_tree(&proof, size, newest, old, root).unwrap();
        if old < size {
            let ours: Vec<[u8; 32]> = reader.consistency(old, size).unwrap().into_iter().map(|hash| hash.0).collect();
            assert_eq!(ours, proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), "{old} to {size}");
        }
    }
}

#[tokio::test]
async fn partial_tiles_go_once_the_full_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    append(&ledger, 0, 200, 50).await;
    let mut watch = ledger.watch_checkpoints();
    watch.wait_for(|state| state.size == 200).await.unwrap();
    let level = folder.path().join("tlog/tile/0");
    assert!(level.join("000.p/200").exists());
    append(&ledger, 200, 300, 50).await;
    ledger.close().await;
    assert!(level.join("000").exists() && level.join("001.p/44").exists());
    assert!(!level.join("000.p").exists() && !folder.path().join("tlog/tile/entries/000.p").exists());
}
