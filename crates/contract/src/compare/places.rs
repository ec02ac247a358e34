//! Where in its file an element of a service stands.

use prost_reflect::{FileDescriptor, ServiceDescriptor};

use super::elements::Key;

/// Returns the file's import path and the line, from 1; nothing where the source had no lines, as most descriptor sets have none.
pub(super) fn of(service: &ServiceDescriptor, key: &Key) -> Option<(String, u32)> {
    let (file, path) = found(service, key)?;
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info.location.iter().find(|location| location.path == path)?;
    let line = u32::try_from(*location.span.first()?).ok()?;
    Some((file.name().to_owned(), line.checked_add(1)?))
}

fn found(service: &ServiceDescriptor, key: &Key) -> Option<(FileDescriptor, Vec<i32>)> {
    let pool = service.parent_pool();
    let found = match key {
        Key::Service => (service.parent_file(), service.path().to_vec()),
        Key::Method(name) => {
            let method = service.methods().find(|method| method.name() == name)?;
            (method.parent_file(), method.path().to_vec())
        }
        Key::Message(name) => {
            let message = pool.get_message_by_name(name)?;
            (message.parent_file(), message.path().to_vec())
        }
        Key::Oneof(of, name) => {
            let message = pool.get_message_by_name(of)?;
            let oneof = message.oneofs().find(|oneof| oneof.name() == name)?;
            (oneof.parent_file(), oneof.path().to_vec())
        }
        Key::Field(of, number) => {
            let field = pool.get_message_by_name(of)?.get_field(*number)?;
            (field.parent_file(), field.path().to_vec())
        }
        Key::Enum(name) => {
            let of = pool.get_enum_by_name(name)?;
            (of.parent_file(), of.path().to_vec())
        }
        Key::Value(of, _, name) => {
            let value = pool.get_enum_by_name(of)?.get_value_by_name(name)?;
            (value.parent_file(), value.path().to_vec())
        }
    };
    Some(found)
}
