use insta::assert_snapshot;
use serde::Deserialize;

use super::*;

const TEXT: &str = r#"format = "drawbridge.gateway/v1"
member = "council.example"

[data]
folder = "data"

[[binding]]
method = "health.v1.Patients/Find"
connector = { kind = "ldpa", url = "ldap://tenancy.local" }
fields = ["id", "nmae"]

[[binding]]
method = "housing.v1.Tenancy/Find"
timeout = "5s"
connector.kind = "sql"

[binding.columns]
"tenancy ref" = "id"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be refused")]
struct Gateway {
    format: String,
    member: String,
    data: Option<Data>,
    #[serde(default)]
    binding: Vec<Binding>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be refused")]
struct Data {
    folder: String,
    segments: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be refused")]
struct Binding {
    method: String,
    connector: Option<Connector>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be refused")]
enum Connector {
    Sql { query: String },
    Grpc { address: String },
}

fn file() -> TomlFile {
    TomlFile::parse("gateway.toml", TEXT).unwrap()
}

fn refusal(text: &str) -> Problem {
    match TomlFile::parse("gateway.toml", text) {
        Ok(file) => file.read::<Gateway>().unwrap_err(),
        Err(problem) => problem,
    }
}

#[test]
fn every_kind_of_key_path_has_its_place() {
    let cases = [
        ("member", (2, 10, 17)),
        ("data", (4, 1, 6)),
        ("data.folder", (5, 10, 6)),
        ("binding[0]", (7, 1, 11)),
        ("binding[0].connector.kind", (9, 22, 6)),
        ("binding[0].fields[1]", (10, 17, 6)),
        ("binding[1]", (12, 1, 11)),
        ("binding[1].timeout", (14, 11, 4)),
        ("binding[1].connector.kind", (15, 18, 5)),
        ("binding[1].columns.\"tenancy ref\"", (18, 17, 4)),
        // What is not there: the nearest parent that is.
        ("binding[1].columns.other", (17, 1, 17)),
        ("binding[0].timeout", (7, 1, 11)),
        ("binding[0].connector.ca", (9, 13, 47)),
        ("binding[1].connector.ca", (15, 1, 9)),
        ("data.folder.deeper[3].still", (5, 10, 6)),
    ];
    for (path, expected) in cases {
        let problem = file().problem(path, "wrong");
        assert_eq!(
            (problem.line, problem.column, problem.width),
            (Some(expected.0), Some(expected.1), expected.2),
            "{path}"
        );
        assert_eq!(problem.key.as_deref(), Some(path));
    }
}

#[test]
fn a_path_without_any_known_step_is_a_problem_of_the_file() {
    let problem = file().problem("links.listen", "`listen` is missing");
    assert_eq!((problem.line, problem.source_line), (None, None));
    assert_snapshot!(file().problem("links.listen", "`listen` is missing").help("add it"));
}

#[test]
fn a_problem_of_a_key_points_to_the_key() {
    let path = KeyPath::root().key("binding").index(1).key("columns").key("tenancy ref");
    assert_snapshot!(file().problem_of_key(&path, "no such column"));
}

#[test]
fn problems_of_the_text_are_told_in_plain_words() {
    let good = "format = \"x\"\nmember = \"y\"\n";
    let cases = [
        ("syntax, no value", "format = \nmember = 1\n".to_owned()),
        ("syntax, open text", "format = \"x\n".to_owned()),
        ("syntax, key twice", "format = \"x\"\nformat = \"y\"\n".to_owned()),
        ("syntax, table twice", format!("{good}[data]\nfolder = \"a\"\n[data]\n")),
        ("syntax, too deep", format!("a = {}1{}", "[".repeat(200), "]".repeat(200))),
        ("unknown key", format!("{good}[data]\nfolder = \"a\"\nsegmnts = 3\n")),
        ("unknown key at the root", format!("{good}memebr = \"z\"\n")),
        ("unknown table", format!("{good}[date]\nfolder = \"a\"\n")),
        (
            "unknown key in a list of tables",
            format!("{good}[[binding]]\nmethod = \"a\"\n[[binding]]\nmethod = \"b\"\ntimout = 1\n"),
        ),
        ("missing at the root", "format = \"x\"\n".to_owned()),
        ("missing in a table", format!("{good}[data]\n")),
        ("missing in a list of tables", format!("{good}[[binding]]\nmethod = \"a\"\n[[binding]]\n")),
        ("wrong type", format!("{good}[data]\nfolder = 3\n")),
        ("number below zero", format!("{good}[data]\nfolder = \"a\"\nsegments = -1\n")),
        ("table instead of text", format!("{good}[data]\nfolder = {{ a = 1 }}\n")),
        ("text instead of table", format!("{good}data = \"a\"\n")),
        ("unknown connector", format!("{good}[[binding]]\nmethod = \"a\"\nconnector = {{ kind = \"slq\" }}\n")),
        ("connector without a kind", format!("{good}[[binding]]\nmethod = \"a\"\nconnector = {{ query = \"a\" }}\n")),
        (
            "unknown key of a connector",
            format!("{good}[[binding]]\nmethod = \"a\"\nconnector = {{ kind = \"sql\", qery = \"a\" }}\n"),
        ),
        (
            "missing key of a connector",
            format!("{good}[[binding]]\nmethod = \"a\"\nconnector = {{ kind = \"sql\" }}\n"),
        ),
    ];
    let told: Vec<String> = cases.iter().map(|(name, text)| format!("## {name}\n{}\n", refusal(text))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn a_message_of_our_own_is_split_into_what_and_help() {
    let explained = words::explain("`5 parsecs` is not a length of time; write it as \"5s\"");
    assert_eq!(explained.what, "`5 parsecs` is not a length of time");
    assert_eq!(explained.help.as_deref(), Some("write it as \"5s\""));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "[a-c=.\\[\\]{}\"'\n #,0-9éZ:-]{0,60}") {
        match TomlFile::parse("a.toml", text.clone()) {
            Ok(file) => {
                // The root holds unknown keys only, or misses `format`.
                let problem = file.read::<Gateway>().unwrap_err();
                proptest::prop_assert!(!problem.what.is_empty());
            }
            Err(problem) => {
                let line = problem.line.unwrap();
                proptest::prop_assert!(line <= text.matches('\n').count() + 1);
                proptest::prop_assert!(problem.to_string().contains('^'));
            }
        }
    }

    #[test]
    fn any_message_is_explained(message in ".{0,80}", prefix in proptest::sample::select(&["", "unknown field `", "unknown variant `", "missing field `", "invalid type: "][..])) {
        words::explain(&format!("{prefix}{message}"));
        words::syntax(&message);
    }
}
