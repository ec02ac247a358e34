//! Test NHS numbers. Ten digits from the range 999, which is never issued, so that none of them can be a person's.

use std::fmt;

/// A test NHS number: ten digits, the last one a Modulus 11 check digit.
///
/// Source: NHS Data Dictionary, "NHS NUMBER", validation by Modulus 11; range 999 000 0000 to 999 999 9999 for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TestNumber(u64);

impl TestNumber {
    /// The `position`-th number, counted from 0: always the same one, and a different one for each position below 100,000.
    #[must_use]
    pub fn nth(position: u32) -> TestNumber {
        // The step spreads the numbers over the range. One body in eleven has no check digit, and two of those never lie side
        // by side, so a step of ten cannot run into the next number.
        let start = 999_000_000 + u64::from(position % 100_000) * 10;
        let body = (start..start + 10).find(|body| check_digit(*body).is_some()).unwrap_or(start);
        TestNumber(body * 10 + check_digit(body).unwrap_or_default())
    }
}

impl fmt::Display for TestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

/// Whether `text` is ten digits with a valid check digit.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    text.parse::<u64>().is_ok_and(|number| check_digit(number / 10) == Some(number % 10))
}

/// The check digit of the nine digits of `body`; `None` where it would be ten, and the number is not used.
fn check_digit(body: u64) -> Option<u64> {
    let mut rest = body;
    let mut sum = 0;
    for weight in 2..=10 {
        sum += rest % 10 * weight;
        rest /= 10;
    }
    match 11 - sum % 11 {
        11 => Some(0),
        10 => None,
        digit => Some(digit),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_published_example_has_a_valid_check_digit() {
        assert!(is_valid("9434765919"));
        assert!(!is_valid("9434765918"));
    }

    #[test]
    fn what_is_not_ten_digits_is_not_valid() {
        for text in ["", "943476591", "94347659190", "943 476 5919", "943476591x"] {
            assert!(!is_valid(text), "{text}");
        }
    }

    #[test]
    fn every_test_number_is_valid_different_and_in_the_range_999() {
        let numbers: BTreeSet<String> = (0..100_000).map(|position| TestNumber::nth(position).to_string()).collect();
        assert_eq!(numbers.len(), 100_000);
        assert!(numbers.iter().all(|number| number.starts_with("999") && is_valid(number)));
    }
}
