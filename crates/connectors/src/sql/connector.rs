//! Answers a method with the rows of one statement.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use contract::{Kind, Method, Shape};
use futures_core::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::bindings::{Complaint, Limits};
use crate::sql::config::SqlBinding;
use crate::sql::engine::{Engine, Pace, Question, Run};
use crate::sql::parameters::Parameters;
use crate::sql::plan::Plan;
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;
use crate::{Answer, Ask, Connector, ConnectorError};

/// One statement that answers one method.
#[derive(Debug)]
pub(crate) struct SqlConnector {
    pub(super) run: Arc<dyn Run>,
    parameters: Parameters,
    plan: Arc<Plan>,
    shape: Answers,
    limits: Limits,
}

/// How many rows an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    One,
    Gathered,
    Stream,
}

impl SqlConnector {
    /// Holds the statement against the database and the contract, or says everything that does not fit.
    pub(crate) async fn prepare(
        binding: &SqlBinding,
        statement: &Statement,
        method: &Method,
        engine: &dyn Engine,
        limits: Limits,
    ) -> Result<Self, Vec<Complaint>> {
        let mapping = binding.mapping();
        let mut complaints = Vec::new();
        if method.kind() == Some(Kind::Command) {
            complaints.push(Complaint::new(
                "query",
                format!("`{}` is a command, and a query changes nothing", named(method)),
                "write `statements = [\"…\"]` instead of `query`",
            ));
        }
        let shape = match (method.shape(), mapping.gather) {
            (Shape::Unary, None) => Answers::One,
            (Shape::Unary, Some(_)) => Answers::Gathered,
            (Shape::ServerStream, None) => Answers::Stream,
            (Shape::ServerStream, Some(_)) => {
                complaints.push(Complaint::new(
                    "gather",
                    format!("`{}` streams its answers, one message for each row", named(method)),
                    "leave `gather` out",
                ));
                Answers::Stream
            }
            (Shape::ClientStream | Shape::Bidirectional, _) => {
                return Err(vec![Complaint::new(
                    "kind",
                    format!("`{}` takes a stream of requests, which a statement cannot", named(method)),
                    "bind it to a connector of kind `grpc`",
                )]);
            }
        };
        let prepared = match engine.prepare(statement).await {
            Ok(prepared) => prepared,
            Err(text) => {
                complaints.push(Complaint::new(
                    "query",
                    format!("database `{}` does not take the statement: {text}", binding.database),
                    mend(
                        &text,
                        &statement.parameters,
                        "try the statement in the database's own shell, with `NULL` in place of the parameters",
                    ),
                ));
                return Err(complaints);
            }
        };
        let parameters = Parameters::compile(method.input(), &statement.parameters, &prepared.slots, mapping);
        let plan = Plan::compile(method.output(), &prepared.columns, mapping);
        match (parameters, plan) {
            (Ok(parameters), Ok(plan)) if complaints.is_empty() => {
                Ok(Self { run: prepared.run, parameters, plan: Arc::new(plan), shape, limits })
            }
            (parameters, plan) => {
                let findings = parameters.err().into_iter().chain(plan.err()).flatten();
                complaints.extend(findings.map(|finding| Complaint {
                    key: finding.key,
                    what: finding.what,
                    help: finding.help,
                }));
                Err(complaints)
            }
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ConnectorError> {
        let question = self.question(&ask)?;
        let mut rows = self.run.start(question).await?;
        let messages = match self.shape {
            Answers::Stream => {
                return Ok(Answer { messages: rows.boxed() });
            }
            Answers::One => one(&mut rows).await?,
            Answers::Gathered => self.gather(&mut rows).await?,
        };
        Ok(Answer { messages: stream::once(std::future::ready(Ok(messages))).boxed() })
    }

    fn question(&self, ask: &Ask) -> Result<Question, ConnectorError> {
        Ok(Question {
            arguments: self.parameters.arguments(&ask.request)?,
            plan: Arc::clone(&self.plan),
            limit: self.limits.message,
            deadline: self.limits.deadline(ask.deadline),
            pace: if self.shape == Answers::Stream { Pace::Pulled } else { Pace::Whole },
            asker: ask.asker.clone(),
            stalled: ask.stalled.clone(),
        })
    }

    /// Joins the rows to one message. Protobuf joins what comes one after the other.
    async fn gather(&self, rows: &mut Rows) -> Result<Bytes, ConnectorError> {
        let limit = self.limits.message;
        let mut message = BytesMut::new();
        while let Some(element) = rows.next().await {
            let element = element?;
            if message.len() + element.len() > limit {
                return Err(ConnectorError::TooLarge { limit });
            }
            message.extend_from_slice(&element);
        }
        Ok(message.freeze())
    }
}

impl Connector for SqlConnector {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, ConnectorError>> {
        Box::pin(self.ask(ask))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(super::healthcheck::check(self))
    }
}

/// Takes the only row.
async fn one(rows: &mut Rows) -> Result<Bytes, ConnectorError> {
    let message = rows.next().await.ok_or(ConnectorError::NotFound)??;
    match rows.next().await {
        None => Ok(message),
        Some(Ok(_)) => Err(ConnectorError::TooManyRows),
        Some(Err(error)) => Err(error),
    }
}

pub(super) fn named(method: &Method) -> &str {
    method.path().trim_start_matches('/')
}

/// How to mend a statement that the database does not take, by what it says of it.
pub(super) fn mend(text: &str, parameters: &[String], otherwise: &str) -> String {
    // PostgreSQL's "could not determine data type of parameter $1".
    let untyped = text.rsplit_once("data type of parameter $").and_then(|(_, number)| number.parse::<usize>().ok());
    match untyped.and_then(|number| parameters.get(number.checked_sub(1)?)) {
        Some(name) => format!("say of what type the parameter is, as in `CAST(:{name} AS text)`"),
        None => otherwise.to_owned(),
    }
}
