//! A ledger in a temporary folder, and leaves to put into it.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drawbridge_ledger::{Config, Entry, Hash, Leaf, Ledger, OpenError, Recovery, SealInput};
use note::SigningKey;
use zeroize::Zeroizing;

pub(crate) const ORIGIN: &str = "county.example/log/main";
pub(crate) const TAG: &str = "drawbridge.test/v1";

pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, Zeroizing::new([1; 32])).unwrap()
}

pub(crate) fn gateway_key() -> SigningKey {
    SigningKey::from_seed("county.example/gateway/main", Zeroizing::new([2; 32])).unwrap()
}

pub(crate) fn config(folder: &Path) -> Config {
    Config {
        checkpoint_interval: Duration::from_millis(5),
        segment_bytes: 64 << 10,
        ..Config::new(folder, ORIGIN, log_key(), gateway_key())
    }
}

pub(crate) fn open(folder: &Path) -> (Ledger, Recovery) {
    Ledger::open(config(folder)).unwrap()
}

pub(crate) fn refused(folder: &Path) -> OpenError {
    Ledger::open(config(folder)).map(|_| ()).expect_err("it opens")
}

pub(crate) fn leaf(number: u64) -> Leaf {
    Leaf { shared: Hash::of(&number.to_be_bytes()), private: Hash::of(&[number.to_be_bytes(), [9; 8]].concat()) }
}

/// A body of some hundred bytes that follows from its number.
pub(crate) fn body(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 37 % 400).unwrap();
    format!("record {number} ").into_bytes().into_iter().cycle().take(length).collect()
}

pub(crate) fn entry(number: u64) -> Entry {
    let seal = number.is_multiple_of(2).then(|| SealInput { tag: TAG, claims: claims(number) });
    Entry { leaf: leaf(number), body: body(number), seal }
}

pub(crate) fn claims(number: u64) -> Vec<u8> {
    format!("claims {number}").into_bytes()
}

/// Appends leaves `from .. to`, up to `together` at a time.
pub(crate) async fn append(ledger: &Ledger, from: u64, to: u64, together: u64) {
    let mut next = from;
    while next < to {
        let appends: Vec<_> =
            (next..to.min(next + together)).map(|number| (number, ledger.append(entry(number)))).collect();
        for (number, append) in appends {
            assert_eq!(append.await.unwrap().index, number);
            next = number + 1;
        }
    }
}

/// All files below a folder with their bytes, by path relative to it.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// Makes `folder` hold exactly these files.
pub(crate) fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let _ = fs::remove_dir_all(folder);
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
