//! From a selector to nodes that name one another by position, since messages may contain themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use problem::nearest;
use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::{Node, Selector, SelectorError, Step};
use crate::descriptors::value_kind;
use crate::digest::canonical::WELL_KNOWN;
use crate::options::{self, Classification};
use crate::wire::plan::Layout;
use crate::wire::table::Table;

/// The number of the value in the entry of a map.
pub(super) const VALUE: u32 = 2;

/// Nodes, and the messages that they are of.
pub(super) struct Compiled {
    pub(super) nodes: Vec<Node>,
    pub(super) messages: Vec<MessageDescriptor>,
}

pub(super) fn compile(message: &MessageDescriptor, selector: &Selector) -> Result<Compiled, SelectorError> {
    let mut builder = Builder::default();
    match selector {
        Selector::All => {
            builder.whole(message);
        }
        Selector::Classifications(classes) => {
            builder.classified(message, None, classes);
        }
        Selector::Paths(paths) => {
            let mut tree = Tree::default();
            for path in paths {
                tree.add(message, path)?;
            }
            builder.chosen(message, &tree);
        }
    }
    Ok(builder.finish())
}

/// Returns the message whose fields are listed and chosen one by one: not a type of `google.protobuf`, not an empty one. For a map it
/// is that of its values.
pub(super) fn opened(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = value_kind(field);
    let message = kind.as_message()?;
    let single = message.full_name().starts_with(WELL_KNOWN) || message.fields().len() == 0;
    (!single).then(|| message.clone())
}

/// The fields chosen by paths.
#[derive(Default)]
struct Tree {
    whole: bool,
    branches: BTreeMap<String, Tree>,
}

impl Tree {
    fn add(&mut self, root: &MessageDescriptor, path: &str) -> Result<(), SelectorError> {
        let mut tree = self;
        let mut message = Some(root.clone());
        let mut passed: Vec<&str> = Vec::new();
        for part in path.split('.') {
            let Some(within) = message else {
                return Err(unknown(path, &passed.join("."), part, true, None));
            };
            let Some(field) = within.get_field_by_name(part) else {
                return Err(unknown(path, within.full_name(), part, false, suggest(&within, &passed, part)));
            };
            tree = tree.branches.entry(part.to_owned()).or_default();
            message = opened(&field);
            passed.push(part);
        }
        tree.whole = true;
        Ok(())
    }
}

fn unknown(path: &str, message: &str, field: &str, value: bool, suggestion: Option<String>) -> SelectorError {
    let (path, message, field) = (path.to_owned(), message.to_owned(), field.to_owned());
    SelectorError::UnknownPath { path, message, field, value, suggestion }
}

fn suggest(within: &MessageDescriptor, passed: &[&str], part: &str) -> Option<String> {
    let by_json = within.get_field_by_json_name(part).map(|field| field.name().to_owned());
    let names: Vec<_> = within.fields().map(|field| field.name().to_owned()).collect();
    let name = by_json.or_else(|| nearest(part, names.iter().map(String::as_str)).map(str::to_owned))?;
    let mut path: Vec<_> = passed.iter().map(|part| (*part).to_owned()).collect();
    path.push(name);
    Some(path.join("."))
}

#[derive(Default)]
struct Builder {
    /// Fields by node. A field that is there on account of what lies within it is `Maybe`.
    drafts: Vec<Vec<(u32, Step, Certainty)>>,
    messages: Vec<MessageDescriptor>,
    whole: HashMap<String, usize>,
    classified: HashMap<(String, Option<Classification>), usize>,
}

/// Whether a field leaves whatever lies within it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Named,
    Maybe,
}

impl Builder {
    fn start(&mut self, message: &MessageDescriptor) -> usize {
        self.drafts.push(Vec::new());
        self.messages.push(message.clone());
        self.drafts.len() - 1
    }

    fn put(&mut self, node: usize, field: &FieldDescriptor, into: Option<usize>, certainty: Certainty) {
        let step = Step { name: field.name().into(), layout: Layout::of(field), into, entry: field.is_map() };
        if let Some(draft) = self.drafts.get_mut(node) {
            draft.push((field.number(), step, certainty));
        }
    }

    /// A node that lets every field of the contract pass.
    fn whole(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(&node) = self.whole.get(message.full_name()) {
            return node;
        }
        let node = self.start(message);
        self.whole.insert(message.full_name().to_owned(), node);
        for field in message.fields() {
            let into = self.within(&field);
            self.put(node, &field, into, Certainty::Named);
        }
        node
    }

    /// The node of all that lies within a field.
    fn within(&mut self, field: &FieldDescriptor) -> Option<usize> {
        let kind = field.kind();
        let message = kind.as_message()?;
        Some(self.whole(message))
    }

    fn classified(
        &mut self,
        message: &MessageDescriptor,
        around: Option<Classification>,
        classes: &BTreeSet<Classification>,
    ) -> usize {
        let key = (message.full_name().to_owned(), around);
        if let Some(&node) = self.classified.get(&key) {
            return node;
        }
        let node = self.start(message);
        self.classified.insert(key, node);
        for field in message.fields() {
            let class = options::classification(&field).or(around);
            let named = class.is_some_and(|class| classes.contains(&class));
            match opened(&field) {
                // The keys have the map's own classification.
                Some(_) if field.is_map() && !named => {}
                Some(value) if field.is_map() => {
                    let inner = self.classified(&value, class, classes);
                    let entry = self.entry(&field, inner, Certainty::Maybe);
                    self.put(node, &field, entry, Certainty::Named);
                }
                Some(inner) => {
                    let inner = self.classified(&inner, class, classes);
                    self.put(node, &field, Some(inner), Certainty::Maybe);
                }
                None if named => {
                    let into = self.within(&field);
                    self.put(node, &field, into, Certainty::Named);
                }
                None => {}
            }
        }
        node
    }

    /// A node for the entries of a map whose values are taken apart by the node `inner`.
    fn entry(&mut self, map: &FieldDescriptor, inner: usize, certainty: Certainty) -> Option<usize> {
        let kind = map.kind();
        let entry = kind.as_message()?;
        let node = self.start(entry);
        self.put(node, &entry.map_entry_key_field(), None, Certainty::Named);
        self.put(node, &entry.map_entry_value_field(), Some(inner), certainty);
        Some(node)
    }

    fn chosen(&mut self, message: &MessageDescriptor, tree: &Tree) -> usize {
        let node = self.start(message);
        for (name, branch) in &tree.branches {
            let Some(field) = message.get_field_by_name(name) else {
                continue;
            };
            let kind = field.kind();
            let into = match kind.as_message() {
                _ if branch.whole => self.within(&field),
                Some(entry) if field.is_map() => {
                    let value = entry.map_entry_value_field().kind();
                    value.as_message().and_then(|value| {
                        let inner = self.chosen(value, branch);
                        self.entry(&field, inner, Certainty::Named)
                    })
                }
                Some(inner) => Some(self.chosen(inner, branch)),
                None => None,
            };
            self.put(node, &field, into, Certainty::Named);
        }
        node
    }

    /// Takes out the fields within which nothing is released.
    fn finish(self) -> Compiled {
        let mut keeps: Vec<bool> = vec![false; self.drafts.len()];
        let kept = |keeps: &[bool], step: &Step, certainty: Certainty| {
            certainty == Certainty::Named || step.into.and_then(|into| keeps.get(into).copied()).unwrap_or(false)
        };
        loop {
            let next: Vec<bool> = self
                .drafts
                .iter()
                .map(|draft| draft.iter().any(|(_, step, certainty)| kept(&keeps, step, *certainty)))
                .collect();
            if next == keeps {
                break;
            }
            keeps = next;
        }
        let nodes = self
            .drafts
            .into_iter()
            .map(|draft| {
                let steps = draft.into_iter().filter(|(_, step, certainty)| kept(&keeps, step, *certainty));
                Table::new(steps.map(|(number, step, _)| (number, step)).collect())
            })
            .collect();
        Compiled { nodes, messages: self.messages }
    }
}
