//! The contracts, keys and directory that targets read against.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use contract::Contracts;
use federation::{Directory, Federation};
use note::SigningKey;
use rest::Routes;

/// Persons: a contract with something of everything, see `crates/contract/tests/fixtures`.
pub static PERSONS: LazyLock<Contracts> = LazyLock::new(|| contracts("crates/contract/tests/fixtures/proto"));
/// Files: a contract with routes for REST, see `crates/rest/tests/fixtures`.
pub static FILES: LazyLock<Contracts> = LazyLock::new(|| contracts("crates/rest/tests/fixtures"));
/// The contracts of the end-to-end tests, whose fields have rules.
pub static RECORDS: LazyLock<Contracts> = LazyLock::new(|| contracts("tests/proto"));
/// The routes of [`FILES`].
pub static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes::of(&FILES).unwrap());
/// The directory of the corpora's receipts and agreements.
pub static FEDERATION: LazyLock<Federation> = LazyLock::new(|| {
    let text = include_str!("../corpus/directory/directory.note");
    Federation::load(Directory::parse("directory.note", text).unwrap(), None).unwrap()
});
/// The consumer's gateway key in `crates/exchange/tests/vectors/link.txt`, so that the claims there verify.
pub static CONSUMER: LazyLock<SigningKey> = LazyLock::new(|| key("council.example/gateway/main", 1));

/// A key from a fixed seed.
pub fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, [seed; 32].into()).unwrap()
}

fn contracts(folder: &str) -> Contracts {
    let source = gateway::load::contract_source(&repository().join(folder)).unwrap();
    Contracts::load(&[source]).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
