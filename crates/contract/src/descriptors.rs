//! What several walks over the descriptors of messages need.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Returns the kind of a field's values; of a map, that of what its keys lead to.
pub(crate) fn value_kind(field: &FieldDescriptor) -> Kind {
    let kind = field.kind();
    match kind.as_message().filter(|_| field.is_map()) {
        Some(entry) => entry.map_entry_value_field().kind(),
        None => kind,
    }
}

/// Numbers messages in the order in which they are reached, each once however often that is.
#[derive(Default)]
pub(crate) struct Positions {
    known: HashMap<String, usize>,
    messages: Vec<MessageDescriptor>,
}

impl Positions {
    /// Returns the position of a message.
    pub(crate) fn of(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(&position) = self.known.get(message.full_name()) {
            return position;
        }
        let position = self.messages.len();
        self.known.insert(message.full_name().to_owned(), position);
        self.messages.push(message.clone());
        position
    }

    /// Returns the message at a position, where so many have been reached.
    pub(crate) fn at(&self, position: usize) -> Option<MessageDescriptor> {
        self.messages.get(position).cloned()
    }
}
