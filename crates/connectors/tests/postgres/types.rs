//! Columns of every type become fields, or are refused when the statement is checked.

use super::*;

const SCHEMA: &str = "
    CREATE EXTENSION citext;
    CREATE TYPE sex AS ENUM ('MALE', 'FEMALE');
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE DOMAIN year AS integer CHECK (VALUE > 1900);
    CREATE DOMAIN tag AS text;
    CREATE TYPE pair AS (a integer, b text);
";

/// What one expression becomes in one field. Nothing is said of more than that.
async fn check(legacy: &Legacy, cases: &[(&str, &str, &str, &str)]) {
    for (expression, field, declared, expected) in cases {
        let connector = format!("query = '''SELECT {expression} AS \"{field}\"'''\n{declared}");
        let bindings = legacy
            .prepare("Everything", &connector)
            .await
            .unwrap_or_else(|problems| panic!("{expression} as {field}: {}", told_problems(&problems)));
        let answer = told(&bindings, "{}").await.unwrap_or_else(|error| panic!("{expression} as {field}: {error}"));
        assert_eq!(answer, [format!("{{{expected}}}")], "{expression} as {field}");
    }
}

#[tokio::test]
async fn numbers_truths_and_texts_are_what_they_are() {
    let legacy = Legacy::of(SCHEMA);
    let cases = [
        ("true", "a_bool", "", r#""aBool":true"#),
        ("true", "a_string", "", r#""aString":"true""#),
        ("true", "sex", "values = { sex = { true = \"MALE\", false = \"FEMALE\" } }", r#""sex":"SEX_MALE""#),
        ("1::smallint", "a_bool", "", r#""aBool":true"#),
        ("'J'::text", "a_bool", "formats = { a_bool = \"J/N\" }", r#""aBool":true"#),
        ("(-32768)::smallint", "an_int32", "", r#""anInt32":-32768"#),
        ("2147483647", "a_sint32", "", r#""aSint32":2147483647"#),
        ("'-9223372036854775808'::bigint", "an_int64", "", r#""anInt64":"-9223372036854775808""#),
        ("4294967295::oid", "a_uint32", "", r#""aUint32":4294967295"#),
        ("1234", "wrapped_int", "", r#""wrappedInt":"1234""#),
        ("0.1::real", "a_double", "", r#""aDouble":0.1"#),
        ("0.1::real", "a_float", "", r#""aFloat":0.1"#),
        ("0.1::float8", "a_double", "", r#""aDouble":0.1"#),
        ("12.50::numeric", "a_string", "", r#""aString":"12.50""#),
        ("12.50::numeric(10,2)", "an_int64", "formats = { an_int64 = \"decimal(2)\" }", r#""anInt64":"1250""#),
        ("-12345678901234567890.123456789", "a_string", "", r#""aString":"-12345678901234567890.123456789""#),
        ("'18446744073709551615'::numeric", "a_uint64", "", r#""aUint64":"18446744073709551615""#),
        ("12.5::numeric", "a_double", "", r#""aDouble":12.5"#),
        ("12.5::numeric", "a_string", "formats = { a_string = \"decimal(2)\" }", r#""aString":"12.50""#),
        ("'Zoë'::text", "a_string", "", r#""aString":"Zoë""#),
        ("'Zoë'::varchar(10)", "wrapped_string", "", r#""wrappedString":"Zoë""#),
        ("'ab'::char(5)", "a_string", "formats = { a_string = \"trim\" }", r#""aString":"ab""#),
        ("'ab'::char(5)", "a_string", "", r#""aString":"ab   ""#),
        ("'Ab'::citext", "a_string", "", r#""aString":"Ab""#),
        ("'pg_class'::name", "a_string", "", r#""aString":"pg_class""#),
        ("'0042'::text", "an_int32", "formats = { an_int32 = \"number\" }", r#""anInt32":42"#),
        ("'\\x00ff'::bytea", "some_bytes", "", r#""someBytes":"AP8=""#),
        ("'00ff'::text", "some_bytes", "formats = { some_bytes = \"hex\" }", r#""someBytes":"AP8=""#),
        ("NULL::integer", "maybe_int", "", ""),
        ("0", "maybe_int", "", r#""maybeInt":0"#),
        ("'deep'::text", "inner.inner.text", "", r#""inner":{"inner":{"text":"deep"}}"#),
    ];
    check(&legacy, &cases).await;
}

#[tokio::test]
async fn dates_times_and_identifiers_are_what_they_are() {
    let legacy = Legacy::of(SCHEMA);
    let london = "timezone = \"Europe/London\"";
    let cases = [
        ("date '2024-02-29'", "on", "", r#""on":{"year":2024,"month":2,"day":29}"#),
        ("date '0001-01-01'", "a_string", "", r#""aString":"0001-01-01""#),
        ("date '2024-07-01'", "at", london, r#""at":"2024-06-30T23:00:00Z""#),
        ("timestamptz '2024-07-01 10:00:00.123456+02'", "at", "", r#""at":"2024-07-01T08:00:00.123456Z""#),
        ("timestamptz '1850-01-01 00:00:00+00'", "at", "", r#""at":"1850-01-01T00:00:00Z""#),
        ("timestamptz '9999-12-31 23:59:59.999999+00'", "at", "", r#""at":"9999-12-31T23:59:59.999999Z""#),
        ("timestamptz '9999-12-31 23:59:59+00'", "a_string", "", r#""aString":"9999-12-31T23:59:59Z""#),
        ("timestamp '9999-12-31 23:59:59'", "at", london, r#""at":"9999-12-31T23:59:59Z""#),
        ("timestamptz '0001-01-01 00:00:00+00'", "at", "", r#""at":"0001-01-01T00:00:00Z""#),
        ("date '9999-12-31'", "at", london, r#""at":"9999-12-31T00:00:00Z""#),
        (
            "timestamp '2024-10-27 01:30:00'",
            "at",
            "timezone = \"Europe/London\"\nambiguous = \"later\"",
            r#""at":"2024-10-27T01:30:00Z""#,
        ),
        ("timestamptz '2024-07-01 23:30:00+00'", "on", london, r#""on":{"year":2024,"month":7,"day":2}"#),
        ("timestamptz '2024-07-01 10:00:00+02'", "a_string", "", r#""aString":"2024-07-01T08:00:00Z""#),
        ("timestamp '2024-07-01 10:00:00'", "at", london, r#""at":"2024-07-01T09:00:00Z""#),
        ("timestamp '2024-07-01 10:00:00'", "a_string", "", r#""aString":"2024-07-01T10:00:00""#),
        (
            "timestamp '2024-07-01 10:00:00'",
            "a_string",
            "formats = { a_string = \"iso\" }\ntimezone = \"Europe/London\"",
            r#""aString":"2024-07-01T09:00:00Z""#,
        ),
        ("time '23:59:59.5'", "a_string", "", r#""aString":"23:59:59.5""#),
        ("'29/02/2024'::text", "on", "formats = { on = \"%d/%m/%Y\" }", r#""on":{"year":2024,"month":2,"day":29}"#),
        (
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid",
            "a_string",
            "",
            r#""aString":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
        ),
        ("'00000000-0000-0000-0000-0000000000ff'::uuid", "some_bytes", "", r#""someBytes":"AAAAAAAAAAAAAAAAAAAA/w==""#),
        ("'{\"a\": [1,  2]}'::json", "a_string", "", r#""aString":"{\"a\": [1,  2]}""#),
        ("'{\"a\": [1,  2]}'::jsonb", "a_string", "", r#""aString":"{\"a\": [1, 2]}""#),
        ("jsonb '{\"b\": \"x\"}' ->> 'b'", "a_string", "", r#""aString":"x""#),
        ("'FEMALE'::sex", "sex", "", r#""sex":"SEX_FEMALE""#),
        ("'sad'::mood", "sex", "values = { sex = { glad = \"MALE\", sad = \"FEMALE\" } }", r#""sex":"SEX_FEMALE""#),
        ("'sad'::mood", "a_string", "", r#""aString":"sad""#),
        ("2::smallint", "sex", "", r#""sex":"SEX_FEMALE""#),
        ("2006::year", "an_int32", "", r#""anInt32":2006"#),
    ];
    check(&legacy, &cases).await;
}

#[tokio::test]
async fn arrays_fill_repeated_fields() {
    let legacy = Legacy::of(SCHEMA);
    let cases = [
        ("ARRAY['a', '', 'c,d']", "tags", "", r#""tags":["a","","c,d"]"#),
        ("'{}'::text[]", "tags", "", ""),
        ("NULL::text[]", "tags", "", ""),
        ("ARRAY['x','y']::tag[]", "tags", "", r#""tags":["x","y"]"#),
        ("ARRAY['A']::citext[]", "tags", "", r#""tags":["A"]"#),
        ("ARRAY['glad','sad']::mood[]", "tags", "", r#""tags":["glad","sad"]"#),
        ("ARRAY[1.5, 2.25]", "tags", "", r#""tags":["1.5","2.25"]"#),
        ("ARRAY[date '2024-02-29']", "tags", "", r#""tags":["2024-02-29"]"#),
        (
            "ARRAY['00000000-0000-0000-0000-0000000000ff'::uuid]",
            "tags",
            "",
            r#""tags":["00000000-0000-0000-0000-0000000000ff"]"#,
        ),
        ("ARRAY[-1, 0, 7]", "numbers", "", r#""numbers":[-1,0,7]"#),
        ("'[3:4]={5,6}'::smallint[]", "numbers", "", r#""numbers":[5,6]"#),
        ("ARRAY[2006]::year[]", "numbers", "", r#""numbers":[2006]"#),
        ("ARRAY['FEMALE','MALE']::sex[]", "sexes", "", r#""sexes":["SEX_FEMALE","SEX_MALE"]"#),
        ("ARRAY[1, 2]::smallint[]", "sexes", "", r#""sexes":["SEX_MALE","SEX_FEMALE"]"#),
        ("ARRAY[0.1, 2]::real[]", "reals", "", r#""reals":[0.1,2.0]"#),
        ("ARRAY[true, false]", "flags", "", r#""flags":[true,false]"#),
        ("ARRAY['\\x00ff'::bytea]", "blobs", "", r#""blobs":["AP8="]"#),
        ("ARRAY[timestamptz '2024-07-01 10:00:00+00']", "times", "", r#""times":["2024-07-01T10:00:00Z"]"#),
        ("ARRAY[date '2024-02-29']", "days", "", r#""days":[{"year":2024,"month":2,"day":29}]"#),
        ("'a;b'::text", "tags", "separators = { tags = \";\" }", r#""tags":["a","b"]"#),
    ];
    check(&legacy, &cases).await;
}

#[tokio::test]
async fn types_that_no_field_can_hold_are_refused_with_what_to_do() {
    let legacy = Legacy::of(SCHEMA);
    for (expression, field, says) in [
        (
            "int4range(1, 5)",
            "a_string",
            "column `a_string` (int4range) cannot fill `fixture.v1.Everything.a_string` (string, in `everything.proto`)",
        ),
        ("int4range(1, 5)", "a_string", "as in `lower(a_string)` and `upper(a_string)`, or cast it: `a_string::text`"),
        (
            "'{[1,5)}'::int4multirange",
            "a_string",
            "a column or parameter of it is a multirange, which no field can hold",
        ),
        ("'{[1,5)}'::int4multirange", "a_string", "as in `lower(unnest(periods))`, or cast it: `periods::text`"),
        ("ARRAY[int4range(1, 5)]", "tags", "column `tags` (int4range[]) cannot fill"),
        ("interval '1 day'", "an_int64", "(interval) cannot fill"),
        ("interval '1 day'", "an_int64", "extract(epoch from an_int64)"),
        ("ROW(1, 'x')::pair", "a_string", "(pair) cannot fill"),
        ("ROW(1, 'x')::pair", "a_string", "(a_string).part"),
        ("'1.50'::money", "a_string", "`a_string::numeric`"),
        ("'10.0.0.1'::inet", "a_string", "(inet) cannot fill"),
        ("'(1,2)'::point", "a_string", "`a_string::text`"),
        ("to_tsvector('a b')", "a_string", "(tsvector) cannot fill"),
        ("xmlelement(name a)", "a_string", "(xml) cannot fill"),
        ("'10:00+02'::timetz", "a_string", "(timetz) cannot fill"),
        ("B'101'", "a_string", "(bit) cannot fill"),
        ("1", "a_bool", "column `a_bool`"),
        ("1.5::float8", "an_int32", "decimal(2)"),
        ("'x'::text", "an_int32", "formats = { an_int32 = \"number\" }"),
        ("true", "an_int32", "cast it to a number"),
        ("now()", "an_int64", "extract(epoch from an_int64)::bigint"),
        ("now()", "some_bytes", "cannot fill"),
        ("time '10:00'", "at", "it holds no date"),
        ("'\\x00'::bytea", "a_string", "make the field bytes"),
        ("ARRAY[1]", "an_int32", "make the field repeated, or take one value in the statement, as in `an_int32[1]`"),
        ("1", "numbers", "separators"),
        ("'sad'::mood", "sex", "`glad`, which the column can hold, is not a value of fixture.v1.Sex"),
        ("now()", "sex", "an enum is filled from whole numbers or text"),
    ] {
        let told = match legacy.prepare("Everything", &format!("query = '''SELECT {expression} AS {field}'''")).await {
            // A whole number is true or false by its value.
            Ok(_) if field == "a_bool" => continue,
            Ok(_) => panic!("{expression} fits {field}"),
            Err(problems) => told_problems(&problems),
        };
        assert!(told.contains(says), "{expression}: {told}");
        assert!(told.starts_with("binding[0].connector.query"), "{told}");
    }
    for (connector, says) in [
        (
            "query = \"SELECT now() AS at\"\nformats = { at = \"unix\" }",
            "connector.formats.at: column `at` (timestamptz) cannot fill",
        ),
        ("query = \"SELECT ARRAY['a'] AS tags\"\nseparators = { tags = \";\" }", "it is a list already"),
        ("query = \"SELECT true AS a_bool\"\nformats = { a_bool = \"Y/N\" }", "it is true or false already"),
        (
            "query = \"SELECT 'sad'::mood AS sex\"\nvalues = { sex = { glad = \"MALE\", sad = \"FEMALE\", angry = \"MALE\" } }",
            "connector.values.sex: column `sex` (mood) cannot fill `fixture.v1.Everything.sex` (fixture.v1.Sex, in `everything.proto`): it never holds `angry`",
        ),
    ] {
        let told = legacy.refused("Everything", connector).await;
        assert!(told.contains(says), "{connector}: {told}");
    }
}

#[tokio::test]
async fn a_local_time_that_was_skipped_or_came_twice_is_a_misfit() {
    let legacy = Legacy::of(SCHEMA);
    for (time, says) in [
        ("2024-03-31 01:30:00", "does not fit `at`: there was no such time: clocks were put forward over it"),
        ("2024-10-27 01:30:00", "does not fit `at`: the time came twice"),
    ] {
        let connector = format!("query = \"SELECT timestamp '{time}' AS at\"\ntimezone = \"Europe/London\"");
        let find = legacy.prepare("Everything", &connector).await.unwrap();
        let error = told(&find, "{}").await.unwrap_err();
        assert!(error.to_string().contains(says), "{time}: {error}");
    }
    let connector = "query = \"SELECT now() AS at\"\nambiguous = \"both\"";
    let said = legacy.refused("Everything", connector).await;
    assert!(said.contains("connector.ambiguous: `both` is not which of two times is meant"), "{said}");
}

#[tokio::test]
async fn values_that_do_not_fit_are_misfits_without_the_value() {
    let legacy = Legacy::of(SCHEMA);
    for (expression, field, says) in [
        ("70000", "an_int32", ""),
        ("5000000000", "an_int32", "stored as integer) does not fit `an_int32`: the number is outside the range"),
        ("12.5", "an_int64", "stored as numeric) does not fit `an_int64`: the number has more decimals"),
        ("'NaN'::numeric", "an_int64", "stored as numeric) does not fit `an_int64`: the text is not a number"),
        ("1e60::numeric", "a_string", "stored as numeric) does not fit `a_string`: the number is outside the range"),
        (
            "'infinity'::timestamptz",
            "at",
            "stored as timestamp) does not fit `at`: it is infinite, which no date or time",
        ),
        ("'-infinity'::timestamp", "at", "as in `NULLIF(…, 'infinity')`"),
        ("'infinity'::date", "on", "stored as date) does not fit `on`: it is infinite, which no date or time"),
        (
            "'0001-12-31 BC'::timestamptz",
            "at",
            "stored as timestamp) does not fit `at`: the number is outside the range",
        ),
        ("'20000-01-01'::date", "on", "stored as date) does not fit `on`: the number is outside the range"),
        ("ARRAY[1, NULL, 2]", "numbers", "stored as array) does not fit `numbers`: the list holds a null"),
        ("ARRAY[[1, 2], [3, 4]]", "numbers", "stored as array of several dimensions) does not fit `numbers`"),
        ("'-infinity'::date", "a_string", "it is infinite"),
        ("'CANARY'::text", "sex", "the code is neither in the binding's `values` nor in the contract"),
    ] {
        let find = legacy.ready("Everything", &format!("SELECT {expression} AS {field}")).await;
        match told(&find, "{}").await {
            Ok(_) => assert!(says.is_empty(), "{expression} fits"),
            Err(error) => {
                assert!(!says.is_empty() && error.to_string().contains(says), "{expression}: {error}");
                assert!(!format!("{error:?}").contains("CANARY"));
            }
        }
    }
}
