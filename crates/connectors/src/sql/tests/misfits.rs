//! A statement that does not fit its contract is found at prepare, naming both sides.

use std::fmt::Write;

use super::*;

const TABLE: &str = "CREATE TABLE pat (nhs_no TEXT, snm TEXT, dob INTEGER, bal REAL, pic BLOB, cnt INTEGER, dt DATE);
    CREATE VIEW seen AS SELECT nhs_no, cnt FROM pat;";

/// The part of a configuration file that is about bindings.
#[derive(serde::Deserialize)]
struct File {
    binding: Vec<BindingConfig>,
    database: BTreeMap<String, DatabaseConfig>,
}

/// Writes the problems of one binding, as a person reads them.
async fn problems(method: &str, connector: &str) -> String {
    let legacy = Legacy::of(TABLE).await;
    let mut text = String::new();
    match legacy.prepare(method, connector).await {
        Ok(_) => text.push_str("fits"),
        Err(problems) => {
            for problem in problems {
                writeln!(text, "{}: {}\n  help: {}", problem.key, problem.what, problem.help.unwrap_or_default())
                    .unwrap();
            }
        }
    }
    text.trim().to_owned()
}

async fn check(method: &str, connector: &str, expected: &str) {
    assert_eq!(problems(method, connector).await, expected, "{method} {connector}");
}

#[tokio::test]
async fn unknown_columns_and_fields_are_named_on_both_sides() {
    check(
        "Find",
        "query = \"SELECT nhs_no AS nhs_numbr, snm AS \\\"name.famly\\\" FROM pat WHERE nhs_no = :nhs_number\"",
        "binding[0].connector.query: column `nhs_numbr` (TEXT) fits no field: `fixture.v1.Patient` in `everything.proto` has no field `nhs_numbr`
  help: did you mean `nhs_number`? There are `born`, `name`, `nhs_number`, `sex`, `visits`; name the field with `AS \"…\"`, or in `columns`
binding[0].connector.query: column `name.famly` (TEXT) fits no field: `fixture.v1.Name` in `everything.proto` has no field `famly`
  help: did you mean `family`? There are `family`, `given`; name the field with `AS \"…\"`, or in `columns`",
    )
    .await;
    check(
        "Find",
        "query = \"SELECT snm FROM pat WHERE nhs_no = :nhs_number\"\ncolumns = { snm = \"name.first\" }",
        "binding[0].connector.columns.snm: column `snm` (TEXT) fits no field: `fixture.v1.Name` in `everything.proto` has no field `first`
  help: there are `family`, `given`",
    )
    .await;
}

#[tokio::test]
async fn a_parameter_that_the_request_does_not_have_is_named() {
    check(
        "Find",
        "query = \"SELECT cnt AS visits FROM pat WHERE nhs_no = :nhs_no AND snm = :nhs_number.x\"",
        "binding[0].connector.query: the parameter `:nhs_no` names no field: `fixture.v1.FindRequest` in `everything.proto` has no field `nhs_no`
  help: there are `nhs_number`
binding[0].connector.query: the parameter `:nhs_number.x` names no field: `fixture.v1.FindRequest.nhs_number` (string, in `everything.proto`) has no fields that a column or parameter can name
  help: name a field through single messages only",
    )
    .await;
}

#[tokio::test]
async fn types_that_cannot_meet_are_named_on_both_sides() {
    for (column, field, expected) in [
        (
            "snm",
            "visits",
            "column `visits` (TEXT) cannot fill `fixture.v1.Patient.visits` (int64, in `everything.proto`)",
        ),
        (
            "bal",
            "visits",
            "column `visits` (REAL) cannot fill `fixture.v1.Patient.visits` (int64, in `everything.proto`)",
        ),
        ("pic", "born", "column `born` (BLOB) cannot fill `fixture.v1.Patient.born` (string, in `everything.proto`)"),
        (
            "pic",
            "sex",
            "column `sex` (BLOB) cannot fill `fixture.v1.Patient.sex` (fixture.v1.Sex, in `everything.proto`)",
        ),
        (
            "snm",
            "name",
            "column `name` (TEXT) cannot fill `fixture.v1.Patient.name` (fixture.v1.Name, in `everything.proto`)",
        ),
    ] {
        let text =
            problems("Find", &format!("query = \"SELECT {column} AS {field} FROM pat WHERE nhs_no = :nhs_number\""))
                .await;
        assert!(text.contains(expected) && text.contains("help: "), "{text}");
    }
    for (column, field, expected) in [
        ("cnt", "some_bytes", "say how bytes are written: `formats = { some_bytes = \"hex\" }`"),
        ("snm", "a_bool", "say what is true and what is false: `formats = { a_bool = \"Y/N\" }`"),
        ("dob", "at", "say how dates are written: `formats = { at = \"…\" }`"),
        ("dob", "\\\"on\\\"", "say how dates are written"),
        ("snm", "tags", "say what separates the values: `separators = { tags = \";\" }`"),
        ("snm", "pairs", "a column cannot fill a map"),
        ("snm", "structure", "name a field in the message"),
        ("snm", "inners", "rows become a repeated message with `gather` only"),
        ("snm", "\\\"inners.text\\\"", "name a field through single messages only"),
        ("snm", "a_double", "if the text is a number, say `formats = { a_double = \"number\" }`"),
    ] {
        let text = problems("Everything", &format!("query = \"SELECT {column} AS {field} FROM pat\"")).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn what_is_declared_for_nothing_or_wrongly_is_found() {
    for (rest, expected) in [
        (
            "formats = { bron = \"iso\" }",
            "binding[0].connector.formats.bron: the statement has no column `bron`\n  help: did you mean `born`?",
        ),
        (
            "formats = { born = \"%H:%M\" }",
            "binding[0].connector.formats.born: column `born` (TEXT) cannot fill `fixture.v1.Patient.born` (string, in `everything.proto`): `%H:%M` is not a format",
        ),
        ("formats = { sex = \"iso\" }", "binding[0].connector.formats.sex: column `sex` (TEXT)"),
        (
            "values = { sex = { M = \"MAN\" } }",
            "`fixture.v1.Sex` has no value `MAN`\n  help: there are `SEX_FEMALE`, `SEX_MALE`, `SEX_UNSPECIFIED`",
        ),
        ("values = { visits = { M = \"1\" } }", "binding[0].connector.values.visits"),
        ("separators = { born = \";\" }", "binding[0].connector.separators.born"),
        ("formats = { visits = \"scaled(2)\" }", "binding[0].connector.formats.visits"),
        (
            "formats = { \":nhs_numbers\" = \"iso\" }",
            "binding[0].connector.formats.\":nhs_numbers\": the statement has no parameter `:nhs_numbers`",
        ),
        ("values = { \":nhs_number\" = { M = \"1\" } }", "`values` of a parameter is for enums"),
        ("columns = { \":nhs_number\" = \"born\" }", "`:nhs_number` is a parameter, and `columns` is for columns"),
        ("timezone = \"Europe/Londn\"", "binding[0].connector.timezone: `Europe/Londn` is not a time zone"),
        (
            "gather = \"name\"",
            "binding[0].connector.gather: `fixture.v1.Patient.name` (fixture.v1.Name, in `everything.proto`) cannot gather rows",
        ),
        ("address = \"https://x\"", "binding[0].connector.address: a connector of kind `sql` has no key `address`"),
    ] {
        let query = "query = \"SELECT snm AS born, snm AS sex, cnt AS visits FROM pat WHERE nhs_no = :nhs_number\"";
        let text = problems("Find", &format!("{query}\n{rest}")).await;
        assert!(text.contains(expected), "{rest}: {text}");
    }
    // What is wrong by itself does not hide what does not fit.
    let all = "timezone = \"Mars\"\naddress = \"https://x\"\nformats = { bron = \"iso\" }\nvalues = { sex = { M = \"MAN\" } }";
    let text = problems("Find", &format!("query = \"SELECT snm AS born, snm AS sex FROM pat\"\n{all}")).await;
    for expected in ["`Mars` is not a time zone", "no key `address`", "no column `bron`", "no value `MAN`"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn statements_that_cannot_be_are_found() {
    for (query, expected) in [
        (
            "SELECT nhs_no AS nhs_number FROM patient",
            "database `legacy` does not take the statement: no such table: patient",
        ),
        ("SELECT * FROM pat", "the statement selects `*`"),
        ("INSERT INTO pat (nhs_no) VALUES (:nhs_number) RETURNING nhs_no", "the gateway only reads"),
        (
            "WITH x AS (SELECT 1) INSERT INTO pat (nhs_no) VALUES ('x') RETURNING nhs_no AS nhs_number",
            "the statement would write, and the gateway only reads",
        ),
        ("SELECT snm AS born, nhs_no AS born FROM pat", "the statement has two columns `born`"),
        ("SELECT snm AS born; SELECT 1", "there is more than one statement"),
    ] {
        let text = problems("Find", &format!("query = \"{query}\"")).await;
        assert!(text.contains(expected), "{query}: {text}");
    }
    let two = "query = \"SELECT snm, nhs_no FROM pat\"\ncolumns = { snm = \"born\", nhs_no = \"born\" }";
    let text = problems("Find", two).await;
    assert!(text.contains("columns `snm` and `nhs_no` both fill `fixture.v1.Patient.born`"), "{text}");
}

#[tokio::test]
async fn the_method_decides_how_rows_become_answers() {
    let query = "query = \"SELECT nhs_no AS nhs_number FROM pat\"";
    let text = problems("All", &format!("{query}\ngather = \"patients\"")).await;
    assert!(text.contains("binding[0].connector.gather: `fixture.v1.Patients/All` streams its answers"), "{text}");
    let text = problems("Collect", query).await;
    assert!(text.contains("`fixture.v1.Patients/Collect` takes a stream of requests"), "{text}");
    let text = problems("Search", query).await;
    assert!(text.contains("`fixture.v1.PatientList` in `everything.proto` has no field `nhs_number`"), "{text}");
    assert_eq!(problems("Search", &format!("{query}\ngather = \"patients\"")).await, "fits");
    let text = problems("Search", &format!("{query}\ngather = \"patiens\"")).await;
    assert!(text.contains("did you mean `patients`?"), "{text}");
}

#[tokio::test]
async fn a_views_columns_have_the_types_of_their_table() {
    let text = problems("Find", "query = \"SELECT nhs_no AS visits FROM seen\"").await;
    assert!(text.contains("column `visits` (TEXT) cannot fill"), "{text}");
    assert_eq!(
        problems("Find", "query = \"SELECT cnt AS visits, rowid AS \\\"name.given\\\" FROM pat\"").await,
        "fits"
    );
}

#[tokio::test]
async fn the_bindings_own_keys_are_checked() {
    let legacy = Legacy::of(TABLE).await;
    for (text, expected) in [
        (
            "method = \"fixture.v1.Patients/Finds\"\nconnector = { kind = \"sql\" }",
            "binding[0].method: no contract has a method `fixture.v1.Patients/Finds` did you mean `fixture.v1.Patients/Find`?",
        ),
        (
            "method = \"fixture.v1.Patients/Find\"\nconnector = { kind = \"slq\" }",
            "binding[0].connector.kind: unknown connector `slq` use one of `grpc`, `mock`, `sql`; did you mean `sql`?",
        ),
        (
            "method = \"fixture.v1.Patients/Find\"\nconnector = { }",
            "binding[0].connector: the connector does not say its `kind` use one of `grpc`, `mock`, `sql`",
        ),
        (
            "method = \"fixture.v1.Patients/Find\"\nconnector = { kind = \"sql\", database = \"legcy\", query = \"SELECT 1 AS visits\" }",
            "binding[0].connector.database: there is no table `[database.legcy]` use one of `legacy`; did you mean `legacy`?",
        ),
        (
            "method = \"fixture.v1.Patients/Find\"\ntimeout = \"5s\"\nconnector = { kind = \"sql\", database = \"legacy\", query = \"SELECT 1 AS visits\" }",
            "binding[0].timeout: the binding may wait 5s, but `fixture.v1.Patients/Find` must answer within 3s set it to \"3s\" or less; the contract fixes the limit in `everything.proto`",
        ),
    ] {
        let problems = legacy.prepare_text(text).await.unwrap_err();
        let lines: Vec<String> = problems
            .into_iter()
            .map(|problem| format!("{}: {} {}", problem.key, problem.what, problem.help.unwrap_or_default()))
            .collect();
        assert_eq!(lines, [expected], "{text}");
    }
}

#[tokio::test]
async fn a_problem_is_shown_where_it_is_in_the_file() {
    let legacy = Legacy::of(TABLE).await;
    let text = "[database.legacy]
url = \"sqlite:legacy.db\"
[[binding]]
method = \"fixture.v1.Patients/Find\"
[binding.connector]
kind = \"sql\"
database = \"legacy\"
query = \"SELECT snm AS \\\"name.family\\\" FROM pat WHERE nhs_no = :nhs_number\"
formats = { \"name.family\" = \"upper\" }
";
    let file = problem::TomlFile::parse("gateway.toml", text).unwrap();
    let read: File = file.read().unwrap();
    let setup = Setup {
        bindings: &read.binding,
        databases: &read.database,
        contracts: &CONTRACTS,
        folder: legacy.folder.path(),
    };
    let problems = Bindings::prepare(setup).await.unwrap_err();
    let shown: Vec<String> = problems.into_iter().map(|problem| problem.in_file(&file).to_string()).collect();
    assert_eq!(
        shown,
        ["error: column `name.family` (TEXT) cannot fill `fixture.v1.Name.family` (string, in `everything.proto`): `upper` is not a format
 --> gateway.toml:9:29  (binding[0].connector.formats.\"name.family\")
  |
9 | formats = { \"name.family\" = \"upper\" }
  |                             ^^^^^^^
  = help: for text: `trim`; for numbers: `number` for text of a number, `decimal(2)` to keep two decimals, `scaled(2)` for a column that counts hundredths; for dates: `iso`, `unix`, `unix-ms`, `julian`, or a pattern that holds a whole date, as in `%d/%m/%Y` or `YYYYMMDD`"]
    );
}

#[tokio::test]
async fn every_problem_of_every_binding_is_reported_at_once() {
    let legacy = Legacy::of(TABLE).await;
    let binding = |method: &str, query: &str| -> BindingConfig {
        toml::from_str(&format!(
            "method = \"fixture.v1.Patients/{method}\"\nconnector = {{ kind = \"sql\", database = \"legacy\", query = \"{query}\" }}"
        ))
        .unwrap()
    };
    let good = "SELECT cnt AS visits FROM pat";
    let databases = BTreeMap::from([
        ("legacy".to_owned(), toml::from_str::<DatabaseConfig>("url = \"sqlite:legacy.db\"").unwrap()),
        ("gone".to_owned(), toml::from_str("url = \"sqlite:gone.db\"").unwrap()),
        ("odd".to_owned(), toml::from_str("url = \"oracle:thin\"").unwrap()),
        ("rw".to_owned(), toml::from_str("url = \"sqlite:legacy.db?mode=rwc\"").unwrap()),
    ]);
    let problems = Bindings::prepare(Setup {
        bindings: &[
            binding("Find", good),
            binding("Find", good),
            binding("All", "SELECT 1 AS x, 2 AS y FROM pat"),
            binding("Nothing", good),
        ],
        databases: &databases,
        contracts: &CONTRACTS,
        folder: legacy.folder.path(),
    })
    .await
    .unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "database.gone.url",
            "database.odd.url",
            "database.rw.url",
            "binding[1].method",
            "binding[2].connector.query",
            "binding[2].connector.query",
            "binding[3].method",
        ]
    );
    assert!(!legacy.folder.path().join("gone.db").exists(), "a missing file is not made");
}
