//! What is bound is what the request says, in the type that the server has inferred.

use super::*;
use connectors::Misfit;

const SCHEMA: &str = "
    CREATE TYPE sex AS ENUM ('M', 'F');
    CREATE DOMAIN nhs AS text;
    CREATE TABLE pat (n nhs PRIMARY KEY, s sex, born date, seen timestamptz, local timestamp, at time, id uuid, small smallint,
        fee numeric(8,2), flag boolean, raw bytea, doc jsonb, real real);
";

#[tokio::test]
async fn every_type_is_bound_as_itself() {
    let legacy = Legacy::of(SCHEMA);
    for (expression, declared, request, expected) in [
        (":text::text", "", r#"{"text":"it's; DROP TABLE pat"}"#, Some("it's; DROP TABLE pat")),
        (":text::text", "", "{}", None),
        ("quote_nullable(:maybe::text)", "", "{}", Some("NULL")),
        ("quote_nullable(:maybe::text)", "", r#"{"maybe":""}"#, Some("''")),
        (
            "(:inner.number::bigint + 1)::text",
            "",
            r#"{"inner":{"number":"9223372036854775806"}}"#,
            Some("9223372036854775807"),
        ),
        ("(:inner.number::smallint)::text", "", r#"{"inner":{"number":"-7"}}"#, Some("-7")),
        ("(:inner.number::float8 / 2)::text", "", r#"{"inner":{"number":"5"}}"#, Some("2.5")),
        ("(:inner.number::numeric / 2)::text", "", r#"{"inner":{"number":"5"}}"#, Some("2.5000000000000000")),
        ("(:flag::boolean)::text", "", r#"{"flag":true}"#, Some("true")),
        ("(:flag::integer)::text", "", r#"{"flag":true}"#, Some("1")),
        ("(:big::bigint)::text", "", r#"{"big":"12"}"#, Some("12")),
        ("(:real::float8)::text", "", r#"{"real":0.1}"#, Some("0.1")),
        ("(:real::real)::text", "", r#"{"real":0.1}"#, Some("0.1")),
        ("(:real::numeric)::text", "", r#"{"real":0.1}"#, Some("0.1")),
        ("(:text::numeric)::text", "", r#"{"text":"-12345.6780"}"#, Some("-12345.6780")),
        ("encode(:raw::bytea, 'hex')", "", r#"{"raw":"AP8="}"#, Some("00ff")),
        (
            "(:text::uuid)::text",
            "",
            r#"{"text":"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}"#,
            Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        ("coalesce((:text::uuid)::text, 'none')", "", "{}", Some("none")),
        ("(:text::jsonb ->> 'a')", "", r#"{"text":"{\"a\": \"b\"}"}"#, Some("b")),
        ("(:text::json ->> 'a')", "", r#"{"text":"{\"a\": \"b\"}"}"#, Some("b")),
        ("(:text::time)::text", "", r#"{"text":"10:30"}"#, Some("10:30:00")),
        ("(:at::timestamptz)::text", "", r#"{"at":"2024-02-29T13:05:00.5Z"}"#, Some("2024-02-29 13:05:00.5+00")),
        (
            "(:at::timestamp)::text",
            "timezone = \"Europe/London\"",
            r#"{"at":"2024-07-01T09:00:00Z"}"#,
            Some("2024-07-01 10:00:00"),
        ),
        ("(:at::date)::text", "timezone = \"Europe/London\"", r#"{"at":"2024-06-30T23:00:00Z"}"#, Some("2024-07-01")),
        (
            "(:at::timestamptz AT TIME ZONE 'UTC')::text",
            "timezone = \"Asia/Tokyo\"",
            r#"{"at":"9999-12-31T23:59:59.999999Z"}"#,
            Some("9999-12-31 23:59:59.999999"),
        ),
        ("(:at::timestamp)::text", "", r#"{"at":"9999-12-31T23:59:59Z"}"#, Some("9999-12-31 23:59:59")),
        (":at::text", "", r#"{"at":"2024-02-29T13:05:00Z"}"#, Some("2024-02-29T13:05:00Z")),
        ("(:at::bigint)::text", "formats = { \":at\" = \"unix\" }", r#"{"at":"1970-01-01T00:01:00Z"}"#, Some("60")),
        ("coalesce((:at::timestamptz)::text, 'none')", "", "{}", Some("none")),
        ("(:on::date)::text", "", r#"{"on":{"year":1066,"month":10,"day":14}}"#, Some("1066-10-14")),
        (
            "(:on::timestamptz)::text",
            "timezone = \"Europe/London\"",
            r#"{"on":{"year":2024,"month":7,"day":1}}"#,
            Some("2024-06-30 23:00:00+00"),
        ),
        ("(:day::date)::text", "", r#"{"day":"2024-02-29"}"#, Some("2024-02-29")),
        ("coalesce((:day::date)::text, 'none')", "", "{}", Some("none")),
        ("(:day::timestamptz)::text", "", r#"{"day":"2024-02-29T13:00:00+01:00"}"#, Some("2024-02-29 12:00:00+00")),
        (":day::text", "formats = { \":day\" = \"%d/%m/%Y\" }", r#"{"day":"2024-02-29"}"#, Some("29/02/2024")),
        ("(:wrapped::integer)::text", "", r#"{"wrapped":"5"}"#, Some("5")),
        ("(:sex::integer)::text", "", r#"{"sex":"SEX_FEMALE"}"#, Some("2")),
        (":sex::text", "formats = { \":sex\" = \"name\" }", r#"{"sex":"SEX_FEMALE"}"#, Some("SEX_FEMALE")),
        (
            "(:sex::sex)::text",
            "values = { \":sex\" = { M = \"MALE\", F = \"FEMALE\" } }",
            r#"{"sex":"SEX_FEMALE"}"#,
            Some("F"),
        ),
        ("(:text::sex)::text", "", r#"{"text":"M"}"#, Some("M")),
        ("array_to_string(:ids::bigint[], '+')", "", r#"{"ids":["3","-4"]}"#, Some("3+-4")),
        ("array_to_string(:ids::integer[], '+')", "", r#"{"ids":["3","-4"]}"#, Some("3+-4")),
        ("cardinality(:ids::bigint[])::text", "", "{}", Some("0")),
        ("array_to_string(:names::text[], '+')", "", r#"{"names":["a\"b",""]}"#, Some("a\"b+")),
        ("array_to_string(:names::sex[], '+')", "", r#"{"names":["F","M"]}"#, Some("F+M")),
        ("(5 = ANY(:ids))::text", "", r#"{"ids":["5"]}"#, Some("true")),
        ("(:ids::jsonb -> 0)::text", "", r#"{"ids":["5"]}"#, Some("5")),
    ] {
        let connector = format!("query = '''SELECT {expression} AS answer'''\n{declared}");
        let bindings = legacy
            .prepare("Wanted", &connector)
            .await
            .unwrap_or_else(|problems| panic!("{expression}: {}", told_problems(&problems)));
        let answer = told(&bindings, request).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let answer: serde_json::Value = serde_json::from_str(&answer[0]).unwrap();
        assert_eq!(answer.get("answer").and_then(|answer| answer.as_str()), expected, "{expression} {request}");
    }
}

#[tokio::test]
async fn the_columns_of_a_table_say_the_types() {
    let legacy = Legacy::of(&format!(
        "{SCHEMA} INSERT INTO pat VALUES ('1', 'F', '2024-02-29', '2024-01-01 00:00+00', '2024-01-01 00:00', '10:00',
            '00000000-0000-0000-0000-0000000000ff', 7, 1.50, true, '\\x00ff', '{{\"a\": 1}}', 0.5)"
    ));
    let query = "SELECT 'found'::text AS answer FROM pat WHERE n = :text AND s = :maybe AND born = :on AND seen = :at
        AND small = ANY(:ids) AND fee > :real AND flag = :flag AND raw = :raw AND local <= :at AND fee < :big";
    let find = legacy.ready("Wanted", query).await;
    let request = r#"{"text":"1","maybe":"F","on":{"year":2024,"month":2,"day":29},"at":"2024-01-01T00:00:00Z","ids":["7"],
        "real":1.25,"flag":true,"raw":"AP8=","big":"2"}"#;
    assert_eq!(told(&find, request).await.unwrap(), [r#"{"answer":"found"}"#]);
}

#[tokio::test]
async fn what_a_parameter_cannot_take_is_found_at_prepare_and_named_on_both_sides() {
    let legacy = Legacy::of(SCHEMA);
    for (expression, declared, says) in [
        (
            ":text::integer",
            "",
            "the parameter `:text` (int4) cannot take `fixture.v1.Wants.text` (string, in `everything.proto`) = help: cast it in the statement, as in `:text::text::int4`",
        ),
        (":flag::text", "", "as in `:flag::boolean::text`"),
        (":ids::bigint", "", "the parameter `:ids` (int8) cannot take `fixture.v1.Wants.ids` (repeated int64"),
        (":ids::bigint", "", "compare with every value, as in `= ANY(:ids)`"),
        (":big::bigint[]", "", "as in `ARRAY[:big]`"),
        (":text::int4range", "", "the parameter `:text` (int4range) cannot take"),
        (":text::interval", "", "as in `:text::text::interval`"),
        (
            ":sex::sex",
            "",
            "say which label is bound for each value, in `values = { \":sex\" = … }`; there are `M`, `F`",
        ),
        (
            ":sex::sex",
            "values = { \":sex\" = { M = \"MALE\", W = \"FEMALE\" } }",
            "(sex) cannot take `W` of `fixture.v1.Wants.sex`",
        ),
        (":on::integer", "", "as in `:on::date::int4`"),
        (":nobody::text", "", "the parameter `:nobody` names no field"),
    ] {
        let connector = format!("query = '''SELECT ({expression})::text AS answer'''\n{declared}");
        let told = legacy.refused("Wanted", &connector).await;
        assert!(told.contains(says), "{expression}: {told}");
    }
}

#[tokio::test]
async fn a_value_that_the_parameter_cannot_take_is_the_callers_to_mend() {
    let legacy = Legacy::of(SCHEMA);
    for (name, cast, request, why) in [
        ("big", "integer", r#"{"big":"5000000000"}"#, Misfit::OutOfRange),
        ("big", "bigint", r#"{"big":"9223372036854775808"}"#, Misfit::OutOfRange),
        ("text", "uuid", r#"{"text":"no uuid"}"#, Misfit::NotHex),
        ("text", "numeric", r#"{"text":"ten"}"#, Misfit::NotANumber),
        ("day", "date", r#"{"day":"29/02/2024"}"#, Misfit::NotAMoment),
        ("day", "date", r#"{"day":"2024-01-01T10:00:00Z"}"#, Misfit::TimeOfDay),
        ("at", "date", r#"{"at":"2024-01-01T10:00:00Z"}"#, Misfit::TimeOfDay),
        ("at", "timestamptz", r#"{"at":"2024-01-01T10:00:00.000000001Z"}"#, Misfit::Finer),
        ("at", "timestamp", r#"{"at":"2024-01-01T10:00:00.000000001Z"}"#, Misfit::Finer),
        ("text", "time", r#"{"text":"10:00:00.0000001"}"#, Misfit::Finer),
        ("text", "text", "{\"text\":\"a\\u0000b\"}", Misfit::Nul),
    ] {
        let find = legacy.ready("Wanted", &format!("SELECT (:{name}::{cast})::text AS answer")).await;
        let error = told(&find, request).await.unwrap_err();
        assert_eq!(error, ConnectorError::Argument { parameter: name.into(), why }, "{name}::{cast}");
        // The connection, of which there is one, goes on.
        assert!(told(&find, "{}").await.is_ok());
    }
}
