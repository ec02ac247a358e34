//! Text of the formats that contracts name, out of ranges for tests where there are any.

use crate::rules::Format;

use super::{moment::Moment, random::Random, words};

/// Returns text of a format that fits a field of this name.
pub(super) fn made(format: Format, words: &[&str], random: &mut Random) -> String {
    match format {
        Format::NhsNumber => nhs_number(random),
        Format::Uprn => format!("1000{}", random.characters("0123456789", 8)),
        Format::NationalInsuranceNumber => national_insurance_number(random),
        Format::Postcode => postcode(random),
        Format::Date => Moment::made(words, random).date(),
        Format::DateTime => Moment::made(words, random).date_time(),
        Format::Email => words::email(random),
        Format::Uuid => uuid(random),
    }
}

/// Returns a number of the range 999, which is never issued.
///
/// Source: NHS Data Dictionary, "NHS NUMBER", validation by modulus 11.
fn nhs_number(random: &mut Random) -> String {
    loop {
        let body = format!("999{}", random.characters("0123456789", 6));
        // One body in eleven has no check digit: those of the others make a number of it.
        let numbers = ('0'..='9').map(|digit| format!("{body}{digit}"));
        if let Some(number) = numbers.into_iter().find(|number| Format::NhsNumber.accepts(number)) {
            return number;
        }
    }
}

fn national_insurance_number(random: &mut Random) -> String {
    loop {
        let prefix = random.characters("ABCEGHJKLMNOPRSTWXYZ", 2);
        let (number, suffix) = (random.characters("0123456789", 6), random.characters("ABCD", 1));
        let number = format!("{prefix}{number}{suffix}");
        // Some prefixes are not in use.
        if Format::NationalInsuranceNumber.accepts(&number) {
            return number;
        }
    }
}

fn postcode(random: &mut Random) -> String {
    const AREAS: &[&str] =
        &["B", "BS", "CF", "CT", "DE", "EH", "G", "LE", "LS", "M", "ME", "NE", "NG", "OX", "PL", "S", "SA", "YO"];
    let (area, district) = (random.pick(AREAS), random.between(1, 19));
    format!("{area}{district} {}{}", random.below(10), random.characters("ABDEFGHJLNPQRSTUWXYZ", 2))
}

/// Returns a UUID of version 4. Source: RFC 9562, section 5.4.
fn uuid(random: &mut Random) -> String {
    let mut digits = |count| random.characters("0123456789abcdef", count);
    let (first, second, third, fourth, fifth) = (digits(8), digits(4), digits(3), digits(3), digits(12));
    format!("{first}-{second}-4{third}-{}{fourth}-{fifth}", random.characters("89ab", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_of_its_format() {
        for format in Format::ALL {
            for seed in 0..500 {
                let text = made(format, &["born"], &mut Random::of(seed, 0));
                assert!(format.accepts(&text), "{}: {text}", format.as_str());
            }
        }
    }
}
