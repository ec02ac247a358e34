//! A SQLite file as the legacy system.

use std::path::PathBuf;

use connectors::{Bindings, ConnectorError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::{System, prepare};

const SCHEMA: &str = "
    CREATE TABLE pat (nhs_no TEXT PRIMARY KEY, snm TEXT, vst INTEGER);
    INSERT INTO pat VALUES ('9990000018', 'Ashe', 3), ('slow', 'Slow', 1), ('malformed', 'Odd', 'CANARY');
    INSERT INTO pat SELECT 'large', hex(zeroblob(40000)), 1;
";

/// Both bindings go to one database with one connection. `slow` counts for ever; so does `All` without a number of rows, and
/// with -1 it finds one row and then none.
const BINDINGS: &str = r#"
    [database.legacy]
    url = "sqlite:legacy.db"
    connections = 1

    [[binding]]
    method = "fixture.v1.Patients/Find"
    max_message = "64KiB"
    [binding.connector]
    kind = "sql"
    database = "legacy"
    query = """
        SELECT nhs_no AS nhs_number, snm AS "name.family", vst AS visits FROM pat
        WHERE nhs_no = :nhs_number
          AND (:nhs_number <> 'slow' OR (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n) > 0)"""

    [[binding]]
    method = "fixture.v1.Patients/All"
    max_message = "64KiB"
    [binding.connector]
    kind = "sql"
    database = "legacy"
    query = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT i AS nhs_number FROM n WHERE coalesce(:first, 1) >= 0 OR i = 1 LIMIT coalesce(:first, -1)"""
"#;

pub(crate) struct Sqlite {
    folder: tempfile::TempDir,
    bindings: Bindings,
}

impl Sqlite {
    fn file(&self) -> PathBuf {
        self.folder.path().join("legacy.db")
    }

    fn away(&self) -> PathBuf {
        self.folder.path().join("away.db")
    }
}

impl System for Sqlite {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("legacy.db")).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let bindings = prepare(BINDINGS, folder.path()).await.unwrap();
        Self { folder, bindings }
    }

    fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    async fn stop(&mut self) {
        std::fs::rename(self.file(), self.away()).unwrap();
    }

    async fn start_again(&mut self) {
        std::fs::rename(self.away(), self.file()).unwrap();
    }

    /// A file that is encrypted looks so to who does not have its key.
    async fn with_wrong_credentials(&self) -> ConnectorError {
        let encrypted: Vec<u8> = (0..8192_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let instead = self.folder.path().join("encrypted.db");
        std::fs::write(&instead, encrypted).unwrap();
        std::fs::rename(&instead, self.file()).unwrap();
        crate::until("the new file", async || crate::find(&self.bindings, crate::Question::GOOD).await.err()).await
    }

    /// There is one connection: whoever gets it finds it at rest.
    async fn rest(&self) {
        let good = crate::find(&self.bindings, crate::Question::GOOD);
        tokio::time::timeout(std::time::Duration::from_secs(10), good).await.unwrap().unwrap();
    }

    fn not_found() -> ConnectorError {
        ConnectorError::NotFound
    }
}

#[tokio::test]
async fn a_file_that_nobody_may_read_is_a_matter_of_credentials() {
    use std::os::unix::fs::PermissionsExt;

    let system = Sqlite::start().await;
    std::fs::set_permissions(system.file(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let result = prepare(BINDINGS, system.folder.path()).await;
    // Whoever is root reads it all the same.
    if std::fs::File::open(system.file()).is_ok() {
        assert!(result.is_ok());
    } else {
        let problems = result.unwrap_err();
        assert!(problems.iter().any(|problem| problem.what.contains("may not read")), "{problems:?}");
    }
}
