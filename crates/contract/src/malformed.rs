//! What is wrong with the bytes of a message: where, and never which value.

use std::fmt;

/// The bytes are not a message of the contract.
///
/// Names a field by its path and a place by its offset; it never holds a value, so it may be shown and logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    /// The path of the field in which the defect lies, as in `addresses.postcode`; empty for the message itself. The entries of
    /// a map add `key` or `value`.
    pub path: String,
    /// Bytes from the start of the message to the defect.
    pub offset: usize,
    /// What is wrong there.
    pub defect: Defect,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        write!(f, "{} (at byte {})", self.defect, self.offset)
    }
}

/// What can be wrong with the bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A tag whose field number is 0 or above 2²⁹−1, or whose wire type does not exist.
    #[error("a tag is not one that protobuf knows")]
    Tag,
    /// A number of more than ten bytes, or above 2⁶⁴−1.
    #[error("a variable-length number is too long")]
    Varint,
    /// The message ends within a value.
    #[error("the message ends within a value")]
    Truncated,
    /// The wire type of the field is not the contract's.
    #[error("the field has wire type {found}, the contract says {expected}")]
    WireType {
        /// The wire type found, 0 to 5.
        found: u8,
        /// The wire type of the contract, 0 to 5. For a repeated number that of one element.
        expected: u8,
    },
    /// The contract has no field of this number.
    #[error("field number {number} is not in the contract")]
    UnknownField {
        /// The number found.
        number: u32,
    },
    /// A field that holds text holds something else.
    #[error("the text is not UTF-8")]
    Text,
    /// A packed list whose length is not that of whole elements.
    #[error("the packed list does not end with a whole element")]
    Packed,
    /// A group that ends without having begun, or does not end.
    #[error("a group does not begin and end as it should")]
    Group,
    /// Messages within messages, more than a hundred deep.
    #[error("messages are nested more than {} deep", crate::wire::MAX_DEPTH)]
    Depth,
    /// A field that the contract (in proto2) calls required is missing.
    #[error("the required field `{name}` is missing")]
    Required {
        /// The field's name.
        name: String,
    },
}

/// A defect on its way up from where it was found: boxed, so that the good path stays small.
#[derive(Debug)]
pub(crate) struct Fault(Box<Found>);

#[derive(Debug)]
struct Found {
    /// Bytes left, in the message that is being looked at, from the defect to its end.
    remaining: usize,
    /// Names of the fields, innermost first.
    path: Vec<Box<str>>,
    defect: Defect,
}

impl Fault {
    #[cold]
    pub(crate) fn new(remaining: usize, defect: Defect) -> Self {
        Self(Box::new(Found { remaining, path: Vec::new(), defect }))
    }

    /// Moves the fault one message up: it lies in the field `name`, behind which `after` bytes follow.
    #[cold]
    pub(crate) fn inside(mut self, name: &str, after: usize) -> Self {
        self.0.path.push(name.into());
        self.0.remaining = self.0.remaining.saturating_add(after);
        self
    }

    /// Names the field concerned, without moving to another message.
    #[cold]
    pub(crate) fn of(mut self, name: &str) -> Self {
        self.0.path.push(name.into());
        self
    }

    #[cold]
    pub(crate) fn finish(self, length: usize) -> Malformed {
        let Found { remaining, mut path, defect } = *self.0;
        path.reverse();
        Malformed { path: path.join("."), offset: length.saturating_sub(remaining), defect }
    }
}
