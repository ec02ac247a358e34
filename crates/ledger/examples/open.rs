//! How fast a ledger is read back at start: `cargo run --release -p drawbridge-ledger --example open [FOLDER] [LEAVES]`.
//!
//! Writes a journal of leaves with bodies of 1.5 KiB and a seal each, closes it, then opens it three times.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement, not shipped")]

use std::path::PathBuf;
use std::time::Instant;

use drawbridge_ledger::{Config, Entry, Hash, Leaf, Ledger, SealInput};
use note::SigningKey;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let leaves: u64 = arguments.next().map_or(100_000, |text| text.parse().unwrap());
    let folder = parent.join(format!("drawbridge-open-{}", std::process::id()));
    let log_key = SigningKey::generate("bench.example/log/main").unwrap();
    let gateway_key = SigningKey::generate("bench.example/gateway/main").unwrap();
    let config = Config::new(&folder, "bench.example/log/main", log_key, gateway_key);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let (ledger, _) = Ledger::open(config.clone()).unwrap();
    runtime.block_on(async {
        let leaf = Leaf { shared: Hash([1; 32]), private: Hash([2; 32]) };
        for first in (0..leaves).step_by(512) {
            let appends: Vec<_> = (first..leaves.min(first + 512))
                .map(|_| {
                    let seal = Some(SealInput { tag: "bench", claims: vec![0; 64] });
                    ledger.append(Entry { leaf, body: vec![0; 1536], seal })
                })
                .collect();
            for append in appends {
                append.await.unwrap();
            }
        }
        ledger.close().await;
    });
    let journal: u64 =
        std::fs::read_dir(folder.join("journal")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    for _ in 0..3 {
        let begun = Instant::now();
        let (ledger, recovery) = Ledger::open(config.clone()).unwrap();
        let took = begun.elapsed();
        assert_eq!(recovery.size, leaves);
        let rate = journal as f64 / took.as_secs_f64() / 1e9;
        println!("{leaves} leaves, {:.0} MB of journal: {took:?}, {rate:.2} GB/s", journal as f64 / 1e6);
        runtime.block_on(ledger.close());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
