//! The contracts that the tests load.

use std::fs;
use std::path::Path;

use contract::{Contracts, Source};
use drawbridge_rest::Routes;

/// Every contract of the repository.
pub fn shipped() -> Contracts {
    load(&[read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"), &["council", "health", "police"])])
}

/// The contract of these tests.
pub fn archive() -> Contracts {
    load(&[read(&fixtures(), &["google", "archive"])])
}

/// The contract with rules about values.
pub fn lookups() -> Contracts {
    load(&[read(&fixtures(), &["google", "lookups"])])
}

/// A contract of one file beside `google.api`, which may be wrong.
pub fn with(text: &str) -> Result<Routes, String> {
    let Source::Protos { name, mut files } = read(&fixtures(), &["google"]) else { unreachable!() };
    let head = "syntax = \"proto3\";\npackage a.v1;\nimport \"google/api/annotations.proto\";\n\
                import \"drawbridge/options/v1/options.proto\";\n";
    files.push(("a/v1/a.proto".to_owned(), format!("{head}{text}")));
    let contracts = Contracts::load(&[Source::Protos { name, files }]).unwrap();
    Routes::of(&contracts).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
}

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn load(sources: &[Source]) -> Contracts {
    Contracts::load(sources).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn read(root: &Path, folders: &[&str]) -> Source {
    let mut files = Vec::new();
    for folder in folders {
        walk(root, &root.join(folder), &mut files);
    }
    files.sort();
    Source::Protos { name: "proto".to_owned(), files }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}
