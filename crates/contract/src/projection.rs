//! Which fields of an answer may leave: an allow-list of wire tags.
//!
//! What is not named is taken out, and so is every field that the contract does not have, at every depth.

mod apply;
mod compile;
mod paths;
mod selector;

use prost_reflect::MessageDescriptor;

pub use selector::{Selector, SelectorError};

use crate::wire::plan::Layout;
use crate::wire::table::Table;

/// The fields of one kind of message that may leave, compiled.
///
/// # What a path means
///
/// A path names fields by their names in the contract, joined by dots: `name.family`.
/// - A field that holds a message, named as a whole, is released with all that the contract has within it.
/// - Repeated fields are passed through: `addresses.postcode` is the postcode of every address.
/// - In a map, a path goes through to the values: `contacts.phone` is the phone of every contact. The key is released with each
///   entry, so a map whose keys are themselves sensitive is best not named at all.
/// - A message of which only some fields are released stays in place even when none of them is set, so that the count of a
///   repeated field does not change.
///
/// # What a classification means
///
/// A field is released when its own classification is one of those named; a field without one takes that of the field around it, and
/// without any there either it is withheld. A message field is released when something within it is. A map is released when the map
/// itself has a classification that is named, since that is what its keys have; its values' fields then follow the same rule.
/// Types of `google.protobuf` count as single values.
#[derive(Clone, Debug)]
pub struct Projection {
    /// The root is the first.
    nodes: Vec<Node>,
    released: Vec<String>,
    withheld: Vec<String>,
}

/// The fields of a message that may leave.
type Node = Table<Step>;

/// What is done with a field that may leave.
#[derive(Clone, Debug)]
struct Step {
    name: Box<str>,
    layout: Layout,
    /// The position of the node that says which fields within may leave. `None` for a value that leaves as it is.
    into: Option<usize>,
    /// Whether what lies within is the entry of a map, which is no level of its own.
    entry: bool,
}

impl Projection {
    /// Compiles the selector of an agreement against the message that it is to be applied to.
    ///
    /// # Errors
    ///
    /// [`SelectorError::UnknownPath`] when a path does not lead to a field. [`SelectorError::TooManyPaths`] when a classification
    /// takes a message apart into more pieces than can be listed.
    pub fn compile(message: &MessageDescriptor, selector: &Selector) -> Result<Self, SelectorError> {
        let compiled = compile::compile(message, selector)?;
        let (released, withheld) = paths::list(&compiled)?;
        Ok(Self { nodes: compiled.nodes, released, withheld })
    }

    /// Returns the paths of what may leave, sorted bytewise. They follow from contract and selector, never from data.
    ///
    /// Each path names a single value: a field that holds a message is listed by the fields within it, except
    /// - where its type is already open further up on the path (a person's children are persons): it is then listed by its own path and
    ///   stands for all that the same rule releases at any depth,
    /// - where a map's keys are all that leaves of it, and
    /// - where the two lists together would have more than 4,096 paths: then fields are listed by the topmost field that is wholly
    ///   released or wholly withheld.
    #[must_use]
    pub fn released(&self) -> &[String] {
        &self.released
    }

    /// Returns the paths of what does not leave, as [`Projection::released`] does. The two have no path in common.
    #[must_use]
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }
}
