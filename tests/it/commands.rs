//! Commands: carried out once for each key, whoever asks how often, and whatever is killed in between.

mod database;
mod kills;
mod lost;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use drawbridge_tests::{
    Agreement, CANARY, COUNCIL, PURPOSE, Reply, TRUST, TestFederation, client, client::metadata, eventually, process,
};
use exchange::{Reason, Retry};
use http::HeaderMap;
use proto::records::{CommandStep, Kind};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

const BOOK: &str = "test.v1.Tenancies/Book";

const TABLES: &str = "
    CREATE TABLE drawbridge_keys (key TEXT PRIMARY KEY, exchange TEXT NOT NULL);
    CREATE TABLE booked (id INTEGER PRIMARY KEY, home TEXT NOT NULL CHECK (home <> 'condemned'));";

const BINDING: &str = r#"
[database.homes]
url = "sqlite:homes.db"
lock_timeout = "20s"
commands = "drawbridge_keys"

[[binding]]
method = "test.v1.Tenancies/Book"
connector = { kind = "sql", database = "homes", statements = ["INSERT INTO booked (home) VALUES (:home) RETURNING id AS number, home, 'canary-7f3a-secret' AS secret"] }
"#;

const GRANTS: &str = r#"
[[grant]]
service = "test.v1.Tenancies"
digest = "@digest:test.v1.Tenancies@"
methods = ["Book"]
systems = ["revenues", "planning"]
purposes = ["safeguarding"]
fields = { classification = ["public"] }
"#;

/// A federation whose trust takes bookings.
struct Homes {
    federation: TestFederation,
}

impl Homes {
    async fn prepared() -> Self {
        let federation = TestFederation::without_agreement().await;
        federation.agree(&Agreement { grants: GRANTS.to_owned(), ..Agreement::default() });
        federation.member(TRUST).configure(BINDING);
        let homes = Self { federation };
        sqlx::raw_sql(TABLES).execute(&mut homes.database().await).await.unwrap();
        homes
    }

    async fn started() -> Self {
        let homes = Self::prepared().await;
        Self { federation: homes.federation.start() }
    }

    fn file(&self) -> PathBuf {
        self.federation.member(TRUST).folder.join("homes.db")
    }

    async fn database(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file()).create_if_missing(true);
        SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(20))).await.unwrap()
    }

    /// How many homes are booked under this name.
    async fn booked(&self, home: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM booked WHERE home = ?1").bind(home);
        count.fetch_one(&mut self.database().await).await.unwrap()
    }

    /// Holds the database, so that a command waits in its midst until it is let go.
    async fn hold(&self) -> Held {
        let mut connection = self.database().await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Held(connection)
    }

    async fn book(&self, key: Option<&str>, home: &str) -> Reply {
        self.book_as("revenues", key, home).await.unwrap()
    }

    async fn book_as(&self, system: &str, key: Option<&str>, home: &str) -> anyhow::Result<Reply> {
        let request = self.federation.request(BOOK, &format!(r#"{{"home": "{home}"}}"#));
        let mut client = self.federation.member(COUNCIL).connect(system).await?;
        client.call(&format!("/{BOOK}"), &command(key), &request).await
    }

    /// Waits until the provider has begun a command: its intent is durable.
    async fn begun(&self) {
        let member = self.federation.member(TRUST);
        eventually("the intent of the command", 20, async || {
            let taken = |r: &records::Record| step(r) == CommandStep::Taken;
            member.records().last().is_some_and(taken).then_some(())
        })
        .await;
    }

    fn answer(&self, reply: &Reply) -> serde_json::Value {
        assert_eq!(reply.status.code, 0, "{:?}", reply.status);
        self.federation.answer(BOOK, &reply.messages[0])
    }
}

/// The database, held.
struct Held(SqliteConnection);

impl Held {
    async fn let_go(self) {
        self.0.close().await.unwrap();
    }
}

fn command(key: Option<&str>) -> HeaderMap {
    let mut headers = metadata(&[("drawbridge-provider", TRUST), ("drawbridge-purpose", PURPOSE)]);
    if let Some(key) = key {
        headers.extend(metadata(&[("drawbridge-idempotency-key", key)]));
    }
    headers
}

fn step(record: &records::Record) -> CommandStep {
    record.opened.as_ref().map_or(CommandStep::Unspecified, |opened| opened.private.command_step())
}

/// The steps in the provider's records of an exchange.
fn steps(homes: &Homes, exchange: &str) -> Vec<(Kind, CommandStep)> {
    homes.federation.member(TRUST).records_of(exchange).iter().map(|r| (r.kind(), step(r))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_key_does_nothing() {
    let homes = Homes::started().await;
    let reply = homes.book(None, "1 High Street").await;
    assert_eq!((reply.status.code, reply.reason()), (3, Some(Reason::KeyRequired)));
    assert!(reply.status.message.contains("`drawbridge-idempotency-key`"), "{}", reply.status.message);
    assert_eq!(homes.booked("1 High Street").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_has_the_same_answer_and_nothing_is_done_twice() {
    let mut homes = Homes::started().await;
    let first = homes.book(Some("booking-1"), "1 High Street").await;
    let told = homes.answer(&first);
    assert_eq!(told, serde_json::json!({ "number": "1", "home": "1 High Street" }));
    for restarted in [false, true] {
        if restarted {
            homes.federation.take(TRUST).kill();
            homes.federation.restart(TRUST);
        }
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        assert_eq!(homes.answer(&again), told);
        assert_ne!(again.exchange(), first.exchange());
        let records = homes.federation.member(TRUST).records_of(&again.exchange());
        let detail = &records.last().unwrap().opened.as_ref().unwrap().private.detail;
        assert!(records.iter().all(|record| step(record) == CommandStep::Unspecified));
        assert!(detail.contains(&first.exchange()), "{detail}");
    }
    assert_eq!(homes.booked("1 High Street").await, 1);
    assert_eq!(
        steps(&homes, &first.exchange()),
        [(Kind::Intent, CommandStep::Taken), (Kind::Outcome, CommandStep::Done)]
    );
    let of_consumer: Vec<_> =
        homes.federation.member(COUNCIL).records_of(&first.exchange()).iter().map(records::Record::kind).collect();
    assert_eq!(of_consumer, [Kind::Intent, Kind::Outcome]);
    // Another request under the key, another key, and the same key of another system.
    let reused = homes.book(Some("booking-1"), "2 High Street").await;
    assert_eq!((reused.status.code, reused.reason()), (9, Some(Reason::KeyReused)));
    assert!(reused.status.message.contains(&first.exchange()), "{}", reused.status.message);
    assert_eq!(homes.booked("2 High Street").await, 0);
    homes.answer(&homes.book(Some("booking-2"), "1 High Street").await);
    homes.answer(&homes.book_as("planning", Some("booking-1"), "1 High Street").await.unwrap());
    assert_eq!(homes.booked("1 High Street").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_orders_from_the_command_line_and_by_json_over_http() {
    let homes = Homes::started().await;
    let folder = &homes.federation.member(COUNCIL).folder;
    let arguments = ["call", "--config", "gateway.toml", "--system", "revenues", TRUST, BOOK, "--purpose", PURPOSE];
    let (request, key) = (r#"{"home": "1 High Street"}"#, ["--idempotency-key", "booking 1"]);
    let told = process::run(folder, arguments.into_iter().chain([request]));
    assert!(String::from_utf8_lossy(&told.stderr).contains("KEY_REQUIRED"), "{told:?}");
    for _ in 0..2 {
        let told = process::succeed(folder, arguments.into_iter().chain(key).chain([request]));
        assert!(told.contains("1 High Street"), "{told}");
    }
    let curl = std::process::Command::new("curl")
        .args(["-sS", "--cacert", "offline/authority.pem", "--cert", "systems/revenues.pem", "--key"])
        .args(["systems/revenues.key.pem", "-H", "drawbridge-idempotency-key: booking%201", "-d", request])
        .args(["-H", "content-type: application/json", "-H", &format!("drawbridge-provider: {TRUST}")])
        .args(["-H", &format!("drawbridge-purpose: {PURPOSE}")])
        .arg(format!("https://localhost:{}/{BOOK}", homes.federation.member(COUNCIL).clients.port()))
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(said.contains("\"number\""), "{said} {}", String::from_utf8_lossy(&curl.stderr));
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_logs_of_commands_verify_and_agree_and_hold_no_key_in_plain() {
    let homes = Homes::started().await;
    homes.answer(&homes.book(Some(&format!("{CANARY}-key")), "1 High Street").await);
    homes.answer(&homes.book(Some(&format!("{CANARY}-key")), "1 High Street").await);
    let (ours, theirs) = (homes.federation.member(COUNCIL), homes.federation.member(TRUST));
    for member in [ours, theirs] {
        process::succeed(&member.folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
        for record in member.records() {
            let text = format!("{:?}", record.opened);
            assert!(!text.contains("canary-7f3a-key") && !text.contains("canary-7f3a-secret"), "{text}");
        }
        assert!(!member.process().log().contains(CANARY));
    }
    let said =
        process::succeed(&ours.folder, ["log", "compare", "data", &theirs.folder.join("data").display().to_string()]);
    assert!(said.contains("no differences"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_done_frees_its_key() {
    let homes = Homes::started().await;
    let failed = homes.book(Some("booking-1"), "condemned").await;
    // A rule of the database is an answer of it. Nothing was done, and no retry policy takes the status for an invitation.
    assert_eq!((failed.status.code, failed.reason()), (9, None), "{}", failed.status.message);
    let message =
        "a rule of the database does not allow it: a value does not meet a condition of its table; nothing was changed";
    assert_eq!(failed.status.message, message);
    let refused = steps(&homes, &failed.exchange());
    assert_eq!(refused, [(Kind::Intent, CommandStep::Taken), (Kind::Outcome, CommandStep::Freed)]);
    homes.answer(&homes.book(Some("booking-1"), "1 High Street").await);
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_longer_kept_is_told_to_be_done() {
    let homes = Homes::prepared().await;
    homes.federation.member(TRUST).configure("[commands]\nkeep = \"2s\"\n");
    let mut homes = Homes { federation: homes.federation.start() };
    let first = homes.book(Some("booking-1"), "1 High Street").await;
    homes.answer(&first);
    let over = eventually("the answer is over", 20, async || {
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        (again.status.code != 0).then_some(again)
    })
    .await;
    assert_eq!((over.status.code, over.reason()), (6, Some(Reason::AlreadyDone)));
    assert!(over.status.message.contains(&first.exchange()), "{}", over.status.message);
    assert_eq!(homes.booked("1 High Street").await, 1);
    // What was done is remembered over a restart, and by the database even where the gateway has lost its data.
    homes.federation.take(TRUST).kill();
    std::fs::remove_dir_all(homes.federation.member(TRUST).folder.join("data")).unwrap();
    homes.federation.restart(TRUST);
    let lost = homes.book(Some("booking-1"), "1 High Street").await;
    assert_eq!((lost.status.code, lost.reason()), (6, Some(Reason::AlreadyDone)));
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_under_way_is_not_begun_again_and_goes_on_when_its_caller_leaves() {
    let homes = Homes::started().await;
    let held = homes.hold().await;
    let request = homes.federation.request(BOOK, r#"{"home": "1 High Street"}"#);
    let mut client = homes.federation.revenues().await;
    let first =
        tokio::spawn(async move { client.call(&format!("/{BOOK}"), &command(Some("booking-1")), &request).await });
    homes.begun().await;
    let second = homes.book(Some("booking-1"), "1 High Street").await;
    assert_eq!((second.status.code, second.reason()), (10, Some(Reason::InProgress)));
    assert!(matches!(Reason::InProgress.retry(), Retry::Later(_)));
    // The caller goes away.
    first.abort();
    held.let_go().await;
    let reply = eventually("the answer that is kept", 20, async || {
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        (again.reason() != Some(Reason::InProgress)).then_some(again)
    })
    .await;
    assert_eq!(homes.answer(&reply)["number"], "1");
    assert_eq!(homes.booked("1 High Street").await, 1);
    let settled = eventually("the consumer's record of the call whose caller left", 20, async || {
        let open = homes.federation.member(COUNCIL).open_exchanges();
        open.is_empty().then_some(())
    });
    settled.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_its_midst_takes_the_command_back() {
    let homes = Homes::started().await;
    let held = homes.hold().await;
    let request = homes.federation.request(BOOK, r#"{"home": "1 High Street"}"#);
    let since = SystemTime::now();
    let mut client = homes.federation.revenues().await;
    let timeout = Some(Duration::from_millis(600));
    let (head, body) = client.open(&format!("/{BOOK}"), &command(Some("booking-1")), &request, timeout).await.unwrap();
    let reply = client::read(head, body).await.unwrap();
    // Whatever the race of the two deadlines: never that it was done, and never a code that says it was not while it might be.
    assert!([2, 4].contains(&reply.status.code), "{:?}", reply.status);
    assert!(since.elapsed().unwrap() < Duration::from_secs(15), "{:?}", reply.status);
    held.let_go().await;
    eventually("the key is free", 20, async || {
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        (again.status.code == 0).then_some(())
    })
    .await;
    assert_eq!(homes.booked("1 High Street").await, 1);
}
