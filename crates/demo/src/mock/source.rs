//! The contract that is mocked: read from where it lies, and written into the folders of both members.

mod imports;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::{Contracts, Kind, Method, OPTIONS_PATH, OPTIONS_PROTO, Service, Shape, Source};
use problem::{Problem, nearest};

use super::MockError;
use crate::members::{self, MembersError};

/// Contracts, and the services of them that are mocked.
pub(super) struct Contract {
    pub(super) contracts: Contracts,
    pub(super) services: Vec<Service>,
    sources: Vec<Source>,
}

impl Contract {
    /// Reads folders, single files and descriptor sets, and chooses the services: those named, or all that there are.
    pub(super) fn read(paths: &[PathBuf], named: &[String]) -> Result<Self, MockError> {
        let mut sources = Vec::new();
        // Where single files are named, their services are meant, and not those of what they import.
        let mut files = BTreeSet::new();
        for path in paths {
            let single = path.is_file() && path.extension().is_some_and(|extension| extension == "proto");
            let source = if single {
                let root = root_of(path)?;
                let file = path.strip_prefix(&root).unwrap_or(path);
                let file =
                    file.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
                files.insert(file.clone());
                imports::with_imports(&root, file)
            } else {
                gateway::load::contract_source(path).map_err(|source| MockError::Read { path: path.clone(), source })
            };
            sources.push(ours_left_out(source?));
        }
        let contracts = Contracts::load(&sources).map_err(MockError::Contract)?;
        let all_single = files.len() == paths.len();
        let meant = |service: &&Service| {
            named.contains(&service.name)
                || (named.is_empty() && (!all_single || files.contains(service.descriptor().parent_file().name())))
        };
        let services: Vec<Service> = contracts.services().filter(meant).cloned().collect();
        unknown(named, &contracts)?;
        if services.iter().all(|service| service.methods.is_empty()) {
            let problem = Problem::new("", "the contract has no method, so there is nothing to mock");
            return Err(MockError::Contract(vec![problem.help("name a folder of .proto files with a `service`")]));
        }
        Ok(Self { contracts, services, sources })
    }

    pub(super) fn methods(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.services.iter().flat_map(|service| &service.methods)
    }

    /// The method that a newcomer asks first: one that takes one message, and best of all answers with one.
    pub(super) fn first(&self) -> Option<&Arc<Method>> {
        let of = |shape| self.methods().find(move |method| method.shape() == shape && is_query(method));
        of(Shape::Unary).or_else(|| of(Shape::ServerStream))
    }

    /// The .proto files that the services need, imports first, without those that every compiler has.
    pub(super) fn files(&self) -> Vec<String> {
        let services = self.services.iter().map(|service| service.name.clone()).collect();
        let files = self.contracts.encoded_files(&services).into_iter().map(|(name, _)| name);
        files.filter(|name| !name.starts_with("google/protobuf/")).collect()
    }

    /// Writes the contract into a member's folder, and returns what `contracts.sources` has to name.
    pub(super) fn write(&self, folder: &Path) -> Result<Vec<String>, MembersError> {
        let proto = folder.join("proto");
        // What an earlier contract has left behind would be served too.
        if proto.exists() {
            fs::remove_dir_all(&proto).map_err(|source| MembersError::Write { path: proto.clone(), source })?;
        }
        members::write_text(&proto.join(OPTIONS_PATH), OPTIONS_PROTO)?;
        let mut named = vec!["proto".to_owned()];
        for (number, source) in (1..).zip(&self.sources) {
            match source {
                Source::Protos { files, .. } => {
                    for (path, text) in files {
                        members::write_text(&proto.join(path), text)?;
                    }
                }
                Source::DescriptorSet { bytes, .. } => {
                    let name = format!("contract-{number}.binpb");
                    let path = folder.join(&name);
                    fs::write(&path, bytes).map_err(|source| MembersError::Write { path, source })?;
                    named.push(name);
                }
            }
        }
        Ok(named)
    }
}

/// Whether a command line can ask a method: it takes one message, and has an end.
pub(super) fn asks(method: &Method) -> bool {
    !method.shape().streams_requests() && method.kind() != Some(Kind::Subscription)
}

fn is_query(method: &Method) -> bool {
    matches!(method.kind(), None | Some(Kind::Query))
}

/// Takes out what gateways bring themselves: nobody mocks it.
fn ours_left_out(source: Source) -> Source {
    match source {
        Source::Protos { name, mut files } => {
            files.retain(|(path, _)| !path.starts_with("drawbridge/"));
            Source::Protos { name, files }
        }
        Source::DescriptorSet { name, bytes } => Source::DescriptorSet { name, bytes },
    }
}

/// Finds the folder that imports are relative to: above the folders that are named like the package.
fn root_of(path: &Path) -> Result<PathBuf, MockError> {
    let text = fs::read_to_string(path).map_err(|source| MockError::Read { path: path.to_owned(), source })?;
    let package = text.lines().find_map(|line| line.trim().strip_prefix("package ")?.split(';').next()).unwrap_or("");
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut root = beside;
    for name in package.trim().rsplit('.') {
        match root.parent() {
            Some(above) if root.file_name().is_some_and(|folder| folder == name) => root = above,
            _ => return Ok(beside.to_owned()),
        }
    }
    Ok(if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() })
}

fn unknown(named: &[String], contracts: &Contracts) -> Result<(), MockError> {
    let all: Vec<&str> = contracts.services().map(|service| service.name.as_str()).collect();
    let problem = |name: &String| {
        let problem = Problem::new("", format!("the contract has no service `{name}`"));
        match nearest(name, all.iter().copied()) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem.help(format!("it has {}", all.join(", "))),
        }
    };
    let problems: Vec<Problem> = named.iter().filter(|name| !all.contains(&name.as_str())).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(MockError::Contract(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_file_is_found_below_the_folders_of_its_package() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a/housing/v1/tenancies.proto");
        members::write_text(&file, "syntax = \"proto3\";\npackage housing.v1;\n").unwrap();
        assert_eq!(root_of(&file).unwrap(), root.path().join("a"));
        let file = root.path().join("b/tenancies.proto");
        members::write_text(&file, "syntax = \"proto3\";\npackage housing.v1;\n").unwrap();
        assert_eq!(root_of(&file).unwrap(), root.path().join("b"));
    }

    #[test]
    fn a_single_file_is_mocked_without_its_neighbours() {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
        let names = |paths: &[PathBuf], named: &[String]| -> Vec<String> {
            Contract::read(paths, named).unwrap().services.into_iter().map(|service| service.name).collect()
        };
        assert_eq!(names(&[proto.join("health/v1/patients.proto")], &[]), ["health.v1.Patients"]);
        let two = [proto.join("health/v1/patients.proto"), proto.join("police/v1/neighbourhoods.proto")];
        assert!(names(&two, &[]).contains(&"health.v1.Patients".to_owned()));
        assert!(names(std::slice::from_ref(&proto), &[]).len() > 4);
        assert_eq!(names(std::slice::from_ref(&proto), &["police.v1.Stations".to_owned()]), ["police.v1.Stations"]);
        let Err(MockError::Contract(problems)) = Contract::read(&[proto], &["police.v1.Station".to_owned()]) else {
            panic!("there is no such service");
        };
        assert!(problems[0].help.as_deref().unwrap().contains("police.v1.Stations"), "{problems:?}");
    }

    #[test]
    fn of_the_neighbours_of_a_single_file_only_what_it_imports_is_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| members::write_text(&root.path().join(name), text).unwrap();
        let service = |name: &str| format!("service {name} {{ rpc Find(c.v1.Question) returns (c.v1.Question); }}\n");
        let header = "syntax = \"proto3\";\n";
        write(
            "x/a.proto",
            &format!("{header}package a.v1; /* import \"b.proto\"; */ import \"c.proto\";\n{}", service("A")),
        );
        write("x/d.proto", &format!("{header}package d.v1;\nimport \"c.proto\";\n{}", service("D")));
        write(
            "x/c.proto",
            &format!(
                "{header}package c.v1;\nimport public 'deep/e.proto'; // import \"b.proto\";\nmessage Question {{}}\n"
            ),
        );
        write("x/deep/e.proto", header);
        write("x/b.proto", "this is no contract");
        // Another file of the same name, in a folder of its own.
        write("y/c.proto", &format!("{header}package other.v1;\n"));
        write(
            "y/f.proto",
            &format!("{header}package f.v1;\nservice F {{ rpc Find(Q) returns (Q); }} message Q {{}}\n"),
        );
        let named = ["x/a.proto", "x/d.proto", "y/f.proto"].map(|name| root.path().join(name));
        let contract = Contract::read(&named, &[]).unwrap_or_else(|error| panic!("{error:?}"));
        let mut services: Vec<_> = contract.services.iter().map(|service| service.name.as_str()).collect();
        services.sort_unstable();
        assert_eq!(services, ["a.v1.A", "d.v1.D", "f.v1.F"]);
        assert!(Contract::read(&[root.path().join("x")], &[]).is_err(), "a folder is read whole");
    }
}
