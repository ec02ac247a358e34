//! A contract's own copy of the options file, held against the one that is built in.
//!
//! Older and newer copies are fine as long as both mean the same where they say the same: options that only a newer one knows
//! are refused where a contract uses them.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// Returns whether a copy gives a number or a name another meaning than the built-in file does.
pub(super) fn contradict(own: &FileDescriptorProto, copy: &FileDescriptorProto) -> bool {
    own.package() != copy.package()
        || fields_contradict(&own.extension, &copy.extension)
        || copy.message_type.iter().any(|message| message_contradicts(own, message))
        || copy.enum_type.iter().any(|of| enum_contradicts(own, of))
}

fn message_contradicts(own: &FileDescriptorProto, copy: &DescriptorProto) -> bool {
    let own = own.message_type.iter().find(|message| message.name() == copy.name());
    own.is_some_and(|own| fields_contradict(&own.field, &copy.field))
}

fn fields_contradict(own: &[FieldDescriptorProto], copy: &[FieldDescriptorProto]) -> bool {
    let known = |copy: &FieldDescriptorProto| {
        own.iter()
            .filter(|own| last(own.extendee()) == last(copy.extendee()))
            .find(|own| own.number() == copy.number() || own.name() == copy.name())
            .cloned()
    };
    copy.iter().any(|copy| known(copy).is_some_and(|own| meaning(&own) != meaning(copy)))
}

/// What a field is. The kind of a field whose type has a name is left out, since a parsed file does not say it yet.
fn meaning(field: &FieldDescriptorProto) -> (i32, &str, i32, Option<i32>, &str) {
    let type_name = last(field.type_name());
    let kind = if type_name.is_empty() { field.r#type } else { None };
    (field.number(), field.name(), field.label.unwrap_or_default(), kind, type_name)
}

fn enum_contradicts(own: &FileDescriptorProto, copy: &EnumDescriptorProto) -> bool {
    let Some(own) = own.enum_type.iter().find(|of| of.name() == copy.name()) else {
        return false;
    };
    let clashes = |own: &EnumValueDescriptorProto, copy: &EnumValueDescriptorProto| {
        (own.number() == copy.number()) != (own.name() == copy.name())
    };
    own.value.iter().any(|own| copy.value.iter().any(|copy| clashes(own, copy)))
}

/// A parsed file names types as they were written, a compiled one in full.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
