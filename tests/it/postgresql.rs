//! A real PostgreSQL server behind the provider's gateway: answers, streams, and statements that are really stopped.

#[path = "../../crates/connectors/tests/postgres/server.rs"]
#[expect(dead_code, reason = "the tests of the connectors use the rest")]
pub(crate) mod server;

use std::time::Duration;

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, client::read, eventually, federation::standard};
use exchange::Reason;
use records::Record;

use self::server::Server;

const TABLES: &str = "
    CREATE TABLE rec (id bigint PRIMARY KEY, gv text, fm text, sec text, seen timestamptz DEFAULT now());
    INSERT INTO rec VALUES (1, 'Ada', 'Archer', 'canary-7f3a-secret'), (2, 'Ben', 'Brook', 'canary-7f3a-secret');
";

/// Two gateways, before a database of a server that this process's tests share.
async fn federation() -> (TestFederation, &'static Server, String) {
    let server = Server::shared();
    let database = server.database(TABLES);
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    trust.reconfigure("[database.legacy]\nurl = \"sqlite:legacy.db\"\n", &server.table(&database, ""));
    let list = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i AS id, 'given' AS \"name.given\", 'family' AS \"name.family\", 'canary-7f3a-secret' AS secret, 'a note that makes the row a little longer than it would be' AS note FROM n WHERE i <= :count";
    trust.reconfigure(
        list,
        "SELECT i AS id, 'given' AS \"name.given\", 'canary-7f3a-secret' AS secret, 'noted' AS note FROM (SELECT generate_series(1, :count::bigint) AS i) AS n",
    );
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000000) SELECT max(i) AS id FROM n WHERE i > :id";
    trust.reconfigure(slow, "SELECT :id::bigint AS id FROM pg_sleep(1000)");
    (federation.start(), server, database)
}

/// Waits until so many statements of the database run, and one that sleeps among them where `what` says so.
async fn running(server: &Server, database: &str, what: &str, count: i64) {
    let condition = format!("datname = '{database}' AND {what}");
    eventually(&format!("{count} sessions with {what}"), 20, async || {
        (server.sessions(&condition).await == count).then_some(())
    })
    .await;
}

/// How an exchange with a method ended at a member.
async fn outcome(federation: &TestFederation, member: &str, method: &str) -> (String, String) {
    eventually("the exchange is settled", 20, async || {
        let records = federation.member(member).records().into_iter().filter(Record::settles);
        let mut opened = records.filter_map(|record| record.opened);
        opened
            .find(|opened| opened.private.method == method)
            .map(|opened| (opened.private.outcome.clone(), opened.refusal().to_owned()))
    })
    .await
}

#[tokio::test]
async fn a_row_and_a_long_stream_come_out_of_postgresql_through_two_gateways() {
    let (federation, server, database) = federation().await;
    let found = federation.call("test.v1.Records/Find", r#"{"id": "2"}"#).await;
    assert_eq!(found.status.code, 0, "{}", found.status.message);
    let record = federation.answer("test.v1.Records/Find", &found.messages[0]);
    // The agreement names the family's name, and neither the given one nor the secret.
    assert_eq!(record, serde_json::json!({"id": "2", "name": {"family": "Brook"}, "note": "checked"}));
    let none = federation.call("test.v1.Records/Find", r#"{"id": "9"}"#).await;
    assert_eq!((none.status.code, none.reason()), (5, None));

    let streamed = federation.call("test.v1.Records/List", r#"{"count": "20000"}"#).await;
    assert_eq!((streamed.status.code, streamed.messages.len()), (0, 20_000), "{}", streamed.status.message);
    let last = federation.answer("test.v1.Records/List", &streamed.messages[19_999]);
    assert_eq!(last, serde_json::json!({"id": "20000", "note": "noted"}));
    for member in [COUNCIL, TRUST] {
        let record = federation.member(member).records_of(&streamed.exchange()).into_iter().find(Record::settles);
        assert_eq!(record.unwrap().opened.unwrap().messages(), 20_000, "{member}");
    }
    running(server, &database, "state <> 'idle'", 0).await;
}

#[tokio::test]
async fn a_deadline_cancels_the_statement_on_the_server_of_postgresql() {
    let (federation, server, database) = federation().await;
    let mut client = federation.revenues().await;
    let request = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
    let asked = async {
        let timeout = Some(Duration::from_secs(4));
        let (head, body) = client.open("/test.v1.Records/Slow", &standard(), &request, timeout).await.unwrap();
        read(head, body).await.unwrap()
    };
    let sleeps = running(server, &database, "state = 'active' AND wait_event = 'PgSleep'", 1);
    let (reply, ()) = tokio::join!(asked, sleeps);
    assert_eq!(reply.status.code, 4, "{}", reply.status.message);
    assert_eq!(reply.reason(), Some(Reason::ConnectorTimeout), "{}", reply.status.message);
    running(server, &database, "state <> 'idle'", 0).await;
    for member in [COUNCIL, TRUST] {
        let settled = outcome(&federation, member, "/test.v1.Records/Slow").await;
        assert_eq!(settled, ("failed".to_owned(), "CONNECTOR_TIMEOUT".to_owned()), "{member}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_stops_statement_and_stream_on_the_server_of_postgresql() {
    let (federation, server, database) = federation().await;
    let request = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let asked = tokio::spawn(async move {
        let _ = client.open("/test.v1.Records/Slow", &standard(), &request, None).await;
    });
    running(server, &database, "wait_event = 'PgSleep'", 1).await;
    asked.abort();
    running(server, &database, "state <> 'idle'", 0).await;

    // More rows than anybody buffers: the server waits in its transaction until the reader has gone.
    let request = federation.request("test.v1.Records/List", r#"{"count": "1000000000"}"#);
    let mut client = federation.revenues().await;
    let (_, body) = client.open("/test.v1.Records/List", &standard(), &request, None).await.unwrap();
    running(server, &database, "state = 'idle in transaction'", 1).await;
    drop(body);
    running(server, &database, "state <> 'idle'", 0).await;
    for member in [COUNCIL, TRUST] {
        for method in ["/test.v1.Records/Slow", "/test.v1.Records/List"] {
            assert_eq!(outcome(&federation, member, method).await.0, "cancelled", "{member} {method}");
        }
    }
}

#[tokio::test]
async fn a_changed_column_is_served_on_and_a_row_that_does_not_fit_is_told_without_an_invitation_to_ask_again() {
    let (federation, server, database) = federation().await;
    let find = async || federation.call("test.v1.Records/Find", r#"{"id": "2"}"#).await;
    assert_eq!(find().await.status.code, 0);
    server.run_in(&database, "ALTER TABLE rec ALTER id TYPE integer").await;
    let found = find().await;
    assert_eq!(found.status.code, 0, "{}", found.status.message);
    server
        .run_in(
            &database,
            "ALTER TABLE rec DROP CONSTRAINT rec_pkey; INSERT INTO rec VALUES (2, 'x', 'canary-7f3a-secret', 'x')",
        )
        .await;
    let two = find().await;
    assert_eq!((two.status.code, two.reason()), (13, Some(Reason::ConnectorFailed)), "{}", two.status.message);
    assert_eq!(two.status.retry_after(), None);
    let log = || federation.member(TRUST).process().log();
    let line = eventually("the warning is in the log", 20, async || {
        log().lines().find(|line| line.contains("what a legacy system answers cannot be passed on")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("test.v1.Records/Find") && line.contains("more than one row"), "{line}");
    assert!(!log().contains("canary-7f3a"));
}
