//! What is measured: how many ask, and for what.

use bytes::Bytes;

use super::{
    load::Call,
    messages::{self, RowsRequest, SayRequest},
};

/// Callers of one connection at most: below the streams that every contender allows on one.
const CALLERS_PER_CONNECTION: usize = 64;

/// One line of the comparison.
#[derive(Clone)]
pub(crate) struct Case {
    name: &'static str,
    title: &'static str,
    callers: usize,
    connections: usize,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    /// One message of so many bytes, and the same back.
    Unary { size: u32 },
    /// So many rows of so many bytes, over and over.
    Stream { rows: u32, size: u32 },
    /// The same once, with an eye on the memory.
    Long { rows: u32, size: u32 },
}

impl Case {
    /// All there are; for a `smoke` the long one is short.
    pub(crate) fn all(smoke: bool) -> Vec<Self> {
        let unary = |name, title, callers: usize, connections| Self {
            name,
            title,
            callers,
            connections,
            shape: Shape::Unary { size: 1024 },
        };
        vec![
            unary("unary1", "1 KiB unary, 1 caller", 1, 1),
            unary("unary64", "1 KiB unary, 64 callers on 4 connections", 64, 4),
            unary("unary512", "1 KiB unary, 512 callers on 8 connections", 512, 512 / CALLERS_PER_CONNECTION),
            Self {
                name: "stream",
                title: "stream of 10,000 rows of 1 KiB, 1 caller, over and over",
                callers: 1,
                connections: 1,
                shape: Shape::Stream { rows: 10_000, size: 1024 },
            },
            Self {
                name: "long",
                title: "stream of five million rows of 32 bytes, once",
                callers: 1,
                connections: 1,
                shape: Shape::Long { rows: if smoke { 50_000 } else { 5_000_000 }, size: 32 },
            },
        ]
    }

    /// The name to choose it by.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What stands above its table.
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// How many ask at once, and over how many connections.
    pub(crate) fn callers(&self) -> (usize, usize) {
        (self.callers, self.connections)
    }

    /// Whether the memory is what matters.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self.shape, Shape::Long { .. })
    }

    /// What is counted: a call, or a row of a stream.
    pub(crate) fn unit(&self) -> &'static str {
        match self.shape {
            Shape::Unary { .. } => "call",
            Shape::Stream { .. } | Shape::Long { .. } => "row",
        }
    }

    /// What each caller asks.
    pub(crate) fn call(&self) -> Call {
        let (path, request, messages): (_, Bytes, _) = match self.shape {
            Shape::Unary { size } => {
                ("/bench.v1.Echo/Say", messages::prefixed(&SayRequest { payload: messages::payload(size) }), 1)
            }
            Shape::Stream { rows, size } | Shape::Long { rows, size } => {
                ("/bench.v1.Echo/Rows", messages::prefixed(&RowsRequest { count: rows, size }), rows.into())
            }
        };
        Call { path, request, messages }
    }
}
