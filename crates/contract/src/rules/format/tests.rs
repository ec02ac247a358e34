//! What each format takes and what it does not.

use super::*;

#[track_caller]
fn check(format: Format, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(format.accepts(text), "{format:?} does not take `{text}`");
    }
    for text in no {
        assert!(!format.accepts(text), "{format:?} takes `{text}`");
    }
    for text in yes {
        for around in [format!(" {text}"), format!("{text} "), format!("{text}\n"), format!("{text}\u{301}")] {
            assert!(!format.accepts(&around), "{format:?} takes `{around}`");
        }
    }
    for text in ["", " ", "-", "\0", "é", "९९९०००००१८", "Ａ"] {
        assert!(!format.accepts(text), "{format:?} takes `{text}`");
    }
}

#[test]
fn an_nhs_number_has_ten_digits_and_its_check_digit() {
    // 943 476 5919 is the example of the NHS Data Dictionary; 999 is the range for tests. 4010232137 is the usual second example.
    check(
        Format::NhsNumber,
        &["9434765919", "9990000018", "4010232137", "9990000050"],
        &[
            "943 476 5919",
            "943-476-5919",
            "9434765918",
            "9434765910",
            "943476591",
            "94347659190",
            "943476591X",
            "+943476591",
            "9434756919",
            // Its check digit would be ten, so that no digit makes it a number.
            "9990000000",
            "9990000001",
        ],
    );
}

#[test]
fn one_digit_in_ten_or_none_makes_nine_digits_an_nhs_number() {
    for body in 999_000_000_u32..999_000_500 {
        let fitting = (0..10).filter(|digit| Format::NhsNumber.accepts(&format!("{body}{digit}"))).count();
        assert!(fitting <= 1, "{body}");
        let sum: u32 = (2..=10).map(|weight| body / 10_u32.pow(weight - 2) % 10 * weight).sum();
        assert_eq!(fitting == 0, 11 - sum % 11 == 10, "{body}");
    }
}

#[test]
fn a_uprn_has_up_to_twelve_digits() {
    check(Format::Uprn, &["1", "100023336956", "000000000123"], &["1000233369560", "1 2", "-1", "12a", "1.0"]);
}

#[test]
fn a_national_insurance_number_has_a_prefix_in_use_and_a_suffix() {
    check(
        Format::NationalInsuranceNumber,
        &["AA123456A", "AB123456C", "JG103759A", "OA123456D", "NR000000B", "BN102966C"],
        &[
            "QQ123456A",
            "DA123456A",
            "AD123456A",
            "FA123456A",
            "AF123456A",
            "IA123456A",
            "AI123456A",
            "AQ123456A",
            "UA123456A",
            "AU123456A",
            "VA123456A",
            "AV123456A",
            "AO123456A",
            "BG123456A",
            "GB123456A",
            "KN123456A",
            "NK123456A",
            "NT123456A",
            "TN123456A",
            "ZZ123456A",
            "AB123456E",
            "AB123456",
            "AB12345C",
            "AB1234567C",
            "ab123456c",
            "AB123456c",
            "AB 12 34 56 C",
            "A1123456C",
            "ABC23456C",
            "AB123456Ã",
        ],
    );
}

#[test]
fn a_postcode_has_an_outward_and_an_inward_code() {
    check(
        Format::Postcode,
        &[
            "M1 1AA", "M60 1NW", "CR2 6XH", "DN55 1PT", "W1A 1HQ", "EC1A 1BB", "SW1A 2AA", "GIR 0AA", "N1P 2NG",
            "E1W 1AA", "BT1 5GS", "BF1 0AX", "L1 8JQ", "SE1P 5LX",
        ],
        &[
            "M11AA",
            "M1  1AA",
            "m1 1aa",
            "QM1 1AA",
            "VA1 1AA",
            "XA1 1AA",
            "AI1 1AA",
            "AJ1 1AA",
            "AZ1 1AA",
            "W1I 1AA",
            "W1L 1AA",
            "EC1C 1BB",
            "EC1Z 1BB",
            "M1 1CA",
            "M1 1AI",
            "M1 1KA",
            "M1 1AM",
            "M1 1OA",
            "M1 1AV",
            "M1 AAA",
            "M1 11A",
            "AAA 1AA",
            "AA99A 1AA",
            "A999 1AA",
            "GIR 0AB",
            "GIR 1AA",
            "1AA",
            " 1AA",
            "M1 1A",
            "M1 1AAA",
            "BFPO 1",
            "12345",
        ],
    );
}

#[test]
fn a_date_is_a_day_that_the_calendar_has() {
    check(
        Format::Date,
        &["2026-03-01", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "1900-02-28"],
        &[
            "2023-02-29",
            "1900-02-29",
            "2026-00-10",
            "2026-13-10",
            "2026-04-31",
            "2026-01-32",
            "2026-01-00",
            "0000-01-01",
            "2026-1-1",
            "20260301",
            "01-03-2026",
            "01/03/2026",
            "2026/03/01",
            "26-03-01",
            "2026-03-1a",
            "+2026-03-01",
            "2026-W09-7",
            "2026-060",
            "10000-01-01",
        ],
    );
}

#[test]
fn a_moment_is_written_as_rfc_3339_says() {
    check(
        Format::DateTime,
        // The first four are the examples of the RFC.
        &[
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1990-12-31T15:59:60-08:00",
            "1937-01-01T12:00:27.87+00:20",
            "2026-03-01t09:30:00z",
            "2026-03-01T00:00:00-00:00",
            "2026-03-01T09:30:00.123456789012Z",
            "2026-01-01T05:29:60+05:30",
            "2026-03-01T23:59:59+23:59",
        ],
        &[
            "2026-03-01",
            "2026-03-01T09:30Z",
            "2026-03-01T09:30:00",
            "2026-03-01 09:30:00Z",
            "2026-02-29T09:30:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T09:60:00Z",
            "2026-03-01T09:30:61Z",
            "2026-03-01T09:30:60Z",
            "1990-12-31T23:59:60-08:00",
            "2026-03-01T09:30:00.Z",
            "2026-03-01T09:30:00+24:00",
            "2026-03-01T09:30:00+01:60",
            "2026-03-01T09:30:00+0100",
            "2026-03-01T09:30:00+01",
            "2026-03-01T09:30:00,5Z",
            "2026-03-01T9:30:00Z",
        ],
    );
}

#[test]
fn an_e_mail_address_is_one_that_a_browser_takes() {
    let long_local = format!("{}@example.org", "a".repeat(64));
    let too_long_local = format!("{}@example.org", "a".repeat(65));
    let long_label = format!("a@{}.org", "b".repeat(63));
    let too_long_label = format!("a@{}.org", "b".repeat(64));
    let too_long = format!("a@{}org", format!("{}.", "b".repeat(60)).repeat(5));
    check(
        Format::Email,
        &["a@b", "first.last+tag@sub.example.org", "o'hara@example.org", "a.@example.org", &long_local, &long_label],
        &[
            "a",
            "@example.org",
            "a@",
            "a@@b",
            "a@b@c",
            "a b@example.org",
            "a@-b.org",
            "a@b-.org",
            "a@b..org",
            "a@.org",
            "a@b.",
            "a@b_c.org",
            "\"a b\"@example.org",
            "a@[127.0.0.1]",
            "é@example.org",
            "a@exämple.org",
            &too_long_local,
            &too_long_label,
            &too_long,
        ],
    );
}

#[test]
fn a_uuid_has_five_groups_of_hexadecimal_digits() {
    check(
        Format::Uuid,
        &[
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
        &[
            "f81d4fae7dec11d0a76500a0c91e6bf6",
            "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bfg",
            "f81d4fae-7dec-11d0-a76500-a0c91e6bf6",
            "f81d4fae-7dec-11d0-a765-00a0c91e-bf6",
            "f81d4faee7dec-11d0-a765-00a0c91e6bf6",
        ],
    );
}
