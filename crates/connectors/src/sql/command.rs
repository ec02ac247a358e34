//! Carries out a command by statements in one transaction, which also leaves the command's key.
//!
//! The key makes the database itself the last to say whether a command was carried out: its table takes each key once.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Kind, Method, Shape};
use futures_core::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::bindings::{Complaint, Limits};
use crate::sql::Misconfigured;
use crate::sql::anew::{Current, changed};
use crate::sql::config::SqlBinding;
use crate::sql::connector::{mend, named};
use crate::sql::engine::{Engine, Fault, Order, PreparedCommand, Reply, Work};
use crate::sql::parameters::Parameters;
use crate::sql::plan::Plan;
use crate::sql::statement::Statement;
use crate::{Answer, Ask, CommandId, Connector, ConnectorError, Failure};

/// The statements that carry out one method.
pub(crate) struct SqlCommand {
    recipe: Recipe,
    made: Current<Made>,
    limits: Limits,
}

/// What a command is made of, to be made anew once its tables have changed.
struct Recipe {
    binding: SqlBinding,
    statements: Vec<Statement>,
    method: Arc<Method>,
    engine: Arc<dyn Engine>,
    /// Largest message, in bytes.
    limit: usize,
}

/// What is made of it with what the database says of columns and parameters.
struct Made {
    work: Arc<dyn Work>,
    parameters: Parameters,
    reply: Reply,
}

impl SqlCommand {
    /// Holds the statements against the database and the contract, or says everything that does not fit.
    pub(crate) async fn prepare(
        binding: &SqlBinding,
        statements: &[Statement],
        method: &Arc<Method>,
        engine: &Arc<dyn Engine>,
        limits: Limits,
    ) -> Result<Self, Vec<Complaint>> {
        if let Some(complaint) = unfit_method(method) {
            return Err(vec![complaint]);
        }
        let recipe = Recipe {
            binding: binding.clone(),
            statements: statements.to_vec(),
            method: Arc::clone(method),
            engine: Arc::clone(engine),
            limit: limits.message,
        };
        let made = recipe.make().await?;
        Ok(Self { recipe, made: Current::new(made), limits })
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ConnectorError> {
        // Only a command's caller says what it is known by; a query never gets here, whatever the agreement calls the method.
        let id = ask.command.ok_or(ConnectorError::Failed { why: Failure::ReadOnly })?;
        let (request, asker, deadline) = (ask.request, ask.asker, self.limits.deadline(ask.deadline));
        let order = |made: &Made| -> Result<Order, ConnectorError> {
            let all = made.parameters.arguments(&request).map_err(ConnectorError::rolled_back)?;
            let mut all = all.into_iter();
            let counts = self.recipe.statements.iter().map(|statement| statement.parameters.len());
            let arguments = counts.map(|count| all.by_ref().take(count).collect()).collect();
            let (id, asker) = (id.clone(), asker.clone());
            Ok(Order { arguments, reply: made.reply.clone(), deadline, id, asker })
        };
        let made = self.made.get();
        let message = match made.work.carry_out(order(&made)?).await {
            // Everything was taken back, the key included.
            Err(error @ ConnectorError::RolledBack { .. }) if changed(&error) => {
                let making = async {
                    self.recipe.engine.forget();
                    self.recipe.make().await
                };
                let made = self.made.anew(&made, &self.recipe.method, making).await.ok_or(error)?;
                made.work.carry_out(order(&made)?).await?
            }
            message => message?,
        };
        Ok(Answer { messages: stream::once(std::future::ready(Ok::<Bytes, ConnectorError>(message))).boxed() })
    }
}

impl std::fmt::Debug for SqlCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SqlCommand").field(&self.recipe.method.path()).finish()
    }
}

impl Recipe {
    /// Lets the database describe the statements, and holds them against the contract.
    async fn make(&self) -> Result<Made, Vec<Complaint>> {
        let (binding, statements) = (&self.binding, &self.statements);
        let PreparedCommand { columns, slots, work } =
            self.engine.prepare_command(statements).await.map_err(|fault| {
                vec![match fault {
                    Fault::Keys { what, help } => Complaint::new(
                        "database",
                        format!("database `{}` takes no commands: {what}", binding.database),
                        help,
                    ),
                    Fault::Statement(at, text) => Complaint::new(
                        format!("statements[{at}]"),
                        format!("database `{}` does not take the statement: {text}", binding.database),
                        mend(
                            &text,
                            statements.get(at).map_or(&[], |statement| &statement.parameters),
                            "try the statement in the database's own shell, in a transaction that is rolled back",
                        ),
                    ),
                }]
            })?;
        let mapping = binding.mapping();
        let names: Vec<String> = statements.iter().flat_map(|statement| statement.parameters.clone()).collect();
        let parameters = Parameters::compile(self.method.input(), &names, &slots, mapping);
        let plan = if columns.is_empty() {
            Ok(None)
        } else {
            Plan::compile(self.method.output(), &columns, mapping).map(|plan| Some(Arc::new(plan)))
        };
        match (parameters, plan) {
            (Ok(parameters), Ok(plan)) => {
                let reply = Reply { plan, gathered: mapping.gather.is_some(), limit: self.limit };
                Ok(Made { work, parameters, reply })
            }
            (parameters, plan) => {
                let findings = parameters.err().into_iter().chain(plan.err()).flatten();
                Err(findings.map(|f| Complaint { key: f.key, what: f.what, help: f.help }).collect())
            }
        }
    }
}

impl Connector for SqlCommand {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, ConnectorError>> {
        Box::pin(self.ask(ask))
    }

    fn writes(&self) -> bool {
        true
    }

    fn remembers(&self, command: CommandId) -> BoxFuture<'_, Result<Option<bool>, ConnectorError>> {
        Box::pin(async move { self.made.get().work.remembers(command).await.map(Some) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { self.made.get().work.health().await })
    }
}

fn unfit_method(method: &Method) -> Option<Complaint> {
    if method.shape() != Shape::Unary {
        let what = format!("`{}` is a stream, and a command has one request and one answer", named(method));
        return Some(Complaint::new("statements", what, "bind it to a connector of kind `grpc`, or write a `query`"));
    }
    match method.kind() {
        Some(Kind::Command) | None => None,
        Some(kind @ (Kind::Query | Kind::Subscription)) => Some(Complaint::new(
            "statements",
            format!("the contract calls `{}` a {}, and statements change something", named(method), kind.as_str()),
            "write a `query`, or let the contract say `KIND_COMMAND`",
        )),
    }
}

/// Says what is wrong with the name of a table of keys.
pub(super) fn unfit_table(name: &str) -> Option<Misconfigured> {
    let word = |part: &str| {
        let mut characters = part.chars();
        characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !name.is_empty() && name.len() <= 128 && name.split('.').count() <= 2 && name.split('.').all(word) {
        return None;
    }
    let what = format!("`{name}` cannot be the name of the table of keys");
    Some(Misconfigured::new(
        "commands",
        what,
        "use letters, digits and `_`, as in `drawbridge_keys` or `housing.drawbridge_keys`",
    ))
}

/// What a person writes to have a table of keys.
pub(super) fn make_table(name: &str) -> String {
    format!(
        "let its owner run `CREATE TABLE {name} (key varchar(64) PRIMARY KEY, exchange varchar(36) NOT NULL)`, and let the gateway insert into it"
    )
}

/// What is said where the configuration names no table of keys.
pub(super) fn no_table() -> Fault {
    Fault::Keys {
        what: "its table names no table of keys".to_owned(),
        help: "add `commands = \"drawbridge_keys\"` to the `[database.…]`, and make that table".to_owned(),
    }
}
