//! The comparison of speed as a whole, with the direct call alone: no other program needs to be installed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

fn xtask() -> Command {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
}

#[test]
fn every_case_runs_and_is_reported() {
    let file = std::env::temp_dir().join(format!("drawbridge-bench-{}.json", std::process::id()));
    let output =
        xtask().args(["bench", "--smoke", "--long", "--contenders", "direct", "--json"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    let measured = report["measured"].as_array().unwrap();
    let cases: Vec<&str> = measured.iter().map(|each| each["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["long", "stream", "unary1", "unary512", "unary64"]);
    for each in measured {
        let run = &each["runs"][0];
        assert!(run["rate"].as_f64().unwrap() > 0.0, "{each}");
        assert_eq!(run["failures"], 0, "{each}");
    }
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("1 KiB unary, 64 callers") && table.contains("direct call"), "{table}");
}

#[test]
fn a_case_that_does_not_exist_is_refused() {
    let output = xtask().args(["bench", "--smoke", "--only", "unary63"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`unary63`"));
}

#[test]
fn the_back_end_ends_when_its_standard_input_closes() {
    let mut child = xtask().arg("bench-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut address = String::new();
    stdout.read_line(&mut address).unwrap();
    assert!(address.trim().parse::<std::net::SocketAddr>().is_ok(), "{address}");
    drop(child.stdin.take());
    // The end of its output is the end of the process.
    stdout.read_to_string(&mut String::new()).unwrap();
    assert!(child.wait().unwrap().success());
}
