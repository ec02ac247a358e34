//! The plan of a statement: which column fills which field, made once, so that a row is encoded in one pass.
//!
//! Fields are written in the order of their numbers, nested messages in their place, and null leaves a field out. So the
//! bytes are those that protobuf's own encoders write.

use std::sync::Arc;

use bytes::BytesMut;
use prost::encoding::{WireType, encode_key};

use crate::sql::cell::Cell;
use crate::sql::encode::{Encoder, Written, length_delimited};
use crate::{ConnectorError, Misfit};

pub(crate) use compile::{Finding, Mapping, describe, did_you_mean, follow};
pub(crate) use forms::{is_date, key, wrapped};

mod compile;
mod forms;

/// One row of an answer.
pub(crate) trait Row {
    /// Returns a column's value; `Null` beyond the last column.
    fn cell(&self, column: usize) -> Cell<'_>;

    /// Returns the values of a column whose cell is [`Cell::List`].
    fn elements(&self, column: usize) -> impl Iterator<Item = Cell<'_>>;
}

/// Turns the rows of one statement into messages.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    root: MessagePlan,
    /// The repeated field of the answer that each row is an element of.
    gather: Option<u32>,
    labels: Vec<Label>,
}

impl Plan {
    /// Appends one row to `out`: a message, or one element of the gathering field with its key.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Mapping`]; `out` is then as it was.
    pub(crate) fn encode<R: Row>(&self, row: &R, out: &mut BytesMut) -> Result<(), ConnectorError> {
        let start = out.len();
        let result = match self.gather {
            None => self.root.encode(row, out),
            Some(number) => {
                encode_key(number, WireType::LengthDelimited, out);
                length_delimited(out, |out| self.root.encode(row, out))
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(fault) => {
                out.truncate(start);
                Err(self.explain(&fault, row))
            }
        }
    }

    fn explain<R: Row>(&self, fault: &Fault, row: &R) -> ConnectorError {
        let stored = row.cell(fault.column).stored();
        match self.labels.get(fault.column) {
            Some(label) => ConnectorError::Mapping {
                column: Arc::clone(&label.column),
                field: Arc::clone(&label.field),
                stored,
                why: fault.misfit,
            },
            None => ConnectorError::Malformed { what: "a row has other columns than the statement" },
        }
    }
}

/// The names of one column for messages.
#[derive(Clone, Debug)]
struct Label {
    column: Arc<str>,
    field: Arc<str>,
}

#[derive(Clone, Debug)]
struct MessagePlan {
    /// By field number.
    fields: Vec<FieldPlan>,
}

#[derive(Clone, Debug)]
struct FieldPlan {
    number: u32,
    /// Which of the message's oneofs the field is in, counted from 0.
    oneof: Option<u32>,
    filling: Filling,
}

#[derive(Clone, Debug)]
enum Filling {
    Column(ColumnPlan),
    Message(MessagePlan),
}

#[derive(Clone, Debug)]
struct ColumnPlan {
    column: usize,
    encoder: Encoder,
    /// Whether a default value is written, which is so where the field has presence.
    keeps_default: bool,
    required: bool,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    One,
    /// A message of `google/protobuf/wrappers.proto` around the value.
    Wrapped,
    /// Several values: in one text with a separator between them, or in a list of the database's own.
    List {
        separator: Option<Box<str>>,
        packed: bool,
    },
}

/// What a row holds that the plan cannot write.
struct Fault {
    column: usize,
    misfit: Misfit,
}

/// Whether a message got anything at all; an absent one stays absent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Something,
}

impl MessagePlan {
    fn encode<R: Row>(&self, row: &R, out: &mut BytesMut) -> Result<Content, Fault> {
        let mut content = Content::Nothing;
        let mut oneofs: u64 = 0;
        for field in &self.fields {
            let got = match &field.filling {
                Filling::Column(column) => column.encode(field.number, row, out)?,
                Filling::Message(message) => {
                    let start = out.len();
                    encode_key(field.number, WireType::LengthDelimited, out);
                    let got = length_delimited(out, |out| message.encode(row, out))?;
                    if got == Content::Nothing {
                        out.truncate(start);
                    }
                    got
                }
            };
            if got == Content::Nothing {
                continue;
            }
            content = Content::Something;
            if let Some(bit) = field.oneof.map(|oneof| 1_u64 << (oneof & 63)) {
                if oneofs & bit != 0 {
                    return Err(Fault { column: field.first_column(), misfit: Misfit::OneofTwice });
                }
                oneofs |= bit;
            }
        }
        Ok(content)
    }
}

impl FieldPlan {
    fn first_column(&self) -> usize {
        match &self.filling {
            Filling::Column(column) => column.column,
            Filling::Message(message) => message.fields.first().map_or(usize::MAX, Self::first_column),
        }
    }
}

impl ColumnPlan {
    fn encode<R: Row>(&self, number: u32, row: &R, out: &mut BytesMut) -> Result<Content, Fault> {
        let cell = row.cell(self.column);
        if cell == Cell::Null {
            if self.required {
                return Err(self.fault(Misfit::Missing));
            }
            return Ok(Content::Nothing);
        }
        match &self.shape {
            Shape::One => self.one(number, cell, out),
            Shape::Wrapped => {
                encode_key(number, WireType::LengthDelimited, out);
                length_delimited(out, |out| self.one(1, cell, out))
            }
            Shape::List { separator: None, packed } => {
                if cell != Cell::List {
                    return Err(self.fault(cell.misfit()));
                }
                self.list(number, row.elements(self.column), *packed, out)
            }
            Shape::List { separator: Some(separator), packed } => {
                let Cell::Text(text) = cell else {
                    return self.list(number, std::iter::once(cell), *packed, out);
                };
                if text.trim().is_empty() {
                    return Ok(Content::Something);
                }
                let parts = text.split(separator.as_ref()).map(|part| Cell::Text(part.trim()));
                self.list(number, parts, *packed, out)
            }
        }
    }

    fn one(&self, number: u32, cell: Cell<'_>, out: &mut BytesMut) -> Result<Content, Fault> {
        let start = out.len();
        encode_key(number, self.encoder.wire_type(), out);
        let written = self.encoder.value(cell, out).map_err(|misfit| self.fault(misfit))?;
        if written == Written::Default && !self.keeps_default {
            out.truncate(start);
        }
        Ok(Content::Something)
    }

    fn list<'r>(
        &self,
        number: u32,
        cells: impl Iterator<Item = Cell<'r>>,
        packed: bool,
        out: &mut BytesMut,
    ) -> Result<Content, Fault> {
        let mut cells = cells.peekable();
        if cells.peek().is_none() {
            return Ok(Content::Something);
        }
        let elements = |out: &mut BytesMut| -> Result<(), Fault> {
            for cell in cells {
                if cell == Cell::Null {
                    return Err(self.fault(Misfit::NullInList));
                }
                if !packed {
                    encode_key(number, self.encoder.wire_type(), out);
                }
                self.encoder.value(cell, out).map_err(|misfit| self.fault(misfit))?;
            }
            Ok(())
        };
        if packed {
            encode_key(number, WireType::LengthDelimited, out);
            length_delimited(out, elements)?;
        } else {
            elements(out)?;
        }
        Ok(Content::Something)
    }

    fn fault(&self, misfit: Misfit) -> Fault {
        Fault { column: self.column, misfit }
    }
}
