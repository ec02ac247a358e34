//! How columns become fields: the bytes are those of protobuf's own encoder, and the values what the table says.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::Misfit;
use crate::sql::cell::{Cell, Class, Column};
use crate::sql::moment::Clock;
use crate::sql::plan::{Mapping, Plan, Row};

/// A row that no database made.
struct Made(Vec<Owned>);

#[derive(Clone, Debug)]
enum Owned {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Row for Made {
    fn cell(&self, column: usize) -> Cell<'_> {
        match self.0.get(column) {
            None | Some(Owned::Null) => Cell::Null,
            Some(Owned::Integer(value)) => Cell::Integer(*value),
            Some(Owned::Real(value)) => Cell::Real(*value),
            Some(Owned::Text(value)) => Cell::Text(value),
            Some(Owned::Blob(value)) => Cell::Blob(value),
        }
    }

    fn elements(&self, _: usize) -> impl Iterator<Item = Cell<'_>> {
        std::iter::empty()
    }
}

fn columns(names: &[&str]) -> Vec<Column> {
    names.iter().map(|name| Column::new(name, None, Class::Unknown)).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn plan(names: &[&str], formats: &[(&str, &str)], separators: &[(&str, &str)]) -> Plan {
    let mapping = Mapping {
        columns: &BTreeMap::new(),
        formats: &map(formats),
        values: &BTreeMap::new(),
        separators: &map(separators),
        gather: None,
        clock: &Clock::UTC,
    };
    Plan::compile(&message("Everything"), &columns(names), mapping).unwrap()
}

fn encode(plan: &Plan, row: &[Owned]) -> Result<Vec<u8>, ConnectorError> {
    let mut out = BytesMut::new();
    plan.encode(&Made(row.to_vec()), &mut out).map(|()| out.to_vec())
}

fn misfit(plan: &Plan, row: &[Owned]) -> Misfit {
    let error = encode(plan, row).unwrap_err();
    let ConnectorError::Mapping { why, .. } = error else { panic!("{error}") };
    why
}

/// A field, a strategy for its cells, and what protobuf has for a cell.
fn scalars() -> Vec<(&'static str, BoxedStrategy<(Owned, Value)>)> {
    fn whole<T: Into<i64> + Copy + std::fmt::Debug + 'static>(
        any: impl Strategy<Value = T> + 'static,
        value: fn(T) -> Value,
    ) -> BoxedStrategy<(Owned, Value)> {
        any.prop_map(move |number| (Owned::Integer(number.into()), value(number))).boxed()
    }
    let positive = || 0..=i64::MAX;
    vec![
        (
            "a_double",
            any::<f64>()
                .prop_filter("a number", |n| n.is_finite() && *n != 0.0)
                .prop_map(|n| (Owned::Real(n), Value::F64(n)))
                .boxed(),
        ),
        (
            "a_float",
            any::<f32>()
                .prop_filter("a number", |n| n.is_finite() && *n != 0.0)
                .prop_map(|n| (Owned::Real(f64::from(n)), Value::F32(n)))
                .boxed(),
        ),
        ("an_int32", whole(any::<i32>(), Value::I32)),
        ("an_int64", whole(any::<i64>(), Value::I64)),
        ("a_uint32", whole(any::<u32>(), Value::U32)),
        ("a_uint64", whole(positive(), |n| Value::U64(n.cast_unsigned()))),
        ("a_sint32", whole(any::<i32>(), Value::I32)),
        ("a_sint64", whole(any::<i64>(), Value::I64)),
        ("a_fixed32", whole(any::<u32>(), Value::U32)),
        ("a_fixed64", whole(positive(), |n| Value::U64(n.cast_unsigned()))),
        ("a_sfixed32", whole(any::<i32>(), Value::I32)),
        ("a_sfixed64", whole(any::<i64>(), Value::I64)),
        ("a_bool", any::<bool>().prop_map(|b| (Owned::Integer(i64::from(b)), Value::Bool(b))).boxed()),
        ("a_string", "\\PC{0,200}".prop_map(|s| (Owned::Text(s.clone()), Value::String(s))).boxed()),
        ("some_bytes", any::<Vec<u8>>().prop_map(|b| (Owned::Blob(b.clone()), Value::Bytes(b.into()))).boxed()),
        ("sex", (0..=2_i32).prop_map(|n| (Owned::Integer(n.into()), Value::EnumNumber(n))).boxed()),
        ("maybe_string", "[a-z]{0,3}".prop_map(|s| (Owned::Text(s.clone()), Value::String(s))).boxed()),
        ("maybe_int", whole(-1..=1_i32, Value::I32)),
        ("right", whole(-1..=1_i32, Value::I32)),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(&'static str, Option<(Owned, Value)>)>> {
    scalars()
        .into_iter()
        .map(|(name, strategy)| proptest::option::of(strategy).prop_map(move |cell| (name, cell)))
        .collect::<Vec<_>>()
}

proptest! {
    #[test]
    fn a_row_is_encoded_as_protobuf_does_it(row in rows(), text in proptest::option::of("[a-z]{0,150}"), number in proptest::option::of(any::<i64>())) {
        let everything = message("Everything");
        let inner = message("Inner");
        let mut expected = DynamicMessage::new(everything);
        let mut names = Vec::new();
        let mut cells = Vec::new();
        for (name, cell) in row {
            names.push(name);
            cells.push(match cell {
                None => Owned::Null,
                Some((owned, value)) => {
                    expected.set_field_by_name(name, value);
                    owned
                }
            });
        }
        names.extend(["inner.inner.number", "inner.inner.text"]);
        cells.push(number.map_or(Owned::Null, Owned::Integer));
        cells.push(text.clone().map_or(Owned::Null, Owned::Text));
        if text.is_some() || number.is_some() {
            let mut deep = DynamicMessage::new(inner.clone());
            if let Some(text) = text {
                deep.set_field_by_name("text", Value::String(text));
            }
            if let Some(number) = number {
                deep.set_field_by_name("number", Value::I64(number));
            }
            let mut outer = DynamicMessage::new(inner);
            outer.set_field_by_name("inner", Value::Message(deep));
            expected.set_field_by_name("inner", Value::Message(outer));
        }
        let encoded = encode(&plan(&names, &[], &[]), &cells).unwrap();
        prop_assert_eq!(encoded, prost_reflect::prost::Message::encode_to_vec(&expected));
    }
}

#[test]
fn a_negative_zero_is_not_the_default() {
    // Source: protobuf.dev, "Default Field Values": -0 is considered distinct and will be serialized.
    let plan = plan(&["a_double", "a_float"], &[], &[]);
    assert_eq!(encode(&plan, &[Owned::Real(0.0), Owned::Integer(0)]).unwrap(), b"");
    assert_eq!(encode(&plan, &[Owned::Null, Owned::Real(-0.0)]).unwrap(), [0x15, 0, 0, 0, 0x80]);
}

#[test]
fn null_leaves_a_field_out_and_presence_keeps_a_default() {
    let plan = plan(&["a_string", "maybe_string", "wrapped_string", "wrapped_int", "inner.text"], &[], &[]);
    let nothing = [Owned::Null, Owned::Null, Owned::Null, Owned::Null, Owned::Null];
    assert_eq!(encode(&plan, &nothing).unwrap(), b"");
    let empty = [
        Owned::Text(String::new()),
        Owned::Text(String::new()),
        Owned::Text(String::new()),
        Owned::Integer(0),
        Owned::Text(String::new()),
    ];
    let told = json(&message("Everything"), &encode(&plan, &empty).unwrap());
    assert_eq!(told, r#"{"wrapped_string":"","wrapped_int":0,"inner":{},"maybe_string":""}"#);
}

#[test]
fn lists_are_cut_at_their_separator() {
    let plan = plan(&["tags", "numbers", "sexes"], &[], &[("tags", ";"), ("numbers", ","), ("sexes", " ")]);
    let row = |tags: &str, numbers: &str, sexes: &str| [tags, numbers, sexes].map(|text| Owned::Text(text.to_owned()));
    let told = |row: &[Owned]| json(&message("Everything"), &encode(&plan, row).unwrap());
    assert_eq!(
        told(&row("a; b;c", "1,-2, 3", "MALE 2")),
        r#"{"tags":["a","b","c"],"numbers":[1,-2,3],"sexes":["SEX_MALE","SEX_FEMALE"]}"#
    );
    assert_eq!(told(&row("", " ", "")), "{}");
    assert_eq!(told(&[Owned::Integer(7), Owned::Integer(0), Owned::Null]), r#"{"tags":["7"],"numbers":[0]}"#);
    assert_eq!(misfit(&plan, &row("a", "1,x", "")), Misfit::NotANumber);
    // Packed, as proto3 has it: one key for all of them.
    assert_eq!(encode(&plan, &row("", "1,2", "")).unwrap(), [0xba, 0x01, 0x02, 0x01, 0x02]);
}

#[test]
fn only_one_field_of_a_oneof_is_filled() {
    let plan = plan(&["left", "right", "middle.text"], &[], &[]);
    let told = |row: &[Owned]| json(&message("Everything"), &encode(&plan, row).unwrap());
    assert_eq!(told(&[Owned::Null, Owned::Integer(0), Owned::Null]), r#"{"right":0}"#);
    assert_eq!(told(&[Owned::Null, Owned::Null, Owned::Text("x".into())]), r#"{"middle":{"text":"x"}}"#);
    assert_eq!(misfit(&plan, &[Owned::Text("a".into()), Owned::Integer(1), Owned::Null]), Misfit::OneofTwice);
    assert_eq!(misfit(&plan, &[Owned::Null, Owned::Integer(1), Owned::Text("x".into())]), Misfit::OneofTwice);
}

#[test]
fn timestamps_count_their_nanoseconds_forward() {
    let plan = plan(&["at"], &[("at", "unix")], &[]);
    let encoded = encode(&plan, &[Owned::Real(-0.25)]).unwrap();
    assert_eq!(json(&message("Everything"), &encoded), r#"{"at":"1969-12-31T23:59:59.750Z"}"#);
    let encoded = encode(&plan, &[Owned::Integer(0)]).unwrap();
    assert_eq!(encoded, [0x8a, 0x01, 0x00]);
}

#[test]
fn a_misfit_names_column_field_and_storage_and_leaves_nothing_behind() {
    let plan = plan(&["a_string", "an_int32"], &[], &[]);
    let mut out = BytesMut::from(&b"earlier"[..]);
    let row = Made(vec![Owned::Text("CANARY".into()), Owned::Text("CANARY".into())]);
    let error = plan.encode(&row, &mut out).unwrap_err();
    assert_eq!(out, &b"earlier"[..]);
    assert_eq!(
        error.to_string(),
        "column `an_int32` (stored as text) does not fit `an_int32`: a value stored so cannot be mapped"
    );
    assert!(!format!("{error:?}").contains("CANARY"));
}

#[tokio::test]
async fn a_legacy_table_becomes_the_contracts_messages() {
    let legacy = Legacy::of(
        "CREATE TABLE pat (nhs_no CHAR(10) PRIMARY KEY, pat_snm TEXT, pat_fnm TEXT, dob TEXT, sex_cd CHAR(2), bal DECIMAL(9,2), vst INTEGER);
         INSERT INTO pat VALUES ('9990000018', 'Ashe  ', 'Ida', '29/02/1960', 'F ', 12.5, 3);
         INSERT INTO pat VALUES ('9990000026', 'Birch', NULL, NULL, '?', NULL, NULL);",
    )
    .await;
    let bindings = legacy
        .prepare(
            "All",
            r#"query = "SELECT nhs_no AS nhs_number, pat_snm, pat_fnm AS \"name.given\", dob AS born, sex_cd AS sex, vst AS visits FROM pat ORDER BY 1"
               columns = { pat_snm = "name.family" }
               formats = { pat_snm = "trim", born = "%d/%m/%Y" }
               values = { sex = { M = "MALE", F = "FEMALE", "*" = "UNSPECIFIED" } }"#,
        )
        .await
        .unwrap();
    assert_eq!(
        told(&bindings, "{}").await.unwrap(),
        [
            r#"{"nhs_number":"9990000018","name":{"family":"Ashe","given":"Ida"},"born":"1960-02-29","sex":"SEX_FEMALE","visits":3}"#,
            r#"{"nhs_number":"9990000026","name":{"family":"Birch"}}"#,
        ]
    );
}

#[tokio::test]
async fn every_storage_class_of_sqlite_is_read() {
    let legacy = Legacy::of(
        "CREATE TABLE t (i INTEGER, r REAL, x TEXT, b BLOB, d DATE, n NUMERIC, h TEXT, y TEXT);
         INSERT INTO t VALUES (-9223372036854775808, 0.1, 'gr\u{fc}n', x'00ff', '2024-02-29', 12.3, 'CAFE', 'J');",
    )
    .await;
    let bindings = legacy
        .prepare(
            "Everything",
            r#"query = "SELECT i AS an_int64, r AS a_double, x AS a_string, b AS some_bytes, d AS \"on\", n AS an_int32, y AS a_bool, d || ' 13:05' AS at, r AS maybe_string, h AS left FROM t"
               formats = { an_int32 = "decimal(2)", a_bool = "J/N", maybe_string = "decimal(3)" }
               timezone = "Europe/London""#,
        )
        .await
        .unwrap();
    assert_eq!(
        told(&bindings, "{}").await.unwrap(),
        [concat!(
            r#"{"a_double":0.1,"an_int32":1230,"an_int64":-9223372036854775808,"a_bool":true,"a_string":"grün","some_bytes":"AP8=","#,
            r#""at":"2024-02-29T13:05:00Z","on":{"year":2024,"month":2,"day":29},"maybe_string":"0.100","left":"CAFE"}"#
        )]
    );
}
