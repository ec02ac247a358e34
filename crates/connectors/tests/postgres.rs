//! What the kind `sql` does with PostgreSQL beyond the suite that every kind passes: types, parameters, rights, streams, what is
//! stopped and what comes back. Every test asks a real server.

#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

extern crate drawbridge_connectors as connectors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use connectors::{Answer, Ask, Asker, BindingConfig, BindingProblem, Bindings, ConnectorError, DatabaseConfig, Setup};
use contract::{Contracts, Source};
use futures_util::StreamExt;

use server::Server;

#[path = "postgres/check.rs"]
mod check;
#[path = "postgres/parameters.rs"]
mod parameters;
#[path = "postgres/running.rs"]
mod running;
#[path = "postgres/server.rs"]
mod server;
#[path = "postgres/sessions.rs"]
mod sessions;
#[path = "postgres/types.rs"]
mod types;

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = ["everything.proto", "google/type/date.proto"]
        .map(|name| (name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap()));
    Contracts::load(&[Source::Protos { name: "tests/fixtures".into(), files: files.into() }]).unwrap()
});

/// A database of a server, with the table that names it.
struct Legacy {
    server: &'static Server,
    name: String,
    /// More lines of the table.
    lines: &'static str,
}

impl Legacy {
    /// Makes a database with a script, on the server that the tests share.
    fn of(script: &str) -> Self {
        let server = Server::shared();
        Self { server, name: server.database(script), lines: "connections = 1" }
    }

    fn with(self, lines: &'static str) -> Self {
        Self { lines, ..self }
    }

    /// Prepares one binding, written as in the configuration but without its connector's kind and database.
    async fn prepare(&self, method: &str, connector: &str) -> Result<Bindings, Vec<BindingProblem>> {
        let table = self.server.table(&self.name, self.lines);
        prepare(&table, method, connector, self.server.folder()).await
    }

    /// Prepares one statement, which must fit.
    async fn ready(&self, method: &str, query: &str) -> Bindings {
        let connector = format!("query = '''{query}'''");
        self.prepare(method, &connector).await.unwrap_or_else(|problems| panic!("{query}: {problems:#?}"))
    }

    /// Prepares one statement, which must not fit, and returns every problem with its cure.
    async fn refused(&self, method: &str, connector: &str) -> String {
        match self.prepare(method, connector).await {
            Ok(_) => panic!("{connector} fits"),
            Err(problems) => told_problems(&problems),
        }
    }
}

fn told_problems(problems: &[BindingProblem]) -> String {
    let lines = problems.iter().map(|problem| {
        format!("{}: {} = help: {}", problem.key, problem.what, problem.help.as_deref().unwrap_or_default())
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn prepare(table: &str, method: &str, connector: &str, folder: &Path) -> Result<Bindings, Vec<BindingProblem>> {
    #[derive(serde::Deserialize)]
    struct File {
        database: BTreeMap<String, DatabaseConfig>,
        binding: Vec<BindingConfig>,
    }
    let text = format!(
        "{table}\n[[binding]]\nmethod = \"fixture.v1.Patients/{method}\"\n[binding.connector]\nkind = \"sql\"\ndatabase = \"legacy\"\n{connector}"
    );
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let setup = Setup { bindings: &file.binding, databases: &file.database, contracts: &CONTRACTS, folder };
    Bindings::prepare(setup).await
}

/// Asks the only binding with a request in JSON.
async fn ask(bindings: &Bindings, request: &str, deadline: Option<Instant>) -> Result<Answer, ConnectorError> {
    let binding = bindings.iter().next().unwrap();
    let method = Arc::clone(binding.method());
    let request = method.request_from_json(request).unwrap().into();
    binding
        .connector()
        .answer(Ask {
            method,
            request,
            requests: None,
            deadline,
            metadata: Vec::new(),
            command: None,
            listener: None,
            asker: Asker::default(),
            stalled: None,
        })
        .await
}

/// Asks, and returns every message as JSON.
async fn told(bindings: &Bindings, request: &str) -> Result<Vec<String>, ConnectorError> {
    let answer = ask(bindings, request, None).await?;
    let method = Arc::clone(bindings.iter().next().unwrap().method());
    let messages: Vec<Result<Bytes, _>> = answer.messages.collect().await;
    messages.into_iter().map(|message| Ok(method.answer_to_json(&message?).unwrap())).collect()
}

/// Tries until `done`, for half a minute at most.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn in_millis(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}
