//! Every notation, read and written.

use super::*;

fn form(format: &str, zone: &str) -> MomentForm {
    formed(format, Clock::new(TimeZone::get(zone).unwrap(), None))
}

fn formed(format: &str, clock: Clock) -> MomentForm {
    MomentForm::new(Notation::parse(format).unwrap_or_else(|| panic!("{format}")), clock)
}

fn instant(format: &str, zone: &str, cell: Cell<'_>) -> String {
    form(format, zone).instant(cell).map_or_else(|misfit| misfit.to_string(), |instant| instant.to_string())
}

fn date(format: &str, cell: Cell<'_>) -> String {
    form(format, "UTC").date(cell).map_or_else(|misfit| misfit.to_string(), |date| date.to_string())
}

#[test]
fn instants_are_read_in_each_notation() {
    for (format, cell, expected) in [
        ("iso", Cell::Text("2024-02-29T13:05:00Z"), "2024-02-29T13:05:00Z"),
        ("iso", Cell::Text("2024-02-29 13:05:00.25"), "2024-02-29T13:05:00.25Z"),
        ("iso", Cell::Text("2024-02-29 13:05"), "2024-02-29T13:05:00Z"),
        ("iso", Cell::Text("2024-02-29T13:05:00+02:00"), "2024-02-29T11:05:00Z"),
        ("iso", Cell::Text("2024-02-29"), "2024-02-29T00:00:00Z"),
        ("%d/%m/%Y %H:%M", Cell::Text("29/02/2024 13:05"), "2024-02-29T13:05:00Z"),
        ("%d/%m/%Y", Cell::Text("29/02/2024"), "2024-02-29T00:00:00Z"),
        ("YYYYMMDDhhmmss", Cell::Integer(20_240_229_130_500), "2024-02-29T13:05:00Z"),
        ("unix", Cell::Integer(1_709_211_900), "2024-02-29T13:05:00Z"),
        ("unix", Cell::Real(1_709_211_900.5), "2024-02-29T13:05:00.5Z"),
        ("unix-ms", Cell::Integer(1_709_211_900_250), "2024-02-29T13:05:00.25Z"),
        ("julian", Cell::Real(2_440_587.5), "1970-01-01T00:00:00Z"),
        ("julian", Cell::Integer(2_440_588), "1970-01-01T12:00:00Z"),
    ] {
        assert_eq!(instant(format, "UTC", cell), expected, "{format} {cell:?}");
    }
}

#[test]
fn a_time_without_offset_is_one_of_the_time_zone() {
    assert_eq!(instant("iso", "Europe/London", Cell::Text("2024-07-01 10:00:00")), "2024-07-01T09:00:00Z");
    assert_eq!(instant("%d.%m.%Y %H:%M", "Europe/London", Cell::Text("01.01.2024 10:00")), "2024-01-01T10:00:00Z");
    assert_eq!(instant("iso", "Europe/London", Cell::Text("2024-07-01T10:00:00Z")), "2024-07-01T10:00:00Z");
}

#[test]
fn a_time_that_was_skipped_is_none_and_of_one_that_came_twice_the_binding_says_which() {
    let london = |twice| Clock::new(TimeZone::get("Europe/London").unwrap(), twice);
    for (format, skipped, twice) in [
        ("iso", "2024-03-31 01:30:00", "2024-10-27 01:30:00"),
        ("%d.%m.%Y %H:%M", "31.03.2024 01:30", "27.10.2024 01:30"),
    ] {
        for which in [None, Some(Twice::Earlier), Some(Twice::Later)] {
            let form = formed(format, london(which));
            assert_eq!(form.instant(Cell::Text(skipped)), Err(Misfit::Skipped));
            let expected = match which {
                None => Err(Misfit::Twice),
                Some(Twice::Earlier) => Ok("2024-10-27T00:30:00Z".to_owned()),
                Some(Twice::Later) => Ok("2024-10-27T01:30:00Z".to_owned()),
            };
            assert_eq!(form.instant(Cell::Text(twice)).map(|instant| instant.to_string()), expected);
        }
    }
    let local = Cell::Local("2024-03-31T01:30:00".parse().unwrap());
    assert_eq!(formed("iso", london(None)).instant(local), Err(Misfit::Skipped));
    // A day begins all the same: in Cairo at one o'clock on this one, in Havana at the first of two midnights on the other.
    assert_eq!(instant("iso", "Africa/Cairo", Cell::Text("2024-04-26")), "2024-04-25T22:00:00Z");
    assert_eq!(instant("iso", "America/Havana", Cell::Text("2024-11-03")), "2024-11-03T04:00:00Z");
}

#[test]
fn the_last_day_of_the_calendar_is_read_and_written() {
    for (format, cell) in [
        ("iso", Cell::Text("9999-12-31T23:59:59Z")),
        ("iso", Cell::Text("9999-12-31 23:59:59")),
        ("%d/%m/%Y %H:%M:%S", Cell::Text("31/12/9999 23:59:59")),
        ("unix", Cell::Integer(253_402_300_799)),
        ("unix-ms", Cell::Integer(253_402_300_799_000)),
        ("iso", Cell::Local("9999-12-31T23:59:59".parse().unwrap())),
    ] {
        assert_eq!(instant(format, "Europe/London", cell), "9999-12-31T23:59:59Z", "{format} {cell:?}");
    }
    assert_eq!(instant("iso", "Europe/London", Cell::Text("9999-12-31")), "9999-12-31T00:00:00Z");
    assert_eq!(instant("unix", "UTC", Cell::Integer(253_402_300_800)), Misfit::OutOfRange.to_string());
    let last = Point::read("9999-12-31T23:59:59Z").unwrap();
    let written = form("%d/%m/%Y %H:%M:%S", "Europe/London").argument_of_instant(last);
    assert_eq!(written, Ok(Argument::Text("31/12/9999 23:59:59".into())));
}

#[test]
fn what_a_column_would_not_keep_of_a_parameter_is_a_misfit() {
    let fine = Point::read("2024-02-29T13:05:06.0000005Z").unwrap();
    let minute = Point::read("2024-02-29T13:05:00Z").unwrap();
    let midnight = Point::read("2024-02-29T00:00:00Z").unwrap();
    for (format, instant, misfit) in [
        ("unix", fine, Misfit::Finer),
        ("unix-ms", fine, Misfit::Finer),
        ("%d/%m/%Y %H:%M:%S", fine, Misfit::Finer),
        ("%d/%m/%Y %H", minute, Misfit::Finer),
        ("%d/%m/%Y", minute, Misfit::TimeOfDay),
    ] {
        assert_eq!(form(format, "UTC").argument_of_instant(instant), Err(misfit), "{format}");
    }
    assert!(form("%d/%m/%Y %H:%M", "UTC").argument_of_instant(minute).is_ok());
    assert_eq!(form("%d/%m/%y", "UTC").argument_of_instant(midnight), Ok(Argument::Text("29/02/24".into())));
    assert_eq!(form("%d/%m/%Y", "UTC").argument_of_text("2024-02-29T10:00:00Z"), Err(Misfit::TimeOfDay));
}

#[test]
fn dates_are_read_in_each_notation() {
    for (format, cell, expected) in [
        ("iso", Cell::Text("2024-02-29"), "2024-02-29"),
        ("iso", Cell::Text("2024-02-29 23:59:59"), "2024-02-29"),
        ("%d-%b-%y", Cell::Text("29-Feb-24"), "2024-02-29"),
        ("YYYYMMDD", Cell::Text("20240229"), "2024-02-29"),
        ("YYYYMMDD", Cell::Integer(20_240_229), "2024-02-29"),
        ("DD/MM/YYYY", Cell::Text(" 29/02/2024 "), "2024-02-29"),
        ("%Y%j", Cell::Text("2024060"), "2024-02-29"),
        ("julian", Cell::Integer(2_460_370), "2024-02-29"),
        ("julian", Cell::Real(2_460_369.5), "2024-02-29"),
        ("unix", Cell::Integer(0), "1970-01-01"),
    ] {
        assert_eq!(date(format, cell), expected, "{format} {cell:?}");
    }
}

#[test]
fn what_is_no_moment_is_a_misfit() {
    let form = form("%d/%m/%Y", "UTC");
    for (cell, misfit) in [
        (Cell::Text("30/02/2024"), Misfit::NotAMoment),
        (Cell::Text("2024-02-29"), Misfit::NotAMoment),
        (Cell::Text(""), Misfit::NotAMoment),
        (Cell::Text("29/02/2024 and more"), Misfit::NotAMoment),
        (Cell::Real(1.0), Misfit::WrongType),
        (Cell::Blob(b"29/02/2024"), Misfit::WrongType),
        (Cell::Unfit { stored: "text", why: Misfit::NotUtf8 }, Misfit::NotUtf8),
    ] {
        assert_eq!(form.date(cell), Err(misfit), "{cell:?}");
        assert_eq!(form.instant(cell), Err(misfit), "{cell:?}");
    }
    for cell in [Cell::Real(f64::NAN), Cell::Real(f64::INFINITY), Cell::Real(1e300), Cell::Integer(i64::MAX)] {
        assert_eq!(MomentForm::new(Notation::Julian, Clock::UTC).instant(cell), Err(Misfit::OutOfRange), "{cell:?}");
    }
    assert_eq!(MomentForm::new(Notation::Unix, Clock::UTC).instant(Cell::Integer(i64::MAX)), Err(Misfit::OutOfRange));
}

#[test]
fn patterns_that_lose_part_of_a_date_are_no_formats() {
    for format in ["%d/%m", "%H:%M", "%Y", "date", "%Q", "", "decimal(2)"] {
        assert_eq!(Notation::parse(format), None, "{format}");
    }
}

#[test]
fn text_becomes_iso_text() {
    let text = |format: &str, cell| form(format, "Europe/London").iso_text(cell).unwrap();
    assert_eq!(text("%d/%m/%Y", Cell::Text("29/02/2024")), "2024-02-29");
    assert_eq!(text("%d/%m/%Y %H:%M", Cell::Text("01/07/2024 10:00")), "2024-07-01T09:00:00Z");
    assert_eq!(text("unix", Cell::Integer(0)), "1970-01-01T00:00:00Z");
}

#[test]
fn parameters_are_written_as_the_column_has_them() {
    let date: Date = "2024-02-29".parse().unwrap();
    for (format, expected) in [
        ("iso", Argument::Date { date, midnight: Point::read("2024-02-29T00:00:00Z").unwrap() }),
        ("%d/%m/%Y", Argument::Text("29/02/2024".into())),
        ("julian", Argument::Integer(2_460_370)),
        ("unix", Argument::Integer(1_709_164_800)),
    ] {
        assert_eq!(form(format, "UTC").argument_of_date(date), Ok(expected), "{format}");
    }
    let summer = Point::read("2024-07-01T09:00:00Z").unwrap();
    let written = form("%Y-%m-%d %H:%M", "Europe/London").argument_of_instant(summer);
    assert_eq!(written, Ok(Argument::Text("2024-07-01 10:00".into())));
    assert_eq!(form("%d/%m/%Y", "UTC").argument_of_text("2024-02-29"), Ok(Argument::Text("29/02/2024".into())));
    assert_eq!(form("%d/%m/%Y", "UTC").argument_of_text("29/02/2024"), Err(Misfit::NotAMoment));
}
