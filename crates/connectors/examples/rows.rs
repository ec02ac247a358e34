//! What encoding costs: the rows of a table through a binding, against the same statement fetched and thrown away.
//!
//! Prints rows per second, the ratio of the two, and the largest resident memory after five million rows. Both run by turns on
//! connections of the same kind; only the ratio means something on a shared machine.
//!
//! ```text
//! cargo run --release -p drawbridge-connectors --example rows
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a measurement, not a product"
)]

extern crate drawbridge_connectors as connectors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use connectors::{Ask, Asker, BindingConfig, Bindings, DatabaseConfig, Setup};
use contract::{Contracts, Source};
use futures_util::StreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

const ROWS: u32 = 200_000;
const TURNS: usize = 9;

const PROTO: &str = r#"syntax = "proto3"; package bench.v1;
service Patients { rpc All(AllRequest) returns (stream Patient); rpc Long(AllRequest) returns (stream Patient); }
message AllRequest {}
message Patient { string nhs_number = 1; Name name = 2; string born = 3; int64 visits = 4; double balance = 5; string note = 6; Sex sex = 7; bool active = 8; }
message Name { string family = 1; string given = 2; }
enum Sex { SEX_UNSPECIFIED = 0; SEX_MALE = 1; SEX_FEMALE = 2; }
"#;

const COLUMNS: &str = "nhs AS nhs_number, snm AS \"name.family\", fnm AS \"name.given\", dob AS born, vst AS visits, bal AS balance, note, sex, act AS active";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("legacy.db"))
        .create_if_missing(true)
        // As a binding's connections have it, so that both are woken as often.
        .row_buffer_size(64);
    let mut connection = options.connect().await.unwrap();
    fill(&mut connection).await;

    let bindings = prepare(folder.path()).await;
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let bare = bare(&mut connection).await;
        let encoded = through(&bindings, "All").await;
        println!("bare {bare:>9.0} rows/s   through the binding {encoded:>9.0} rows/s   ratio {:.2}", encoded / bare);
        ratios.push(encoded / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[TURNS / 2]);
    let before = resident();
    let rate = through(&bindings, "Long").await;
    println!("five million rows at {rate:.0} rows/s; largest resident memory {before} before, {} after", resident());
    connection.close().await.unwrap();
}

async fn fill(connection: &mut SqliteConnection) {
    sqlx::raw_sql("CREATE TABLE pat (nhs TEXT, snm TEXT, fnm TEXT, dob TEXT, vst INTEGER, bal REAL, note TEXT, sex INTEGER, act INTEGER)")
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO pat SELECT 9990000000 + i, 'Family' || i, 'Given' || i, '1960-02-29', i % 50, i / 8.0, hex(zeroblob(50)), i % 3, i % 2 FROM n",
    )
    .bind(ROWS)
    .execute(connection)
    .await
    .unwrap();
}

async fn prepare(folder: &Path) -> Bindings {
    let source = Source::Protos { name: "bench".into(), files: vec![("bench.proto".into(), PROTO.into())] };
    let contracts = Contracts::load(&[source]).unwrap();
    let binding = |method: &str, from: &str| -> BindingConfig {
        toml::from_str(&format!(
            "method = \"bench.v1.Patients/{method}\"\n[connector]\nkind = \"sql\"\ndatabase = \"legacy\"\nquery = '''SELECT {COLUMNS} FROM {from}'''"
        ))
        .unwrap()
    };
    let database: DatabaseConfig = toml::from_str("url = \"sqlite:legacy.db\"").unwrap();
    let setup = Setup {
        bindings: &[
            binding("All", "pat"),
            binding(
                "Long",
                "pat, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) SELECT i FROM n)",
            ),
        ],
        databases: &BTreeMap::from([("legacy".to_owned(), database)]),
        contracts: &contracts,
        folder,
    };
    Bindings::prepare(setup).await.unwrap()
}

async fn bare(connection: &mut SqliteConnection) -> f64 {
    let since = Instant::now();
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM pat"));
    let mut rows = connection.fetch(sqlx::query(sql));
    let mut count = 0_u32;
    while let Some(row) = rows.next().await {
        let _: SqliteRow = row.unwrap();
        count += 1;
    }
    assert_eq!(count, ROWS);
    f64::from(count) / since.elapsed().as_secs_f64()
}

async fn through(bindings: &Bindings, method: &str) -> f64 {
    let since = Instant::now();
    let binding = bindings.get(&format!("/bench.v1.Patients/{method}")).unwrap();
    let ask = Ask {
        method: Arc::clone(binding.method()),
        request: bytes::Bytes::new(),
        requests: None,
        deadline: None,
        metadata: Vec::new(),
        command: None,
        listener: None,
        asker: Asker::default(),
        stalled: None,
    };
    let mut answer = binding.connector().answer(ask).await.unwrap();
    let mut count = 0_u32;
    while let Some(message) = answer.messages.next().await {
        message.unwrap();
        count += 1;
    }
    f64::from(count) / since.elapsed().as_secs_f64()
}

/// The largest resident memory so far, as Linux says it.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}
