use insta::assert_snapshot;

use super::*;
use crate::testing::{contracts, told};

fn text() -> String {
    crate::testing::text()
}

fn refusal(text: &str) -> String {
    let file = TomlFile::parse("agreement.toml", text).unwrap();
    told(&Agreement::parse(&file).unwrap_err())
}

fn first_grant_with(line: &str, replacement: &str) -> String {
    assert!(text().contains(line), "{line}");
    text().replacen(line, replacement, 1)
}

#[test]
fn an_agreement_is_read_whole() {
    let file = TomlFile::parse("agreement.toml", text()).unwrap();
    let agreement = Agreement::parse(&file).unwrap();
    assert_eq!(agreement.id(), "council-trust-2026-1");
    assert_eq!(agreement.consumer().as_str(), "council.example");
    assert_eq!(agreement.provider().as_str(), "trust.example");
    assert_eq!(agreement.retention().to_string(), "6 years");
    assert_eq!(agreement.review_on().to_string(), "2027-08-01");
    assert_eq!(agreement.purposes()["safeguarding"].legal_basis.as_ref(), "Children Act 2004, section 11");
    let [first, second] = agreement.grants() else { panic!("two grants") };
    assert_eq!(
        first.systems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["council.example/social-care", "council.example/youth-justice"]
    );
    assert!(first.required.actor && first.required.case && !first.required.justification);
    assert_eq!(second.limits.to_string(), "5 calls a second, 1000 rows a day, 100 rows a call");
    assert_eq!(first.limits.to_string(), "none");
    assert_eq!(first.digest, contracts().service("health.v1.Patients").unwrap().digest);
}

#[test]
fn a_character_that_is_not_seen_is_found_though_it_is_written_as_an_escape() {
    for (escape, code) in [("\\u202E", "U+202E"), ("\\u200b", "U+200B")] {
        let text = text().replace("Children Act 2004, section 11", &format!("Children Act{escape} 2004"));
        let said = refusal(&text);
        let expected = format!("this holds the character {code}, which is not seen or makes others look otherwise");
        assert!(said.contains(&expected) && said.contains("legal_basis"), "{said}");
    }
}

#[test]
fn the_digest_is_that_of_the_signed_text() {
    let with_newline = Agreement::parse(&TomlFile::parse("a.toml", text()).unwrap()).unwrap();
    let without = Agreement::parse(&TomlFile::parse("a.toml", text().trim_end()).unwrap()).unwrap();
    assert_eq!(with_newline.digest(), without.digest());
    assert_eq!(with_newline.text(), text());
    let changed = text().replace("6 years", "7 years");
    assert_ne!(Agreement::parse(&TomlFile::parse("a.toml", changed).unwrap()).unwrap().digest(), with_newline.digest());
}

#[test]
fn of_thousands_of_problems_on_one_line_the_first_are_told() {
    let text = first_grant_with("methods = [\"Find\"]", &format!("methods = [{}]", "\"Find\", ".repeat(20_000)));
    let problems = Agreement::parse(&TomlFile::parse("agreement.toml", text).unwrap()).unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[0].what, "more is wrong than these 100 things");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = text()
        .replace("council-trust-2026-1", "Council/Trust")
        .replace("\"trust.example\"", "\"trust\"")
        .replace("2027-11-01T00:00:00Z", "2027-11-01")
        .replace("\"6 years\"", "\"six years\"")
        .replace("[purpose.audit]", "[purpose.\"Annual Audit\"]")
        .replace("methods = [\"Find\"]", "methods = [\"health.v1.Patients/Find\"]")
        .replace("\"social-care\"", "\"police.example/crime\"")
        .replace("require = [\"actor\", \"case\"]", "require = [\"acter\"]\nkind = \"qeury\"")
        .replace("[\"official\"]", "[\"offical\"]")
        .replace("calls_per_second = 5", "calls_per_second = 0");
    assert_snapshot!(refusal(&text));
}

fn digest() -> String {
    contracts().service("health.v1.Patients").unwrap().digest.to_string()
}

fn refusals(cases: &[(&str, String)]) -> String {
    let told = cases.iter().map(|(name, text)| format!("## {name}\n{}\n", refusal(text)));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn rules_of_the_whole_have_their_own_words() {
    assert_snapshot!(refusals(&[
        ("no format", text().replace("format = \"drawbridge.agreement/v1\"\n", ""),),
        ("newer format", text().replace("agreement/v1", "agreement/v2"),),
        ("other format", text().replace("drawbridge.agreement/v1", "drawbridge.end/v1"),),
        ("hidden characters", text().replace("# ", "").replace("safeguarding]", "safeguarding] # \u{202e}"),),
        ("unknown key", first_grant_with("fields = [", "field = [")),
        ("unknown limit", text().replace("rows_per_call", "row_per_call"),),
        ("same member", text().replace("trust.example", "council.example"),),
        ("upside down", text().replace("2027-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),),
        ("local time", text().replace("2026-11-01T00:00:00Z", "2026-11-01T00:00:00"),),
        ("review too late", text().replace("2027-08-01", "2027-11-02"),),
        ("review too early", text().replace("2027-08-01", "2026-10-31"),),
        ("review with a time", text().replace("2027-08-01", "2027-08-01T00:00:00Z"),),
    ]));
}

#[test]
fn rules_of_purposes_and_methods_have_their_own_words() {
    assert_snapshot!(refusals(&[
        ("empty legal basis", text().replace("\"Children Act 2004, section 11\"", "\" \""),),
        ("legal basis of two lines", text().replace("\"Children Act 2004, section 11\"", "\"Children\\nAct\""),),
        ("long description", text().replace("Finding out", &"x".repeat(500)),),
        (
            "unused purpose",
            text().replace("purposes = [\"audit\", \"safeguarding\"]", "purposes = [\"safeguarding\"]",),
        ),
        ("undefined purpose", first_grant_with("[\"safeguarding\"]", "[\"safegarding\"]"),),
        (
            "undefined purpose without a neighbour",
            first_grant_with("[\"safeguarding\"]", "[\"safeguarding\", \"housing\"]"),
        ),
        ("no grant", text().split("[[grant]]").next().unwrap().to_owned(),),
        ("no digest", first_grant_with(&digest(), "sha256:abc")),
        ("no service name", first_grant_with("health.v1.Patients", "health/Patients"),),
        ("no method", first_grant_with("[\"Find\"]", "[]")),
        ("method twice", first_grant_with("[\"Find\"]", "[\"Find\", \"Find\"]"),),
        ("method of no form", first_grant_with("[\"Find\"]", "[\"find it\"]"),),
    ]));
}

#[test]
fn rules_of_systems_fields_and_limits_have_their_own_words() {
    assert_snapshot!(refusals(&[
        ("no system", first_grant_with("[\"social-care\", \"youth-justice\"]", "[]"),),
        ("system with its member", first_grant_with("\"social-care\"", "\"council.example/social-care\""),),
        ("system of no form", first_grant_with("\"social-care\"", "\"Social Care\""),),
        ("field twice", first_grant_with("\"id\", ", "\"id\", \"id\", "),),
        ("fields of no form", first_grant_with("[\"id\", \"name.family\", \"addresses.postcode\"]", "\"everything\"",),),
        ("fields of the wrong type", first_grant_with("[\"id\", \"name.family\", \"addresses.postcode\"]", "3"),),
        ("fields by an unknown key", first_grant_with("{ classification =", "{ class ="),),
        ("no classification", first_grant_with("[\"official\"]", "[]"),),
        (
            "reserved metadata",
            first_grant_with("require =", "application_metadata = [\"x-request-id\", \"cookie\", \"X-Id\"]\nrequire =",),
        ),
        ("rows of a call above those of a day", text().replace("rows_per_call = 100", "rows_per_call = 5000"),),
        ("negative limit", text().replace("rows_per_call = 100", "rows_per_call = -1"),),
        ("granted twice", text().replace("systems = [\"finance\"]", "systems = [\"finance\", \"social-care\"]",),),
    ]));
}

#[test]
fn a_text_that_is_too_large_is_not_read() {
    let text = format!("{}# {}\n", text(), "x".repeat(MAX_AGREEMENT_BYTES));
    assert_snapshot!(refusal(&text));
}

#[test]
fn too_many_of_anything_is_refused() {
    let grants =
        "\n[[grant]]\nservice = \"a.B\"\ndigest = \"x\"\nmethods = []\nsystems = []\npurposes = []\nfields = []\n"
            .repeat(257);
    assert!(refusal(&format!("{}{grants}", text())).contains("259 grants"));
    let purposes: String =
        (0..65).map(|n| format!("[purpose.p{n}]\nlegal_basis = \"Act\"\n")).collect::<Vec<_>>().concat();
    assert!(refusal(&text().replacen("[[grant]]", &format!("{purposes}[[grant]]"), 1)).contains("67 purposes"));
    let fields: Vec<String> = (0..4097).map(|n| format!("\"f{n}\"")).collect();
    assert!(refusal(&first_grant_with("\"id\", ", &format!("{}, ", fields.join(", ")))).contains("4099 entries"));
}

proptest::proptest! {
    #[test]
    fn a_damaged_agreement_is_refused_or_read_without_panic(at in 0_usize..2000, length in 0_usize..40, with in "[a-z0-9\"=\\[\\]{}. \n]{0,10}") {
        let mut text = text();
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + length).min(text.len()));
        text.replace_range(start..end, &with);
        if let Ok(file) = TomlFile::parse("a.toml", text) {
            match Agreement::parse(&file) {
                Ok(agreement) => {
                    proptest::prop_assert!(agreement.valid_from() < agreement.valid_until());
                    proptest::prop_assert!(agreement.consumer() != agreement.provider());
                    for grant in agreement.grants() {
                        proptest::prop_assert!(!grant.methods.is_empty() && !grant.systems.is_empty() && !grant.purposes.is_empty());
                        proptest::prop_assert!(grant.purposes.iter().all(|purpose| agreement.purposes().contains_key(purpose)));
                    }
                }
                Err(problems) => proptest::prop_assert!(!problems.is_empty()),
            }
        }
    }
}

#[test]
fn the_page_about_agreements_shows_one() {
    let page = include_str!("../../AGREEMENTS.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [agreement, end] = blocks.as_slice() else { panic!("two examples") };
    Agreement::parse(&TomlFile::parse("page.toml", *agreement).unwrap()).unwrap();
    let note = include_str!("../../tests/golden/end.note");
    assert!(note.starts_with(&format!("{end}\n")));
}
