//! What each source holds, parsed file by file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use problem::Problem;
use prost::Message;
use prost_types::FileDescriptorProto;
use protox::file::{File, FileResolver, GoogleFileResolver};

use crate::load::{Source, Unit, errors};
use crate::options::{OPTIONS_PATH, OPTIONS_PROTO};

/// What problems call the source of files that gateways bring.
const BUILT_IN: &str = "the gateway itself";

/// A descriptor set whose files are left encoded.
#[derive(Clone, PartialEq, Message)]
struct EncodedSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// Parses every file of every source.
pub(super) fn units(sources: &[Source], problems: &mut Vec<Problem>) -> Vec<Unit> {
    let mut units = Vec::new();
    for source in sources {
        match source {
            Source::Protos { name, files } => {
                for (path, text) in files {
                    match parsed(name, path, text) {
                        Ok(unit) => units.push(unit),
                        Err(found) => problems.extend(found),
                    }
                }
            }
            Source::DescriptorSet { name, bytes } => match decoded(name, bytes) {
                Ok(found) => units.extend(found),
                Err(error) => problems.push(Problem::new(name, "not a descriptor set").cause(error.to_string()).help(
                    "make one with `buf build -o contracts.binpb` or `protoc --include_imports \
                         --descriptor_set_out=contracts.binpb`",
                )),
            },
        }
        if let Some(problem) = empty(source) {
            problems.push(problem);
        }
    }
    units
}

/// Parts the first of each path from those that came again.
///
/// protobuf's own files are left out: gateways bring them, so that they are the same everywhere.
pub(super) fn split(units: Vec<Unit>) -> (Vec<Unit>, Vec<Unit>) {
    let mut paths = HashSet::new();
    let (mut kept, mut copies) = (Vec::new(), Vec::new());
    for unit in units {
        if unit.path == OPTIONS_PATH {
            copies.push(unit);
        } else if built_in(&unit.path).is_some() {
            // Different releases of protobuf ship these with different comments and options, which mean nothing to us.
        } else if paths.insert(unit.path.clone()) {
            kept.push(unit);
        } else {
            copies.push(unit);
        }
    }
    (kept, copies)
}

/// Returns a file that gateways bring themselves.
pub(super) fn built_in(path: &str) -> Option<Unit> {
    let label = PathBuf::from(path);
    if path == OPTIONS_PATH {
        let file = File::from_source(OPTIONS_PATH, OPTIONS_PROTO).ok()?;
        let proto = file.file_descriptor_proto().clone();
        let (source, path) = (BUILT_IN.to_owned(), path.to_owned());
        return Some(Unit {
            source,
            label,
            built_in: true,
            path,
            text: Some(OPTIONS_PROTO.into()),
            encoded: None,
            proto,
        });
    }
    let file = GoogleFileResolver::new().open_file(path).ok()?;
    let proto = file.file_descriptor_proto().clone();
    let (source, path) = (BUILT_IN.to_owned(), path.to_owned());
    Some(Unit { source, label, built_in: true, path, text: None, encoded: None, proto })
}

fn parsed(source: &str, path: &str, text: &str) -> Result<Unit, Vec<Problem>> {
    let label = Path::new(source).join(path);
    let file = File::from_source(path, text).map_err(|error| errors::problems(&error, &label, Some(text)))?;
    Ok(Unit {
        source: source.to_owned(),
        label,
        built_in: false,
        path: path.to_owned(),
        text: Some(Arc::from(text)),
        encoded: None,
        proto: file.file_descriptor_proto().clone(),
    })
}

fn decoded(source: &str, bytes: &[u8]) -> Result<Vec<Unit>, prost::DecodeError> {
    let set = EncodedSet::decode(bytes)?;
    set.file
        .into_iter()
        .map(|encoded| {
            let proto = FileDescriptorProto::decode(encoded.clone())?;
            let path = proto.name().to_owned();
            Ok(Unit {
                source: source.to_owned(),
                label: PathBuf::from(source),
                built_in: false,
                path,
                text: None,
                encoded: Some(encoded),
                proto,
            })
        })
        .collect()
}

fn empty(source: &Source) -> Option<Problem> {
    let (nothing, what) = match source {
        Source::Protos { files, .. } => (files.is_empty(), "there is no `.proto` file in this folder"),
        Source::DescriptorSet { bytes, .. } => (bytes.is_empty(), "the descriptor set is empty"),
    };
    nothing.then(|| {
        Problem::new(source.name(), what)
            .help("name a folder of `.proto` files, or a descriptor set, in `contracts.sources`")
    })
}
