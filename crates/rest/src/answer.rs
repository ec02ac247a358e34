//! From the bytes of an answer to JSON, whole or line by line.

use std::io::{self, Write};

use contract::InJson;
use contract::framing::PREFIX;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage as _, SerializeOptions};
use serde_json::Value;

use crate::routes::Route;

/// An answer that is recorded as given, and cannot be shown in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoJson {
    /// The bytes are not a message of the contract.
    #[error("the answer is not a message of the contract")]
    Malformed,
    /// A value has no form in JSON: a timestamp in the year 20000, an `Any` of a type that the contract does not have.
    #[error("a value of the answer has no form in JSON")]
    Unshowable,
    /// The text would be too long.
    #[error("the answer is longer than {limit} bytes in JSON")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl Route {
    /// Writes an answer as JSON on one line, at most `limit` bytes of it. Fields with their default value are left out, as protobuf has it.
    ///
    /// # Errors
    ///
    /// [`NoJson`], without a value.
    pub fn answer(&self, message: &[u8], limit: usize) -> Result<Vec<u8>, NoJson> {
        self.method.check_answer(message).map_err(|_| NoJson::Malformed)?;
        let message = DynamicMessage::decode(self.method.output().clone(), message).map_err(|_| NoJson::Malformed)?;
        let mut out = Bounded { text: Vec::new(), limit, over: false };
        let written = match &self.shown {
            None => serde_json::to_writer(&mut out, &InJson(&message)),
            Some(field) => shown(&message, field).and_then(|value| serde_json::to_writer(&mut out, &value)),
        };
        match written {
            Ok(()) => Ok(out.text),
            Err(_) if out.over => Err(NoJson::TooLong { limit }),
            Err(_) => Err(NoJson::Unshowable),
        }
    }
}

/// One field of a message, with its default value where it is not set. Within it fields with theirs are left out, as in any answer.
fn shown(message: &DynamicMessage, field: &FieldDescriptor) -> serde_json::Result<Value> {
    let mut alone = DynamicMessage::new(message.descriptor());
    let mut value = if message.has_field(field) {
        alone.set_field(field, message.get_field(field).into_owned());
        serde_json::to_value(InJson(&alone))?
    } else {
        let options = SerializeOptions::new().skip_default_fields(false);
        alone.serialize_with_options(serde_json::value::Serializer, &options)?
    };
    Ok(value.get_mut(field.json_name()).map(Value::take).unwrap_or_default())
}

struct Bounded {
    text: Vec<u8>,
    limit: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > self.limit {
            self.over = true;
            return Err(io::Error::other("above the limit"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts a stream of gRPC's length-prefixed messages, however it arrives, into messages.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: Vec<u8>,
}

impl Lines {
    /// Takes what arrived next, and returns the messages that are whole with it.
    ///
    /// At most one message and one chunk wait here; what sends the chunks holds messages to their limit.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        self.waiting.extend_from_slice(chunk);
        let mut messages = Vec::new();
        let mut rest = self.waiting.as_slice();
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
            let [_, a, b, c, d] = *prefix;
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let Some((message, next)) = after.split_at_checked(length) else { break };
            messages.push(message.to_vec());
            rest = next;
        }
        let taken = self.waiting.len().saturating_sub(rest.len());
        self.waiting.drain(..taken);
        messages
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in 1_usize..50,
        ) {
            let mut all = Vec::new();
            for message in &messages {
                all.push(0);
                all.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
                all.extend_from_slice(message);
            }
            let mut lines = Lines::default();
            let found: Vec<_> = all.chunks(cut).flat_map(|chunk| lines.feed(chunk)).collect();
            prop_assert_eq!(found, messages);
        }
    }
}
