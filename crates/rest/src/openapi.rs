//! The OpenAPI 3.1 document of a set of contracts: the same contracts give the same document, byte for byte.
//!
//! Comments of the contract become descriptions, and its rules about values keywords where something is asked. What a gateway adds to every call (who asks, for which purpose, how it refuses) stands in
//! it once, under `components`.

mod comments;
mod paths;
mod pattern;
mod rules;
mod schema;
mod shared;

use std::collections::{BTreeMap, BTreeSet};

use contract::Kind;
use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::details::refusal_status;
use crate::routes::{Body, Route, Routes};
use comments::Comments;
use paths::Place;
use schema::{Schemas, Side};

/// What the document says of itself.
#[derive(Clone, Debug)]
pub struct Title {
    /// The title.
    pub title: String,
    /// The version of the document.
    pub version: String,
    /// What it is about, in Markdown.
    pub description: String,
    /// The base of all paths, where it is known.
    pub server: Option<String>,
}

/// A reason for which a gateway refuses.
#[derive(Clone, Debug)]
pub struct Reason {
    /// `NO_AGREEMENT`.
    pub name: String,
    /// The gRPC status code.
    pub code: i32,
    /// What it means, in one sentence.
    pub meaning: String,
}

impl Reason {
    fn status(&self) -> u16 {
        refusal_status(Some(&self.name), self.code)
    }
}

/// Verbs that OpenAPI knows. A route with another one works, and is not in the document.
const VERBS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// How deep the fields of messages within a request become parameters of a query.
const QUERY_DEPTH: usize = 3;

/// Writes the document of `services`, of which others are left out.
#[must_use]
pub fn document(routes: &Routes, services: &BTreeSet<String>, title: &Title, reasons: &[Reason]) -> Value {
    let mut places: BTreeMap<String, (Place, BTreeMap<String, Value>)> = BTreeMap::new();
    let mut tags = BTreeMap::new();
    let mut times = BTreeMap::new();
    let served = |route: &&Route| services.contains(route.method.service()) && VERBS.contains(&route.verb.as_str());
    let mut routes: Vec<&Route> = routes.iter().filter(served).collect();
    let answers = routes.iter().map(|route| route.method.output());
    let mut writer = Writer { comments: Comments::default(), schemas: Schemas::new(answers), reasons };
    // A method's own path first, so that it has the plain operation id.
    routes.sort_by_key(|route| (route.method.path().to_owned(), !route.own, route.template.to_string()));
    for route in routes {
        let service = route.method.descriptor().parent_service().clone();
        tags.entry(service.full_name().to_owned())
            .or_insert_with(|| writer.comments.of(&service.parent_file(), service.path()));
        let number = times.entry(route.method.path().to_owned()).or_insert(0_usize);
        let id = operation_id(route, *number);
        *number = number.saturating_add(1);
        let place = Place::of(&route.template);
        let (place, operations) = places.entry(place.shape.clone()).or_insert_with(|| (place, BTreeMap::new()));
        let operation = writer.operation(route, place, id);
        operations.insert(route.verb.to_ascii_lowercase(), operation);
    }
    let paths: BTreeMap<String, Value> = places
        .into_values()
        .map(|(place, operations)| (place.path, Value::Object(operations.into_iter().collect())))
        .collect();
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(name, comment)| {
            let mut tag = Map::from_iter([("name".to_owned(), Value::from(name))]);
            describe(&mut tag, comment);
            Value::Object(tag)
        })
        .collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": title.title, "version": title.version, "description": title.description},
    });
    if let Some(object) = document.as_object_mut() {
        if let Some(server) = &title.server {
            object.insert("servers".to_owned(), json!([{"url": server}]));
        }
        object.insert("security".to_owned(), json!([{"mutualTLS": []}]));
        object.insert("tags".to_owned(), tags.into());
        object.insert("paths".to_owned(), Value::Object(paths.into_iter().collect()));
        object
            .insert("components".to_owned(), shared::components(&writer.schemas.finish(&mut writer.comments), reasons));
    }
    document
}

fn operation_id(route: &Route, number: usize) -> String {
    let name = route.method.descriptor().full_name();
    if number == 0 { name.to_owned() } else { format!("{name}_{number}") }
}

fn describe(object: &mut Map<String, Value>, text: Option<String>) {
    if let Some(text) = text {
        object.insert("description".to_owned(), text.into());
    }
}

struct Writer<'a> {
    comments: Comments,
    schemas: Schemas,
    reasons: &'a [Reason],
}

impl Writer<'_> {
    fn operation(&mut self, route: &Route, place: &Place, id: String) -> Value {
        let method = &route.method;
        let descriptor = method.descriptor();
        let comment = self.comments.of(&descriptor.parent_file(), descriptor.path());
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("tags".to_owned(), json!([method.service()]));
        operation.insert("summary".to_owned(), comment.as_deref().map_or(method.name(), first_sentence).into());
        describe(&mut operation, comment);
        let mut parameters = self.path_parameters(route, place);
        if route.body != Body::Whole {
            self.query_parameters(route, &mut parameters);
        }
        parameters.extend(shared::header_references(method.kind() == Some(Kind::Command)));
        operation.insert("parameters".to_owned(), parameters.into());
        if let Some(body) = self.body(route) {
            operation.insert("requestBody".to_owned(), body);
        }
        let mut responses = BTreeMap::from([("200".to_owned(), self.answer(route))]);
        let statuses: BTreeSet<u16> = self.reasons.iter().map(Reason::status).chain([404]).collect();
        responses.extend(
            statuses
                .into_iter()
                .map(|status| (status.to_string(), json!({"$ref": format!("#/components/responses/Status{status}")}))),
        );
        responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
        operation.insert("responses".to_owned(), Value::Object(responses.into_iter().collect()));
        for (name, word) in [
            ("x-drawbridge-kind", method.kind().map(Kind::as_str)),
            ("x-drawbridge-operation", method.operation().map(contract::Operation::as_str)),
        ] {
            if let Some(word) = word {
                operation.insert(name.to_owned(), word.into());
            }
        }
        operation.insert("x-drawbridge-contract".to_owned(), method.contract_digest().to_string().into());
        Value::Object(operation)
    }

    fn path_parameters(&mut self, route: &Route, place: &Place) -> Vec<Value> {
        let own = Place::of(&route.template);
        let named = place.names.iter().zip(own.parameters);
        named
            .map(|(name, parameter)| {
                let field =
                    parameter.field.as_deref().and_then(|path| crate::routes::field_at(route.method.input(), path));
                let schema = match &field {
                    Some(field) if parameter.whole => self.schemas.field(field, Side::Asked),
                    Some(_) | None => json!({"type": "string"}),
                };
                let mut object = Map::from_iter([
                    ("name".to_owned(), Value::from(name.as_str())),
                    ("in".to_owned(), "path".into()),
                    ("required".to_owned(), true.into()),
                    ("schema".to_owned(), schema),
                ]);
                let comment = field.and_then(|field| self.comments.of(&field.parent_file(), field.path()));
                let note = parameter
                    .note
                    .map(|note| comment.as_ref().map_or(note.clone(), |text| format!("{text}\n\n{note}")));
                describe(&mut object, note.or(comment));
                Value::Object(object)
            })
            .collect()
    }

    /// The fields that neither path nor body name.
    fn query_parameters(&mut self, route: &Route, parameters: &mut Vec<Value>) {
        let mut taken = taken(route);
        if let Body::Field(field) = &route.body {
            taken.push(field.name().to_owned());
        }
        let all = Within { names: String::new(), json_names: String::new(), depth: QUERY_DEPTH, given: true };
        self.query_of(route.method.input(), &all, &taken, parameters);
    }

    fn query_of(&mut self, message: &MessageDescriptor, at: &Within, taken: &[String], parameters: &mut Vec<Value>) {
        for field in message.fields().filter(|field| !field.is_map()) {
            let name = format!("{}{}", at.names, field.name());
            let json_name = format!("{}{}", at.json_names, field.json_name());
            if taken.contains(&name) {
                continue;
            }
            let must = rules::must_be_given(&field, &contract::field_rules(&field));
            if let prost_reflect::Kind::Message(inner) = field.kind()
                && schema::well_known(inner.full_name()).is_none()
            {
                if at.depth > 1 && !field.is_list() {
                    let names = format!("{name}.");
                    let given = at.given && (must || taken.iter().any(|path| path.starts_with(&names)));
                    let depth = at.depth.saturating_sub(1);
                    let within = Within { names, json_names: format!("{json_name}."), depth, given };
                    self.query_of(&inner, &within, taken, parameters);
                }
                continue;
            }
            let mut object =
                Map::from_iter([("name".to_owned(), Value::from(json_name)), ("in".to_owned(), "query".into())]);
            if must && at.given {
                object.insert("required".to_owned(), true.into());
            }
            object.insert("schema".to_owned(), self.schemas.field(&field, Side::Asked));
            describe(&mut object, self.comments.of(&field.parent_file(), field.path()));
            parameters.push(Value::Object(object));
        }
    }

    fn body(&mut self, route: &Route) -> Option<Value> {
        let taken = taken(route);
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let input = route.method.input();
        let (schema, must) = match &route.body {
            Body::None => return None,
            Body::Whole => {
                (self.schemas.asked_but(input, &taken, &mut self.comments), schema::asks_for_more(input, &taken))
            }
            Body::Field(field) => self.body_of(field, &taken),
        };
        let mut body = Map::new();
        if !route.template.variables.is_empty() && route.body == Body::Whole {
            describe(&mut body, Some("All fields but those that the path says.".to_owned()));
        }
        let media_type = if route.method.shape().streams_requests() {
            describe(&mut body, Some("One message a line; the end of the body ends the request.".to_owned()));
            "application/x-ndjson"
        } else {
            // A body that is left out is an empty message.
            if must {
                body.insert("required".to_owned(), true.into());
            }
            "application/json"
        };
        body.insert("content".to_owned(), json!({media_type: {"schema": schema}}));
        Some(Value::Object(body))
    }

    /// The schema of a body that is one field, and whether it has to be there.
    fn body_of(&mut self, field: &FieldDescriptor, taken: &[&str]) -> (Value, bool) {
        let within = schema::within(taken, field);
        if let prost_reflect::Kind::Message(inner) = field.kind()
            && !within.is_empty()
        {
            let must = schema::asks_for_more(&inner, &within);
            return (self.schemas.asked_but(&inner, &within, &mut self.comments), must);
        }
        (self.schemas.field(field, Side::Asked), rules::must_be_given(field, &contract::field_rules(field)))
    }

    fn answer(&mut self, route: &Route) -> Value {
        let schema = match &route.shown {
            Some(field) => self.schemas.field(field, Side::Answered),
            None => self.schemas.message(route.method.output(), Side::Answered),
        };
        let headers = shared::answer_headers();
        if route.method.shape().streams_answers() {
            let line = json!({"anyOf": [schema, {"$ref": "#/components/schemas/StreamProblem"}]});
            json!({
                "description": "One message a line. A stream that fails ends with a line whose only member is `@problem`; one without it is complete.",
                "headers": headers,
                "content": {"application/x-ndjson": {"schema": line}},
            })
        } else {
            json!({"description": "The answer.", "headers": headers, "content": {"application/json": {"schema": schema}}})
        }
    }
}

/// Where in a request the fields are that a query can name.
struct Within {
    /// Their path in the contract, with a dot at its end.
    names: String,
    json_names: String,
    /// How many messages deep it may go from here.
    depth: usize,
    /// Whether every request has the message that they are fields of.
    given: bool,
}

/// The fields that the path says, by their names in the contract.
fn taken(route: &Route) -> Vec<String> {
    let named = |path: &str| {
        let mut names: Vec<String> = Vec::new();
        let mut message = Some(route.method.input().clone());
        for name in path.split('.') {
            let within = message.as_ref()?;
            let field = within.get_field_by_name(name).or_else(|| within.get_field_by_json_name(name))?;
            names.push(field.name().to_owned());
            message = field.kind().as_message().cloned();
        }
        Some(names.join("."))
    };
    route.template.variables.iter().filter_map(|variable| named(&variable.field)).collect()
}

/// The first sentence of a comment, for lists of operations.
fn first_sentence(comment: &str) -> &str {
    let end = comment.find(". ").or_else(|| comment.find(".\n")).unwrap_or(comment.len());
    comment.get(..end).unwrap_or(comment).trim_end_matches('.')
}
