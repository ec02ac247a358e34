//! Tests of the whole kind, and what they share: the fixture contract and a database with a legacy schema.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use contract::{Contracts, Source};
use futures_util::StreamExt;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::{Answer, Ask, Asker, BindingConfig, BindingProblem, Bindings, ConnectorError, DatabaseConfig, Setup};

mod mapping;
mod misfits;
mod parameters;
mod running;

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = ["everything.proto", "google/type/date.proto"]
        .map(|name| (name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap()));
    let source = Source::Protos { name: "tests/fixtures".into(), files: files.into() };
    Contracts::load(&[source]).unwrap()
});

/// Returns a message of the fixture contract.
pub(crate) fn message(name: &str) -> MessageDescriptor {
    CONTRACTS.pool().get_message_by_name(&format!("fixture.v1.{name}")).unwrap()
}

/// A folder with a database `legacy.db`.
struct Legacy {
    folder: tempfile::TempDir,
}

impl Legacy {
    /// Makes the database with a script.
    async fn of(script: &str) -> Self {
        let legacy = Self { folder: tempfile::tempdir().unwrap() };
        legacy.run(script).await;
        legacy
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("legacy.db")
    }

    /// Runs a script as the legacy system's own software does.
    async fn run(&self, script: &str) {
        let options = SqliteConnectOptions::new().filename(self.file()).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Prepares one binding, written as in the configuration but without its connector's kind and database.
    async fn prepare(&self, method: &str, connector: &str) -> Result<Bindings, Vec<BindingProblem>> {
        let text = format!(
            "method = \"fixture.v1.Patients/{method}\"\n[connector]\nkind = \"sql\"\ndatabase = \"legacy\"\n{connector}"
        );
        self.prepare_text(&text).await
    }

    async fn prepare_text(&self, text: &str) -> Result<Bindings, Vec<BindingProblem>> {
        self.prepare_after(text, 1, &Bindings::default()).await
    }

    /// Prepares with what earlier bindings left open.
    async fn prepare_after(
        &self,
        text: &str,
        connections: u16,
        previous: &Bindings,
    ) -> Result<Bindings, Vec<BindingProblem>> {
        self.prepare_with(text, &format!("connections = {connections}"), previous).await
    }

    /// Prepares with more keys of the database's table.
    async fn prepare_with(
        &self,
        text: &str,
        database: &str,
        previous: &Bindings,
    ) -> Result<Bindings, Vec<BindingProblem>> {
        let binding: BindingConfig = toml::from_str(text).unwrap();
        let database = format!("url = \"sqlite:legacy.db\"\n{database}");
        let database: DatabaseConfig = toml::from_str(&database).unwrap();
        let databases = BTreeMap::from([("legacy".to_owned(), database)]);
        let setup =
            Setup { bindings: &[binding], databases: &databases, contracts: &CONTRACTS, folder: self.folder.path() };
        Bindings::prepare_after(setup, previous).await
    }
}

/// Asks the only binding with a request in JSON.
async fn ask(bindings: &Bindings, request: &str) -> Result<Answer, ConnectorError> {
    ask_until(bindings, request, None).await
}

async fn ask_until(
    bindings: &Bindings,
    request: &str,
    deadline: Option<std::time::Instant>,
) -> Result<Answer, ConnectorError> {
    let binding = bindings.iter().next().unwrap();
    let method = Arc::clone(binding.method());
    let request = method.request_from_json(request).unwrap();
    let ask = Ask {
        method,
        request: request.into(),
        requests: None,
        deadline,
        metadata: Vec::new(),
        command: None,
        listener: None,
        asker: Asker::default(),
        stalled: None,
    };
    binding.connector().answer(ask).await
}

/// Asks, and returns every message as JSON with the names of the contract.
async fn told(bindings: &Bindings, request: &str) -> Result<Vec<String>, ConnectorError> {
    let answer = ask(bindings, request).await?;
    let output = bindings.iter().next().unwrap().method().output().clone();
    let messages: Vec<Result<Bytes, _>> = answer.messages.collect().await;
    messages.into_iter().map(|message| Ok(json(&output, &message?))).collect()
}

fn json(descriptor: &MessageDescriptor, bytes: &[u8]) -> String {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    let mut out = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options).unwrap();
    String::from_utf8(out).unwrap()
}
