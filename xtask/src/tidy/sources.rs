//! The source files: each says what it is for, none carries what the house rules leave out.
//!
//! The words looked for are written here in halves, so that this file does not find itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    tidy::{Finding, count},
    workspace,
};

/// Folders at the root that say in a `README.md` what is in them.
const DOCUMENTED: &[&str] = &["benches", "certs-dev", "crates", "deploy", "proto", "tests"];

/// Lines of a file, tests left out, above which it is worth another look. Told, never refused.
const LONG: usize = 500;

/// What no Rust file contains, why, and what to do instead.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    (
        concat!("#[ig", "nore"),
        "an ignored test",
        "let it run, or take it out; one that cannot run fails and says what it lacks",
    ),
    (concat!("#[should_", "panic"), "a test that waits for a panic", "return an error and assert on it"),
    (concat!("to", "do!("), "a hole in the code", "write it, or refuse what it would do with an error"),
    (concat!("unimple", "mented!("), "a hole in the code", "write it, or refuse what it would do with an error"),
    (concat!("TO", "DO"), "a note to self", "do it, or write down under `crates/decisions` why not"),
    (concat!("FIX", "ME"), "a note to self", "mend it"),
    (concat!("dbg", "!("), "a debugging print", "take it out"),
];

/// Folders of one machine, which mean nothing on any other.
const PLACES: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("../sha", "red")];

/// Endings of files that are text of ours. Public data in samples is left as its publishers wrote it.
const TEXT: &[&str] = &["rs", "md", "toml", "proto", "py", "sh", "txt", "yml", "yaml"];

pub(super) fn check(files: &[PathBuf]) -> Result<Vec<Finding>> {
    let root = workspace::root();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.to_string_lossy().ends_with(".snap.new")) {
        let help = "look at the difference, then rename the file or mend the code; `cargo insta review` does it";
        findings.push(Finding::new(file.display().to_string(), "a snapshot that nobody has looked at", help));
    }
    for file in files {
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !TEXT.contains(&ending) || file.components().any(|part| part.as_os_str() == "data") {
            continue;
        }
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        findings.extend(judge(file, &text));
        if ending == "rs" {
            let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
            if lines > LONG && !file.components().any(|part| part.as_os_str() == "tests") {
                eprintln!("note: {} has {}; is it one thing?", file.display(), count(lines, "line"));
            }
        }
    }
    for folder in DOCUMENTED {
        if root.join(folder).is_dir() && !root.join(folder).join("README.md").is_file() {
            findings.push(Finding::new(
                format!("{folder}/"),
                "the folder has no `README.md`",
                "say in it what the folder holds, and for whom",
            ));
        }
    }
    Ok(findings)
}

/// Judges one text file.
fn judge(file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shown = file.display();
    let rust = file.extension().is_some_and(|ending| ending == "rs");
    if rust && file.file_name().is_some_and(|name| name == "mod.rs") {
        let parent = file.parent().unwrap_or(file).display();
        findings.push(Finding::new(shown.to_string(), "a file called `mod.rs`", format!("move it to `{parent}.rs`")));
    }
    // The tests of `key.rs` lie in `key/tests.rs` or below `key/tests/`, whose names say what they are for.
    let inside = file.components().skip_while(|part| part.as_os_str() != "src");
    let tests = inside.into_iter().any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name));
    if rust && !tests && !opens_with_its_purpose(text) {
        findings.push(Finding::new(
            shown.to_string(),
            "the file does not open with `//!`",
            "say in one sentence what it is for, and its one surprising fact",
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", number + 1);
        if let Some(found) = PLACES.iter().find(|found| line.contains(**found)) {
            findings.push(Finding::new(
                place.clone(),
                format!("`{found}` is a folder of one machine"),
                "name it relative to the repository",
            ));
        }
        if rust && let Some((_, what, help)) = FORBIDDEN.iter().find(|(found, ..)| line.contains(found)) {
            findings.push(Finding::new(place, *what, *help));
        }
    }
    findings
}

/// Whether the first line that is not an inner attribute or blank is documentation of the file.
fn opens_with_its_purpose(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!["))
        .is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        let findings = judge(Path::new(name), text);
        findings.into_iter().map(|finding| format!("{} {}", finding.place, finding.what)).collect()
    }

    #[test]
    fn a_file_in_order_passes() {
        assert!(found("crates/note/src/key.rs", "//! Keys.\n\nfn f() {}\n").is_empty());
        assert!(found("tests/it/main.rs", "#![allow(missing_docs)]\n//! The tests.\n").is_empty());
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert_eq!(found("a/b.rs", "use std::fs;\n"), ["a/b.rs the file does not open with `//!`"]);
    }

    #[test]
    fn the_old_file_name_for_modules_is_found() {
        assert!(found("a/src/b/mod.rs", "//! B.\n")[0].contains("mod.rs"));
    }

    #[test]
    fn an_ignored_test_is_found_with_its_line() {
        let text = format!("//! B.\n{}]\nfn f() {{}}\n", concat!("#[ig", "nore"));
        assert_eq!(found("b.rs", &text), ["b.rs:2 an ignored test"]);
    }

    #[test]
    fn a_folder_of_one_machine_is_found_in_documents_too() {
        let text = format!("See {}x/y.\n", concat!("/ho", "me/"));
        assert_eq!(found("README.md", &text).len(), 1);
    }
}
