//! SIGKILL under load, again and again: nothing that was acknowledged is missing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use drawbridge_ledger::{Config, Entry, Ledger, Reader};

use crate::common::{config, leaf, log_key, open};

const LOGS: u64 = 5;
/// Kills of each log: it is read back whole after each, so it shall not grow without bound.
const KILLS: u64 = 10;
const CHILD: &str = "DRAWBRIDGE_LEDGER_CHILD";
const FROM: &str = "DRAWBRIDGE_LEDGER_FROM";
const WRITERS: &str = "DRAWBRIDGE_LEDGER_WRITERS";

/// What the kills are drawn from: fixed, so that a failure comes again.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Bodies of very different lengths, so that a kill falls into writes of one sector and of megabytes.
fn body(number: u64) -> Vec<u8> {
    let mut seeded = Seeded(number);
    let length = if seeded.next(20) == 0 { 200_000 } else { 2_000 };
    let length = seeded.next(length);
    vec![number.to_le_bytes()[0]; usize::try_from(length).unwrap()]
}

fn kill_config(folder: &Path) -> Config {
    Config { segment_bytes: 4 << 20, ..config(folder) }
}

/// The child: writers append, and say so once they have been answered. It ends by being killed.
fn append_until_killed(folder: &Path, from: u64, writers: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (ledger, _) = Ledger::open(kill_config(folder)).unwrap();
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    let _caller = ledger.caller();
                    for round in 0.. {
                        let number = from + round * writers + writer;
                        let appended = ledger
                            .append_and_wait(Entry { leaf: leaf(number), body: body(number), seal: None })
                            .await
                            .unwrap();
                        let line = format!("acknowledged {} {number}\n", appended.index);
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[test]
fn nothing_acknowledged_is_missing_after_a_kill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let number = |name| std::env::var(name).unwrap().parse().unwrap();
        return append_until_killed(Path::new(&folder), number(FROM), number(WRITERS));
    }
    let torn: usize = (0..LOGS).map(kill_again_and_again).sum();
    println!("{} kills, {torn} batches cut short", LOGS * KILLS);
}

/// Kills the writer of one log [`KILLS`] times; returns how many batches were cut short.
fn kill_again_and_again(seed: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut seeded = Seeded(seed);
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut torn = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kills::nothing_acknowledged_is_missing_after_a_kill", "--exact", "--nocapture"])
            .env(CHILD, folder.path())
            .env(FROM, (round << 32).to_string())
            // A lone one writes for himself.
            .env(WRITERS, if seed + 1 == LOGS { "1" } else { "24" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + seeded.next(400);
        for line in lines.map_while(Result::ok) {
            let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "acknowledged").skip(1);
            let (Some(index), Some(number)) = (words.next(), words.next()) else {
                continue;
            };
            acknowledged.push((index.parse().unwrap(), number.parse().unwrap()));
            left = left.saturating_sub(1);
            if left == 0 {
                // What the child said before it died is still read after this.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert_eq!(left, 0, "round {round}: the child ended by itself");

        let (ledger, recovery) = Ledger::open(kill_config(folder.path())).unwrap();
        if let Some(batch) = &recovery.torn {
            torn += 1;
            assert!(batch.moved_to.exists());
            assert_eq!(batch.at, recovery.size);
        }
        // All of them after the last kill; before that the newest, which are the ones at risk.
        let old = if round + 1 == KILLS { 0 } else { acknowledged.len().saturating_sub(500) };
        for &(index, number) in acknowledged.iter().skip(old) {
            assert!(index < recovery.size, "round {round}: leaf {index} was acknowledged and is gone");
            let stored = ledger.read(index).unwrap();
            assert_eq!(stored.leaf, leaf(number), "round {round}, leaf {index}");
            assert_eq!(stored.body, Some(body(number)), "round {round}, leaf {index}");
        }
        drop(ledger);
        let report = Reader::open(folder.path()).unwrap().verify(Some(&log_key().verifier())).unwrap();
        assert_eq!((report.fault, report.frames, report.size), (None, recovery.size, recovery.size));
    }
    let (ledger, recovery) = open(folder.path());
    assert_eq!(recovery.torn, None);
    drop(ledger);
    torn
}
