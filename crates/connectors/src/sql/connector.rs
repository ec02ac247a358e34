//! Answers a method with the rows of one statement.

use std::sync::Arc;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use contract::{Kind, Method, Shape};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::bindings::{Complaint, Limits};
use crate::sql::anew::{Current, changed};
use crate::sql::config::SqlBinding;
use crate::sql::engine::{Engine, Pace, Question, Run};
use crate::sql::parameters::Parameters;
use crate::sql::plan::Plan;
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;
use crate::{Answer, Ask, Asker, Connector, ConnectorError};

/// One statement that answers one method.
pub(crate) struct SqlConnector(Arc<Query>);

struct Query {
    recipe: Recipe,
    made: Current<Made>,
    shape: Answers,
    limits: Limits,
}

/// What a statement is made of, to be made anew once its tables have changed.
struct Recipe {
    binding: SqlBinding,
    statement: Statement,
    method: Arc<Method>,
    engine: Arc<dyn Engine>,
}

/// What is made of it with what the database says of its columns and parameters.
struct Made {
    run: Arc<dyn Run>,
    parameters: Parameters,
    plan: Arc<Plan>,
}

/// How many rows an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    One,
    Gathered,
    Stream,
}

/// What of an [`Ask`] concerns a statement; it may be asked twice.
struct Asked {
    request: Bytes,
    deadline: Option<Instant>,
    asker: Asker,
    stalled: Option<CancellationToken>,
}

impl SqlConnector {
    /// Holds the statement against the database and the contract, or says everything that does not fit.
    pub(crate) async fn prepare(
        binding: &SqlBinding,
        statement: &Statement,
        method: &Arc<Method>,
        engine: &Arc<dyn Engine>,
        limits: Limits,
    ) -> Result<Self, Vec<Complaint>> {
        let gather = binding.mapping().gather;
        let mut complaints = Vec::new();
        if method.kind() == Some(Kind::Command) {
            complaints.push(Complaint::new(
                "query",
                format!("`{}` is a command, and a query changes nothing", named(method)),
                "write `statements = [\"…\"]` instead of `query`",
            ));
        }
        let shape = match (method.shape(), gather) {
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
        let recipe = Recipe {
            binding: binding.clone(),
            statement: statement.clone(),
            method: Arc::clone(method),
            engine: Arc::clone(engine),
        };
        match recipe.make().await {
            Ok(made) if complaints.is_empty() => {
                Ok(Self(Arc::new(Query { recipe, made: Current::new(made), shape, limits })))
            }
            Ok(_) => Err(complaints),
            Err(more) => {
                complaints.extend(more);
                Err(complaints)
            }
        }
    }

    /// Returns what runs the statement now.
    pub(super) fn run(&self) -> Arc<dyn Run> {
        Arc::clone(&self.0.made.get().run)
    }
}

impl std::fmt::Debug for SqlConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SqlConnector").field(&self.0.recipe.method.path()).finish()
    }
}

impl Recipe {
    /// Lets the database describe the statement, and holds it against the contract.
    async fn make(&self) -> Result<Made, Vec<Complaint>> {
        let prepared = self.engine.prepare(&self.statement).await.map_err(|text| {
            let help = "try the statement in the database's own shell, with `NULL` in place of the parameters";
            vec![Complaint::new(
                "query",
                format!("database `{}` does not take the statement: {text}", self.binding.database),
                mend(&text, &self.statement.parameters, help),
            )]
        })?;
        let mapping = self.binding.mapping();
        let parameters = Parameters::compile(self.method.input(), &self.statement.parameters, &prepared.slots, mapping);
        let plan = Plan::compile(self.method.output(), &prepared.columns, mapping);
        match (parameters, plan) {
            (Ok(parameters), Ok(plan)) => Ok(Made { run: prepared.run, parameters, plan: Arc::new(plan) }),
            (parameters, plan) => {
                let findings = parameters.err().into_iter().chain(plan.err()).flatten();
                Err(findings.map(|f| Complaint { key: f.key, what: f.what, help: f.help }).collect())
            }
        }
    }
}

impl Query {
    async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer, ConnectorError> {
        let Ask { request, deadline, asker, stalled, .. } = ask;
        let asked = Asked { request, deadline: self.limits.deadline(deadline), asker, stalled };
        let made = self.made.get();
        if self.shape == Answers::Stream {
            return self.stream(made, asked).await;
        }
        let message = match self.whole(&made, &asked).await {
            // Nothing of it has been sent yet.
            Err(error) if changed(&error) => {
                let made = self.anew(&made, error).await?;
                self.whole(&made, &asked).await?
            }
            message => message?,
        };
        Ok(Answer { messages: stream::once(std::future::ready(Ok(message))).boxed() })
    }

    async fn whole(&self, made: &Made, asked: &Asked) -> Result<Bytes, ConnectorError> {
        let mut rows = self.start(made, asked).await?;
        if self.shape == Answers::One { one(&mut rows).await } else { self.gather(&mut rows).await }
    }

    async fn stream(self: &Arc<Self>, made: Arc<Made>, asked: Asked) -> Result<Answer, ConnectorError> {
        let (made, rows) = match self.start(&made, &asked).await {
            Err(error) if changed(&error) => {
                let made = self.anew(&made, error).await?;
                let rows = self.start(&made, &asked).await?;
                (made, rows)
            }
            rows => (made, rows?),
        };
        let query = Arc::clone(self);
        let messages = stream::once(async move { query.opened(made, rows, asked).await }).flatten();
        Ok(Answer { messages: messages.boxed() })
    }

    /// Reads the first row, which shows whether the columns are still those of the plan; before it nothing has been sent.
    async fn opened(
        &self,
        made: Arc<Made>,
        mut rows: Rows,
        asked: Asked,
    ) -> BoxStream<'static, Result<Bytes, ConnectorError>> {
        let first = rows.next().await;
        match first {
            Some(Err(error)) if changed(&error) => {
                drop(rows);
                let again = async {
                    let made = self.anew(&made, error).await?;
                    self.start(&made, &asked).await
                };
                match again.await {
                    Ok(rows) => rows.boxed(),
                    Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
                }
            }
            first => stream::iter(first).chain(rows).boxed(),
        }
    }

    /// Makes the statement anew after it failed because its tables have changed. The error is that one where it does not fit any more.
    async fn anew(&self, used: &Arc<Made>, error: ConnectorError) -> Result<Arc<Made>, ConnectorError> {
        let making = async {
            self.recipe.engine.forget();
            self.recipe.make().await
        };
        self.made.anew(used, &self.recipe.method, making).await.ok_or(error)
    }

    async fn start(&self, made: &Made, asked: &Asked) -> Result<Rows, ConnectorError> {
        let question = Question {
            arguments: made.parameters.arguments(&asked.request)?,
            plan: Arc::clone(&made.plan),
            limit: self.limits.message,
            deadline: asked.deadline,
            pace: if self.shape == Answers::Stream { Pace::Pulled } else { Pace::Whole },
            asker: asked.asker.clone(),
            stalled: asked.stalled.clone(),
        };
        made.run.start(question).await
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
        Box::pin(self.0.ask(ask))
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

/// What is said of a statement with a column that no field can be filled from, and whose type the driver cannot even name.
pub(super) const MULTIRANGE: &str = "a column or parameter of it is a multirange, which no field can hold";

/// How to mend a statement that the database does not take, by what it says of it.
pub(super) fn mend(text: &str, parameters: &[String], otherwise: &str) -> String {
    if text == MULTIRANGE {
        return "take its ranges and their ends in the statement, as in `lower(unnest(periods))`, or cast it: `periods::text`".into();
    }
    // PostgreSQL's "could not determine data type of parameter $1".
    let untyped = text.rsplit_once("data type of parameter $").and_then(|(_, number)| number.parse::<usize>().ok());
    match untyped.and_then(|number| parameters.get(number.checked_sub(1)?)) {
        Some(name) => format!("say of what type the parameter is, as in `CAST(:{name} AS text)`"),
        None => otherwise.to_owned(),
    }
}
