use insta::assert_snapshot;

use super::*;
use crate::testing::{contracts, newer_contracts, parse, text, told};

fn problems(text: &str) -> String {
    told(&check_contracts(parse(text).agreement(), &contracts()))
}

#[test]
fn an_agreement_that_fits_has_no_problem() {
    assert_eq!(problems(&text()), "");
}

#[test]
fn every_problem_with_contracts_has_its_place() {
    let once = |from: &str, to: &str| {
        assert!(text().contains(from), "{from}");
        text().replacen(from, to, 1)
    };
    let housing = contracts().service("housing.v1.Tenancies").unwrap().digest.to_string();
    let patients = contracts().service("health.v1.Patients").unwrap().digest.to_string();
    let tenancies = |fields: &str| {
        let (head, _) = text().split_once("[[grant]]").map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
        let grant = format!(
            "[[grant]]\nservice = \"housing.v1.Tenancies\"\ndigest = \"{housing}\"\nmethods = [\"Find\"]\nsystems = [\"finance\"]\n\
             purposes = [\"audit\", \"safeguarding\"]\nfields = {fields}\n"
        );
        format!("{head}{grant}")
    };
    let cases = [
        ("unknown service", once("health.v1.Patients", "health.v1.Patient")),
        ("unknown service without a neighbour", once("health.v1.Patients", "police.v1.Crimes")),
        ("digest of another contract", once(&patients, &housing)),
        ("unknown method", once("methods = [\"Find\", \"List\"]", "methods = [\"Find\", \"Lsit\"]")),
        ("unknown method without a neighbour", once("methods = [\"Find\", \"List\"]", "methods = [\"Deregister\"]")),
        (
            "several unknown fields",
            once("\"id\", \"name.family\"", "\"idd\", \"name.famly\", \"id.number\", \"gp\", \"name.\""),
        ),
        ("a kind that the contract denies", once("require =", "kind = \"command\"\nrequire =")),
        (
            "no kind at all",
            once("methods = [\"Find\"]", "methods = [\"Register\"]")
                .replace("\"name.family\", \"addresses.postcode\"", ""),
        ),
        (
            "a subscription that answers once",
            once("methods = [\"Find\"]", "methods = [\"Register\"]\nkind = \"subscription\"")
                .replace(", \"name.family\", \"addresses.postcode\"", ""),
        ),
        ("no field released", tenancies("[]")),
        ("no field of the classification", tenancies("{ classification = [\"public\"] }")),
    ];
    let told: Vec<String> = cases.iter().map(|(name, text)| format!("## {name}\n{}\n", problems(text))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn a_grant_with_a_problem_grants_nothing_and_leaves_the_others() {
    let text = text().replacen("methods = [\"Find\", \"List\"]", "methods = [\"Find\", \"Lsit\"]", 1);
    let agreement = Arc::clone(parse(&text).agreement());
    let mut problems = Vec::new();
    let compiled = agreement_plans(&agreement, &contracts(), &mut Projections::default(), &mut problems).compiled;
    assert_eq!(problems.len(), 1);
    let paths: Vec<&str> = compiled.iter().map(|compiled| compiled.path.as_str()).collect();
    assert_eq!(paths, ["/health.v1.Patients/Find"]);
}

#[test]
fn an_answer_without_fields_needs_none() {
    let text = text().replacen("methods = [\"Find\"]", "methods = [\"Ping\"]", 1).replacen(
        "[\"id\", \"name.family\", \"addresses.postcode\"]",
        "[]",
        1,
    );
    assert_eq!(problems(&text), "");
}

#[test]
fn a_command_of_unknown_kind_is_what_the_agreement_says() {
    let text = text().replacen("methods = [\"Find\"]", "methods = [\"Register\"]\nkind = \"command\"", 1).replacen(
        "[\"id\", \"name.family\", \"addresses.postcode\"]",
        "\"all\"",
        1,
    );
    let agreement = Arc::clone(parse(&text).agreement());
    let compiled = agreement_plans(&agreement, &contracts(), &mut Projections::default(), &mut Vec::new()).compiled;
    let Some(Outcome::Plan(plan)) = compiled.first().map(|compiled| compiled.outcome.clone()) else { panic!("a plan") };
    assert_eq!(plan.kind, Kind::Command);
}

#[test]
fn projections_are_made_once_and_forgotten_when_unused() {
    let agreement = Arc::clone(parse(&text()).agreement());
    let mut projections = Projections::default();
    let plan = |projections: &mut Projections, contracts: &Contracts| {
        projections.begin();
        let compiled = agreement_plans(&agreement, contracts, projections, &mut Vec::new()).compiled;
        projections.end();
        compiled.into_iter().find_map(|compiled| match compiled.outcome {
            Outcome::Plan(plan) => Some(plan),
            Outcome::Mismatch { .. } => None,
        })
    };
    let first = plan(&mut projections, &contracts()).unwrap();
    let second = plan(&mut projections, &contracts()).unwrap();
    assert!(Arc::ptr_eq(&first.projection, &second.projection));
    assert!(plan(&mut projections, &newer_contracts()).is_none());
    assert!(projections.made.is_empty());
}
