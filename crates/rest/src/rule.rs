//! The option `google.api.http` of a method, read from whatever file of that name the contract imports.

use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};

/// The extension's name.
const HTTP: &str = "google.api.http";

/// One binding of a method to a verb and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The HTTP method, upper case.
    pub(crate) verb: String,
    pub(crate) path: String,
    /// `*`, a field, or nothing.
    pub(crate) body: String,
    /// A field of the answer, or nothing.
    pub(crate) response_body: String,
    /// Whether additional bindings have additional bindings themselves.
    pub(crate) nested: bool,
}

/// Returns the rules of a method: its own first, then the additional ones.
pub(crate) fn rules(method: &MethodDescriptor) -> Vec<Rule> {
    let options = method.options();
    let Some(http) = options
        .extensions()
        .find(|(extension, _)| extension.full_name() == HTTP)
        .and_then(|(_, value)| value.as_message().cloned())
    else {
        return Vec::new();
    };
    let mut found: Vec<Rule> = one(&http, false).into_iter().collect();
    found.extend(additional(&http).iter().filter_map(|rule| one(rule, !additional(rule).is_empty())));
    found
}

fn additional(rule: &DynamicMessage) -> Vec<DynamicMessage> {
    let list = rule.get_field_by_name("additional_bindings");
    let list = list.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

fn one(rule: &DynamicMessage, nested: bool) -> Option<Rule> {
    let (verb, path) = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .find_map(|name| {
            let field = rule.descriptor().get_field_by_name(name)?;
            rule.has_field(&field).then(|| (name.to_ascii_uppercase(), text(rule, name)))
        })
        .or_else(|| {
            let custom = rule.get_field_by_name("custom")?.as_message().cloned()?;
            Some((text(&custom, "kind").to_ascii_uppercase(), text(&custom, "path")))
        })?;
    if path.is_empty() && verb.is_empty() {
        return None;
    }
    Some(Rule { verb, path, body: text(rule, "body"), response_body: text(rule, "response_body"), nested })
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
