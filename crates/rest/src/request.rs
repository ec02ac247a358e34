//! From path, query and JSON to the bytes of a request.

use contract::Twice;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value};

use crate::diagnose::{self, Violation};
use crate::query;
use crate::routes::{Body, Matched};

/// Deepest nesting of arrays and objects in a request.
pub const MAX_DEPTH: usize = 64;

/// What was sent is not a request of the method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not fit the contract in {} {}", violations.len(), if violations.len() == 1 { "place" } else { "places" })]
pub struct Unfit {
    /// Every place that was found.
    pub violations: Vec<Violation>,
}

impl Unfit {
    fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { violations: vec![Violation::new(field, description)] }
    }
}

impl Matched<'_> {
    /// Encodes the request that the path, `query` and `body` (a JSON text, or nothing) stand for.
    ///
    /// The bytes are still to be held against the contract ([`contract::Method::check_request`]).
    ///
    /// # Errors
    ///
    /// [`Unfit`] names every place, and never a value.
    pub fn request(&self, query: Option<&str>, body: &[u8]) -> Result<Vec<u8>, Unfit> {
        let route = self.route;
        let query = query.unwrap_or_default();
        if !body.is_empty() && route.body == Body::None {
            return Err(Unfit::one("", "this path takes no body: fields go into the query"));
        }
        if depth(body) > MAX_DEPTH {
            return Err(Unfit::one("", format!("the JSON is nested more than {MAX_DEPTH} deep")));
        }
        self.said_once(body)?;
        if self.values.is_empty() && query.is_empty() && route.body == Body::Whole && !body.is_empty() {
            return self.plain(body);
        }
        let mut root = self.root(body)?;
        let input = route.method.input();
        let mut violations = Vec::new();
        for (variable, value) in route.template.variables.iter().zip(&self.values) {
            if let Err(violation) = query::put(&mut root, input, &variable.field, value) {
                violations.push(violation);
            }
        }
        if !query.is_empty() && route.body == Body::Whole {
            violations.push(Violation::new("", "this path takes no query: fields go into the body"));
        } else {
            match query::pairs(query) {
                Ok(pairs) => {
                    let put = |(name, value): (String, String)| query::put(&mut root, input, &name, &value).err();
                    violations.extend(pairs.into_iter().filter_map(put));
                }
                Err(violation) => violations.push(violation),
            }
        }
        if !violations.is_empty() {
            return Err(Unfit { violations });
        }
        self.encoded(&Value::Object(root))
    }

    /// Turns down a body that says something twice: only the last would count, and nobody would know.
    fn said_once(&self, body: &[u8]) -> Result<(), Unfit> {
        let input = self.route.method.input();
        let (twice, whole) = match &self.route.body {
            Body::Field(field) => (Twice::in_field(field, body), false),
            Body::Whole | Body::None => (Twice::in_message(input, body), true),
        };
        if twice.is_empty() {
            return Ok(());
        }
        let mut violations: Vec<_> = twice.into_iter().map(|twice| Violation::new(twice.place, twice.what)).collect();
        if whole && let Ok(value) = parsed(body) {
            violations.extend(diagnose::seen(input, &value));
        }
        Err(Unfit { violations })
    }

    /// The body alone, read in one pass.
    fn plain(&self, body: &[u8]) -> Result<Vec<u8>, Unfit> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let message = DynamicMessage::deserialize(self.route.method.input().clone(), &mut json);
        match message.and_then(|message| json.end().map(|()| message)) {
            Ok(message) => Ok(message.encode_to_vec()),
            Err(_) => Err(Unfit { violations: diagnose::violations(self.route.method.input(), &parsed(body)?) }),
        }
    }

    /// What the body says, as the object that the request is.
    fn root(&self, body: &[u8]) -> Result<Map<String, Value>, Unfit> {
        if body.is_empty() {
            return Ok(Map::new());
        }
        let body = parsed(body)?;
        match (&self.route.body, body) {
            (Body::Field(field), body) => Ok(Map::from_iter([(field.json_name().to_owned(), body)])),
            (_, Value::Object(object)) => Ok(object),
            _ => Err(Unfit::one("", "the body has to be an object")),
        }
    }

    fn encoded(&self, value: &Value) -> Result<Vec<u8>, Unfit> {
        let input = self.route.method.input();
        match DynamicMessage::deserialize(input.clone(), value) {
            Ok(message) => Ok(message.encode_to_vec()),
            Err(_) => Err(Unfit { violations: diagnose::violations(input, value) }),
        }
    }
}

fn parsed(body: &[u8]) -> Result<Value, Unfit> {
    serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_eof() { "the JSON ends too early" } else { "this is not JSON" };
        let column = error.column();
        // What has but one line may be one of many.
        let place = if body.contains(&b'\n') {
            format!("line {}, column {column}", error.line())
        } else {
            format!("column {column}")
        };
        Unfit::one("", format!("{what} ({place})"))
    })
}

/// How deep arrays and objects are nested, counted without reading anything else of the text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut within_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within_text => escaped = true,
            b'"' => within_text = !within_text,
            _ if within_text => {}
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_arrays_and_objects_outside_of_texts() {
        for (json, expected) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{}],"b":{}}"#, 3),
            (r#"{"a":"[[[[\"[["}"#, 1),
            (r#"["\\",[]]"#, 2),
            ("[[[", 3),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }
}
