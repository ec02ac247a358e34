//! Formats: what an identifier, a postcode or a date looks like, each after a source that anybody can read.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

/// What a text has to look like. Nothing may stand around it, no space either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Ten digits, the last one a check digit by modulus 11.
    ///
    /// Source: NHS Data Dictionary, "NHS NUMBER"; it is stored and sent without the spaces that people write.
    NhsNumber,
    /// One to twelve digits.
    ///
    /// Source: `GeoPlace`, "Unique Property Reference Numbers": a number of up to twelve digits; systems may fill it up
    /// with zeros in front.
    Uprn,
    /// Two letters, six digits, a letter from A to D.
    ///
    /// Source: HMRC internal manual NIM39110. Neither letter is D, F, I, Q, U or V, the second is not O, and BG, GB, KN, NK,
    /// NT, TN and ZZ are not used.
    NationalInsuranceNumber,
    /// A postcode of the United Kingdom, in capitals, with one space: A9, A99, A9A, AA9, AA99 or AA9A before it and 9AA
    /// behind it, or `GIR 0AA`.
    ///
    /// Source: BS 7666 as the Government Data Standards Catalogue gives it. Not Q, V or X first; not I, J or Z second;
    /// one of ABCDEFGHJKPSTUW third (P since N1P); one of ABEHMNPRVWXY fourth; not C, I, K, M, O or V behind the space.
    Postcode,
    /// A day that the Gregorian calendar has, `YYYY-MM-DD`, from the year 1 on.
    ///
    /// Source: ISO 8601-1:2019, 5.2.2.1, extended format.
    Date,
    /// A moment with its offset. Second 60 only where a leap second can be, in the last minute of a day in UTC.
    ///
    /// Source: RFC 3339, sections 5.6 and 5.7.
    DateTime,
    /// An address of e-mail.
    ///
    /// Source: WHATWG HTML, "valid e-mail address"; lengths by RFC 5321, section 4.5.3.1: 64 bytes before the `@`, 254 in all.
    Email,
    /// 8-4-4-4-12 hexadecimal digits of either case, whatever the version.
    ///
    /// Source: RFC 9562, section 4.
    Uuid,
}

impl Format {
    /// All of them, by their number in the options.
    pub const ALL: [Self; 8] = [
        Self::NhsNumber,
        Self::Uprn,
        Self::NationalInsuranceNumber,
        Self::Postcode,
        Self::Date,
        Self::DateTime,
        Self::Email,
        Self::Uuid,
    ];

    /// Returns the name that contracts use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NhsNumber => "FORMAT_NHS_NUMBER",
            Self::Uprn => "FORMAT_UPRN",
            Self::NationalInsuranceNumber => "FORMAT_NATIONAL_INSURANCE_NUMBER",
            Self::Postcode => "FORMAT_POSTCODE",
            Self::Date => "FORMAT_DATE",
            Self::DateTime => "FORMAT_DATE_TIME",
            Self::Email => "FORMAT_EMAIL",
            Self::Uuid => "FORMAT_UUID",
        }
    }

    /// Returns what a value has to be, for people.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::NhsNumber => "an NHS number: ten digits without spaces, the last one a check digit",
            Self::Uprn => "a unique property reference number: one to twelve digits",
            Self::NationalInsuranceNumber => {
                "a National Insurance number in capitals without spaces: a prefix that is in use, six digits, and A, B, C or D"
            }
            Self::Postcode => "a postcode of the United Kingdom in capitals with one space",
            Self::Date => "a day of the calendar as YYYY-MM-DD",
            Self::DateTime => "a moment as RFC 3339 writes it, with its offset from UTC",
            Self::Email => "an e-mail address",
            Self::Uuid => "a UUID: 36 characters, hexadecimal digits and hyphens",
        }
    }

    /// Returns whether a text looks like this.
    #[must_use]
    pub fn accepts(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::NhsNumber => nhs_number(bytes),
            Self::Uprn => (1..=12).contains(&bytes.len()) && digits(bytes),
            Self::NationalInsuranceNumber => national_insurance_number(bytes),
            Self::Postcode => postcode(bytes),
            Self::Date => date(bytes),
            Self::DateTime => date_time(bytes),
            Self::Email => email(text),
            Self::Uuid => uuid(text),
        }
    }
}

fn digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Weighs the nine digits by 10 to 2. The check digit brings the sum to a multiple of 11, so it is weighed by 1 here.
fn nhs_number(bytes: &[u8]) -> bool {
    let weighed =
        bytes.iter().zip((1_u32..=10).rev()).map(|(digit, weight)| u32::from(digit & 0x0f).saturating_mul(weight));
    bytes.len() == 10 && digits(bytes) && weighed.sum::<u32>().is_multiple_of(11)
}

fn national_insurance_number(bytes: &[u8]) -> bool {
    let [first, second, number @ .., suffix] = bytes else {
        return false;
    };
    let letter = |letter: u8| letter.is_ascii_uppercase() && !b"DFIQUV".contains(&letter);
    let unused = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[*first, *second]);
    number.len() == 6
        && digits(number)
        && (b'A'..=b'D').contains(suffix)
        && letter(*first)
        && letter(*second)
        && *second != b'O'
        && !unused
}

fn postcode(bytes: &[u8]) -> bool {
    let [outward @ .., b' ', sector, first, second] = bytes else {
        return false;
    };
    let unit = |letter: &u8| letter.is_ascii_uppercase() && !b"CIKMOV".contains(letter);
    bytes == b"GIR 0AA" || (outward_code(outward) && sector.is_ascii_digit() && unit(first) && unit(second))
}

fn outward_code(bytes: &[u8]) -> bool {
    let first = |letter: &u8| letter.is_ascii_uppercase() && !b"QVX".contains(letter);
    let second = |letter: &u8| letter.is_ascii_uppercase() && !b"IJZ".contains(letter);
    let digit = u8::is_ascii_digit;
    match bytes {
        [a, b] => first(a) && digit(b),
        [a, b, c] if digit(b) => first(a) && (digit(c) || b"ABCDEFGHJKPSTUW".contains(c)),
        [a, b, c] => first(a) && second(b) && digit(c),
        [a, b, c, d] => first(a) && second(b) && digit(c) && (digit(d) || b"ABEHMNPRVWXY".contains(d)),
        _ => false,
    }
}

/// Reads a number of two or four digits.
fn number(bytes: &[u8]) -> Option<u32> {
    digits(bytes).then(|| {
        bytes.iter().fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit & 0x0f)))
    })
}

fn date(bytes: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else {
        return false;
    };
    let (year, month, day) = (number(&[*y1, *y2, *y3, *y4]), number(&[*m1, *m2]), number(&[*d1, *d2]));
    let (Some(year @ 1..), Some(month), Some(day @ 1..)) = (year, month, day) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    day <= longest
}

fn date_time(bytes: &[u8]) -> bool {
    let Some((day, [b'T' | b't', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..])) = bytes.split_at_checked(10) else {
        return false;
    };
    let (hour, minute, second) = (number(&[*h1, *h2]), number(&[*m1, *m2]), number(&[*s1, *s2]));
    let (Some(hour @ 0..=23), Some(minute @ 0..=59), Some(second @ 0..=60)) = (hour, minute, second) else {
        return false;
    };
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.split_at_checked(length).filter(|_| length > 0).map(|(_, zone)| zone)
        }
        _ => Some(rest),
    };
    let Some(offset) = zone.and_then(offset) else {
        return false;
    };
    // 1,440 minutes a day, with offsets of less than one.
    let utc = hour.saturating_mul(60).saturating_add(minute).saturating_add(1440).saturating_sub_signed(offset);
    date(day) && (second < 60 || utc.checked_rem(1440) == Some(1439))
}

/// Reads an offset from UTC, in minutes.
fn offset(zone: &[u8]) -> Option<i32> {
    let (sign, hour, minute) = match zone {
        [b'Z' | b'z'] => return Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => (sign, number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    let minutes = i32::try_from(hour.saturating_mul(60).saturating_add(minute)).ok()?;
    (hour <= 23 && minute <= 59).then_some(if *sign == b'-' { minutes.saturating_neg() } else { minutes })
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let mark = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 254 && (1..=64).contains(&local.len()) && local.bytes().all(mark) && domain.split('.').all(label)
}

fn uuid(text: &str) -> bool {
    let mut lengths = [8, 4, 4, 4, 12].into_iter();
    text.len() == 36
        && text
            .split('-')
            .all(|part| lengths.next() == Some(part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && lengths.next().is_none()
}

#[cfg(test)]
mod tests;
