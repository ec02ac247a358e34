//! Statements that run: what is pulled, what is stopped, and that the server really lets go.

use super::*;
use connectors::Failure;

/// Counts without end, one row at a time.
const ENDLESS: &str = "SELECT generate_series(1, 9000000000000000000)::bigint AS visits";

#[tokio::test]
async fn no_row_is_an_answer_and_two_are_one_too_many() {
    let legacy =
        Legacy::of("CREATE TABLE pat (n text, s text); INSERT INTO pat VALUES ('1', 'a'), ('2', 'b'), ('2', 'c')");
    let query = "SELECT n AS nhs_number, s AS \"name.family\" FROM pat WHERE n = :nhs_number ORDER BY s";
    let find = legacy.ready("Find", query).await;
    assert_eq!(told(&find, r#"{"nhsNumber":"1"}"#).await.unwrap(), [r#"{"nhsNumber":"1","name":{"family":"a"}}"#]);
    assert_eq!(told(&find, r#"{"nhsNumber":"0"}"#).await, Err(ConnectorError::NotFound));
    assert_eq!(told(&find, r#"{"nhsNumber":"2"}"#).await, Err(ConnectorError::TooManyRows));
    assert!(told(&find, r#"{"nhsNumber":"1"}"#).await.is_ok());
    let search = legacy.prepare("Search", &format!("query = '''{query}'''\ngather = \"patients\"")).await.unwrap();
    let both = r#"{"patients":[{"nhsNumber":"2","name":{"family":"b"}},{"nhsNumber":"2","name":{"family":"c"}}]}"#;
    assert_eq!(told(&search, r#"{"nhsNumber":"2"}"#).await.unwrap(), [both]);
    assert_eq!(told(&search, r#"{"nhsNumber":"0"}"#).await.unwrap(), ["{}"]);
    let all =
        legacy.ready("All", "SELECT n AS nhs_number FROM pat WHERE n > coalesce(:first, 0)::text ORDER BY s").await;
    assert_eq!(told(&all, "{}").await.unwrap().len(), 3);
    assert_eq!(told(&all, r#"{"first":"1"}"#).await.unwrap().len(), 2);
    assert_eq!(told(&all, r#"{"first":"9"}"#).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_stream_of_any_length_comes_whole_and_in_order() {
    let legacy = Legacy::of("");
    for rows in [0, 1, 2, 4, 5, 255, 256, 257, 1000, 50_000] {
        let all = legacy.ready("All", &format!("SELECT generate_series(1, {rows}) AS visits")).await;
        let answer = told(&all, "{}").await.unwrap();
        assert_eq!(answer.len(), rows);
        for (at, message) in answer.iter().enumerate() {
            assert_eq!(*message, format!("{{\"visits\":\"{}\"}}", at + 1));
        }
    }
    assert_eq!(legacy.server.sessions("state <> 'idle'").await, 0);
}

/// Types of the database's own have numbers that a connection has to ask for: each new one, not only the one that checked the statement.
#[tokio::test]
async fn streams_of_types_of_its_own_come_on_every_connection() {
    let legacy = Legacy::of(
        "CREATE TYPE mood AS ENUM ('glad', 'sad');
         CREATE DOMAIN named AS text;
         CREATE TABLE pat (n named, m mood);
         INSERT INTO pat SELECT i, 'sad' FROM generate_series(1, 300) i",
    )
    .with("connections = 3");
    let all = legacy.ready("All", "SELECT n AS nhs_number, m AS \"name.family\" FROM pat").await;
    for _ in 0..3 {
        let answers = futures_util::future::join_all((0..3).map(|_| told(&all, "{}"))).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!((answer.len(), answer[7].as_str()), (300, r#"{"nhsNumber":"8","name":{"family":"sad"}}"#));
        }
        let cut = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'drawbridge' AND datname = '{}'",
            legacy.name
        );
        // Each round has connections of its own; how many at once is for the machine to say.
        assert!(legacy.server.told::<i64>(&cut).await > 0);
    }
}

#[tokio::test]
async fn the_server_rests_while_the_reader_does_and_then_keeps_the_connection() {
    let legacy = Legacy::of("");
    let all = legacy.ready("All", ENDLESS).await;
    let session = format!("datname = '{}'", legacy.name);
    let process = async || {
        legacy
            .server
            .told::<i32>(&format!(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'drawbridge' AND {session}"
            ))
            .await
    };
    let mut answer = ask(&all, "{}", None).await.unwrap();
    for _ in 0..5 {
        assert!(answer.messages.next().await.unwrap().is_ok());
    }
    // Nobody reads: no statement runs, whatever is left of the answer.
    until("the server's rest", async || {
        (legacy.server.sessions(&format!("{session} AND state = 'idle in transaction'")).await == 1).then_some(())
    })
    .await;
    let before = process().await;
    for _ in 0..1000 {
        assert!(answer.messages.next().await.unwrap().is_ok());
    }
    drop(answer);
    until("the rollback", async || {
        (legacy.server.sessions(&format!("{session} AND state = 'idle'")).await == 1).then_some(())
    })
    .await;
    assert_eq!(process().await, before);
}

/// Waits until no statement of the database runs on the server, and no transaction is left.
async fn at_rest(legacy: &Legacy) {
    until("rest on the server", async || {
        let busy = legacy.server.sessions(&format!("datname = '{}' AND state <> 'idle'", legacy.name)).await;
        (busy == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deadline_and_a_reader_who_leaves_stop_the_statement_on_the_server() {
    let legacy = Legacy::of("");
    let sleeping = format!("datname = '{}' AND wait_event = 'PgSleep'", legacy.name);
    let find = legacy.ready("Find", "SELECT 'x'::text AS nhs_number FROM pg_sleep(1000)").await;
    let since = Instant::now();
    assert_eq!(ask(&find, "{}", Some(in_millis(200))).await.unwrap_err(), ConnectorError::Timeout);
    at_rest(&legacy).await;

    // A question that is taken back while it is known to run.
    let asking = ask(&find, "{}", None);
    let running = until("the sleep", async || (legacy.server.sessions(&sleeping).await == 1).then_some(()));
    tokio::select! {
        _ = asking => panic!("it answered"),
        () = running => {}
    }
    at_rest(&legacy).await;

    // One row, and then none for ever; the first is given at once.
    let query = "SELECT i AS visits FROM (SELECT generate_series(1, 9000000000000000000) AS i) n WHERE i = 1";
    let all = legacy.ready("All", query).await;
    let mut answer = ask(&all, "{}", None).await.unwrap();
    assert!(answer.messages.next().await.unwrap().is_ok());
    let more = tokio::time::timeout(Duration::from_millis(50), answer.messages.next());
    assert!(more.await.is_err());
    let active = format!("datname = '{}' AND state = 'active'", legacy.name);
    assert_eq!(legacy.server.sessions(&active).await, 1);
    drop(answer);
    at_rest(&legacy).await;
    let mut answer = ask(&all, "{}", Some(in_millis(1000))).await.unwrap();
    assert!(answer.messages.next().await.unwrap().is_ok());
    assert_eq!(answer.messages.next().await, Some(Err(ConnectorError::Timeout)));
    assert_eq!(answer.messages.next().await, None);
    at_rest(&legacy).await;
    assert!(since.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_reader_who_leaves_in_the_midst_of_large_rows_leaves_nothing_behind() {
    let legacy = Legacy::of("");
    let all = legacy
        .ready(
            "All",
            "SELECT repeat('x', 100000) AS nhs_number FROM (SELECT generate_series(1, 9000000000000000000)) n",
        )
        .await;
    for _ in 0..3 {
        let mut answer = ask(&all, "{}", None).await.unwrap();
        for _ in 0..30 {
            assert!(answer.messages.next().await.unwrap().is_ok());
        }
        drop(answer);
        at_rest(&legacy).await;
    }
}

#[tokio::test]
async fn the_servers_own_limit_of_time_lies_behind_the_deadline() {
    let legacy = Legacy::of("");
    let find = legacy.ready("Find", "SELECT current_setting('statement_timeout') AS nhs_number").await;
    let binding = find.iter().next().unwrap();
    let limit = async |deadline: Option<Instant>| {
        let mut answer = ask(&find, "{}", deadline).await.unwrap();
        binding.method().answer_to_json(&answer.messages.next().await.unwrap().unwrap()).unwrap()
    };
    assert_eq!(limit(None).await, r#"{"nhsNumber":"0"}"#);
    let set = limit(Some(in_millis(9_000))).await;
    assert!(set.contains("ms") || set.contains('s'), "{set}");
    assert_ne!(set, r#"{"nhsNumber":"0"}"#);
    // A shorter deadline that the net still lies behind asks for no new one.
    assert_eq!(limit(Some(in_millis(8_000))).await, set);
    assert_eq!(limit(None).await, r#"{"nhsNumber":"0"}"#);
    // A limit of the role's own holds where it is shorter.
    legacy
        .server
        .run_in("postgres", &format!("ALTER ROLE reader IN DATABASE {} SET statement_timeout = '700ms'", legacy.name))
        .await;
    let slow = legacy.ready("Find", "SELECT 'x'::text AS nhs_number FROM pg_sleep(1000)").await;
    assert_eq!(ask(&slow, "{}", Some(in_millis(60_000))).await.unwrap_err(), ConnectorError::Timeout);
    assert_eq!(ask(&slow, "{}", None).await.unwrap_err(), ConnectorError::Timeout);
}

#[tokio::test]
async fn errors_of_a_statement_do_not_repeat_its_data() {
    let legacy = Legacy::of("CREATE TABLE t (a text); INSERT INTO t VALUES ('CANARY')");
    for (expression, says) in [
        ("(a::integer)::text", "the statement failed (SQLSTATE 22P02)"),
        ("(1 / length(replace(a, 'CANARY', '')))::text", "the statement failed (SQLSTATE 22012)"),
        ("(2147483647 + length(a))::text", "integer overflow in the statement"),
        ("repeat(a, 1000000000)", "a limit of the database was exceeded"),
    ] {
        for method in ["Find", "All"] {
            let find = legacy.ready(method, &format!("SELECT {expression} AS nhs_number FROM t")).await;
            let error = told(&find, "{}").await.unwrap_err();
            assert!(error.to_string().contains(says), "{expression}: {error}");
            assert!(!format!("{error} {error:?}").contains("CANARY"));
        }
    }
    at_rest(&legacy).await;
}

#[tokio::test]
async fn a_table_that_another_holds_is_said_to_be_locked() {
    let legacy = Legacy::of("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)")
        .with("connections = 1\nlock_timeout = \"100ms\"");
    let find = legacy.ready("Find", "SELECT a AS visits FROM t").await;
    let mut writer = legacy.server.owner(&legacy.name).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE t").execute(&mut writer).await.unwrap();
    assert_eq!(told(&find, "{}").await.unwrap_err(), ConnectorError::Failed { why: Failure::Locked });
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    assert!(told(&find, "{}").await.is_ok());
}

#[tokio::test]
async fn a_table_that_changed_shows_and_one_that_came_back_is_read() {
    let legacy = Legacy::of("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)");
    for method in ["Find", "All"] {
        let find = legacy.ready(method, "SELECT a AS visits FROM t").await;
        assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"visits":"1"}"#]);
        let changed = Err(ConnectorError::Failed { why: Failure::SchemaChanged });
        for script in ["ALTER TABLE t ALTER a TYPE text", "ALTER TABLE t RENAME TO u"] {
            legacy.server.run_in(&legacy.name, script).await;
            for _ in 0..2 {
                assert_eq!(told(&find, "{}").await, changed, "{method} after {script}");
            }
            assert_eq!(find.iter().next().unwrap().health().await.is_err(), script.contains("RENAME"));
        }
        legacy.server.run_in(&legacy.name, "DROP TABLE u; CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)").await;
        legacy.server.run_in(&legacy.name, "GRANT SELECT ON t TO reader").await;
        assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"visits":"1"}"#]);
    }
}

#[tokio::test]
async fn a_column_that_fits_with_its_new_type_too_is_read_on() {
    for method in ["Find", "All"] {
        let legacy = Legacy::of("CREATE TABLE t (a integer); INSERT INTO t VALUES (1)").with("connections = 2");
        let find = legacy.ready(method, "SELECT a AS visits FROM t WHERE a > :nhs_number::text::integer");
        let find = if method == "Find" { find.await } else { legacy.ready(method, "SELECT a AS visits FROM t").await };
        let request = if method == "Find" { r#"{"nhsNumber":"0"}"# } else { "{}" };
        let one = || Ok(vec![r#"{"visits":"1"}"#.to_owned()]);
        for to in ["integer", "bigint", "smallint", "numeric"] {
            legacy.server.run_in(&legacy.name, &format!("ALTER TABLE t ALTER a TYPE {to}")).await;
            for _ in 0..2 {
                let (first, second) = tokio::join!(told(&find, request), told(&find, request));
                assert_eq!((first, second), (one(), one()), "{method} after {to}");
            }
        }
        // One that does not fit is told, and the statement comes back with its column.
        legacy.server.run_in(&legacy.name, "ALTER TABLE t ALTER a TYPE bytea USING 'x'").await;
        assert_eq!(told(&find, request).await, Err(ConnectorError::Failed { why: Failure::SchemaChanged }), "{method}");
        legacy.server.run_in(&legacy.name, "ALTER TABLE t ALTER a TYPE bigint USING 1").await;
        until("the answer", async || told(&find, request).await.ok()).await;
        assert_eq!(told(&find, request).await, one());
    }
}

#[tokio::test]
async fn a_value_of_the_request_that_a_statement_cannot_use_is_the_callers_and_one_of_a_table_is_not() {
    let legacy = Legacy::of("CREATE TABLE t (a text); INSERT INTO t VALUES ('CANARY')");
    for (expression, request, blamed) in [
        (":nhs_number::text::integer::text", r#"{"nhsNumber":"CANARY"}"#, Some("22P02")),
        ("(2147483647 + :nhs_number::text::integer)::text", r#"{"nhsNumber":"1"}"#, Some("22003")),
        ("(1 / :nhs_number::text::integer)::text", r#"{"nhsNumber":"0"}"#, Some("22012")),
        ("(a::integer + :nhs_number::text::integer)::text", r#"{"nhsNumber":"1"}"#, None),
    ] {
        let find = legacy.ready("Find", &format!("SELECT {expression} AS nhs_number FROM t")).await;
        let error = told(&find, request).await.unwrap_err();
        assert!(!error.may_pass(), "{expression}: {error}");
        assert!(!format!("{error} {error:?}").contains("CANARY"));
        let state = if let ConnectorError::Unsuited { state, .. } = error { Some(state.to_string()) } else { None };
        assert_eq!(state.as_deref(), blamed, "{expression}");
    }
    let all = legacy.ready("All", "SELECT (1 / :first::bigint)::text AS nhs_number FROM t").await;
    let error = told(&all, r#"{"first":"0"}"#).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unsuited { .. }), "{error}");
    // The only connection goes on.
    assert!(told(&all, r#"{"first":"1"}"#).await.is_ok());
}

#[tokio::test]
async fn memory_stays_flat_whatever_the_length_of_a_stream() {
    let legacy = Legacy::of("");
    let all = legacy.ready("All", "SELECT repeat('x', 1000) AS nhs_number, generate_series(1, 200000) AS visits").await;
    let mut answer = ask(&all, "{}", None).await.unwrap();
    let (mut bytes, mut early) = (0, 0);
    while let Some(message) = answer.messages.next().await {
        bytes += message.unwrap().len();
        if early == 0 && bytes > 4_000_000 {
            early = most_resident();
        }
    }
    let grown = most_resident() - early;
    assert!(bytes > 200_000_000 && early > 0);
    assert!(grown < 40_000, "{grown} KiB more for 200 MB");
}

/// The largest resident memory of this process so far, in KiB.
fn most_resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
