use insta::assert_snapshot;

use super::*;
use crate::check_contracts;
use crate::testing::{at, contracts, member, parse, told};

fn template(methods: &[&str]) -> Template {
    let contracts = contracts();
    Template {
        id: None,
        consumer: member("council.example"),
        provider: member("trust.example"),
        methods: methods.iter().map(|path| Arc::clone(contracts.method(path).unwrap())).collect(),
        systems: vec!["social-care".to_owned()],
        purposes: vec!["safeguarding".to_owned()],
    }
}

#[test]
fn a_template_says_what_the_contract_says() {
    let methods = [
        "/health.v1.Patients/Find",
        "/health.v1.Patients/List",
        "/health.v1.Patients/Register",
        "/health.v1.Patients/Ping",
    ];
    assert_snapshot!(template(&methods).write(at("2026-12-15T12:00:00Z")).unwrap());
}

#[test]
fn a_template_is_an_agreement_once_it_is_filled_in() {
    let text = template(&["/health.v1.Patients/Find"]).write(at("2026-02-01T00:00:00Z")).unwrap();
    let refused = crate::AgreementFile::parse("new.toml", &text).unwrap_err();
    assert_eq!(refused.len(), 1, "{}", told(&refused));
    assert_eq!(refused[0].key.as_deref(), Some("purpose.safeguarding.legal_basis"));
    let file = parse(&text.replace("legal_basis = \"\"", "legal_basis = \"Children Act 2004\""));
    assert_eq!(check_contracts(file.agreement(), &contracts()), []);
    assert_eq!(file.agreement().valid_from(), at("2026-03-01T00:00:00Z"));
    assert_eq!(file.agreement().id(), "council-trust-2026-1");
}

#[test]
fn what_is_not_given_has_to_be_filled_in() {
    let template = Template { systems: Vec::new(), purposes: Vec::new(), ..template(&["/health.v1.Patients/Find"]) };
    let text = template.write(at("2026-02-01T00:00:00Z")).unwrap();
    let refused = told(&crate::AgreementFile::parse("new.toml", &text).unwrap_err());
    for wanted in ["grant[0].systems[0]", "purpose.FILL-IN)", "purpose.FILL-IN.legal_basis"] {
        assert!(refused.contains(wanted), "{wanted}\n{refused}");
    }
    // The comments that start fields and limits are well-formed once they are taken away.
    let all = text
        .replace("# \"", "  \"")
        .replace("# limits", "limits")
        .replace("FILL-IN", "care")
        .replace("legal_basis = \"\"", "legal_basis = \"Act\"");
    let file = parse(&all.replace("kind = \"\"", "kind = \"query\""));
    assert_eq!(check_contracts(file.agreement(), &contracts()), []);
}

#[test]
fn a_template_needs_a_method() {
    assert_eq!(template(&[]).write(at("2026-02-01T00:00:00Z")), Err(TemplateError::NoMethod));
}
