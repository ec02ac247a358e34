//! The demonstration, told to its end by the binary as a newcomer runs it, and held against what it leaves behind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use drawbridge_tests::process::{run, succeed};
use ledger::Reader;
use records::Record;

/// What is told, in this order.
const CHAPTERS: [&str; 12] = [
    "Three gateways start",
    "A social worker looks up one child",
    "Every row of the largest table",
    "Counting without naming",
    "Refused: nobody agreed to this",
    "Refused: the wrong purpose",
    "Refused: the agreement has ended",
    "Turned away: somebody else's certificate",
    "A deadline stops the database",
    "A gateway is killed in the middle of a stream",
    "Both logs are verified",
    "One byte of a log is changed",
];

/// The reasons in a member's log, as the story told them.
fn refusals(folder: &Path, member: &str) -> BTreeSet<String> {
    let reader = Reader::open(folder.join(member).join("data/ledger")).unwrap();
    let records = reader.entries().map(|stored| Record::open(stored.unwrap()).unwrap());
    let settled = records.filter(Record::settles).map(|record| record.opened.unwrap().refusal().to_owned());
    settled.filter(|reason| !reason.is_empty()).collect()
}

/// The processes that run in a folder or below it.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path().join("cwd")).ok());
    all.filter(|cwd| cwd.starts_with(folder)).collect()
}

#[test]
fn the_demonstration_ends_as_told_and_its_logs_bear_it_out() {
    let root = tempfile::Builder::new().prefix("drawbridge-it-demo-").tempdir().unwrap();
    let output = run(root.path(), ["demo", "--once", "--keep", "demo"]);
    let (told, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{told}\n{complaint}", output.status);
    let mut rest = &told[..];
    for (number, title) in (1..).zip(CHAPTERS) {
        let heading = format!("\n{number}. {title}\n");
        let (before, after) = rest.split_once(&heading).unwrap_or_else(|| panic!("`{title}` is not told:\n{told}"));
        // The one before has found something to be so.
        assert!(before.contains("  ✓ "), "before `{title}` nothing was shown:\n{before}");
        rest = after;
    }
    assert!(
        rest.contains("✓ found, and named to the file") && rest.contains("✓ all 12 chapters ended as told"),
        "{rest}"
    );
    assert!(!told.contains('✗'), "{told}");
    assert!(!told.contains("\n13. "), "{told}");

    // What the story says of itself is one thing; what the members' folders hold is another.
    let folder = root.path().join("demo");
    assert_eq!(processes_in(&folder.canonicalize().unwrap()), Vec::<PathBuf>::new(), "a gateway was left running");
    let expected = [
        ("council", &["UNANSWERED", "WRONG_PURPOSE"][..]),
        ("police", &["AGREEMENT_ENDED", "NO_AGREEMENT"]),
        ("trust", &["CONNECTOR_TIMEOUT", "UNANSWERED"]),
    ];
    for (member, reasons) in expected {
        let found = refusals(&folder, member);
        assert!(reasons.iter().all(|reason| found.contains(*reason)), "{member}: {found:?}");
        let said = succeed(
            &folder,
            ["log", "verify", "--data", &format!("{member}/data"), "--directory", "trust/directory.note"],
        );
        assert!(said.contains("is whole"), "{said}");
    }
    let compared = succeed(&folder, ["log", "compare", "council/data", "trust/data"]);
    assert!(!compared.contains("UNEXPLAINED"), "{compared}");
    let compared = succeed(&folder, ["log", "compare", "--json", "council/data", "trust/data"]);
    let compared: serde_json::Value = serde_json::from_str(&compared).unwrap();
    assert!(compared["agreeing"].as_u64().unwrap() > 0 && compared["unexplained"] == 0, "{compared}");
    let receipt =
        succeed(&folder, ["receipt", "verify", "receipts/patient.receipt", "--directory", "police/directory.note"]);
    assert!(receipt.contains("the receipt is genuine"), "{receipt}");
    let changed = run(&folder, ["log", "verify", "--data", "changed"]);
    let complaint = String::from_utf8_lossy(&changed.stderr);
    assert!(!changed.status.success() && complaint.contains("the log is damaged at record"), "{complaint}");
}
