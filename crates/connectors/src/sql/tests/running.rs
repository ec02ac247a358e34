//! Statements that run: one row or many, stopped in the midst, held up by their reader, on files that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::Executor;

use super::*;
use crate::sql::engine::Pace;
use crate::sql::sqlite::{Database, DatabaseUrl};
use crate::{Asker, Failure};

/// Counts without end.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

fn in_millis(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

/// Waits until `true`, for half a minute at most.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn no_row_is_an_answer_and_two_are_one_too_many() {
    let legacy =
        Legacy::of("CREATE TABLE pat (n TEXT, s TEXT); INSERT INTO pat VALUES ('1', 'a'), ('2', 'b'), ('2', 'c')")
            .await;
    let query =
        "query = \"SELECT n AS nhs_number, s AS \\\"name.family\\\" FROM pat WHERE n = :nhs_number ORDER BY s\"";
    let find = legacy.prepare("Find", query).await.unwrap();
    assert_eq!(told(&find, r#"{"nhs_number":"1"}"#).await.unwrap(), [r#"{"nhs_number":"1","name":{"family":"a"}}"#]);
    assert_eq!(told(&find, r#"{"nhs_number":"0"}"#).await, Err(ConnectorError::NotFound));
    assert_eq!(told(&find, r#"{"nhs_number":"2"}"#).await, Err(ConnectorError::TooManyRows));
    // The connection, of which there is one, goes on after each.
    assert!(told(&find, r#"{"nhs_number":"1"}"#).await.is_ok());

    let search = legacy.prepare("Search", &format!("{query}\ngather = \"patients\"")).await.unwrap();
    let both = r#"{"patients":[{"nhs_number":"2","name":{"family":"b"}},{"nhs_number":"2","name":{"family":"c"}}]}"#;
    assert_eq!(told(&search, r#"{"nhs_number":"2"}"#).await.unwrap(), [both]);
    assert_eq!(told(&search, r#"{"nhs_number":"0"}"#).await.unwrap(), ["{}"]);

    let all = legacy
        .prepare("All", "query = \"SELECT n AS nhs_number FROM pat WHERE n >= coalesce(:first, '2')\"")
        .await
        .unwrap();
    assert_eq!(told(&all, "{}").await.unwrap().len(), 2);
    assert_eq!(told(&all, r#"{"first":"9"}"#).await.unwrap().len(), 0);
}

/// Never ends, unless `end` is asked for.
const ENDLESS_FIND: &str = "query = \"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < iif(:nhs_number = 'end', 10, 1e300)) SELECT max(i) AS visits FROM n\"";

/// The same, on the only connection: it is free, so SQLite has let go of what it had.
async fn ends(bindings: &Bindings) {
    let answer = ask_until(bindings, r#"{"nhs_number":"end"}"#, Some(in_millis(20_000))).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_deadline_stops_a_statement_that_never_ends() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let endless = legacy.prepare("Find", ENDLESS_FIND).await.unwrap();
    let since = Instant::now();
    let error = ask_until(&endless, "{}", Some(in_millis(50))).await.unwrap_err();
    assert_eq!(error, ConnectorError::Timeout);
    assert!(since.elapsed() < Duration::from_secs(5));
    ends(&endless).await;
}

#[tokio::test]
async fn the_bindings_own_timeout_stops_a_statement() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let text = format!(
        "method = \"fixture.v1.Patients/All\"\ntimeout = \"50ms\"\nconnector = {{ kind = \"sql\", database = \"legacy\", query = \"{ENDLESS} SELECT i AS visits FROM n WHERE i < 0\" }}"
    );
    let endless = legacy.prepare_text(&text).await.unwrap();
    let mut answer = ask(&endless, "{}").await.unwrap();
    assert_eq!(answer.messages.next().await, Some(Err(ConnectorError::Timeout)));
    assert_eq!(answer.messages.next().await, None);
    assert_eq!(endless.iter().next().unwrap().timeout(), Some(Duration::from_millis(50)));
}

#[tokio::test]
async fn dropping_an_answer_stops_its_statement() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    // One row at once, and then none for ever.
    let query =
        format!("query = \"{ENDLESS} SELECT i AS visits FROM n WHERE i = 1 OR i < 0 LIMIT coalesce(:first, -1)\"");
    let endless = legacy.prepare("All", &query).await.unwrap();
    for _ in 0..3 {
        let mut answer = ask(&endless, "{}").await.unwrap();
        assert!(answer.messages.next().await.unwrap().is_ok());
        drop(answer);
        assert_eq!(told(&endless, r#"{"first":"1"}"#).await.unwrap().len(), 1);
    }
    // A question that is dropped before its first row, too.
    let find = legacy.prepare("Find", ENDLESS_FIND).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(20), ask(&find, "{}")).await;
    assert!(dropped.is_err());
    ends(&find).await;
}

#[tokio::test]
async fn ill_health_is_not_that_all_connections_are_in_use() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let endless = legacy.prepare("All", &format!("query = \"{ENDLESS} SELECT i AS visits FROM n\"")).await.unwrap();
    let mut holder = ask(&endless, "{}").await.unwrap();
    assert!(holder.messages.next().await.unwrap().is_ok());
    endless.iter().next().unwrap().health().await.unwrap();
    assert!(holder.messages.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn waiting_for_a_connection_ends_with_the_deadline() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let endless = legacy.prepare("All", &format!("query = \"{ENDLESS} SELECT i AS visits FROM n\"")).await.unwrap();
    let mut holder = ask(&endless, "{}").await.unwrap();
    assert!(holder.messages.next().await.unwrap().is_ok());
    let error = ask_until(&endless, "{}", Some(in_millis(30))).await.unwrap_err();
    assert_eq!(error, ConnectorError::Timeout);
    drop(holder);
    assert!(ask_until(&endless, "{}", Some(in_millis(5000))).await.is_ok());
}

#[tokio::test]
async fn sqlite_waits_for_a_reader_who_stops_reading() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let url = DatabaseUrl::parse("sqlite:legacy.db", legacy.folder.path()).unwrap();
    let database = Database::new(url, (Some(1), None), None, None);
    let mut lease = database.pool().lease(None, (&Asker::default(), Pace::Pulled)).await.unwrap();
    let guard = lease.guard().unwrap();
    let mut rows = lease
        .connection()
        .unwrap()
        .fetch(sqlx::query(AssertSqlSafe(format!("{ENDLESS} SELECT i FROM n LIMIT 5000000"))));
    for _ in 0..10 {
        rows.next().await.unwrap().unwrap();
    }
    // Without a reader the work of SQLite comes to a rest, far from the end: some ten instructions make a row.
    let mut asked = guard.asked();
    let mut still = 0;
    until("the rest", || {
        let now = guard.asked();
        still = if now == asked { still + 1 } else { 0 };
        asked = now;
        still > 50
    })
    .await;
    assert!(asked < 100, "SQLite went on without a reader: {asked} thousand instructions");
    drop(rows);
    drop(lease);

    let all = legacy
        .prepare("All", &format!("query = \"{ENDLESS} SELECT i AS visits, 'x' AS nhs_number FROM n LIMIT 200000\""))
        .await
        .unwrap();
    let mut answer = ask(&all, "{}").await.unwrap();
    let mut rows = 0_u64;
    let mut bytes = 0_usize;
    while let Some(message) = answer.messages.next().await {
        rows += 1;
        bytes += message.unwrap().len();
    }
    assert_eq!(rows, 200_000);
    assert!(bytes > 1_000_000);
}

#[tokio::test]
async fn a_message_larger_than_the_binding_allows_is_refused() {
    let legacy =
        Legacy::of("CREATE TABLE t (a TEXT); INSERT INTO t VALUES (hex(zeroblob(600))), (hex(zeroblob(600)))").await;
    let text = |method: &str, rest: &str| {
        format!(
            "method = \"fixture.v1.Patients/{method}\"\nmax_message = \"2KiB\"\nconnector = {{ kind = \"sql\", database = \"legacy\", query = \"SELECT a AS nhs_number FROM t {rest} }}"
        )
    };
    let limit = ConnectorError::TooLarge { limit: 2048 };
    let fits = legacy.prepare_text(&text("Find", "LIMIT 1\"")).await.unwrap();
    assert!(told(&fits, "{}").await.is_ok());
    let gathered = legacy.prepare_text(&text("Search", "\", gather = \"patients\"")).await.unwrap();
    assert_eq!(told(&gathered, "{}").await, Err(limit.clone()));
    legacy.run("INSERT INTO t VALUES (hex(zeroblob(1100)))").await;
    let all = legacy.prepare_text(&text("All", "\"")).await.unwrap();
    let mut answer = ask(&all, "{}").await.unwrap();
    assert!(answer.messages.next().await.unwrap().is_ok());
    assert!(answer.messages.next().await.unwrap().is_ok());
    assert_eq!(answer.messages.next().await, Some(Err(limit)));
    assert_eq!(answer.messages.next().await, None);
}

#[tokio::test]
async fn a_misfit_in_a_stream_comes_after_the_rows_before_it() {
    let legacy = Legacy::of("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), ('CANARY')").await;
    let all = legacy.prepare("All", "query = \"SELECT a AS visits FROM t\"").await.unwrap();
    let answer = ask(&all, "{}").await.unwrap();
    let items: Vec<_> = answer.messages.collect().await;
    assert_eq!(items.len(), 3);
    assert!(items[0].is_ok() && items[1].is_ok());
    let error = items[2].clone().unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `visits` (stored as text) does not fit `visits`: a value stored so cannot be mapped"
    );
}

#[tokio::test]
async fn errors_of_a_statement_do_not_repeat_its_data() {
    let legacy = Legacy::of("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('CANARY')").await;
    for (expression, why) in [
        ("json_extract(a, '$.x')", Failure::Json),
        ("abs(-9223372036854775807 - 1)", Failure::Overflow),
        ("zeroblob(2000000000)", Failure::Limit),
        ("json_extract('{}', a)", Failure::Statement { code: 1 }),
    ] {
        let find =
            legacy.prepare("Find", &format!("query = \"SELECT {expression} AS nhs_number FROM t\"")).await.unwrap();
        let error = told(&find, "{}").await.unwrap_err();
        assert_eq!(error, ConnectorError::Failed { why }, "{expression}");
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_a_misfit() {
    let legacy = Legacy::of("CREATE TABLE t (a TEXT); INSERT INTO t VALUES (CAST(x'fffe41' AS TEXT))").await;
    let find = legacy.prepare("Find", "query = \"SELECT a AS nhs_number FROM t\"").await.unwrap();
    let error = told(&find, "{}").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `nhs_number` (stored as text) does not fit `nhs_number`: the text is not UTF-8"
    );
}

#[tokio::test]
async fn a_database_that_others_hold_is_said_to_be_locked() {
    let legacy = Legacy::of("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)").await;
    let find = legacy.prepare("Find", "query = \"SELECT a AS visits FROM t\"").await.unwrap();
    let mut writer = SqliteConnectOptions::new().filename(legacy.file()).connect().await.unwrap();
    writer.execute("BEGIN EXCLUSIVE").await.unwrap();
    let error = told(&find, "{}").await.unwrap_err();
    assert_eq!(error, ConnectorError::Failed { why: Failure::Locked });
    assert_eq!(ask_until(&find, "{}", Some(in_millis(20))).await.unwrap_err(), ConnectorError::Timeout);
    writer.execute("COMMIT").await.unwrap();
    assert!(told(&find, "{}").await.is_ok());
}

#[tokio::test]
async fn what_a_legacy_system_writes_is_read_while_it_writes() {
    let legacy = Legacy::of("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)").await;
    let mut writer = SqliteConnectOptions::new().filename(legacy.file()).connect().await.unwrap();
    let find = legacy.prepare("Find", "query = \"SELECT max(a) AS visits FROM t\"").await.unwrap();
    for round in 2..5 {
        writer.execute(sqlx::query("INSERT INTO t VALUES (?1)").bind(round)).await.unwrap();
        writer.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (100)").await.unwrap();
        assert_eq!(told(&find, "{}").await.unwrap(), [format!("{{\"visits\":{round}}}")]);
        writer.execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_file_put_in_the_place_of_the_old_one_is_opened() {
    let legacy = Legacy::of("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)").await;
    let find = legacy.prepare("Find", "query = \"SELECT a AS visits FROM t\"").await.unwrap();
    assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"visits":1}"#]);
    let export = Legacy::of("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (2)").await;
    std::fs::rename(export.file(), legacy.file()).unwrap();
    let since = Instant::now();
    loop {
        if told(&find, "{}").await.unwrap() == [r#"{"visits":2}"#] {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "the old file is still read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_table_that_went_away_is_a_failure_and_shows_in_health() {
    let legacy = Legacy::of("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)").await;
    let find = legacy.prepare("Find", "query = \"SELECT a AS visits FROM t\"").await.unwrap();
    let binding = find.iter().next().unwrap();
    binding.health().await.unwrap();
    legacy.run("DROP TABLE t").await;
    let changed = ConnectorError::Failed { why: Failure::SchemaChanged };
    assert_eq!(told(&find, "{}").await, Err(changed.clone()));
    assert_eq!(binding.health().await, Err(changed));
    legacy.run("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7)").await;
    binding.health().await.unwrap();
    assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"visits":7}"#]);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_gives_its_connection_to_whoever_waits() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let text = format!(
        "method = \"fixture.v1.Patients/All\"\nconnector = {{ kind = \"sql\", database = \"legacy\", query = \"{ENDLESS} SELECT i AS visits FROM n LIMIT coalesce(:first, -1)\" }}"
    );
    let few = "connections = 1\npatience = \"1ms\"";
    let endless = legacy.prepare_with(&text, few, &Bindings::default()).await.unwrap();
    let mut stalled = ask(&endless, "{}").await.unwrap();
    assert!(stalled.messages.next().await.unwrap().is_ok());
    // It reads on whenever it wants to, as long as nobody else asks.
    for _ in 0..10_000 {
        assert!(stalled.messages.next().await.unwrap().is_ok());
    }
    let other = ask_until(&endless, r#"{"first":"3"}"#, Some(in_millis(20_000))).await.unwrap();
    assert_eq!(other.messages.collect::<Vec<_>>().await.len(), 3);
    // What was made for it is still there.
    let rest: Vec<_> = stalled.messages.collect().await;
    assert_eq!(rest.last(), Some(&Err(ConnectorError::Stalled)));
    assert!(rest.len() <= 128 && rest.iter().rev().skip(1).all(Result::is_ok));
}

#[tokio::test]
async fn a_reader_that_goes_on_keeps_its_connection() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let text = format!(
        "method = \"fixture.v1.Patients/All\"\nconnector = {{ kind = \"sql\", database = \"legacy\", query = \"{ENDLESS} SELECT i AS visits FROM n\" }}"
    );
    let few = "connections = 1\npatience = \"10s\"";
    let endless = legacy.prepare_with(&text, few, &Bindings::default()).await.unwrap();
    let mut reader = ask(&endless, "{}").await.unwrap();
    let waits = ask_until(&endless, "{}", Some(in_millis(500)));
    let reads = async {
        loop {
            assert!(reader.messages.next().await.unwrap().is_ok());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        waited = waits => assert_eq!(waited.unwrap_err(), ConnectorError::Timeout),
        () = reads => {}
    }
    assert!(reader.messages.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn many_questions_share_few_connections() {
    let legacy = Legacy::of("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)").await;
    let find = legacy.prepare("Find", "query = \"SELECT a AS visits FROM t\"").await.unwrap();
    let failed = AtomicBool::new(false);
    let asks = (0..200).map(|_| async {
        if told(&find, "{}").await.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    futures_util::future::join_all(asks).await;
    assert!(!failed.load(Ordering::Relaxed));
}

#[tokio::test]
async fn bindings_that_have_not_changed_are_kept_with_their_connections() {
    let legacy = Legacy::of("CREATE TABLE pat (n TEXT); INSERT INTO pat VALUES ('1')").await;
    let text = |query: &str| {
        format!(
            "method = \"fixture.v1.Patients/Find\"\n[connector]\nkind = \"sql\"\ndatabase = \"legacy\"\n\
             query = \"SELECT n AS nhs_number FROM pat WHERE n = :nhs_number{query}\""
        )
    };
    let first = legacy.prepare_text(&text("")).await.unwrap();
    let same = |bindings: &Bindings| {
        let connector = |bindings: &Bindings| Arc::clone(bindings.iter().next().unwrap().connector());
        Arc::ptr_eq(&connector(&first), &connector(bindings))
    };
    assert!(same(&legacy.prepare_after(&text(""), 1, &first).await.unwrap()));
    for (query, connections) in [(" AND 1", 1), ("", 2)] {
        let changed = legacy.prepare_after(&text(query), connections, &first).await.unwrap();
        assert!(!same(&changed), "{query} {connections}");
        assert!(told(&changed, r#"{"nhs_number":"1"}"#).await.is_ok());
    }
    // Not tried again: a database that is away hinders no change elsewhere.
    std::fs::remove_file(legacy.folder.path().join("legacy.db")).unwrap();
    let kept = legacy.prepare_after(&text(""), 1, &first).await.unwrap();
    assert!(same(&kept));
    assert!(legacy.prepare_after(&text(""), 2, &first).await.is_err());
}
