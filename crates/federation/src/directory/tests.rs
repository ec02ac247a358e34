use insta::assert_snapshot;
use note::Note;
use proptest::prelude::*;

use super::*;
use crate::EntryDraft;
use crate::entry::tests::golden_draft;
use crate::testing::{Member, key};

const GOLDEN: &str = include_str!("../../tests/golden/directory.note");

fn golden() -> Directory {
    Directory::parse("directory.note", GOLDEN).unwrap()
}

fn told(text: &str) -> String {
    Problem::render_all(&Directory::parse("directory.note", text).unwrap_err(), false)
}

#[test]
fn the_committed_directory_reads_and_is_made_again_byte_for_byte() {
    let mut made = Directory::new();
    let old = key("county.example/member", 8);
    assert_eq!(made.add(golden_draft().sign(&key("county.example/member", 1), &[&old]).unwrap()), Ok(Change::Added));
    assert_eq!(made.to_text(), GOLDEN);
    assert_eq!(golden().entries().collect::<Vec<_>>(), made.entries().collect::<Vec<_>>());
}

#[test]
fn members_stand_in_order_and_come_back() {
    let mut directory = golden();
    for id in ["trust.example", "police.example"] {
        assert_eq!(directory.add(Member::new(id, id.as_bytes()[0]).entry()), Ok(Change::Added));
    }
    let again = Directory::parse("directory.note", &directory.to_text()).unwrap();
    let ids: Vec<&str> = again.entries().map(|entry| entry.member.as_str()).collect();
    assert_eq!(ids, ["county.example", "police.example", "trust.example"]);
    assert_eq!(again.to_text(), directory.to_text());
    let county = "county.example".parse().unwrap();
    assert_eq!(directory.remove(&county).unwrap().member, county);
    assert!(directory.entry(&county).is_none());
}

#[test]
fn adding_goes_only_forwards() {
    let county = Member::new("county.example", 10);
    let (first, mut directory) = (county.entry(), Directory::new());
    assert_eq!(directory.add(first.clone()), Ok(Change::Added));
    assert_eq!(directory.add(first.clone()), Ok(Change::Unchanged));
    let second = county.sign(&EntryDraft::following(&first));
    assert_eq!(directory.add(second.clone()), Ok(Change::Replaced { from: 1, to: 2 }));
    assert!(matches!(directory.add(first), Err(EntryError::Rollback { .. })));
    assert_eq!(directory.entry(&county.id), Some(&second));
}

#[test]
fn a_threshold_that_cannot_be_checked_is_not_passed_over() {
    assert_snapshot!(told(&GOLDEN.replacen("\n[[member]]", "roster = \"\"\n\n[[member]]", 1)));
}

#[test]
fn a_problem_inside_an_entry_is_shown_at_its_line_of_the_directory() {
    let text = golden_draft().to_text().replacen("8443", "0", 1);
    let note = Note::sign(&text, &[&key("county.example/member", 1)]).unwrap();
    let line = |text: &str| text.lines().position(|line| line.contains("gw.county.example")).unwrap() + 1;
    let directory = GOLDEN.replacen(
        &Directory::parse("d", GOLDEN).unwrap().entries().next().unwrap().note().to_string(),
        &note.to_string(),
        1,
    );
    let problems = Directory::parse("directory.note", &directory).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].line, Some(line(&directory)));
    assert_snapshot!(problems[0]);
}

#[test]
fn each_problem_is_told_with_its_place_and_cure() {
    let twice = format!("{GOLDEN}{}", GOLDEN.split_once("\n\n").unwrap().1);
    let cases = [
        ("format", GOLDEN.replacen("directory/v1", "directory/v9", 1)),
        ("unknown key", GOLDEN.replacen("[[member]]", "[[member]]\nadmitted = true", 1)),
        ("id", GOLDEN.replacen("id = \"county.example\"", "id = \"trust.example\"", 1)),
        ("version", GOLDEN.replacen("version = 3", "version = 4", 1)),
        ("digest", GOLDEN.replacen("digest = \"sha256:", "digest = \"sha256:0", 1)),
        ("changed entry", GOLDEN.replacen("gw.county", "gx.county", 1)),
        ("twice", twice),
        ("syntax", GOLDEN.replacen("[[member]]", "[[member]", 1)),
    ];
    let told: Vec<String> = cases.iter().map(|(name, text)| format!("## {name}\n{}\n", told(text))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn one_that_was_cut_off_says_that_it_ends_too_early_and_where() {
    let mut directory = golden();
    directory.add(Member::new("trust.example", 7).entry()).unwrap();
    let text = directory.to_text();
    let second = text.rfind("[[member]]").unwrap();
    let entry = second + text[second..].find("'''").unwrap();
    let opened = text[..entry].matches('\n').count() + 1;
    let within = format!("in the midst of the entry of `trust.example`, which begins on line {opened}");
    for (length, expected) in [
        (text.len() - "'''\n".len(), within.as_str()),
        (text.len() - 200, &within),
        (entry + 4, &within),
        (entry, "before the entry of `trust.example`"),
        (second + text[second..].find("digest").unwrap() + 30, "before the entry of `trust.example`"),
        (second + "[[member]]".len() + 1, "before the entry"),
        (second + 5, "behind the entry of `county.example`"),
        (60, "before the entry"),
        (30, "before its first member"),
    ] {
        let problems = Directory::parse("directory.note", &text[..length]).unwrap_err();
        let [problem] = problems.try_into().unwrap();
        let last = text[..length].matches('\n').count() + 1;
        assert_eq!(problem.what, format!("the directory ends too early, {expected}"));
        assert!(problem.line.is_some_and(|line| line.abs_diff(last) <= 1), "{problem}");
    }
    // What is another file, or was mended by hand, is not taken for one that was cut.
    for text in ["member = 1", &text.replacen("[[member]]", "[[member]", 1), &text.replacen("version", "verson", 1)] {
        let problem = Directory::parse("directory.note", text).unwrap_err().remove(0);
        assert!(!problem.what.contains("too early"), "{problem}");
    }
    let note = directory.entries().next().unwrap().note().to_string();
    for length in [note.len() - 1, note.len() - 60, note.len() - 100, note.len() / 2] {
        let problem = Entry::parse("entry.note", &note[..length]).unwrap_err().remove(0);
        assert!(problem.what.starts_with("the entry ends too early, on line "), "{length}: {problem}");
    }
}

#[test]
fn a_directory_without_members_is_a_directory() {
    let empty = Directory::parse("directory.note", &Directory::new().to_text()).unwrap();
    assert_eq!(empty.entries().len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_refused_without_panic(text in "\\PC{0,200}") {
        let text = format!("format = \"drawbridge.directory/v1\"\n[[member]]\n{text}");
        prop_assert!(Directory::parse("directory.note", &text).is_err());
    }

    #[test]
    fn any_single_changed_byte_leaves_every_entry_as_it_was_signed(place in 0..GOLDEN.len(), byte in 0x20_u8..0x7f) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        bytes[place] = byte;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(directory) = Directory::parse("directory.note", &text)
        {
            let golden = golden();
            for entry in directory.entries() {
                prop_assert_eq!(entry.note().text(), golden.entry(&entry.member).unwrap().note().text());
            }
        }
    }
}
