//! Commands: statements in one transaction that leaves the key, on each database, and what becomes of a commit whose answer is lost.

#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

extern crate drawbridge_connectors as connectors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use connectors::{Ask, BindingConfig, Bindings, CommandId, ConnectorError, DatabaseConfig, Failure, Rule, Setup};
use contract::{Contracts, Source};
use futures_util::StreamExt;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "postgres/server.rs"]
mod server;

use server::Server;

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = ["everything.proto", "google/type/date.proto"]
        .map(|name| (name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap()));
    let name = "tests/fixtures".into();
    Contracts::load(&[Source::Protos { name, files: files.into() }]).unwrap()
});

const SCHEMA: &str = "
    CREATE TABLE drawbridge_keys (key varchar(64) PRIMARY KEY, exchange varchar(36) NOT NULL);
    CREATE TABLE pat (n varchar(10) PRIMARY KEY, s varchar(40) NOT NULL CHECK (s <> ''), seen integer NOT NULL DEFAULT 1);
    CREATE TABLE journal (n varchar(10) NOT NULL)";

const ADMIT: &str = r#"statements = [
    "INSERT INTO journal (n) VALUES (:nhs_number)",
    "INSERT INTO pat (n, s) VALUES (:nhs_number, :family) RETURNING n AS nhs_number, s AS \"name.family\", seen AS visits",
]"#;

const ASHE: &str = r#"{"nhsNumber":"1","family":"Ashe"}"#;

/// A database of some kind with [`SCHEMA`].
trait Database: Sized {
    async fn start(schema: &str) -> Self;

    /// Its table `[database.legacy]`, without `commands`.
    fn table(&self) -> String;

    fn folder(&self) -> &Path;

    async fn count(&self, of: &str) -> i64;

    async fn bound(&self, connector: &str) -> Bindings {
        let table = format!("{}commands = \"drawbridge_keys\"\n", self.table());
        let bound = bind(&table, "Admit", connector, self.folder()).await;
        bound.unwrap_or_else(|problems| panic!("{problems}"))
    }
}

struct Sqlite(tempfile::TempDir);

impl Sqlite {
    async fn connection(&self) -> sqlx::SqliteConnection {
        let file = self.0.path().join("legacy.db");
        SqliteConnectOptions::new().filename(file).create_if_missing(true).connect().await.unwrap()
    }
}

impl Database for Sqlite {
    async fn start(schema: &str) -> Self {
        let database = Self(tempfile::tempdir().unwrap());
        let mut connection = database.connection().await;
        sqlx::raw_sql(AssertSqlSafe(schema.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        database
    }

    fn table(&self) -> String {
        "[database.legacy]\nurl = \"sqlite:legacy.db\"\nlock_timeout = \"100ms\"\n".to_owned()
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    async fn count(&self, of: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {of}"));
        sqlx::query_scalar(sql).fetch_one(&mut self.connection().await).await.unwrap()
    }
}

struct Postgres {
    server: &'static Server,
    name: String,
}

impl Database for Postgres {
    async fn start(schema: &str) -> Self {
        let server = Server::shared();
        let rights = "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO reader;";
        Self { server, name: server.database(&format!("{rights}\n{schema};")) }
    }

    fn table(&self) -> String {
        self.server.table(&self.name, "lock_timeout = \"100ms\"")
    }

    fn folder(&self) -> &Path {
        self.server.folder()
    }

    async fn count(&self, of: &str) -> i64 {
        let mut owner = self.server.owner(&self.name).await;
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {of}"));
        sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap()
    }
}

async fn bind(table: &str, method: &str, connector: &str, folder: &Path) -> Result<Bindings, String> {
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
    Bindings::prepare(setup).await.map_err(|problems| {
        let lines =
            problems.iter().map(|p| format!("{}: {} = help: {}", p.key, p.what, p.help.as_deref().unwrap_or_default()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

async fn order(
    bindings: &Bindings,
    key: &str,
    request: &str,
    deadline: Option<Instant>,
) -> Result<String, ConnectorError> {
    let binding = bindings.iter().next().unwrap();
    assert!(binding.connector().writes());
    let method = binding.method();
    let request = method.request_from_json(request).unwrap();
    let command = Some(CommandId { key: key.to_owned(), exchange: "exchange-1".to_owned() });
    let ask = Ask { deadline, command, ..Ask::new(method, request) };
    let mut answer = binding.connector().answer(ask).await?;
    let message = answer.messages.next().await.unwrap()?;
    assert!(answer.messages.next().await.is_none());
    Ok(method.answer_to_json(&message).unwrap())
}

fn rolled_back(why: ConnectorError) -> ConnectorError {
    ConnectorError::RolledBack { why: Box::new(why) }
}

async fn a_command_is_carried_out_and_leaves_its_key<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    bindings.iter().next().unwrap().health().await.unwrap();
    let answer = order(&bindings, "k1", ASHE, None).await.unwrap();
    assert_eq!(answer, r#"{"nhsNumber":"1","name":{"family":"Ashe"},"visits":"1"}"#);
    assert_eq!(database.count("pat JOIN journal ON pat.n = journal.n").await, 1);
    assert_eq!(database.count("drawbridge_keys WHERE key = 'k1' AND exchange = 'exchange-1'").await, 1);
    // The database knows its key, whatever the gateway has forgotten.
    assert_eq!(order(&bindings, "k1", ASHE, None).await, Err(ConnectorError::AlreadyDone));
    assert_eq!(database.count("journal").await, 1);
    let other = r#"{"nhsNumber":"2","family":"Birch"}"#;
    assert!(order(&bindings, "k2", other, None).await.is_ok());
    assert_eq!(database.count("pat").await, 2);
}

async fn what_was_carried_out_is_remembered_and_asking_changes_nothing<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    let remembers = async |key: &str| {
        let command = CommandId { key: key.to_owned(), exchange: "exchange-2".to_owned() };
        bindings.iter().next().unwrap().connector().remembers(command).await
    };
    assert_eq!(remembers("k1").await, Ok(Some(false)));
    assert!(order(&bindings, "k1", ASHE, None).await.is_ok());
    assert_eq!((remembers("k1").await, remembers("k2").await), (Ok(Some(true)), Ok(Some(false))));
    assert_eq!(database.count("drawbridge_keys WHERE exchange = 'exchange-1'").await, 1);
    assert_eq!(database.count("drawbridge_keys").await, 1);
    // A question has no key, and its binding no table of them.
    let query = "query = \"SELECT n AS nhs_number FROM pat WHERE n = :nhs_number\"";
    let find = bind(&database.table(), "Find", query, database.folder()).await.unwrap();
    let command = CommandId { key: "k1".to_owned(), exchange: "exchange-2".to_owned() };
    assert_eq!(find.iter().next().unwrap().connector().remembers(command).await, Ok(None));
}

async fn a_rule_of_the_database_is_named_and_takes_everything_back<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    assert!(order(&bindings, "k1", ASHE, None).await.is_ok());
    let missing = r#"statements = ["INSERT INTO journal (n) SELECT NULL FROM pat WHERE n = :nhs_number"]"#;
    let missing = database.bound(missing).await;
    for (bindings, request, expected) in [
        (&bindings, ASHE, Rule::Unique),
        (&bindings, r#"{"nhsNumber":"2"}"#, Rule::Check),
        (&missing, ASHE, Rule::NotNull),
    ] {
        let error = order(bindings, "k2", request, None).await.unwrap_err();
        let ConnectorError::RolledBack { why } = &error else { panic!("{error}") };
        assert!(matches!(**why, ConnectorError::Forbidden { rule, .. } if rule == expected), "{error}");
        assert!(!error.may_pass() && !error.to_string().contains("Ashe"), "{error}");
    }
    assert_eq!((database.count("journal").await, database.count("drawbridge_keys").await), (1, 1));
}

async fn what_fails_is_rolled_back_with_its_key<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    let error = order(&bindings, "k1", r#"{"nhsNumber":"1"}"#, None).await.unwrap_err();
    assert!(matches!(error, ConnectorError::RolledBack { .. }), "{error}");
    for table in ["journal", "pat", "drawbridge_keys"] {
        assert_eq!(database.count(table).await, 0, "{table}");
    }
    assert!(order(&bindings, "k1", ASHE, None).await.is_ok());
    let past = Instant::now().checked_sub(Duration::from_millis(1));
    assert_eq!(order(&bindings, "k2", ASHE, past).await, Err(rolled_back(ConnectorError::Timeout)));
}

async fn an_answer_that_does_not_fit_takes_everything_back<D: Database>() {
    let database = D::start(SCHEMA).await;
    let touch = database
        .bound(r#"statements = ["UPDATE pat SET seen = seen + 1 WHERE n = :nhs_number RETURNING n AS nhs_number"]"#);
    let touch = touch.await;
    assert_eq!(order(&touch, "k1", ASHE, None).await, Err(rolled_back(ConnectorError::NotFound)));
    assert_eq!(database.count("drawbridge_keys").await, 0);
    order(&database.bound(ADMIT).await, "k2", ASHE, None).await.unwrap();
    assert_eq!(order(&touch, "k1", ASHE, None).await.unwrap(), r#"{"nhsNumber":"1"}"#);
    let unfit = r#"statements = ["UPDATE pat SET seen = seen + 1 RETURNING n AS nhs_number, 'x' AS visits"]
formats = { visits = "number" }"#;
    let error = order(&database.bound(unfit).await, "k3", ASHE, None).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::RolledBack { why } if matches!(**why, ConnectorError::Mapping { .. })),
        "{error}"
    );
    assert_eq!(database.count("pat WHERE seen = 2").await, 1);
    // Statements without columns have an empty answer.
    let silent = database.bound(r#"statements = ["DELETE FROM pat WHERE n = :nhs_number"]"#).await;
    assert_eq!(order(&silent, "k4", ASHE, None).await.unwrap(), "{}");
    assert_eq!(database.count("pat").await, 0);
}

async fn many_at_once_under_one_key_are_carried_out_once<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(r#"statements = ["INSERT INTO journal (n) VALUES (:nhs_number)"]"#).await;
    let all = futures_util::future::join_all((0..20).map(|_| order(&bindings, "k1", ASHE, None))).await;
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
    assert_eq!(database.count("journal").await, 1);
}

async fn a_question_cannot_change_anything<D: Database>() {
    let database = D::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    let binding = bindings.iter().next().unwrap();
    let ask = Ask::new(binding.method(), binding.method().request_from_json(ASHE).unwrap());
    let refused = binding.connector().answer(ask).await.unwrap_err();
    assert_eq!(refused, ConnectorError::Failed { why: Failure::ReadOnly });
    assert_eq!(database.count("journal").await, 0);
}

async fn what_does_not_fit_is_said_with_its_cure<D: Database>() {
    let database = D::start(SCHEMA).await;
    let told = async |keys: &str, method: &str, connector: &str| {
        bind(&format!("{}{keys}", database.table()), method, connector, database.folder()).await.unwrap_err()
    };
    let keys = "commands = \"drawbridge_keys\"\n";
    let said = told("", "Admit", ADMIT).await;
    assert!(said.starts_with("binding[0].connector.database: database `legacy` takes no commands"), "{said}");
    let said = told("commands = \"nowhere\"\n", "Admit", ADMIT).await;
    assert!(said.contains("CREATE TABLE nowhere (key varchar(64) PRIMARY KEY"), "{said}");
    let said = told("commands = \"x; DROP TABLE pat\"\n", "Admit", ADMIT).await;
    assert!(said.starts_with("database.legacy.commands: "), "{said}");
    let said = told(keys, "Find", ADMIT).await;
    assert!(said.contains("the contract calls `fixture.v1.Patients/Find` a query"), "{said}");
    let said = told(keys, "Admit", "query = 'SELECT n AS nhs_number FROM pat'").await;
    assert!(said.contains("is a command, and a query changes nothing"), "{said}");
    let said = told(keys, "Admit", "statements = ['COMMIT', 'DROP TABLE pat']").await;
    assert!(said.contains("statements[0]: a statement of a command cannot begin with `COMMIT`"), "{said}");
    assert!(said.contains("statements[1]: a statement of a command cannot begin with `DROP`"), "{said}");
    let said = told(keys, "Admit", "statements = ['DELETE FROM nothing']").await;
    assert!(said.contains("statements[0]: database `legacy` does not take the statement"), "{said}");
    let loose = SCHEMA.replace("varchar(64) PRIMARY KEY", "varchar(64)");
    let database = D::start(&loose).await;
    let said = bind(&format!("{}{keys}", database.table()), "Admit", ADMIT, database.folder()).await.unwrap_err();
    assert!(said.contains("does not take each `key` once"), "{said}");
}

macro_rules! on_each {
    ($($test:ident)*) => {
        mod on_sqlite { $(#[tokio::test] async fn $test() { super::$test::<super::Sqlite>().await; })* }
        mod on_postgresql { $(#[tokio::test] async fn $test() { super::$test::<super::Postgres>().await; })* }
    };
}

on_each! {
    a_command_is_carried_out_and_leaves_its_key
    what_was_carried_out_is_remembered_and_asking_changes_nothing
    a_rule_of_the_database_is_named_and_takes_everything_back
    what_fails_is_rolled_back_with_its_key
    an_answer_that_does_not_fit_takes_everything_back
    many_at_once_under_one_key_are_carried_out_once
    a_question_cannot_change_anything
    what_does_not_fit_is_said_with_its_cure
}

#[tokio::test]
async fn a_column_that_fits_with_its_new_type_too_is_no_reason_to_refuse_a_command() {
    let database = Postgres::start(SCHEMA).await;
    let bindings = database.bound(ADMIT).await;
    for (key, to) in [("1", "integer"), ("2", "bigint"), ("3", "smallint"), ("4", "bigint")] {
        let alter = format!("ALTER TABLE pat ALTER seen TYPE {to}");
        database.server.run_in(&database.name, &alter).await;
        let request = format!(r#"{{"nhsNumber":"{key}","family":"Ashe"}}"#);
        let answer = order(&bindings, key, &request, None).await.unwrap();
        assert!(answer.contains(r#""visits":"1""#), "{answer}");
    }
    assert_eq!((database.count("pat").await, database.count("journal").await), (4, 4));
    // The constraint has a name, and a value that is too long is the caller's.
    let error = order(&bindings, "5", ASHE, None).await.unwrap_err();
    assert!(error.to_string().contains("there may be one only (`pat_pkey`)"), "{error}");
    let error = order(&bindings, "6", r#"{"nhsNumber":"12345678901","family":"x"}"#, None).await.unwrap_err();
    let ConnectorError::RolledBack { why } = &error else { panic!("{error}") };
    assert!(matches!(**why, ConnectorError::Unsuited { .. }), "{error}");
    assert_eq!(database.count("drawbridge_keys").await, 4);
}

#[tokio::test]
async fn a_deadline_in_the_midst_of_a_command_takes_it_back_on_postgresql() {
    let database = Postgres::start(SCHEMA).await;
    let slow =
        r#"statements = ["INSERT INTO journal (n) VALUES (:nhs_number)", "SELECT pg_sleep(60)::text AS nhs_number"]"#;
    let bindings = database.bound(slow).await;
    let deadline = Instant::now() + Duration::from_millis(300);
    assert_eq!(order(&bindings, "k1", ASHE, Some(deadline)).await, Err(rolled_back(ConnectorError::Timeout)));
    assert_eq!(database.count("journal").await, 0);
    assert_eq!(database.count("drawbridge_keys").await, 0);
}

#[tokio::test]
async fn a_deadline_in_the_midst_of_a_command_takes_it_back_on_sqlite() {
    let database = Sqlite::start(SCHEMA).await;
    let slow = r#"statements = ["INSERT INTO journal (n) VALUES (:nhs_number)", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000000000) SELECT max(i) AS visits FROM c"]"#;
    let bindings = database.bound(slow).await;
    let deadline = Instant::now() + Duration::from_millis(300);
    assert_eq!(order(&bindings, "k1", ASHE, Some(deadline)).await, Err(rolled_back(ConnectorError::Timeout)));
    let admit = database.bound(ADMIT).await;
    assert!(order(&admit, "k1", ASHE, None).await.is_ok());
    assert_eq!(database.count("journal").await, 1);
}

/// Passes everything on, and cuts the connection once a commit has gone through and before its answer comes back; or, `before`, in its
/// place.
async fn cut_at_commit(port: u16, before: bool) -> (u16, Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (armed, cuts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let told = cuts.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (armed, cuts) = (armed.clone(), cuts.clone());
            tokio::spawn(async move {
                let upstream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                    let commits = buffer[..length].windows(6).any(|part| part == b"COMMIT");
                    if commits && armed.swap(false, Ordering::SeqCst) {
                        back.abort();
                        if !before {
                            to_server.write_all(&buffer[..length]).await.unwrap();
                        }
                        cuts.store(true, Ordering::SeqCst);
                        return;
                    }
                    to_server.write_all(&buffer[..length]).await.unwrap();
                }
            });
        }
    });
    (own, told)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_out() {
    for before in [false, true] {
        let database = Postgres::start(SCHEMA).await;
        let (port, cut) = cut_at_commit(database.server.port(), before).await;
        let table = database.table().replace(&format!(":{}/", database.server.port()), &format!(":{port}/"));
        let table = format!("{table}commands = \"drawbridge_keys\"\n");
        let bindings = bind(&table, "Admit", ADMIT, database.folder()).await.unwrap();
        let told = order(&bindings, "k1", ASHE, None).await;
        assert!(cut.load(Ordering::SeqCst));
        if before {
            assert!(matches!(told, Err(ConnectorError::RolledBack { .. })), "{told:?}");
            assert_eq!(database.count("pat").await, 0);
            assert!(order(&bindings, "k1", ASHE, None).await.is_ok());
        } else {
            assert!(told.is_ok(), "{told:?}");
        }
        assert_eq!(database.count("pat").await, 1);
        assert_eq!(database.count("drawbridge_keys").await, 1);
    }
}
