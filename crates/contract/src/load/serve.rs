//! What protobuf allows and a gateway cannot serve, and what is wrong in Drawbridge's own options.

use std::collections::BTreeMap;

use problem::Problem;
use prost_reflect::{Cardinality, FileDescriptor, MessageDescriptor, ServiceDescriptor};
use prost_types::MessageOptions;

use crate::digest::canonical::{Definition, closure};
use crate::load::compile::Linked;
use crate::options::{self, OptionProblem};

/// Protobuf's own package.
const WELL_KNOWN: &str = "google.protobuf";

/// Packages whose services gateways serve themselves: a contract's could not be told from these.
const SERVED: [&str; 3] = ["drawbridge", "grpc.health", "grpc.reflection"];

/// Most required fields that one message may have: the walk keeps a bit for each.
const MOST_REQUIRED: usize = 64;

/// Looks at every service, and at what it reaches.
pub(super) fn check(linked: &Linked, problems: &mut Vec<Problem>) {
    let mut messages = BTreeMap::new();
    for service in linked.pool.services() {
        check_service(linked, &service, problems);
        for (name, definition) in closure(&service) {
            if let Definition::Message(message) = definition {
                messages.insert(name, message);
            }
        }
    }
    for message in messages.values() {
        check_message(linked, message, problems);
    }
    for file in linked.pool.files() {
        check_package(linked, &file, problems);
    }
}

fn check_service(linked: &Linked, service: &ServiceDescriptor, problems: &mut Vec<Problem>) {
    for method in service.methods() {
        let (_, found) = options::method_rules(&method);
        let place = (method.parent_file(), method.path().to_vec(), method.full_name().to_owned());
        problems.extend(found.into_iter().map(|found| place_at(linked, &place, found)));
    }
}

fn check_message(linked: &Linked, message: &MessageDescriptor, problems: &mut Vec<Problem>) {
    let place = (message.parent_file(), message.path().to_vec(), message.full_name().to_owned());
    if message.descriptor_proto().options.as_ref().is_some_and(MessageOptions::message_set_wire_format) {
        problems.push(place_at(
            linked,
            &place,
            OptionProblem {
                what: format!("`{}` is a message set, which cannot be served", message.full_name()),
                help: "use an ordinary message".to_owned(),
            },
        ));
    }
    let required = message.fields().filter(|field| field.cardinality() == Cardinality::Required).count();
    if required > MOST_REQUIRED {
        problems.push(place_at(
            linked,
            &place,
            OptionProblem {
                what: format!(
                    "`{}` has {required} required fields; {MOST_REQUIRED} can be served",
                    message.full_name()
                ),
                help: "make some of them optional, or group them in a message".to_owned(),
            },
        ));
    }
    for field in message.fields() {
        let place = (field.parent_file(), field.path().to_vec(), field.full_name().to_owned());
        problems.extend(options::field_problems(&field).into_iter().map(|found| place_at(linked, &place, found)));
    }
}

fn check_package(linked: &Linked, file: &FileDescriptor, problems: &mut Vec<Problem>) {
    const PACKAGE: i32 = 2;
    let package = file.package_name();
    let within = |reserved: &str| package == reserved || package.starts_with(&format!("{reserved}."));
    if linked.unit(file.name()).is_none_or(|unit| unit.built_in) {
        return;
    }
    let found = if within(WELL_KNOWN) {
        // Digests pass over these types, so nobody but protobuf may define one.
        format!("the package `{package}` is protobuf's own")
    } else if let Some(reserved) = SERVED.iter().find(|reserved| within(reserved))
        && file.services().len() > 0
    {
        format!("the package `{package}` is none of a contract's: gateways serve `{reserved}` themselves")
    } else {
        return;
    };
    let place = (file.clone(), vec![PACKAGE], package.to_owned());
    let help = "name the package after what it is about, as in `housing.v1`".to_owned();
    problems.push(place_at(linked, &place, OptionProblem { what: found, help }));
}

/// Puts a problem where the element at a path of a file stands, or names the element where there is no text.
fn place_at(linked: &Linked, place: &(FileDescriptor, Vec<i32>, String), found: OptionProblem) -> Problem {
    let (file, path, name) = place;
    let Some(unit) = linked.unit(file.name()) else {
        return Problem::new(file.name(), found.what).help(found.help);
    };
    let mut problem = Problem::new(&unit.label, found.what).help(found.help);
    problem.key = Some(name.clone());
    unit.locate(problem, path)
}
