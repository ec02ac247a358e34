//! The log that a gateway has really written, in the hands of other people's software: the crates `tlog_tiles` and
//! `signed_note`, which read the folder as C2SP lays it out and know nothing of Drawbridge.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use drawbridge_tests::{
    COUNCIL, Member, TRUST, TestFederation, eventually, faults::Random, federation::standard, process,
};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, Tile, TileHashReader, TileReader, tlog};

/// Leaves that a full tile covers.
const WIDTH: u64 = 256;

/// Reads tiles by their paths. The crate writes the height into them, C2SP does not: it is always 8.
struct Tiles(PathBuf);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        let read = |tile: &Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            // A partial tile may be gone once the full one is there, which begins with the same bytes.
            let full = path.split(".p/").next().unwrap_or_default().to_owned();
            let wanted = tile.width() as usize * 32;
            let bytes = fs::read(self.0.join(&path)).or_else(|_| fs::read(self.0.join(full)));
            bytes.map(|b| b[..wanted.min(b.len())].to_vec()).map_err(|_| tlog::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// A checkpoint as others read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    root: Hash,
}

/// Reads the checkpoint of a ledger's folder and verifies its signature with the key that lies beside it.
pub(crate) fn head(folder: &Path) -> Head {
    let tlog = folder.join("tlog");
    let key = fs::read_to_string(tlog.join("log.vkey")).unwrap();
    let verifier = StandardVerifier::new(key.trim_end()).unwrap();
    let origin = key.split('+').next().unwrap().to_owned();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(&fs::read(tlog.join("checkpoint")).unwrap()).unwrap();
    let (verified, unknown) = note.verify(&known).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(checkpoint.origin(), origin);
    Head { size: checkpoint.size(), root: *checkpoint.hash() }
}

/// Follows the checkpoint of a folder that nobody writes to through every tile to every entry; checks inclusion of some leaves
/// and that each of `earlier` is a prefix. Returns the checkpoint.
pub(crate) fn verified_by_others(folder: &Path, earlier: &[Head], random: &mut Random) -> Head {
    let head = head(folder);
    let Head { size, root } = head;
    let tiles = Tiles(folder.join("tlog"));
    // Reads every tile that the root needs, and refuses what does not hash up to it.
    let hashes = TileHashReader::new(size, root, &tiles);
    assert_eq!(tlog::tree_hash(size, &hashes).unwrap(), root);
    let entries = entries(folder, size);
    assert_eq!(entries.len() as u64, size);
    let mut wanted: Vec<u64> = (0..12).map(|_| random.within(0, size - 1)).collect();
    wanted
        .extend([0, size - 1, size / WIDTH * WIDTH, (size / WIDTH * WIDTH).saturating_sub(1)].map(|i| i.min(size - 1)));
    for index in wanted {
        let leaf = tlog::HashReader::read_hashes(&hashes, &[tlog::stored_hash_index(0, index)]).unwrap()[0];
        let proof = tlog::prove_record(size, index, &hashes).unwrap();
        tlog::check_record(&proof, size, root, index, leaf).unwrap();
        assert_eq!(tlog::record_hash(&entries[usize::try_from(index).unwrap()]), leaf, "entry {index}");
    }
    // The first level of tiles holds the hashes of exactly these entries.
    for tile in 0..size.div_ceil(WIDTH) {
        let width = (size - tile * WIDTH).min(WIDTH);
        let tile = Tile::new(8, 0, tile, u32::try_from(width).unwrap(), false);
        let bytes = tiles.read_tiles(&[tile]).unwrap().remove(0);
        let first = usize::try_from(tile.level_index() * WIDTH).unwrap();
        let leaves = entries[first..].iter().take(usize::try_from(width).unwrap());
        let expected: Vec<u8> = leaves.flat_map(|entry| tlog::record_hash(entry).0).collect();
        assert_eq!(bytes, expected, "{}", tile.path());
    }
    for old in earlier.iter().filter(|old| old.size > 0) {
        assert!(old.size <= size, "the log had {} leaves and has {size}", old.size);
        let proof = tlog::prove_tree(size, old.size, &hashes).unwrap();
        tlog::check_tree(&proof, size, root, old.size, old.root).unwrap();
    }
    head
}

/// The entries in the tiles of entries, in order: each with its length before it.
fn entries(folder: &Path, size: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for number in 0..size.div_ceil(WIDTH) {
        let width = (size - number * WIDTH).min(WIDTH);
        let partial = if width == WIDTH { String::new() } else { format!(".p/{width}") };
        assert!(number < 1000);
        let path = folder.join(format!("tlog/tile/entries/{number:03}{partial}"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let before = entries.len();
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry.to_vec());
            rest = after;
        }
        assert!(rest.is_empty(), "{}", path.display());
        assert_eq!((entries.len() - before) as u64, width, "{}", path.display());
    }
    entries
}

/// Every file in the folder of tiles is one that C2SP names, and has the length that its name says.
fn every_tile_is_named_as_c2sp_does(folder: &Path) -> BTreeMap<PathBuf, usize> {
    let mut found = BTreeMap::new();
    let root = folder.join("tlog");
    let mut folders = vec![root.join("tile")];
    while let Some(inner) = folders.pop() {
        for path in fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let length = fs::read(&path).unwrap().len();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if let Some(bundle) = name.strip_prefix("tile/entries/") {
                assert!(Tile::from_path(&format!("tile/8/data/{bundle}")).is_ok(), "{name}");
            } else {
                let tile = Tile::from_path(&name.replacen("tile/", "tile/8/", 1)).unwrap_or_else(|_| panic!("{name}"));
                assert_eq!(length, tile.width() as usize * 32, "{name}");
            }
            found.insert(path, length);
        }
    }
    found
}

/// Answered calls, `count` of them, by several callers at once.
async fn answered(federation: &TestFederation, count: usize) {
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let callers = (0..8).map(|caller| {
        let find = find.clone();
        let own = count / 8 + usize::from(caller < count % 8);
        async move {
            let mut client = federation.revenues().await;
            for _ in 0..own {
                let reply = client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
                assert_eq!(reply.status.code, 0, "{}", reply.status.message);
            }
        }
    });
    futures_util::future::join_all(callers).await;
}

async fn covered(member: &Member, size: u64) {
    eventually("a checkpoint covers it", 10, async || (head(&member.ledger()).size >= size).then_some(())).await;
}

#[tokio::test]
async fn others_verify_a_gateways_log_while_it_grows_and_after_it_has_stopped() {
    let mut random = Random::seeded("DRAWBRIDGE_LEDGER_SEED", 1);
    let mut federation = TestFederation::new().await.start();
    let mut earlier: BTreeMap<&str, Vec<Head>> = BTreeMap::new();
    for part in [40, 200, 400] {
        answered(&federation, part).await;
        for member in [COUNCIL, TRUST] {
            let folder = federation.member(member).ledger();
            let size = ledger::Reader::open(&folder).unwrap().entries().count() as u64;
            covered(federation.member(member), size).await;
            let earlier = earlier.entry(member).or_default();
            let head = verified_by_others(&folder, earlier, &mut random);
            // Our own software says the same, beside the gateway that writes.
            let said =
                process::succeed(&federation.member(member).folder, ["log", "verify", "--config", "gateway.toml"]);
            assert!(said.contains("is whole"), "{said}");
            earlier.push(head);
        }
    }
    for member in [COUNCIL, TRUST] {
        assert!(federation.take(member).terminate());
        let folder = federation.member(member).ledger();
        let earlier = &earlier[member];
        assert!(earlier.windows(2).all(|pair| pair[0].size < pair[1].size), "{earlier:?}");
        let last = verified_by_others(&folder, earlier, &mut random);
        let size = ledger::Reader::open(&folder).unwrap().entries().count() as u64;
        assert_eq!(last.size, size, "the last checkpoint covers everything");
        assert!(size > 2 * WIDTH, "{size}");
        let files = every_tile_is_named_as_c2sp_does(&folder);
        assert!(files.keys().any(|path| path.ends_with("tile/1/000.p/2")), "{files:?}");
    }
}

#[tokio::test]
async fn a_log_verifies_while_calls_are_being_recorded() {
    let federation = TestFederation::new().await.start();
    answered(&federation, 20).await;
    let folders = [COUNCIL, TRUST].map(|member| federation.member(member).folder.clone());
    let verifying = tokio::task::spawn_blocking(move || {
        for _ in 0..6 {
            for folder in &folders {
                let said =
                    process::succeed(folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
                assert!(said.contains("is whole"), "{said}");
            }
        }
    });
    let mut rounds = 0;
    while !verifying.is_finished() {
        answered(&federation, 16).await;
        rounds += 1;
    }
    verifying.await.unwrap();
    assert!(rounds > 1, "the log was to grow while it was verified");
}

#[tokio::test]
async fn every_promise_is_found_kept_in_the_other_log() {
    let federation = TestFederation::new().await.start();
    answered(&federation, 100).await;
    let refused = federation.call("test.v1.Records/Unbound", r#"{"id": "1"}"#).await;
    assert_eq!(refused.trailers["drawbridge-hop"], "provider");
    let streamed = federation.call("test.v1.Records/List", r#"{"count": "100"}"#).await;
    assert_eq!(streamed.status.code, 0);
    let council = federation.member(COUNCIL);
    let promises: Vec<_> = council
        .records()
        .iter()
        .filter(|record| record.settles())
        .filter_map(|record| record.opened.as_ref()?.shared.provider_closing_leaf.clone())
        .collect();
    assert_eq!(promises.len(), 102);
    // A stream has two: one for its intent, one for its outcome.
    let expected = promises.len() as u64 + 1;
    eventually("all promises are checked", 5, async || {
        (council.metric("drawbridge_promise_kept") == expected).then_some(())
    })
    .await;
    assert_eq!((council.metric("drawbridge_promise_broken"), council.metric("drawbridge_promise_unchecked")), (0, 0));
    let theirs = federation.member(TRUST).records();
    for promise in promises {
        let leaf = theirs[usize::try_from(promise.index).unwrap()].leaf.hash();
        assert_eq!(promise.leaf.as_ref(), leaf.0);
    }
}
