//! A database server that is stopped, again and again, at moments that a seed chooses, in the midst of commands.

use drawbridge_tests::faults::Random;

use super::*;
use crate::postgresql::server::Server;

/// How often the server is stopped.
const STOPS: u64 = 15;

const TABLES: &str = "
    CREATE TABLE drawbridge_keys (key varchar(64) PRIMARY KEY, exchange varchar(36) NOT NULL);
    CREATE TABLE booked (id bigserial PRIMARY KEY, home text NOT NULL);
    GRANT SELECT, INSERT ON booked, drawbridge_keys TO reader;
    GRANT USAGE ON booked_id_seq TO reader;";

const BINDING: &str = r#"
[[binding]]
method = "test.v1.Tenancies/Book"
connector = { kind = "sql", database = "legacy", statements = [
    "INSERT INTO booked (home) VALUES (:home)",
    "SELECT id AS number, home FROM booked, pg_sleep(0.02) WHERE home = :home",
] }
"#;

async fn booked(server: &Server, database: &str, home: &str) -> i64 {
    let mut owner = server.owner(database).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM booked WHERE home = $1").bind(home);
    let booked = count.fetch_one(&mut owner).await.unwrap();
    owner.close().await.unwrap();
    booked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_stopped_in_the_midst_does_nothing_twice_and_is_never_wrongly_said_to_have_done_nothing() {
    let server = Server::start("scram-sha-256");
    let database = server.database(TABLES);
    let federation = TestFederation::without_agreement().await;
    federation.agree(&Agreement { grants: GRANTS.to_owned(), ..Agreement::default() });
    let trust = federation.member(TRUST);
    let lines = "commands = \"drawbridge_keys\"";
    trust.reconfigure("[database.legacy]\nurl = \"sqlite:legacy.db\"\n", &server.table(&database, lines));
    let text = std::fs::read_to_string(trust.folder.join("gateway.toml")).unwrap();
    // Of the standard bindings none is about this database.
    let (config, _) = text.split_once("[[binding]]").unwrap();
    std::fs::write(trust.folder.join("gateway.toml"), format!("{config}{BINDING}")).unwrap();
    let homes = Homes { federation: federation.start() };
    let mut random = Random::seeded("DRAWBRIDGE_COMMAND_SEED", 2026);
    let (mut answered, mut undone, mut unknown) = (0, 0, 0);
    for round in 0..STOPS {
        let (key, home) = (format!("booking-{round}"), format!("{round} High Street"));
        let pause = Duration::from_millis(random.within(0, 60));
        let stop = async {
            tokio::time::sleep(pause).await;
            tokio::task::block_in_place(|| {
                server.stop();
                server.start_again();
            });
        };
        let (mut reply, ()) = tokio::join!(homes.book(Some(&key), &home), stop);
        loop {
            let is = booked(&server, &database, &home).await;
            match (reply.status.code, reply.reason()) {
                (0, _) | (6, Some(Reason::AlreadyDone)) => {
                    assert_eq!(is, 1, "{home} was said to be booked: {:?}", reply.status);
                    answered += 1;
                    break;
                }
                (14, Some(Reason::ConnectorFailed)) => {
                    assert_eq!(is, 0, "{home} was said not to be booked: {:?}", reply.status);
                    undone += 1;
                }
                (2, _) => {
                    assert!(is <= 1);
                    unknown += 1;
                    break;
                }
                other => panic!("round {round}: {other:?} {:?}", reply.status),
            }
            reply = homes.book(Some(&key), &home).await;
        }
        assert!(booked(&server, &database, &home).await <= 1);
    }
    eprintln!("{answered} answered, {undone} times taken back, {unknown} unknown");
    assert!(answered > STOPS / 2 && undone > 0, "{answered} of {STOPS}, {undone} taken back");
}
