//! Holds the columns of a statement against a message of the contract, and makes the plan or says every misfit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use problem::nearest;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::forms::{self, Given, Refusal};
use super::{ColumnPlan, FieldPlan, Filling, Label, MessagePlan, Plan};
use crate::sql::cell::Column;
use crate::sql::moment::Clock;

/// What a binding says about how columns fill fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping<'b> {
    pub(crate) columns: &'b BTreeMap<String, String>,
    pub(crate) formats: &'b BTreeMap<String, String>,
    pub(crate) values: &'b BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) separators: &'b BTreeMap<String, String>,
    pub(crate) gather: Option<&'b str>,
    pub(crate) clock: &'b Clock,
}

/// One thing that does not fit: where in the connector's table, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Key below `connector`, as in `formats.dob`.
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) help: Option<String>,
}

impl Finding {
    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into(), help: Some(help.into()) }
    }
}

impl Plan {
    /// Makes the plan that turns `columns` into `answer`, or says everything that stands against it.
    pub(crate) fn compile(
        answer: &MessageDescriptor,
        columns: &[Column],
        mapping: Mapping<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let (gather, message) = match mapping.gather {
            None => (None, answer.clone()),
            Some(name) => match gathering(answer, name) {
                Ok((number, element)) => (Some(number), element),
                Err(finding) => return Err(vec![*finding]),
            },
        };
        let mut compiler = Compiler { mapping, findings: Vec::new(), root: Branch::new(message), labels: Vec::new() };
        compiler.names(columns);
        for (index, column) in columns.iter().enumerate() {
            compiler.column(index, column);
        }
        compiler.root.require(&mut compiler.findings);
        if compiler.findings.is_empty() {
            Ok(Self { root: compiler.root.plan(), gather, labels: compiler.labels })
        } else {
            Err(compiler.findings)
        }
    }
}

/// Describes a field as a message to a person does: name, type and file.
pub(crate) fn describe(field: &FieldDescriptor) -> String {
    let mut text = format!("`{}` (", field.full_name());
    if field.is_list() {
        text.push_str("repeated ");
    }
    let _ = write!(text, "{}, in `{}`)", type_name(field), field.parent_file().name());
    text
}

/// Follows a path of field names. Every field but the last is a single message.
pub(crate) fn follow(message: &MessageDescriptor, path: &str) -> Result<Vec<FieldDescriptor>, (String, String)> {
    let mut fields = Vec::new();
    let mut at = message.clone();
    let mut segments = path.split('.').peekable();
    while let Some(name) = segments.next() {
        let Some(field) = at.get_field_by_name(name) else {
            return Err((
                format!("`{}` in `{}` has no field `{name}`", at.full_name(), at.parent_file().name()),
                did_you_mean(name, at.fields().map(|field| field.name().to_owned())),
            ));
        };
        if segments.peek().is_some() {
            let Some(inner) = single(&field) else {
                return Err((
                    format!("{} has no fields that a column or parameter can name", describe(&field)),
                    "name a field through single messages only".into(),
                ));
            };
            at = inner;
        }
        fields.push(field);
    }
    Ok(fields)
}

/// The type of a field that holds one message.
fn single(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    field.kind().as_message().filter(|_| !field.is_list() && !field.is_map() && !field.is_group()).cloned()
}

/// Lists what there is, after what was probably meant.
pub(crate) fn did_you_mean(word: &str, among: impl IntoIterator<Item = String>) -> String {
    let names: BTreeSet<String> = among.into_iter().collect();
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match nearest(word, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`? There are {list}"),
        None => format!("there are {list}"),
    }
}

fn type_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Double => "double".into(),
        Kind::Float => "float".into(),
        Kind::Int32 => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::Uint32 => "uint32".into(),
        Kind::Uint64 => "uint64".into(),
        Kind::Sint32 => "sint32".into(),
        Kind::Sint64 => "sint64".into(),
        Kind::Fixed32 => "fixed32".into(),
        Kind::Fixed64 => "fixed64".into(),
        Kind::Sfixed32 => "sfixed32".into(),
        Kind::Sfixed64 => "sfixed64".into(),
        Kind::Bool => "bool".into(),
        Kind::String => "string".into(),
        Kind::Bytes => "bytes".into(),
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(descriptor) => descriptor.full_name().to_owned(),
    }
}

fn gathering(answer: &MessageDescriptor, name: &str) -> Result<(u32, MessageDescriptor), Box<Finding>> {
    let element =
        |field: &FieldDescriptor| field.kind().as_message().filter(|_| field.is_list() && !field.is_group()).cloned();
    let Some(field) = answer.get_field_by_name(name) else {
        return Err(Box::new(Finding::new(
            "gather",
            format!("`{}` in `{}` has no field `{name}`", answer.full_name(), answer.parent_file().name()),
            did_you_mean(
                name,
                answer.fields().filter(|field| element(field).is_some()).map(|field| field.name().to_owned()),
            ),
        )));
    };
    match element(&field) {
        Some(element) => Ok((field.number(), element)),
        None => Err(Box::new(Finding::new(
            "gather",
            format!("{} cannot gather rows", describe(&field)),
            "name a repeated message field of the answer",
        ))),
    }
}

struct Compiler<'b> {
    mapping: Mapping<'b>,
    findings: Vec<Finding>,
    root: Branch,
    labels: Vec<Label>,
}

impl Compiler<'_> {
    /// Every name that the binding says something about is the name of a column. Names with a colon are parameters.
    fn names(&mut self, columns: &[Column]) {
        let known: BTreeSet<&str> = columns.iter().map(|column| column.name.as_ref()).collect();
        if known.len() < columns.len() {
            for (index, column) in columns.iter().enumerate() {
                if columns.iter().take(index).any(|earlier| earlier.name == column.name) {
                    self.findings.push(Finding::new(
                        "query",
                        format!("the statement has two columns `{}`", column.name),
                        "give each its own name with `AS`",
                    ));
                }
            }
        }
        let mapping = self.mapping;
        let named = [
            ("columns", mapping.columns.keys().collect::<Vec<_>>()),
            ("formats", mapping.formats.keys().collect()),
            ("values", mapping.values.keys().collect()),
            ("separators", mapping.separators.keys().collect()),
        ];
        for (table, names) in named {
            for name in names {
                if !name.starts_with(':') && !known.contains(name.as_str()) {
                    self.findings.push(Finding::new(
                        forms::key(table, name),
                        format!("the statement has no column `{name}`"),
                        did_you_mean(name, known.iter().map(|&name| name.to_owned())),
                    ));
                }
            }
        }
    }

    fn column(&mut self, index: usize, column: &Column) {
        let declared = self.mapping.columns.get(column.name.as_ref());
        let path = declared.map_or(column.name.as_ref(), String::as_str).to_owned();
        self.labels.push(Label { column: Arc::clone(&column.name), field: path.as_str().into() });
        // Where to look: at the entry in `columns` if there is one, else at the statement.
        let key = || declared.map_or_else(|| "query".to_owned(), |_| forms::key("columns", &column.name));
        let fields = match follow(&self.root.message, &path) {
            Ok(fields) => fields,
            Err((what, help)) => {
                let help = if declared.is_some() {
                    help
                } else {
                    format!("{help}; name the field with `AS \"…\"`, or in `columns`")
                };
                self.findings.push(Finding::new(key(), format!("{} fits no field: {what}", column.describe()), help));
                return;
            }
        };
        let Some((field, parents)) = fields.split_last() else {
            return;
        };
        let given = Given {
            name: column.name.as_ref(),
            class: column.class,
            list: column.list,
            labels: column.labels.as_deref(),
            refused: column.refused.as_deref(),
            format: self.mapping.formats.get(column.name.as_ref()).map(String::as_str),
            values: self.mapping.values.get(column.name.as_ref()),
            separator: self.mapping.separators.get(column.name.as_ref()).map(String::as_str),
            clock: self.mapping.clock,
        };
        match forms::encoder(field, &given) {
            Ok((encoder, shape)) => {
                let plan = ColumnPlan {
                    column: index,
                    encoder,
                    keeps_default: field.supports_presence() && shape == super::Shape::One,
                    required: field.is_required(),
                    shape,
                };
                if let Err(other) = self.root.put(parents, field, plan) {
                    let other = self.labels.get(other).map_or("", |label| label.column.as_ref());
                    let what = format!("columns `{other}` and `{}` both fill {}", column.name, describe(field));
                    self.findings.push(Finding::new(key(), what, "leave one of them"));
                }
            }
            Err(Refusal { key: at, why, help }) => {
                let key = at.map_or_else(key, |table| forms::key(table, &column.name));
                let what = format!(
                    "{} cannot fill {}{}",
                    column.describe(),
                    describe(field),
                    why.map_or_else(String::new, |why| format!(": {why}"))
                );
                self.findings.push(Finding::new(key, what, help));
            }
        }
    }
}

/// A message under construction.
struct Branch {
    message: MessageDescriptor,
    fields: BTreeMap<u32, (FieldDescriptor, Growth)>,
}

enum Growth {
    Leaf(ColumnPlan),
    Branch(Branch),
}

impl Branch {
    fn new(message: MessageDescriptor) -> Self {
        Self { message, fields: BTreeMap::new() }
    }

    /// Puts a column's plan in its place. The error is the column that is there already.
    fn put(&mut self, parents: &[FieldDescriptor], field: &FieldDescriptor, plan: ColumnPlan) -> Result<(), usize> {
        let Some((parent, rest)) = parents.split_first() else {
            if let Some((_, growth)) = self.fields.get(&field.number()) {
                return Err(growth.first_column());
            }
            self.fields.insert(field.number(), (field.clone(), Growth::Leaf(plan)));
            return Ok(());
        };
        let (_, growth) = self.fields.entry(parent.number()).or_insert_with(|| {
            // `follow` lets single messages through only.
            let inner = single(parent).unwrap_or_else(|| parent.parent_message().clone());
            (parent.clone(), Growth::Branch(Branch::new(inner)))
        });
        match growth {
            Growth::Branch(branch) => branch.put(rest, field, plan),
            Growth::Leaf(leaf) => Err(leaf.column),
        }
    }

    /// Finds required fields that no column fills.
    fn require(&self, findings: &mut Vec<Finding>) {
        for field in self.message.fields().filter(FieldDescriptor::is_required) {
            if !self.fields.contains_key(&field.number()) {
                findings.push(Finding::new(
                    "query",
                    format!("no column fills {}, which is required", describe(&field)),
                    "select a column for it",
                ));
            }
        }
        for (_, growth) in self.fields.values() {
            if let Growth::Branch(branch) = growth {
                branch.require(findings);
            }
        }
    }

    fn plan(self) -> MessagePlan {
        let oneofs: Vec<String> = self
            .message
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| oneof.full_name().to_owned())
            .collect();
        let fields = self.fields.into_iter().map(|(number, (field, growth))| FieldPlan {
            number,
            oneof: field
                .containing_oneof()
                .and_then(|oneof| oneofs.iter().position(|name| name == oneof.full_name()))
                .and_then(|position| u32::try_from(position).ok()),
            filling: match growth {
                Growth::Leaf(plan) => Filling::Column(plan),
                Growth::Branch(branch) => Filling::Message(branch.plan()),
            },
        });
        MessagePlan { fields: fields.collect() }
    }
}

impl Growth {
    fn first_column(&self) -> usize {
        match self {
            Self::Leaf(plan) => plan.column,
            Self::Branch(branch) => {
                branch.fields.values().next().map_or(usize::MAX, |(_, growth)| growth.first_column())
            }
        }
    }
}
