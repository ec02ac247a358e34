//! How fast the ledger appends: `cargo run --release -p drawbridge-ledger --example append [FOLDER] [SECONDS]`.
//!
//! Writers that each wait for their leaf before the next, on two current-thread runtimes; bodies of 1.5 KiB, each with claims of
//! 1 KiB to seal. Prints appends a second and the median wait for 1, 64 and 512 writers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not shipped")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use drawbridge_ledger::{Config, Entry, Hash, Leaf, Ledger, SealInput};
use note::SigningKey;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: f64 = arguments.next().map_or(2.0, |text| text.parse().unwrap());
    for paced in [false, true] {
        for writers in [1, 8, 64, 512] {
            let folder = parent.join(format!("drawbridge-append-{}", std::process::id()));
            let (count, median, high) = run(&folder, writers, Duration::from_secs_f64(seconds), paced);
            std::fs::remove_dir_all(&folder).unwrap();
            let rate = f64::from(count) / seconds;
            let pace = if paced { "paced" } else { "eager" };
            println!("{pace} {writers:4} writers: {rate:8.0} appends/s, p50 {median:?}, p99 {high:?}");
        }
    }
}

fn run(folder: &std::path::Path, writers: u32, length: Duration, paced: bool) -> (u32, Duration, Duration) {
    let log_key = SigningKey::generate("bench.example/log/main").unwrap();
    let gateway_key = SigningKey::generate("bench.example/gateway/main").unwrap();
    let (ledger, _) = Ledger::open(Config::new(folder, "bench.example/log/main", log_key, gateway_key)).unwrap();
    let callers: Vec<_> = (0..if paced { writers } else { 0 }).map(|_| ledger.caller()).collect();
    let end = Instant::now() + length;
    let threads: Vec<_> = (0..2u32)
        .map(|thread| {
            let ledger = ledger.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let share = writers / 2 + u32::from(thread == 0 && writers % 2 == 1);
                    let tasks: Vec<_> = (0..share).map(|_| tokio::spawn(write(ledger.clone(), end))).collect();
                    let mut waits = Vec::new();
                    for task in tasks {
                        waits.extend(task.await.unwrap());
                    }
                    waits
                })
            })
        })
        .collect();
    let mut waits: Vec<Duration> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    waits.sort_unstable();
    drop(callers);
    (u32::try_from(waits.len()).unwrap(), waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

async fn write(ledger: Ledger, end: Instant) -> Vec<Duration> {
    let mut waits = Vec::new();
    let leaf = Leaf { shared: Hash([1; 32]), private: Hash([2; 32]) };
    while Instant::now() < end {
        let seal = Some(SealInput { tag: "bench", claims: vec![0; 1024] });
        let begun = Instant::now();
        ledger.append(Entry { leaf, body: vec![0; 1536], seal }).await.unwrap();
        waits.push(begun.elapsed());
    }
    waits
}
