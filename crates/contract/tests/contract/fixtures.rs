//! The contracts that the tests use, and small ways to make others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use drawbridge_contract::{Contracts, Method, Source};
use problem::Problem;
use prost_reflect::MessageDescriptor;

/// The contracts in `tests/fixtures/proto`.
pub static FIXTURES: LazyLock<Contracts> = LazyLock::new(|| Contracts::load(&[folder()]).unwrap());

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

pub fn folder() -> Source {
    let root = path("fixtures/proto");
    let mut files = Vec::new();
    for name in ["archive/v1/archive.proto", "registry/v1/person.proto", "registry/v1/place.proto"] {
        files.push((name.to_owned(), fs::read_to_string(root.join(name)).unwrap()));
    }
    Source::Protos { name: "proto".to_owned(), files }
}

pub fn golden(name: &str) -> Source {
    Source::DescriptorSet { name: name.to_owned(), bytes: fs::read(path("golden").join(name)).unwrap() }
}

pub fn protos(name: &str, files: &[(&str, &str)]) -> Source {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Source::Protos { name: name.to_owned(), files }
}

pub fn load(files: &[(&str, &str)]) -> Result<Contracts, Vec<Problem>> {
    Contracts::load(&[protos("proto", files)])
}

/// Loads one proto3 file of the package `t`, given without its head.
pub fn one(body: &str) -> Contracts {
    load(&[("t.proto", &with_head(body))]).unwrap_or_else(|problems| panic!("{}", written(&problems)))
}

pub fn with_head(body: &str) -> String {
    format!("syntax = \"proto3\"; package t; import \"drawbridge/options/v1/options.proto\";\n{body}")
}

pub fn written(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect::<Vec<_>>().join("\n")
}

pub fn method(path: &str) -> Arc<Method> {
    Arc::clone(FIXTURES.method(path).unwrap())
}

pub fn person() -> MessageDescriptor {
    method("/registry.v1.Persons/Find").output().clone()
}
