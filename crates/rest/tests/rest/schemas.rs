//! What gateways take and what the document's schemas take, asked of an implementation of JSON Schema that is not ours.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contract::{Contracts, Format, Misfit};
use drawbridge_rest::{Found, Routes};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, SerializeOptions, Value as Held,
};
use serde_json::{Map, Value, json};

use super::{contracts, document};

const OWN: &str = "/lookups.v1.Lookups/Find";

/// Fields of which no keyword says all that is asked: a check digit, a pattern of another language, numbers that are texts in
/// JSON, bytes in base64, and zero with a sign.
const LOOSE: [&str; 8] = ["nhs_number", "moment", "email", "scanned", "seal", "total", "ratio", "numbered.key"];

/// Requests that keep all rules, and ones with a few changes.
const REQUESTS: u64 = 400;

#[test]
fn schemas_take_all_that_gateways_take_and_refuse_what_they_can_tell() {
    let contracts = contracts::lookups();
    let routes = Routes::of(&contracts).unwrap();
    let method = contracts.method(OWN).unwrap();
    let sampler = method.request_sampler();
    assert!(sampler.gaps().is_empty(), "{:?}", sampler.gaps());
    let mut cases = Vec::new();
    for seed in 0..REQUESTS {
        let mut dice = Dice(seed);
        let mut message = sampler.sample(seed).message;
        for _ in 0..seed % 4 {
            change(&mut message, &mut dice, 2);
        }
        let options = SerializeOptions::new().skip_default_fields(seed % 8 < 4);
        let json = message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
        let asked = Asked { contracts: &contracts, routes: &routes, json: json.as_object().unwrap().clone() };
        cases.push(asked.whole());
        cases.extend(asked.by_path_and_body());
        cases.extend(asked.by_path_and_query());
        cases.extend(asked.by_path_query_and_body().into_iter().flatten());
    }
    let document = document::of(&contracts, &["lookups.v1.Lookups"]);
    let counts = judged(&json!({"document": document, "cases": cases})).unwrap_or_else(|told| panic!("{told}"));
    let of = |place: &str, verdict: &str| {
        counts.get(&format!("{place} {verdict}")).and_then(Value::as_u64).unwrap_or_default()
    };
    let own = pointer(OWN, "post", BODY);
    assert!(of(&own, "accepted") >= 100 && of(&own, "strict") >= 100, "{counts:?}");
    for (path, verb, more) in [
        ("/v1/lookups/{code}", "put", BODY),
        ("/v1/lookups/{code}", "get", ""),
        ("/v1/lookups/{place.uprn}/{code}", "post", ""),
        ("/v1/lookups/{place.uprn}/{code}", "post", BODY),
    ] {
        assert!(of(&pointer(path, verb, more), "accepted") >= 50, "{path} {verb} {counts:?}");
    }
}

#[test]
fn patterns_of_formats_take_what_the_formats_take() {
    let letters: Vec<char> = ('A'..='Z').collect();
    let signs: Vec<char> = letters.iter().copied().chain('0'..='9').chain(" aé-".chars()).collect();
    let pairs = letters.iter().flat_map(|first| letters.iter().map(move |second| format!("{first}{second}123456C")));
    let insurance = pairs.chain(changed(&["AB123456C"], &signs)).collect::<Vec<_>>();
    let postcode = ["A1 1AA", "A11 1AA", "A1A 1AA", "AA1 1AA", "AA11 1AA", "AA1A 1AA", "GIR 0AA"];
    let uprn = changed(&["1", "100023336956", "1000233369561", "000000000001"], &signs);
    let nhs = changed(&["9434765919", "94347659190", "943476591"], &signs);
    let mut cases = Vec::new();
    for (format, at, texts) in [
        (Format::NationalInsuranceNumber, "lookups.v1.Lookup/properties/insurance", insurance),
        (Format::Postcode, "lookups.v1.Place-Request/properties/postcode", changed(&postcode, &signs)),
        (Format::Uprn, "lookups.v1.Place-Request/properties/uprn", uprn),
        (Format::NhsNumber, "lookups.v1.Lookup/properties/nhsNumber", nhs),
    ] {
        for text in texts {
            let accepted = format.accepts(&text);
            // A check digit is nothing that a pattern knows.
            let digits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
            let strict = !(accepted || format == Format::NhsNumber && digits);
            let place = format!("/components/schemas/{at}");
            cases.push(json!({"place": place, "value": text, "accepted": accepted, "strict": strict, "told": text}));
        }
    }
    let document = document::of(&contracts::lookups(), &["lookups.v1.Lookups"]);
    let counts = judged(&json!({"document": document, "cases": cases})).unwrap_or_else(|told| panic!("{told}"));
    let counted = |verdict: &str| counts.keys().filter(|name| name.ends_with(verdict)).count();
    assert_eq!((counted(" accepted"), counted(" strict")), (4, 4), "{counts:?}");
}

/// Each text, and it with each other sign in each place, one by one.
fn changed(texts: &[&str], signs: &[char]) -> Vec<String> {
    let mut all: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    for text in texts {
        for (at, _) in text.char_indices() {
            all.extend(signs.iter().map(|sign| format!("{}{sign}{}", &text[..at], &text[at + 1..])));
        }
    }
    all
}

#[test]
fn the_judge_says_where_a_schema_takes_too_little_or_too_much() {
    let document = document::of(&contracts::lookups(), &["lookups.v1.Lookups"]);
    let place = pointer(OWN, "post", BODY);
    let case = json!({"place": place, "value": {}, "accepted": true, "strict": false});
    let told = judged(&json!({"document": document, "cases": [case]})).unwrap_err();
    assert!(told.contains("the gateway takes what") && told.contains("'code' is a required property"), "{told}");
    let lax = json!({"openapi": "3.1.0", "info": {"title": "", "version": ""}, "components": {"schemas": {"A": {}}}});
    let case =
        json!({"place": "/components/schemas/A", "value": {}, "accepted": false, "strict": true, "told": "REQUIRED"});
    assert!(judged(&json!({"document": lax, "cases": [case]})).unwrap_err().contains("takes what the gateway refuses"));
}

const BODY: &str = "/requestBody/content/application~1json/schema";

fn pointer(path: &str, verb: &str, more: &str) -> String {
    format!("/paths/{}/{verb}{more}", path.replace('~', "~0").replace('/', "~1"))
}

/// One request, in protobuf's JSON.
struct Asked<'a> {
    contracts: &'a Contracts,
    routes: &'a Routes,
    json: Map<String, Value>,
}

impl Asked<'_> {
    /// All of it in the body.
    fn whole(&self) -> Value {
        let (accepted, told) = self.verdict("POST", OWN, None, &Value::Object(self.json.clone()));
        let loose = |told: &String| {
            LOOSE.iter().any(|field| told.contains(&format!("{field}`")) || told.contains(&format!("{field}[")))
        };
        let strict = told.iter().any(|told| !loose(told));
        json!({"place": pointer(OWN, "post", BODY), "value": self.json, "accepted": accepted, "strict": strict, "told": told})
    }

    /// The code in the path, the rest in the body.
    fn by_path_and_body(&self) -> Option<Value> {
        let mut body = self.json.clone();
        let path = format!("/v1/lookups/{}", segment(&body.remove("code")?)?);
        let (accepted, _) = self.verdict("PUT", &path, None, &Value::Object(body.clone()));
        Some(
            json!({"place": pointer("/v1/lookups/{code}", "put", BODY), "value": body, "accepted": accepted, "strict": false}),
        )
    }

    /// The code in the path, the rest in the query as far as it has a form there.
    fn by_path_and_query(&self) -> Option<Value> {
        let mut parameters = Map::new();
        flatten("", &self.json, &mut parameters);
        let path = format!("/v1/lookups/{}", segment(&self.json.get("code").cloned()?)?);
        let query: Map<String, Value> = parameters.clone().into_iter().filter(|(name, _)| name != "code").collect();
        let (accepted, _) = self.verdict("GET", &path, Some(&query_of(&query)), &Value::Null);
        Some(
            json!({"operation": pointer("/v1/lookups/{code}", "get", ""), "parameters": parameters, "accepted": accepted, "strict": false}),
        )
    }

    /// Code and one field of the place in the path, the rest of the place in the body, and the query.
    fn by_path_query_and_body(&self) -> Option<[Value; 2]> {
        let mut place = self.json.get("place")?.as_object()?.clone();
        let uprn = place.remove("uprn")?;
        let path = format!("/v1/lookups/{}/{}", segment(&uprn)?, segment(self.json.get("code")?)?);
        let mut parameters = Map::new();
        let rest =
            self.json.iter().filter(|(name, _)| *name != "place").map(|(name, value)| (name.clone(), value.clone()));
        flatten("", &rest.collect(), &mut parameters);
        let query: Map<String, Value> = parameters.clone().into_iter().filter(|(name, _)| name != "code").collect();
        let (accepted, _) = self.verdict("POST", &path, Some(&query_of(&query)), &Value::Object(place.clone()));
        parameters.insert("place.uprn".to_owned(), uprn);
        let at = "/v1/lookups/{place.uprn}/{code}";
        Some([
            json!({"place": pointer(at, "post", BODY), "value": place, "accepted": accepted, "strict": false}),
            json!({"operation": pointer(at, "post", ""), "parameters": parameters, "accepted": accepted, "strict": false}),
        ])
    }

    /// Whether a gateway takes it, and else each rule that it breaks, where all of them are told.
    fn verdict(&self, verb: &str, path: &str, query: Option<&str>, body: &Value) -> (bool, Vec<String>) {
        let Found::Route(matched) = self.routes.find(verb, path) else { panic!("{verb} {path}") };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let bytes = matched.request(query, body.as_bytes()).unwrap_or_else(|unfit| panic!("{body}: {unfit:?}"));
        match self.contracts.method(OWN).unwrap().check_request(&bytes) {
            Ok(()) => (true, Vec::new()),
            Err(Misfit::Values(broken)) => (false, broken.listed().iter().map(ToString::to_string).collect()),
            Err(Misfit::Form(malformed)) => panic!("{malformed}"),
        }
    }
}

/// Writes a value as the segment of a path; there is none that is empty.
fn segment(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(encoded(text))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

/// What has a form in a query, by its names there.
fn flatten(within: &str, object: &Map<String, Value>, parameters: &mut Map<String, Value>) {
    for (name, value) in object {
        // Maps have none, nor have lists of messages, nor messages that lie deep.
        if within.matches('.').count() > 1 || ["marks", "numbered", "chosen", "places"].contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::Object(inner) => flatten(&format!("{within}{name}."), inner, parameters),
            Value::Array(elements) if elements.is_empty() => {}
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                parameters.insert(format!("{within}{name}"), value.clone());
            }
        }
    }
}

fn query_of(parameters: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pair = |name: &str, value: &Value| format!("{name}={}", encoded(&text(value)));
    let pairs = parameters.iter().flat_map(|(name, value)| match value {
        Value::Array(elements) => elements.iter().map(|element| pair(name, element)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![pair(name, value)]
        }
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Asks `schemas.py`; it says how many cases of each kind there were, or what is wrong.
fn judged(given: &Value) -> Result<Map<String, Value>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/schemas.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}; run `cargo xtask test`", python().display()));
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The interpreter that `cargo xtask test` has made ready.
fn python() -> PathBuf {
    let made = || {
        let program = std::env::current_exe().unwrap();
        let target =
            program.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target")).unwrap();
        target.join("python/bin/python")
    };
    std::env::var_os("DRAWBRIDGE_TEST_PYTHON").map_or_else(made, PathBuf::from)
}

/// Changes one field, here or in a message within.
fn change(message: &mut DynamicMessage, dice: &mut Dice, depth: u32) {
    let descriptor = prost_reflect::ReflectMessage::descriptor(message);
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let Some(field) = dice.pick(&fields) else { return };
    if dice.below(4) == 0 || known(&field) {
        return message.clear_field(&field);
    }
    let value = value(&field, dice, depth);
    message.set_field(&field, value);
}

/// Returns whether the field holds a message whose JSON is its own.
fn known(field: &FieldDescriptor) -> bool {
    !field.is_map() && field.kind().as_message().is_some_and(|message| message.full_name().starts_with("google."))
}

fn value(field: &FieldDescriptor, dice: &mut Dice, depth: u32) -> Held {
    let count = dice.below(4);
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!() };
        let inner = entry.map_entry_value_field().kind();
        let key_kind = entry.map_entry_key_field().kind();
        let key = |dice: &mut Dice| {
            let key = single(&key_kind, dice, depth);
            let text = key.as_str().map(|text| MapKey::String(text.to_owned()));
            text.or(key.as_i32().map(MapKey::I32)).or(key.as_u64().map(MapKey::U64)).unwrap()
        };
        return Held::Map((0..count).map(|_| (key(dice), single(&inner, dice, depth))).collect());
    }
    if field.is_list() {
        return Held::List((0..count).map(|_| single(&field.kind(), dice, depth)).collect());
    }
    single(&field.kind(), dice, depth)
}

/// Values around what rules are about.
fn single(kind: &Kind, dice: &mut Dice, depth: u32) -> Held {
    const TEXTS: [&str; 24] = [
        "",
        "x",
        "AB",
        "AB1234",
        "ab1234",
        "AB1234 ",
        "é",
        "日本語",
        "abcdef",
        "red",
        "blue",
        "left",
        "SW1A 2AA",
        "SW1A 2Ax",
        "SW1A2AA",
        "9434765919",
        "9434765918",
        "100023336956",
        "QQ123456C",
        "AB123456C",
        "2026-02-29",
        "2026-03-01",
        "a@b.example",
        "7f3a0b6e-0d5c-4c1e-9a57-2f6f0a3c1b2d",
    ];
    const NUMBERS: [i32; 12] = [0, 1, 2, 3, 5, 7, 8, 9, 10, -1, -5, -6];
    const FRACTIONS: [f64; 12] =
        [0.0, -0.0, 0.1, -0.1, 0.100_001, -0.100_001, -1.0, -1.5, 1e9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let number = dice.pick(&NUMBERS).unwrap();
    let natural = number.unsigned_abs();
    match kind {
        Kind::Double => Held::F64(dice.pick(&FRACTIONS).unwrap()),
        #[expect(clippy::cast_possible_truncation, reason = "it is rounded")]
        Kind::Float => Held::F32(dice.pick(&FRACTIONS).unwrap() as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Held::I32(number),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Held::I64(number.into()),
        Kind::Uint32 | Kind::Fixed32 => Held::U32(natural),
        Kind::Uint64 | Kind::Fixed64 => Held::U64(natural.into()),
        Kind::Bool => Held::Bool(number > 3),
        Kind::String => Held::String(dice.pick(&TEXTS).unwrap().to_owned()),
        Kind::Bytes => Held::Bytes(vec![7; usize::try_from(dice.below(7)).unwrap()].into()),
        Kind::Enum(of) => Held::EnumNumber(dice.pick(&of.values().collect::<Vec<_>>()).unwrap().number()),
        Kind::Message(inner) => Held::Message(within(inner, dice, depth)),
    }
}

fn within(descriptor: &MessageDescriptor, dice: &mut Dice, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| !known(field)) {
        let nested = field.kind().as_message().is_some();
        if dice.below(3) > 0 && !(nested && depth == 0) {
            let value = value(&field, dice, depth.saturating_sub(1));
            message.set_field(&field, value);
        }
    }
    message
}

/// A small generator of numbers (`SplitMix64`), so that a seed says everything about a request.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> Option<T> {
        let at = self.below(u64::try_from(among.len()).ok().filter(|count| *count > 0)?);
        among.get(usize::try_from(at).ok()?).cloned()
    }
}
