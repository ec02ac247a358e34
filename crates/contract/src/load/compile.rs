//! Files into one pool, one by one, so that a problem in one hides none in another.

use std::collections::{HashMap, HashSet};

use problem::Problem;
use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, Value};
use prost_types::FileDescriptorProto;

use crate::load::{Unit, errors, same};
use crate::wire::reader::{self, Wire};

/// What was linked: the pool, and where each of its files came from.
pub(super) struct Linked {
    pub(super) pool: DescriptorPool,
    pub(super) units: Vec<Unit>,
}

impl Linked {
    pub(super) fn unit(&self, path: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.path == path)
    }
}

/// Adds files, imports first, to one pool.
pub(super) fn link(units: Vec<Unit>, problems: &mut Vec<Problem>) -> Linked {
    let mut linked = Linked { pool: DescriptorPool::new(), units: Vec::new() };
    let mut broken = HashSet::new();
    // Files that are there under another path already, and that path.
    let mut aliases = HashMap::new();
    for mut unit in units {
        if unit.proto.dependency.iter().any(|import| broken.contains(import)) {
            broken.insert(unit.path);
            continue;
        }
        unit.rename_imports(&aliases, &linked.pool);
        match same::already_there(&linked, &unit) {
            same::There::No => {}
            same::There::Same(path) => {
                aliases.insert(unit.path, path);
                continue;
            }
            same::There::Different(problem) => {
                problems.push(*problem);
                broken.insert(unit.path);
                continue;
            }
        }
        if let Some(problem) = unit.syntax_problem() {
            problems.push(problem);
            broken.insert(unit.path);
            continue;
        }
        match add(&mut linked.pool, &unit) {
            Ok(()) => linked.units.push(unit),
            Err(error) => {
                problems.extend(unit.problems(error));
                broken.insert(unit.path);
            }
        }
    }
    linked
}

/// Reads the files of a pool again, now that all options are resolved.
///
/// The linker looks at `packed` before it resolves the options of a text, and so takes it for unset there.
pub(super) fn again(pool: &DescriptorPool) -> Result<DescriptorPool, DescriptorError> {
    let mut again = DescriptorPool::new();
    for file in pool.files() {
        again.decode_file_descriptor_proto(file.encode_to_vec().as_slice())?;
    }
    Ok(again)
}

/// Adds one file to a pool that has its imports.
pub(super) fn add(pool: &mut DescriptorPool, unit: &Unit) -> Result<(), DescriptorError> {
    match &unit.encoded {
        Some(encoded) => pool.decode_file_descriptor_proto(encoded.clone()),
        None => pool.add_file_descriptor_proto(unit.proto.clone()),
    }
}

impl Unit {
    /// Looks at what the linker does not take, and does not survive either.
    pub(super) fn syntax_problem(&self) -> Option<Problem> {
        let what = match self.proto.syntax() {
            "" | "proto2" | "proto3" => return None,
            "editions" => format!("`{}` is written in an edition, which cannot be served", self.path),
            other => format!("`{}` has the unknown syntax `{other}`", self.path),
        };
        Some(Problem::new(&self.label, what).help("write the contract with `syntax = \"proto3\";`"))
    }

    /// Puts an error of the linker where it belongs in this file.
    pub(super) fn problems(&self, error: DescriptorError) -> Vec<Problem> {
        let path = (error.file().map(str::to_owned), error.path().map(<[i32]>::to_vec));
        let text = self.text.as_deref();
        let error = match text {
            // The linker takes the compiler's columns, which count bytes, for letters: here both are the same.
            Some(text) => {
                let one_byte_each = |byte: u8| {
                    if byte.is_ascii() { char::from(byte) } else { 'x' }
                };
                error.with_source_code(&text.bytes().map(one_byte_each).collect::<String>())
            }
            None => error,
        };
        let mut found = errors::problems(&error, &self.label, text);
        for problem in &mut found {
            if text.is_none() {
                problem.key = Some(self.path.clone());
            }
        }
        // Some errors carry a path into the descriptor and no span.
        if let ([only], (Some(_), Some(path))) = (found.as_mut_slice(), path)
            && only.line.is_none()
        {
            *only = self.locate(only.clone(), &path);
        }
        found
    }

    /// Lets the file import what it needs under the paths that the pool has.
    fn rename_imports(&mut self, aliases: &HashMap<String, String>, pool: &DescriptorPool) {
        if !self.proto.dependency.iter().any(|import| aliases.contains_key(import)) {
            return;
        }
        for import in &mut self.proto.dependency {
            if let Some(path) = aliases.get(import) {
                import.clone_from(path);
            }
        }
        // The encoded file is what keeps options, so it is edited as a message and not made anew.
        let renamed = self.encoded.as_ref().and_then(|encoded| {
            let descriptor = pool.get_message_by_name("google.protobuf.FileDescriptorProto")?;
            let mut file = DynamicMessage::decode(descriptor, encoded.clone()).ok()?;
            let imports = self.proto.dependency.iter().cloned().map(Value::String).collect();
            file.set_field_by_name("dependency", Value::List(imports));
            Some(file.encode_to_vec())
        });
        if let Some(renamed) = renamed {
            self.encoded = Some(renamed.into());
        }
    }
}

/// `FileDescriptorProto.service` and `FileDescriptorProto.source_code_info`.
const SERVICE: u32 = 6;
const SOURCE_CODE_INFO: u32 = 9;

/// Takes comments, and the services that are not kept, out of an encoded file.
pub(super) fn strip(encoded: &[u8], keep: &[bool]) -> Vec<u8> {
    let mut keep = keep.iter();
    filtered(encoded, |field| match field {
        SOURCE_CODE_INFO => false,
        SERVICE => keep.next() != Some(&false),
        _ => true,
    })
}

/// Takes the services that are not kept out of an encoded file, and of what is told of its source all but the comments of what stays.
pub(super) fn prune(encoded: &[u8], keep: &[bool]) -> Vec<u8> {
    let place = |service: i32| {
        let service = usize::try_from(service).ok().filter(|service| keep.get(*service) == Some(&true))?;
        let before = keep.iter().take(service).filter(|keep| **keep).count();
        i32::try_from(before).ok()
    };
    let mut pruned = strip(encoded, keep);
    pruned.extend(comments(encoded, |path| match service_in(path) {
        Some(at) => place(*at).inspect(|place| *at = *place).is_some(),
        None => true,
    }));
    pruned
}

/// Takes all but the services and their comments out of an encoded file, to be put behind the `there` services of another.
pub(super) fn services(encoded: &[u8], there: usize) -> Vec<u8> {
    let mut services = filtered(encoded, |field| field == SERVICE);
    services.extend(comments(encoded, |path| {
        let Some(at) = service_in(path) else { return false };
        let behind = i32::try_from(there).ok().and_then(|there| at.checked_add(there));
        behind.inspect(|behind| *at = *behind).is_some()
    }));
    services
}

/// Returns which service the path of an element leads into, if it leads into one.
fn service_in(path: &mut [i32]) -> Option<&mut i32> {
    match path {
        [field, at, ..] if u32::try_from(*field) == Ok(SERVICE) => Some(at),
        _ => None,
    }
}

/// Returns the comments in an encoded file, encoded as a field of one: those of the elements for whose paths `keep` says so, which may
/// change them.
fn comments(encoded: &[u8], keep: impl Fn(&mut [i32]) -> bool) -> Vec<u8> {
    let told = filtered(encoded, |field| field == SOURCE_CODE_INFO);
    let file = FileDescriptorProto::decode(told.as_slice()).unwrap_or_default();
    let Some(mut info) = file.source_code_info else { return Vec::new() };
    info.location.retain_mut(|location| {
        let says = location.leading_comments.is_some() || location.trailing_comments.is_some();
        says && keep(&mut location.path)
    });
    if info.location.is_empty() {
        return Vec::new();
    }
    FileDescriptorProto { source_code_info: Some(info), ..FileDescriptorProto::default() }.encode_to_vec()
}

/// Keeps the fields of an encoded file whose numbers `keep` takes; of fields that are not messages or texts all.
fn filtered(encoded: &[u8], mut keep: impl FnMut(u32) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((field, after)) = next(rest) {
        let keeps = field.1 != Wire::Length || keep(field.0);
        if keeps && let Some(record) = rest.len().checked_sub(after.len()).and_then(|length| rest.get(..length)) {
            kept.extend_from_slice(record);
        }
        rest = after;
    }
    kept
}

/// Returns the first field's number and wire type, and the bytes behind the field.
fn next(rest: &[u8]) -> Option<((u32, Wire), &[u8])> {
    let ((number, wire), value) = reader::tag(rest).ok()?;
    let after = reader::skip(number, wire, value, 0).ok()?;
    Some(((number, wire), after))
}
