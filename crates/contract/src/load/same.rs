//! What came from two sources: the same is fine, anything else is a problem that names both.

use problem::Problem;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::load::compile::{self, Linked};
use crate::load::{Unit, options};
use crate::options::OPTIONS_PATH;

/// Whether what a file defines is in a pool already, under another path.
pub(super) enum There {
    No,
    /// It is all there, in the file of this path.
    Same(String),
    Different(Box<Problem>),
}

/// Compares further copies of files with the ones that were linked.
pub(super) fn compare(linked: &Linked, copies: &[Unit], problems: &mut Vec<Problem>) {
    for copy in copies {
        let Some(first) = linked.unit(&copy.path) else {
            continue;
        };
        if copy.text.is_some() && copy.text == first.text || copy.encoded.is_some() && copy.encoded == first.encoded {
            continue;
        }
        if copy.path == OPTIONS_PATH {
            if options::contradict(&first.proto, &copy.proto) {
                problems.push(options_conflict(copy));
            }
            continue;
        }
        match differs(linked, first, copy, &["source_code_info"]) {
            Ok(false) => {}
            Ok(true) => problems.push(conflict(first, copy)),
            Err(found) => problems.extend(found),
        }
    }
}

fn conflict(first: &Unit, copy: &Unit) -> Problem {
    let path = &copy.path;
    Problem::new(&copy.label, format!("`{path}` is in `{}` and in `{}`, and the two differ", first.source, copy.source))
        .help("load one of the two, or make them the same")
}

fn options_conflict(copy: &Unit) -> Problem {
    Problem::new(&copy.label, format!("this `{}` contradicts the one that the gateway has built in", copy.path))
        .help("take it out of the source, or make the set with this gateway's own; gateways bring the file")
}

/// Looks for what a file defines, by name, in what is linked already.
pub(super) fn already_there(linked: &Linked, unit: &Unit) -> There {
    let Some((name, path)) = first_known(&linked.pool, unit) else {
        return There::No;
    };
    let Some(first) = linked.unit(&path) else {
        return There::No;
    };
    // Two definitions within one source are told by the compiler, with the place of each.
    if first.source == unit.source {
        return There::No;
    }
    let passed = ["source_code_info", "name", "dependency", "public_dependency", "weak_dependency"];
    match differs(linked, first, unit, &passed) {
        Ok(false) => There::Same(path),
        Ok(true) | Err(_) => There::Different(Box::new(
            Problem::new(
                &unit.label,
                format!(
                    "`{name}` is in `{}` ({path}) and in `{}` ({}), and the two differ",
                    first.source, unit.source, unit.path
                ),
            )
            .help("load one of the two, or make them the same"),
        )),
    }
}

/// Returns the first name that a file defines and the pool knows, and the path of the file that defined it.
fn first_known(pool: &DescriptorPool, unit: &Unit) -> Option<(String, String)> {
    let package = unit.proto.package();
    let full = |name: &str| {
        if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
    };
    let messages = unit.proto.message_type.iter().map(|message| full(message.name()));
    let enums = unit.proto.enum_type.iter().map(|of| full(of.name()));
    let services = unit.proto.service.iter().map(|service| full(service.name()));
    messages.chain(enums).chain(services).find_map(|name| {
        let message = pool.get_message_by_name(&name).map(|found| found.parent_file());
        let file = message
            .or_else(|| pool.get_enum_by_name(&name).map(|found| found.parent_file()))
            .or_else(|| pool.get_service_by_name(&name).map(|found| found.parent_file()))?;
        Some((name, file.name().to_owned()))
    })
}

/// Compares two files as compiled, apart from the fields that are `passed` over.
fn differs(linked: &Linked, first: &Unit, second: &Unit, passed: &[&str]) -> Result<bool, Vec<Problem>> {
    let Some(kept) = linked.pool.get_file_by_name(&first.path) else {
        return Ok(true);
    };
    let mut scratch = DescriptorPool::new();
    // Compiled beside the others' imports, in a pool of its own, because one pool takes each name once.
    let mut waiting: Vec<_> = second.proto.dependency.clone();
    let mut needed = std::collections::BTreeMap::new();
    while let Some(path) = waiting.pop() {
        if let Some(file) = linked.pool.get_file_by_name(&path)
            && !needed.contains_key(&file.index())
        {
            waiting.extend(file.dependencies().map(|import| import.name().to_owned()));
            needed.insert(file.index(), file);
        }
    }
    for file in needed.values() {
        let added = scratch.decode_file_descriptor_proto(file.encode_to_vec().as_slice());
        added.map_err(|error| second.problems(error))?;
    }
    if let Some(problem) = second.syntax_problem() {
        return Err(vec![problem]);
    }
    compile::add(&mut scratch, second).map_err(|error| second.problems(error))?;
    let Some(other) = scratch.get_file_by_name(&second.path) else {
        return Ok(true);
    };
    let plain = |encoded: Vec<u8>| {
        let descriptor = linked.pool.get_message_by_name("google.protobuf.FileDescriptorProto")?;
        let mut file = DynamicMessage::decode(descriptor, encoded.as_slice()).ok()?;
        for field in passed {
            file.clear_field_by_name(field);
        }
        // Some compilers write what is the default for files that name no syntax.
        if file.get_field_by_name("syntax").is_some_and(|syntax| syntax.as_str() == Some("proto2")) {
            file.clear_field_by_name("syntax");
        }
        Some(file)
    };
    Ok(plain(kept.encode_to_vec()) != plain(other.encode_to_vec()))
}
