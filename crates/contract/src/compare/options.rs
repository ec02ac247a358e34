//! Differences between options, in the words of whoever defined them.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

use super::elements::Key;

/// Options by path.
type Options<'a> = BTreeMap<&'a str, &'a str>;

/// Tells in what options differ from what they were.
pub(super) fn differences(
    key: &Key,
    (before, after): (&Options<'_>, &Options<'_>),
    (earlier, later): (&DescriptorPool, &DescriptorPool),
) -> Vec<String> {
    let paths: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let differ = |path: &&str| before.get(path) != after.get(path);
    let mut changed: Vec<&str> = paths.into_iter().filter(differ).collect();
    // That a message is set is told by what is set in it, where anything is.
    let is_mark = |path: &str| [before, after].iter().any(|options| options.get(path) == Some(&"{}"));
    if changed.iter().any(|path| !is_mark(path)) {
        changed.retain(|path| !is_mark(path));
    }
    changed.into_iter().map(|path| told(key, path, (before.get(path), earlier), (after.get(path), later))).collect()
}

fn told(
    key: &Key,
    path: &str,
    (before, earlier): (Option<&&str>, &DescriptorPool),
    (after, later): (Option<&&str>, &DescriptorPool),
) -> String {
    let was = before.map(|value| named(earlier, key, path, value));
    let is = after.map(|value| named(later, key, path, value));
    match (was, is) {
        (Some((name, was)), Some((_, is))) => format!("has `{name}` changed from {was} to {is}"),
        (None, Some((name, is))) => format!("has `{name}` set to {is}"),
        (Some((name, was)), None) => format!("has `{name}` no more, which was {was}"),
        (None, None) => format!("has another `{path}`"),
    }
}

/// Returns the name of an option, and its value in words. What the pool does not define stays as the canonical text writes it.
fn named(pool: &DescriptorPool, key: &Key, path: &str, value: &str) -> (String, String) {
    let Some((name, last)) = resolved(pool, key, path) else {
        return (path.to_owned(), value.to_owned());
    };
    let number = value.parse().ok();
    let word = match (last, number) {
        (Some(Kind::Enum(of)), Some(number)) => of.get_value(number).map(|value| value.name().to_owned()),
        _ => None,
    };
    (name, word.unwrap_or_else(|| value.to_owned()))
}

fn resolved(pool: &DescriptorPool, key: &Key, path: &str) -> Option<(String, Option<Kind>)> {
    let holder = pool.get_message_by_name(match key {
        Key::Service => "google.protobuf.ServiceOptions",
        Key::Method(_) => "google.protobuf.MethodOptions",
        Key::Message(_) => "google.protobuf.MessageOptions",
        Key::Oneof(..) => "google.protobuf.OneofOptions",
        Key::Field(..) => "google.protobuf.FieldOptions",
        Key::Enum(_) => "google.protobuf.EnumOptions",
        Key::Value(..) => "google.protobuf.EnumValueOptions",
    })?;
    let mut parts = path.split('.');
    let (first, at) = part(parts.next()?)?;
    let (mut name, mut kind) = if let Some(extension) = holder.get_extension(first) {
        (format!("({}){at}", extension.full_name()), extension.kind())
    } else {
        let field: FieldDescriptor = holder.get_field(first)?;
        (format!("{}{at}", field.name()), field.kind())
    };
    for next in parts {
        let (number, at) = part(next)?;
        let field = kind.as_message()?.get_field(number)?;
        name = format!("{name}.{}{at}", field.name());
        kind = field.kind();
    }
    Some((name, Some(kind)))
}

/// Parts a number from the index or key behind it.
fn part(text: &str) -> Option<(u32, &str)> {
    let end = text.find(['[', '{']).unwrap_or(text.len());
    let (number, at) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, at))
}
