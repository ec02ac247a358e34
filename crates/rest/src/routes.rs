//! Where each method of the contracts is found over HTTP: at its own path, and wherever `google.api.http` puts it besides.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use contract::{Contracts, Method};
use problem::Problem;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::rule::{self, Rule};
use crate::template::Template;

/// All routes of a set of contracts.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The narrowest first.
    all: Vec<Arc<Route>>,
    /// Positions of the methods' own paths.
    own: HashMap<String, usize>,
}

/// One way to call a method.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) method: Arc<Method>,
    pub(crate) verb: String,
    pub(crate) template: Template,
    pub(crate) body: Body,
    /// The field of the answer that is shown, instead of the answer.
    pub(crate) shown: Option<FieldDescriptor>,
    /// Whether it is the method's own path.
    pub(crate) own: bool,
}

/// What the body of a request stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// All of the request that the path does not say.
    Whole,
    /// One field.
    Field(FieldDescriptor),
    /// Nothing: there is none.
    None,
}

/// What a request was looked up as.
#[derive(Debug)]
pub enum Found<'a> {
    /// The route, with what its path says.
    Route(Matched<'a>),
    /// The path has routes, but for these verbs only.
    Verbs(Vec<&'a str>),
    /// No route has this path.
    Nothing,
}

/// A route with the values of its variables.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    pub(crate) values: Vec<String>,
}

/// First segments of paths that gateways answer themselves.
const RESERVED: [&str; 3] = ["openapi.json", "drawbridge.", "grpc."];

/// Depth to which the path of a field is followed.
const MAX_FIELD_DEPTH: usize = 16;

impl Routes {
    /// Makes the routes of all methods.
    ///
    /// # Errors
    ///
    /// Every annotation that cannot be followed: a template that is none, a field that is not there, a path that two methods claim.
    pub fn of(contracts: &Contracts) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut all = Vec::new();
        for method in contracts.services().flat_map(|service| &service.methods) {
            all.push(Route {
                method: method.clone(),
                verb: "POST".to_owned(),
                template: Template::literal(method.service(), method.name()),
                body: Body::Whole,
                shown: None,
                own: true,
            });
            for rule in rule::rules(method.descriptor()) {
                match route(method, &rule) {
                    Ok(route) => all.push(route),
                    Err(found) => problems.push(placed(method, &found.0, &found.1)),
                }
            }
        }
        problems.extend(ambiguous(&all));
        if !problems.is_empty() {
            Problem::sort(&mut problems);
            return Err(problems);
        }
        all.sort_by(|a, b| {
            let key = |route: &Route| (route.template.breadth(), route.template.to_string(), route.verb.clone());
            key(a).cmp(&key(b))
        });
        let own = all.iter().enumerate().filter(|(_, route)| route.own);
        let own = own.map(|(at, route)| (route.method.path().to_owned(), at)).collect();
        Ok(Self { all: all.into_iter().map(Arc::new).collect(), own })
    }

    /// Looks up a request by its verb and its path (without the query).
    #[must_use]
    pub fn find(&self, verb: &str, path: &str) -> Found<'_> {
        if verb == "POST"
            && let Some(route) = self.own.get(path).and_then(|at| self.all.get(*at))
        {
            return Found::Route(Matched { route, values: Vec::new() });
        }
        let mut verbs = BTreeSet::new();
        for route in &self.all {
            if let Some(values) = route.template.matches(path) {
                if route.verb == verb {
                    return Found::Route(Matched { route, values });
                }
                verbs.insert(route.verb.as_str());
            }
        }
        if verbs.is_empty() { Found::Nothing } else { Found::Verbs(verbs.into_iter().collect()) }
    }

    /// Returns all routes, the narrowest first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.iter().map(Arc::as_ref)
    }
}

impl Route {
    /// Returns the method that is called.
    #[must_use]
    pub fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// Returns the HTTP method.
    #[must_use]
    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// Returns the path's template.
    #[must_use]
    pub fn path(&self) -> String {
        self.template.to_string()
    }

    /// Returns what the body stands for.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }
}

/// What is wrong, and how to mend it.
type Finding = (String, String);

fn route(method: &Arc<Method>, rule: &Rule) -> Result<Route, Finding> {
    let finding = |what: String, help: &str| Err((what, help.to_owned()));
    if rule.nested {
        return finding(
            "an additional binding has additional bindings itself".to_owned(),
            "put all of them side by side in the first rule",
        );
    }
    if rule.verb.is_empty() || !rule.verb.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return finding("the HTTP method is none".to_owned(), "use `get`, `put`, `post`, `delete` or `patch`");
    }
    if rule.verb == "GET" && method.kind() == Some(contract::Kind::Command) {
        return finding(
            format!("`{}` is a command, and `GET` must change nothing", method.name()),
            "use `post`, `put`, `patch` or `delete`",
        );
    }
    let template = Template::parse(&rule.path).map_err(|error| {
        (format!("`{}` is not a path template: {error}", rule.path), "write it as in `/v1/patients/{id}`".to_owned())
    })?;
    let first = template.parts.first().map(ToString::to_string).unwrap_or_default();
    if let Some(reserved) = RESERVED.iter().find(|reserved| first.starts_with(**reserved)) {
        return finding(
            format!("`{}` cannot be served: gateways answer paths that begin with `/{reserved}` themselves", rule.path),
            "use another path",
        );
    }
    if method.shape().streams_requests() {
        streamed(method, rule, &template)?;
    }
    for variable in &template.variables {
        let field = field_at(method.input(), &variable.field);
        if !field.is_some_and(|field| !field.is_list() && !field.is_map() && !is_message(&field)) {
            return finding(
                format!(
                    "`{}` in `{}` is not a single value of `{}`",
                    variable.field,
                    rule.path,
                    method.input().full_name()
                ),
                "name a field that holds one number, text, boolean or enum",
            );
        }
    }
    let body = match rule.body.as_str() {
        "" => Body::None,
        "*" => Body::Whole,
        name => Body::Field(top(method.input(), name)?),
    };
    if body != Body::None && rule.verb == "GET" {
        return finding(
            "a `GET` has no body".to_owned(),
            "leave `body` out: fields that the path does not name go into the query",
        );
    }
    let shown = (!rule.response_body.is_empty()).then(|| top(method.output(), &rule.response_body)).transpose()?;
    Ok(Route { method: method.clone(), verb: rule.verb.clone(), template, body, shown, own: false })
}

/// Each message of a streamed request is a line of the body, so that nothing of it can stand elsewhere.
fn streamed(method: &Method, rule: &Rule, template: &Template) -> Result<(), Finding> {
    if let Some(variable) = template.variables.first() {
        return Err((
            format!(
                "`{}` takes a stream of requests, and nothing says of which of them `{}` in `{}` is a part",
                method.name(),
                variable.field,
                rule.path
            ),
            "use a path without variables, or `*` in their place: each request is a whole line of the body".to_owned(),
        ));
    }
    if rule.body != "*" {
        return Err((
            format!("`{}` takes a stream of requests, which is all of the body", method.name()),
            "use `post`, `put` or `patch`, with `body: \"*\"`: each request is a line of the body".to_owned(),
        ));
    }
    Ok(())
}

fn top(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, Finding> {
    message.get_field_by_name(name).ok_or_else(|| {
        let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
        let help = problem::nearest(name, names.iter().map(String::as_str))
            .map_or_else(|| "name a field of the message itself".to_owned(), |near| format!("did you mean `{near}`?"));
        (format!("`{}` has no field `{name}`", message.full_name()), help)
    })
}

/// Follows the path of a field by names in the contract, or by JSON names.
pub(crate) fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let mut message = message.clone();
    let mut names = path.split('.').take(MAX_FIELD_DEPTH.saturating_add(1)).peekable();
    for _ in 0..MAX_FIELD_DEPTH {
        let name = names.next()?;
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))?;
        if names.peek().is_none() {
            return Some(field);
        }
        message = field.kind().as_message().filter(|_| !field.is_list() && !field.is_map())?.clone();
    }
    None
}

pub(crate) fn is_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
}

/// Finds each two routes of which nobody could say which is meant.
fn ambiguous(all: &[Route]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, route) in all.iter().enumerate() {
        for other in all.iter().take(at) {
            if route.verb == other.verb
                && route.template.overlaps(&other.template)
                && route.template.narrower(&other.template).is_none()
            {
                let what = format!(
                    "`{} {}` and `{} {}` of `{}` can match the same path",
                    route.verb,
                    route.template,
                    other.verb,
                    other.template,
                    other.method.descriptor().full_name()
                );
                let help = "make one of them the narrower one in every place where they differ, or change a path";
                problems.push(placed(&route.method, &what, help));
            }
        }
    }
    problems
}

/// Puts a finding where the method stands.
fn placed(method: &Method, what: &str, help: &str) -> Problem {
    let descriptor = method.descriptor();
    let file = descriptor.parent_file();
    let mut problem = Problem::new(file.name(), what).help(help);
    problem.key = Some(descriptor.full_name().to_owned());
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == descriptor.path()));
    if let Some([line, column, ..]) = location.map(|location| location.span.as_slice()) {
        let from_one = |value: &i32| usize::try_from(*value).unwrap_or_default().saturating_add(1);
        problem = problem.at(from_one(line), from_one(column));
    }
    problem
}
