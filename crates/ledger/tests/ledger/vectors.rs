//! Bytes that must never change: they are signed, and lie with members.

use std::fmt::Write as _;
use std::path::Path;

use drawbridge_ledger::{Hash, Leaf, Promise, Seal, SealError, SealVerifier, Sealer};

use crate::common::gateway_key;

/// Compares with the committed vector; `DRAWBRIDGE_WRITE_VECTORS=1` writes it anew.
fn check(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    if std::env::var_os("DRAWBRIDGE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), found, "{}", path.display());
}

fn leaf() -> Leaf {
    Leaf { shared: Hash::of(b"shared"), private: Hash::of(b"private") }
}

fn promise(index: u64) -> Promise {
    Promise { origin: "county.example/log/main".into(), index, leaf: leaf().hash() }
}

#[test]
fn leaves_and_promises_have_these_bytes() {
    let mut text = String::new();
    writeln!(text, "shared {}", leaf().shared).unwrap();
    writeln!(text, "private {}", leaf().private).unwrap();
    writeln!(text, "entry {}", hex::encode(leaf().entry())).unwrap();
    writeln!(text, "leaf hash {}", leaf().hash()).unwrap();
    writeln!(text, "promise at 18204 {}", hex::encode(promise(18_204).encode())).unwrap();
    check("leaf.txt", &text);
}

#[test]
fn seals_have_these_bytes_and_verify() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sealer = Sealer::new(gateway_key());
    let mut text = format!("key {}\ntag drawbridge.claims/v1\n", gateway_key().verifier());
    for size in [1u8, 2, 3, 5] {
        let seals: Vec<Seal> = runtime.block_on(async {
            let tasks: Vec<_> = (0..size)
                .map(|number| {
                    let sealer = sealer.clone();
                    tokio::spawn(async move { sealer.seal("drawbridge.claims/v1", vec![number; 3]).await })
                })
                .collect();
            let mut seals = Vec::new();
            for task in tasks {
                seals.push(task.await.unwrap());
            }
            seals
        });
        for (number, seal) in (0..).zip(seals) {
            writeln!(text, "claims {} of {size}: {}", hex::encode([number; 3]), hex::encode(seal.to_bytes())).unwrap();
        }
    }
    check("seals.txt", &text);

    let verifier = SealVerifier::new(gateway_key().verifier());
    for line in text.lines().skip(2) {
        let mut words = line.split(' ');
        let claims = hex::decode(words.nth(1).unwrap()).unwrap();
        let seal = Seal::from_bytes(&hex::decode(words.nth(2).unwrap()).unwrap()).unwrap();
        verifier.verify("drawbridge.claims/v1", &claims, None, &seal).unwrap();
        let with_promise = verifier.verify("drawbridge.claims/v1", &claims, Some(&promise(1)), &seal);
        assert!(matches!(with_promise, Err(SealError::Signature { .. })));
    }
}

#[tokio::test]
async fn a_seal_with_its_promise_has_these_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = crate::common::open(folder.path());
    let seal = Some(drawbridge_ledger::SealInput { tag: "drawbridge.claims/v1", claims: b"claims".to_vec() });
    let appended = ledger.append(drawbridge_ledger::Entry { leaf: leaf(), body: Vec::new(), seal }).await.unwrap();
    assert_eq!(appended.promise, promise(0));
    check("sealed-promise.txt", &format!("{}\n", hex::encode(appended.seal.unwrap().to_bytes())));
    ledger.close().await;
}
