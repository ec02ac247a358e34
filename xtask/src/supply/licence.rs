//! Reads licence expressions as packages write them.
//!
//! Source: SPDX specification 2.3, annex D, without `LicenseRef`; and the slash for "or" that older packages use.

use std::iter::Peekable;

use anyhow::{Result, bail};

/// Whether `expression` can be satisfied with licences that `allowed` accepts.
///
/// `X WITH Y` is asked for as a whole, `"X WITH Y"`.
///
/// # Errors
///
/// When the expression is not one.
pub(super) fn permits(expression: &str, allowed: impl Fn(&str) -> bool) -> Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = any(&mut words, &allowed)?;
    if let Some(word) = words.next() {
        bail!("nothing was expected before `{word}`");
    }
    Ok(permitted)
}

fn any<'w>(words: &mut Peekable<impl Iterator<Item = &'w str>>, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    let mut permitted = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        permitted |= all(words, allowed)?;
    }
    Ok(permitted)
}

fn all<'w>(words: &mut Peekable<impl Iterator<Item = &'w str>>, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    let mut permitted = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed)?;
    }
    Ok(permitted)
}

fn one<'w>(words: &mut Peekable<impl Iterator<Item = &'w str>>, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    match words.next() {
        Some("(") => {
            let permitted = any(words, allowed)?;
            if words.next() != Some(")") {
                bail!("a bracket is not closed");
            }
            Ok(permitted)
        }
        None | Some(")" | "OR" | "AND" | "WITH") => bail!("a licence is missing"),
        Some(licence) => {
            if words.next_if_eq(&"WITH").is_none() {
                return Ok(allowed(licence));
            }
            let Some(exception) = words.next() else { bail!("nothing follows `WITH`") };
            Ok(allowed(&format!("{licence} WITH {exception}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: bool) {
        let allowed = |licence: &str| ["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"].contains(&licence);
        assert_eq!(permits(expression, allowed).unwrap(), expected, "{expression}");
    }

    #[test]
    fn an_expression_is_permitted_when_some_choice_is_allowed_whole() {
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT", true);
        check("GPL-3.0-only/MIT", true);
        check("GPL-3.0-only AND MIT", false);
        check("(MIT OR GPL-3.0-only) AND BSD-3-Clause", true);
        check("MIT AND (GPL-3.0-only OR ISC)", false);
        check("Apache-2.0", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-3.0-only OR MIT AND ISC", false);
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for text in ["", "MIT OR", "(MIT", "MIT MIT", "AND MIT", "MIT WITH"] {
            assert!(permits(text, |_| true).is_err(), "{text}");
        }
    }
}
