//! From sources to one pool of descriptors, with every problem on the way.
//!
//! In order: read what each source holds, put imports before importers, compile file by file, compare what came twice, and
//! look at what protobuf allows and a gateway cannot serve.

mod compile;
mod errors;
mod gather;
mod options;
mod order;
mod same;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use problem::Problem;
use prost_reflect::{DescriptorPool, FileDescriptor};
use prost_types::FileDescriptorProto;

/// Where contracts come from. Reading files is left to the caller.
#[derive(Clone, Debug)]
pub enum Source {
    /// The `.proto` files of a folder.
    Protos {
        /// The folder, as problems shall name it.
        name: String,
        /// The files: the path under which others import it, relative to the folder and with `/`; and its text.
        files: Vec<(String, String)>,
    },
    /// A `google.protobuf.FileDescriptorSet`, with imports, as `protoc --include_imports` and `buf build` write it.
    DescriptorSet {
        /// The file, as problems shall name it.
        name: String,
        /// Its content.
        bytes: Vec<u8>,
    },
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Protos { name, .. } | Self::DescriptorSet { name, .. } => name,
        }
    }
}

/// One file of one source, parsed and not yet linked.
#[derive(Clone)]
struct Unit {
    /// The source, as problems name it.
    source: String,
    /// The file, as problems name it.
    label: PathBuf,
    /// Whether gateways bring the file.
    built_in: bool,
    /// The import path.
    path: String,
    /// The text, where there is one.
    text: Option<Arc<str>>,
    /// The encoded file, where it came so: unlike `proto` it holds the options of contracts.
    encoded: Option<Bytes>,
    proto: FileDescriptorProto,
}

/// Compiles sources into one pool.
///
/// # Errors
///
/// Every problem that could be found, in the order of files and lines.
pub(crate) fn pool(sources: &[Source]) -> Result<DescriptorPool, Vec<Problem>> {
    let mut problems = Vec::new();
    let units = gather::units(sources, &mut problems);
    let (kept, copies) = gather::split(units);
    let ordered = order::imports_first(kept, &mut problems);
    let mut linked = compile::link(ordered, &mut problems);
    match compile::again(&linked.pool) {
        Ok(pool) => linked.pool = pool,
        Err(error) => problems.push(Problem::new("contracts", error.to_string())),
    }
    same::compare(&linked, &copies, &mut problems);
    serve::check(&linked, &mut problems);
    if problems.is_empty() {
        Ok(linked.pool)
    } else {
        Problem::sort(&mut problems);
        problems.dedup();
        Err(problems)
    }
}

/// Returns whether gateways bring a file themselves, whatever a source has under its path.
pub(crate) fn is_built_in(path: &str) -> bool {
    gather::built_in(path).is_some()
}

/// Encodes a file without comments and without the services that `keep` turns down.
pub(crate) fn stripped(file: &FileDescriptor, keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let services: Vec<_> = file.services().map(|service| keep(service.full_name())).collect();
    compile::strip(&file.encode_to_vec(), &services)
}

/// Encodes a file with comments, and without the services that `keep` turns down.
pub(crate) fn pruned(file: &FileDescriptor, keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let services: Vec<_> = file.services().map(|service| keep(service.full_name())).collect();
    compile::prune(&file.encode_to_vec(), &services)
}

/// Returns the services of an encoded file and their comments, encoded as fields of a file that has `there` services already.
pub(crate) fn services_of(file: &[u8], there: usize) -> Vec<u8> {
    compile::services(file, there)
}
