//! The compiler's own errors, as problems.

use std::path::Path;

use miette::Diagnostic;
use problem::Problem;

/// Returns an error and those that came with it, each where it is.
pub(super) fn problems(error: &dyn Diagnostic, label: &Path, text: Option<&str>) -> Vec<Problem> {
    let mut found = vec![problem(error, label, text)];
    for related in error.related().into_iter().flatten() {
        found.push(problem(related, label, text));
    }
    found
}

fn problem(error: &dyn Diagnostic, label: &Path, text: Option<&str>) -> Problem {
    let mut problem = Problem::new(label, ticks(&error.to_string()));
    if let Some(help) = error.help() {
        problem = problem.help(ticks(&help.to_string()));
    } else if let Some(help) = cure(&problem.what) {
        problem = problem.help(help);
    }
    if let Some(source) = error.diagnostic_source() {
        problem = problem.cause(ticks(&source.to_string()));
    }
    // The last label is the place at fault; those before it are what it collides with.
    let span = error.labels().and_then(Iterator::last);
    match (span, text) {
        (Some(span), Some(text)) => problem.within(text, &(span.offset()..span.offset().saturating_add(span.len()))),
        _ => problem,
    }
}

/// Writes the values that a text puts in single quotes in backticks.
fn ticks(text: &str) -> String {
    let mut ticked = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        // An apostrophe stands between two letters.
        let apostrophe = before.is_alphanumeric() && after.is_alphanumeric();
        ticked.push(if letter == '\'' && !apostrophe { '`' } else { letter });
        before = letter;
    }
    ticked.trim_end_matches('.').to_owned()
}

/// Returns how to mend what the compiler gives no advice for.
fn cure(what: &str) -> Option<&'static str> {
    let known = [
        ("`drawbridge.options.v1.Kind`", "use `KIND_QUERY`, `KIND_COMMAND` or `KIND_SUBSCRIPTION`"),
        (
            "`drawbridge.options.v1.Operation`",
            "use one of `OPERATION_COLLECTION`, `OPERATION_ALTERATION`, `OPERATION_CONSULTATION`, `OPERATION_DISCLOSURE`, \
             `OPERATION_COMBINATION`, `OPERATION_ERASURE`",
        ),
        (
            "`drawbridge.options.v1.Classification`",
            "use one of `CLASSIFICATION_PUBLIC`, `CLASSIFICATION_OFFICIAL`, `CLASSIFICATION_PERSONAL`, \
             `CLASSIFICATION_SPECIAL_CATEGORY`",
        ),
        (
            "`drawbridge.options.v1.Format`",
            "use one of `FORMAT_NHS_NUMBER`, `FORMAT_UPRN`, `FORMAT_NATIONAL_INSURANCE_NUMBER`, `FORMAT_POSTCODE`, \
             `FORMAT_DATE`, `FORMAT_DATE_TIME`, `FORMAT_EMAIL`, `FORMAT_UUID`; or write a `pattern`",
        ),
        (
            "drawbridge.options",
            "import `drawbridge/options/v1/options.proto`, and spell the option as the one that gateways bring does; for an option of a \
             newer version, bring this gateway up to date",
        ),
        ("`edition`", "write the contract with `syntax = \"proto3\";`: editions cannot be served"),
        ("already been set", "set the option once"),
        ("is not defined", "define it, or import the file that defines it"),
        ("is defined twice", "rename one of the two"),
        ("already defined", "rename one of the two, or load only one of the two files"),
        ("is already used", "give each field a number of its own"),
        (
            "reserved range",
            "take a number that is not reserved: the reserved one was used before, with another meaning",
        ),
    ];
    known.into_iter().find(|(part, _)| what.contains(part)).map(|(_, cure)| cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_become_backticks_and_apostrophes_stay() {
        assert_eq!(ticks("name 'a.b' isn't defined."), "name `a.b` isn't defined");
        assert_eq!(ticks("expected ';' or '}', but found '\"'"), "expected `;` or `}`, but found `\"`");
    }
}
