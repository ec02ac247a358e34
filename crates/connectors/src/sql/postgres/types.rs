//! Which of PostgreSQL's types can be read and bound, and what they are to the rest of the kind.

use std::sync::Arc;

use sqlx::TypeInfo;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

use crate::sql::cell::{Class, Column, Slot, Takes};

/// A type whose values the gateway reads and writes, in PostgreSQL's binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// Any type of text, and enums, whose values are their labels.
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Uuid,
    Json,
    Jsonb,
}

/// A type as the gateway knows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) sort: Sort,
    /// The labels of an enum.
    labels: Option<Arc<[String]>>,
}

/// How values are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    One(Scalar),
    Array(Scalar),
    /// A type that no field can be filled from.
    Foreign(Foreign),
}

/// What kind of type cannot be mapped, which decides what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Range,
    Composite,
    Interval,
    Money,
    Other,
}

impl Known {
    /// Finds out what a type is. A domain is what it is made of.
    pub(super) fn of(info: &PgTypeInfo) -> Self {
        let plain = |sort| Self { sort, labels: None };
        if let Some(scalar) = info.oid().and_then(|oid| scalar(oid.0)) {
            return plain(Sort::One(scalar));
        }
        match info.kind() {
            PgTypeKind::Domain(base) => Self::of(base),
            PgTypeKind::Enum(labels) => Self { sort: Sort::One(Scalar::Text), labels: Some(Arc::clone(labels)) },
            PgTypeKind::Array(element) => match Self::of(element) {
                Self { sort: Sort::One(scalar), labels } => Self { sort: Sort::Array(scalar), labels },
                Self { sort: Sort::Array(_), .. } => plain(Sort::Foreign(Foreign::Other)),
                foreign @ Self { sort: Sort::Foreign(_), .. } => foreign,
            },
            PgTypeKind::Composite(_) => plain(Sort::Foreign(Foreign::Composite)),
            PgTypeKind::Range(_) => plain(Sort::Foreign(Foreign::Range)),
            // An extension's type that is stored as text is.
            PgTypeKind::Simple if info.name().eq_ignore_ascii_case("citext") => plain(Sort::One(Scalar::Text)),
            PgTypeKind::Simple | PgTypeKind::Pseudo => plain(Sort::Foreign(match info.oid().map(|oid| oid.0) {
                Some(1186) => Foreign::Interval,
                Some(790) => Foreign::Money,
                Some(_) | None => Foreign::Other,
            })),
        }
    }

    /// Describes a column of this type.
    pub(super) fn column(&self, name: &str, info: &PgTypeInfo) -> Column {
        let (class, list, refused) = match self.sort {
            Sort::One(scalar) => (scalar.class(), false, None),
            Sort::Array(scalar) => (scalar.class(), true, None),
            Sort::Foreign(foreign) => (Class::Unknown, false, Some(foreign.help(name))),
        };
        let labels = self.labels.clone();
        Column { list, labels, refused, ..Column::new(name, Some(spelt(info)), class) }
    }

    /// Describes a parameter of this type.
    pub(super) fn slot(&self, info: &PgTypeInfo) -> Slot {
        let (takes, list) = match self.sort {
            Sort::One(_) if self.labels.is_some() => (Takes::Label, false),
            Sort::Array(_) if self.labels.is_some() => (Takes::Label, true),
            Sort::One(scalar) => (scalar.takes(), false),
            Sort::Array(scalar) => (scalar.takes(), true),
            Sort::Foreign(_) => (Takes::Nothing, false),
        };
        Slot { declared: Some(spelt(info)), takes, list, labels: self.labels.clone() }
    }
}

/// The name of a type as SQL writes it.
fn spelt(info: &PgTypeInfo) -> String {
    match (info.kind(), info.name()) {
        (PgTypeKind::Simple, "CHAR") => "bpchar".into(),
        (PgTypeKind::Simple | PgTypeKind::Pseudo | PgTypeKind::Range(_), name) => name.to_lowercase(),
        (PgTypeKind::Array(element), _) => format!("{}[]", spelt(element)),
        (PgTypeKind::Domain(_) | PgTypeKind::Enum(_) | PgTypeKind::Composite(_), name) => name.to_owned(),
    }
}

impl Scalar {
    fn class(self) -> Class {
        match self {
            Self::Bool => Class::Bool,
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid => Class::Integer,
            Self::Float4 | Self::Float8 => Class::Real,
            Self::Numeric => Class::Numeric,
            Self::Text | Self::Json | Self::Jsonb => Class::Text,
            Self::Bytea => Class::Blob,
            Self::Date | Self::Timestamp | Self::Timestamptz => Class::Moment,
            Self::Time => Class::Time,
            Self::Uuid => Class::Uuid,
        }
    }

    fn takes(self) -> Takes {
        match self {
            Self::Bool => Takes::Bool,
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Oid => Takes::Integer,
            Self::Float4 | Self::Float8 => Takes::Real,
            Self::Numeric => Takes::Decimal,
            Self::Text => Takes::Text,
            Self::Json | Self::Jsonb => Takes::Json,
            Self::Bytea => Takes::Blob,
            Self::Date => Takes::Date,
            Self::Timestamp | Self::Timestamptz => Takes::Moment,
            Self::Time => Takes::Time,
            Self::Uuid => Takes::Uuid,
        }
    }
}

impl Foreign {
    fn help(self, name: &str) -> String {
        let text = format!("`{name}::text`");
        match self {
            Self::Range => {
                format!("take its ends in the statement, as in `lower({name})` and `upper({name})`, or cast it: {text}")
            }
            Self::Composite => format!("take its parts in the statement, as in `({name}).part`, or cast it: {text}"),
            Self::Interval => {
                format!("count seconds in the statement, as in `extract(epoch from {name})`, or cast it: {text}")
            }
            Self::Money => format!("cast it in the statement: `{name}::numeric`"),
            Self::Other => format!("cast it in the statement, as in {text}"),
        }
    }
}

/// The built-in types by their numbers, which are the same in every database.
///
/// Source: <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>.
fn scalar(oid: u32) -> Option<Scalar> {
    Some(match oid {
        16 => Scalar::Bool,
        17 => Scalar::Bytea,
        20 => Scalar::Int8,
        21 => Scalar::Int2,
        23 => Scalar::Int4,
        26 => Scalar::Oid,
        // "char", name, text, unknown, char(n), varchar(n).
        18 | 19 | 25 | 705 | 1042 | 1043 => Scalar::Text,
        114 => Scalar::Json,
        700 => Scalar::Float4,
        701 => Scalar::Float8,
        1082 => Scalar::Date,
        1083 => Scalar::Time,
        1114 => Scalar::Timestamp,
        1184 => Scalar::Timestamptz,
        1700 => Scalar::Numeric,
        2950 => Scalar::Uuid,
        3802 => Scalar::Jsonb,
        _ => return None,
    })
}
