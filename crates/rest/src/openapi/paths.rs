//! Templates as OpenAPI writes them: each parameter is one segment.

use crate::template::{Part, Template};

/// A path of the document.
pub(super) struct Place {
    /// The path without names: two templates of one shape are one path to OpenAPI.
    pub(super) shape: String,
    pub(super) path: String,
    /// The names in `path`.
    pub(super) names: Vec<String>,
    pub(super) parameters: Vec<Parameter>,
}

pub(super) struct Parameter {
    /// The field that it is the value of, or a part of.
    pub(super) field: Option<String>,
    /// Whether it is all of the field's value.
    pub(super) whole: bool,
    /// What is to be known beside the field's comment.
    pub(super) note: Option<String>,
}

impl Place {
    pub(super) fn of(template: &Template) -> Self {
        let mut place = Self { shape: String::new(), path: String::new(), names: Vec::new(), parameters: Vec::new() };
        for (at, part) in template.parts.iter().enumerate() {
            let text = match part {
                Part::Literal(word) => {
                    place.shape.push('/');
                    place.shape.push_str(word);
                    word.clone()
                }
                Part::One | Part::Rest => {
                    let (name, parameter) = place.parameter(template, at, part);
                    place.shape.push_str("/{}");
                    place.parameters.push(parameter);
                    let text = format!("{{{name}}}");
                    place.names.push(name);
                    text
                }
            };
            place.path.push('/');
            place.path.push_str(&text);
        }
        if let Some(suffix) = &template.suffix {
            place.shape.push(':');
            place.shape.push_str(suffix);
            place.path.push(':');
            place.path.push_str(suffix);
        }
        place
    }

    fn parameter(&self, template: &Template, at: usize, part: &Part) -> (String, Parameter) {
        let variable = template.variables.iter().find(|variable| variable.parts.contains(&at));
        let whole = variable.is_some_and(|variable| variable.parts.len() == 1);
        let base = variable.map_or("segment", |variable| variable.field.as_str());
        let mut name = base.to_owned();
        let mut number = 1_usize;
        while self.names.contains(&name) {
            number = number.saturating_add(1);
            name = format!("{base}_{number}");
        }
        let mut notes = Vec::new();
        if let Some(variable) = variable.filter(|_| !whole) {
            notes.push(format!("A part of `{}`.", variable.field));
        }
        if *part == Part::Rest {
            notes.push("It may hold slashes.".to_owned());
        }
        let note = (!notes.is_empty()).then(|| notes.join(" "));
        (name, Parameter { field: variable.map(|variable| variable.field.clone()), whole, note })
    }
}
