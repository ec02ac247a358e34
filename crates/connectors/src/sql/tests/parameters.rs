//! What is bound to a statement is what the contract says that the request means.

use super::*;
use crate::Misfit;

/// Asks for one expression over the request, and returns it as SQLite quotes it.
async fn bound(expression: &str, declared: &str, request: &str) -> Result<String, ConnectorError> {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    let connector = format!("query = \"SELECT {expression} AS answer\"\n{declared}");
    let bindings = legacy.prepare("Wanted", &connector).await.unwrap_or_else(|problems| panic!("{problems:?}"));
    let told = told(&bindings, request).await?;
    let answer: serde_json::Value = serde_json::from_str(&told[0]).unwrap();
    Ok(answer.get("answer").and_then(|answer| answer.as_str()).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_type_is_bound_as_itself() {
    for (name, declared, request, expected) in [
        ("text", "", r#"{"text":"it's; DROP TABLE t"}"#, "'it''s; DROP TABLE t'"),
        ("text", "", "{}", "''"),
        ("maybe", "", "{}", "NULL"),
        ("maybe", "", r#"{"maybe":""}"#, "''"),
        ("inner.number", "", "{}", "NULL"),
        ("inner.number", "", r#"{"inner":{}}"#, "0"),
        ("inner.inner.text", "", r#"{"inner":{"inner":{"text":"deep"}}}"#, "'deep'"),
        ("sex", "", r#"{"sex":"SEX_FEMALE"}"#, "2"),
        ("sex", "formats = { \":sex\" = \"name\" }", r#"{"sex":"SEX_FEMALE"}"#, "'SEX_FEMALE'"),
        ("sex", "values = { \":sex\" = { M = \"MALE\", F = \"FEMALE\" } }", r#"{"sex":"SEX_FEMALE"}"#, "'F'"),
        ("at", "", r#"{"at":"2024-02-29T13:05:00.5Z"}"#, "'2024-02-29T13:05:00.5Z'"),
        (
            "at",
            "formats = { \":at\" = \"%Y-%m-%d %H:%M:%S\" }\ntimezone = \"Europe/London\"",
            r#"{"at":"2024-07-01T09:00:00Z"}"#,
            "'2024-07-01 10:00:00'",
        ),
        ("at", "formats = { \":at\" = \"unix\" }", r#"{"at":"1970-01-01T00:01:00Z"}"#, "60"),
        ("at", "", "{}", "NULL"),
        ("on", "", r#"{"on":{"year":2024,"month":2,"day":29}}"#, "'2024-02-29'"),
        ("on", "formats = { \":on\" = \"YYYYMMDD\" }", r#"{"on":{"year":2024,"month":2,"day":29}}"#, "'20240229'"),
        ("day", "formats = { \":day\" = \"%d/%m/%Y\" }", r#"{"day":"2024-02-29"}"#, "'29/02/2024'"),
        ("day", "formats = { \":day\" = \"%d/%m/%Y\" }", "{}", "NULL"),
        ("wrapped", "", "{}", "NULL"),
        ("wrapped", "", r#"{"wrapped":"0"}"#, "0"),
        ("flag", "", r#"{"flag":true}"#, "1"),
        ("big", "", r#"{"big":"9223372036854775807"}"#, "9223372036854775807"),
        ("real", "", r#"{"real":0.5}"#, "0.5"),
        ("raw", "", r#"{"raw":"AP8="}"#, "X'00FF'"),
        ("ids", "", r#"{"ids":["1","-2"]}"#, "'[1,-2]'"),
        ("names", "", r#"{"names":["a\"b"]}"#, "'[\"a\\\"b\"]'"),
        ("names", "", "{}", "'[]'"),
    ] {
        let expression = format!("quote(:{name})");
        assert_eq!(bound(&expression, declared, request).await.as_deref(), Ok(expected), "{name} {declared} {request}");
    }
}

#[tokio::test]
async fn a_list_is_asked_for_with_json_each() {
    let answer = bound("(SELECT group_concat(value, '+') FROM json_each(:ids))", "", r#"{"ids":["3","4"]}"#).await;
    assert_eq!(answer.as_deref(), Ok("3+4"));
}

#[tokio::test]
async fn a_value_that_the_statement_cannot_take_is_the_callers_to_mend() {
    for (name, declared, request, why) in [
        ("big", "", r#"{"big":"9223372036854775808"}"#, Misfit::OutOfRange),
        ("day", "formats = { \":day\" = \"%d/%m/%Y\" }", r#"{"day":"29/02/2024"}"#, Misfit::NotAMoment),
        ("on", "", r#"{"on":{"year":2023,"month":2,"day":29}}"#, Misfit::NotAMoment),
        ("sex", "values = { \":sex\" = { M = \"MALE\" } }", r#"{"sex":"SEX_FEMALE"}"#, Misfit::UnknownCode),
    ] {
        let error = bound(&format!("quote(:{name})"), declared, request).await.unwrap_err();
        assert_eq!(error, ConnectorError::Argument { parameter: name.into(), why });
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_bound_are_found_at_prepare() {
    let legacy = Legacy::of("CREATE TABLE t (a)").await;
    for (name, declared, expected) in [
        ("inner", "", "name a field in the message, as in `:name.family`"),
        ("pairs", "", "name a field that holds one value"),
        ("sex", "formats = { \":sex\" = \"code\" }", "use `name` for the value's name"),
        ("sex", "values = { \":sex\" = { \"*\" = \"MALE\" } }", "name each"),
        ("sex", "values = { \":sex\" = { M = \"MALE\", m = \"MALE\" } }", "two codes mean the same value"),
        ("sex", "values = { \":sex\" = { M = \"MAN\" } }", "there are `SEX_FEMALE`"),
        ("flag", "formats = { \":flag\" = \"Y/N\" }", "formats of parameters are for dates, times and enums"),
        ("day", "formats = { \":day\" = \"%H\" }", "use `iso`"),
        ("ids", "formats = { \":ids\" = \"iso\" }", "json_each"),
    ] {
        let connector = format!("query = \"SELECT quote(:{name}) AS answer\"\n{declared}");
        let problems = legacy.prepare("Wanted", &connector).await.unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.help.as_deref().is_some_and(|help| help.contains(expected))),
            "{problems:?}"
        );
    }
}
