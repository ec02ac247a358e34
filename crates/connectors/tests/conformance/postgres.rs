//! A PostgreSQL server as the legacy system.

use connectors::{Bindings, ConnectorError};

use crate::server::Server;
use crate::{Question, System, find, prepare, until};

const SCHEMA: &str = "
    CREATE TABLE pat (nhs_no text PRIMARY KEY, snm text, vst numeric);
    INSERT INTO pat VALUES ('9990000018', 'Ashe', 3), ('slow', 'Slow', 1), ('malformed', 'CANARY', 0.5),
        ('large', repeat('x', 80000), 1);
";

/// Both bindings go to one database with one connection. `slow` sleeps; `All` counts for ever without a number of rows, and with -1
/// it finds one row and then none.
const BINDINGS: &str = r#"
    [[binding]]
    method = "fixture.v1.Patients/Find"
    max_message = "64KiB"
    [binding.connector]
    kind = "sql"
    database = "legacy"
    query = """
        SELECT nhs_no AS nhs_number, snm AS "name.family", vst AS visits FROM pat
        WHERE nhs_no = :nhs_number
          AND CASE WHEN :nhs_number = 'slow' THEN (SELECT true FROM pg_sleep(1000)) ELSE true END"""

    [[binding]]
    method = "fixture.v1.Patients/All"
    max_message = "64KiB"
    [binding.connector]
    kind = "sql"
    database = "legacy"
    query = """
        SELECT i::text AS nhs_number
        FROM (SELECT generate_series(1, CASE WHEN :first::bigint > 0 THEN :first ELSE 9000000000000000000 END) AS i) n
        WHERE i = 1 OR :first IS DISTINCT FROM -1"""
"#;

pub(crate) struct Postgres {
    server: Server,
    bindings: Bindings,
}

impl System for Postgres {
    async fn start() -> Self {
        let server = Server::start("md5");
        let database = server.database(SCHEMA);
        let text = format!("{}{BINDINGS}", server.table(&database, "connections = 1"));
        let bindings = prepare(&text, server.folder()).await.unwrap();
        Self { server, bindings }
    }

    fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    async fn stop(&mut self) {
        self.server.stop();
    }

    async fn start_again(&mut self) {
        self.server.start_again();
    }

    /// The role's password is another now, and its sessions are ended.
    async fn with_wrong_credentials(&self) -> ConnectorError {
        let change = "ALTER ROLE reader PASSWORD 'another';
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'";
        self.server.run_in("postgres", change).await;
        until("the refusal", async || find(&self.bindings, Question::GOOD).await.err()).await
    }

    async fn rest(&self) {
        until("rest on the server", async || {
            let busy = self.server.sessions("state <> 'idle'").await;
            (busy == 0).then_some(())
        })
        .await;
    }

    fn not_found() -> ConnectorError {
        ConnectorError::NotFound
    }
}
