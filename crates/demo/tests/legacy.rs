//! The legacy systems hold what the public data says, in the shape of a legacy system.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;

use drawbridge_demo::{legacy, nhs};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

async fn open(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file).read_only(true)).await.unwrap()
}

async fn text(connection: &mut SqliteConnection, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

async fn counts(connection: &mut SqliteConnection, expected: &[(&str, i64)]) {
    for (table, rows) in expected {
        let sql = format!("SELECT count(*) FROM {table}");
        let counted: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(counted, *rows, "{table}");
    }
}

#[tokio::test]
async fn the_hospital_system_holds_every_row_of_the_public_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::trust(&file).await.unwrap();
    let mut legacy = open(&file).await;
    counts(&mut legacy, &[("PATMST", 27), ("ENCTR", 604), ("CONDN", 438), ("OBSN", 990)]).await;
    // Every row is reached through the views, so every key fits.
    counts(&mut legacy, &[("V_ENC", 604), ("V_CON", 438), ("V_OBS", 990)]).await;
    counts(&mut legacy, &[("CONDN WHERE ACT_FLG = 'Y'", 140), ("OBSN WHERE ENC_NO IS NULL", 75)]).await;
    let born = text(&mut legacy, "SELECT DOB || '|' || DOD || '|' || SEX_CD FROM PATMST WHERE SURNM = 'Mann644'").await;
    assert_eq!(born, "19731028|19760725|1");
    let first = text(&mut legacy, "SELECT ST_DTM || '|' || CLS_CD FROM V_ENC WHERE ENC_NO = 5000001").await;
    assert_eq!(first, "27/01/2023 161747|AMB");
}

#[tokio::test]
async fn every_patient_has_a_valid_test_number_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::trust(&file).await.unwrap();
    let mut legacy = open(&file).await;
    let numbers: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT NHS_NO FROM PATMST").fetch_all(&mut legacy).await.unwrap();
    assert_eq!(numbers.len(), 27);
    assert!(numbers.iter().all(|number| number.starts_with("999") && nhs::is_valid(number)));
}

#[tokio::test]
async fn every_code_of_the_hospital_system_is_in_its_code_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::trust(&file).await.unwrap();
    let mut legacy = open(&file).await;
    for (table, column, tab) in [
        ("PATMST", "SEX_CD", "SEX"),
        ("PATMST", "MARST_CD", "MAR"),
        ("PATMST", "ETH_CD", "ETH"),
        ("ENCTR", "CLS_CD", "CLS"),
        ("OBSN", "CAT_CD", "CAT"),
    ] {
        let stray = format!("{table} t WHERE NOT EXISTS (SELECT 1 FROM CDTAB WHERE TAB = '{tab}' AND CD = t.{column})");
        counts(&mut legacy, &[(&stray, 0)]).await;
    }
}

#[tokio::test]
async fn the_police_gazetteer_holds_every_row_of_the_public_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::police(&file).await.unwrap();
    let mut legacy = open(&file).await;
    counts(&mut legacy, &[("FRC", 44), ("NBH", 4581), ("V_NBH", 4581), ("STN", 2248)]).await;
    counts(&mut legacy, &[("STN WHERE SURV_FLG = 'Y'", 1284), ("NBH WHERE length(NBH_CD) <> 32", 0)]).await;
    let first = text(&mut legacy, "SELECT FRC_NO || '|' || NBH_NM FROM NBH WHERE rtrim(NBH_CD) = 'AE016'").await;
    assert_eq!(first, "001|Frome Town");
}

#[tokio::test]
async fn the_council_gazetteer_holds_every_row_of_the_public_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::council(&file).await.unwrap();
    let mut legacy = open(&file).await;
    counts(&mut legacy, &[("LAREG", 470), ("V_CUR", 397), ("LATYP", 11), ("LANAME", 1750)]).await;
    for (list, rows) in [
        ("GSS", 445),
        ("SNA", 433),
        ("ECD", 354),
        ("EDU", 207),
        ("FSA", 406),
        ("G50", 207),
        ("ISO", 217),
        ("GEO", 408),
        ("REG", 175),
    ] {
        counts(&mut legacy, &[(&format!("LACODE WHERE LST_CD = '{list}'"), rows)]).await;
    }
    counts(&mut legacy, &[("LACODE WHERE LST_CD NOT IN (SELECT LST_CD FROM LALIST)", 0)]).await;
    counts(&mut legacy, &[("LAREG WHERE TYP_CD NOT IN (SELECT TYP_CD FROM LATYP)", 0)]).await;
    let kent =
        text(&mut legacy, "SELECT ST_DT || '|' || END_DT || '|' || POP_2020 FROM LAREG WHERE LA_CD = 'KEN'").await;
    assert_eq!(kent, "00000000|99999999|1589057");
}

#[tokio::test]
async fn a_legacy_system_that_is_there_already_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.db");
    legacy::police(&file).await.unwrap();
    let before = std::fs::read(&file).unwrap();
    legacy::council(&file).await.unwrap_err();
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
