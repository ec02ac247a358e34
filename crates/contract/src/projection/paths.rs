//! The lists of what is released and what is withheld.

use prost_reflect::MessageDescriptor;

use super::SelectorError;
use super::compile::{Compiled, VALUE, opened};

/// Most paths in both lists together.
const MOST_PATHS: usize = 4_096;

/// Lists single values; where there are too many, topmost fields.
pub(super) fn list(compiled: &Compiled) -> Result<(Vec<String>, Vec<String>), SelectorError> {
    let Some(root) = compiled.messages.first() else {
        return Ok((Vec::new(), Vec::new()));
    };
    for partial in [None, Some(partial(compiled))] {
        let mut lists = Lists { compiled, partial, released: Vec::new(), withheld: Vec::new(), open: Vec::new() };
        if lists.walk(root, Some(0), "").is_ok() {
            lists.released.sort();
            lists.withheld.sort();
            return Ok((lists.released, lists.withheld));
        }
    }
    Err(SelectorError::TooManyPaths { message: root.full_name().to_owned(), limit: MOST_PATHS })
}

struct TooMany;

struct Lists<'c> {
    compiled: &'c Compiled,
    /// By node, whether anything within is withheld; only where topmost fields are listed.
    partial: Option<Vec<bool>>,
    released: Vec<String>,
    withheld: Vec<String>,
    /// The messages around, each with the node that says what leaves of it.
    open: Vec<(String, Option<usize>)>,
}

impl Lists<'_> {
    fn walk(&mut self, message: &MessageDescriptor, node: Option<usize>, prefix: &str) -> Result<(), TooMany> {
        self.open.push((message.full_name().to_owned(), node));
        for field in message.fields() {
            let path = format!("{prefix}{}", field.name());
            let step = node.and_then(|node| self.compiled.nodes.get(node)).and_then(|node| node.get(field.number()));
            let released = step.is_some();
            let mut into = step.and_then(|step| step.into);
            let topmost = match (&self.partial, into) {
                (Some(partial), Some(into)) => partial.get(into) == Some(&false),
                (Some(_), None) => true,
                (None, _) => false,
            };
            let inner = opened(&field).filter(|_| !topmost);
            if released && field.is_map() && inner.is_some() {
                into = into.and_then(|entry| self.compiled.nodes.get(entry)?.get(VALUE)?.into);
                if into.is_none() {
                    self.put(path.clone(), true)?;
                }
            }
            match inner {
                Some(inner) if !self.is_open(&inner, into) => {
                    self.walk(&inner, into, &format!("{path}."))?;
                }
                _ => self.put(path, released)?,
            }
        }
        self.open.pop();
        Ok(())
    }

    /// Returns whether a message is listed already, further up: with the same rule, or, where all of it is withheld, at all.
    fn is_open(&self, message: &MessageDescriptor, node: Option<usize>) -> bool {
        self.open.iter().any(|(name, open)| name == message.full_name() && (node.is_none() || *open == node))
    }

    fn put(&mut self, path: String, released: bool) -> Result<(), TooMany> {
        if self.released.len() + self.withheld.len() >= MOST_PATHS {
            return Err(TooMany);
        }
        if released {
            self.released.push(path);
        } else {
            self.withheld.push(path);
        }
        Ok(())
    }
}

/// Returns, by node, whether anything within is withheld, at any depth.
fn partial(compiled: &Compiled) -> Vec<bool> {
    let mut partial: Vec<bool> = compiled
        .nodes
        .iter()
        .zip(&compiled.messages)
        .map(|(node, message)| message.fields().any(|field| node.get(field.number()).is_none()))
        .collect();
    loop {
        let next: Vec<bool> = compiled
            .nodes
            .iter()
            .zip(&partial)
            .map(|(node, &own)| {
                own || node.iter().any(|(_, step)| step.into.is_some_and(|into| partial.get(into) == Some(&true)))
            })
            .collect();
        if next == partial {
            return partial;
        }
        partial = next;
    }
}
