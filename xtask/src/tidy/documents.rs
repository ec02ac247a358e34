//! The documents beside the crates: every source file that they name is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{tidy::Finding, workspace};

pub(super) fn check(files: &[PathBuf]) -> Result<Vec<Finding>> {
    let ends = |file: &&PathBuf, ending: &str| file.extension().is_some_and(|found| found == ending);
    let sources: Vec<&PathBuf> = files.iter().filter(|file| ends(file, "rs")).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.starts_with("crates") && ends(file, "md")) {
        let text = fs::read_to_string(workspace::root().join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        findings.extend(judge(file, &text, &sources));
    }
    Ok(findings)
}

/// Judges one document. It may leave out where a path begins: `src/key.rs` and `key.rs` stand for any file that ends so.
fn judge(file: &Path, text: &str, sources: &[&PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Every second piece stands between backticks.
        let named = line.split('`').skip(1).step_by(2).filter(|word| !word.contains(' ')).map(Path::new);
        for named in named.filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
            if !sources.iter().any(|source| source.ends_with(named)) {
                findings.push(Finding::new(
                    format!("{}:{}", file.display(), number + 1),
                    format!("`{}` is named here, and there is no such file", named.display()),
                    "name the file that took its place",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_went_is_found_where_it_is_named() {
        let sources = [PathBuf::from("crates/note/src/key.rs"), PathBuf::from("crates/note/src/key/seed.rs")];
        let text = "Keys are in `note/src/key.rs`,\nseeds in `key/seed.rs`; `turnkey.rs` and `note/key.rs` are gone.\n";
        let findings = judge(Path::new("crates/README.md"), text, &sources.each_ref());
        let found: Vec<String> = findings.iter().map(|finding| format!("{} {}", finding.place, finding.what)).collect();
        let gone = |name: &str| format!("crates/README.md:2 `{name}` is named here, and there is no such file");
        assert_eq!(found, [gone("turnkey.rs"), gone("note/key.rs")]);
    }
}
