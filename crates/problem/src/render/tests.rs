use insta::assert_snapshot;

use super::*;

fn example() -> Problem {
    let text =
        "format = \"drawbridge.gateway/v1\"\n\n\n\n\nconnector = { kind = \"ldpa\", url = \"ldap://tenancy.local\" }\n";
    let at = text.find("\"ldpa\"").unwrap();
    let mut problem = Problem::new("gateway.toml", "unknown connector `ldpa`")
        .within(text, &(at..at + 6))
        .help("use one of `file`, `grpc`, `http`, `ldap`, `odbc`, `soap`, `sql`; did you mean `ldap`?");
    problem.key = Some("binding[0].connector.kind".to_owned());
    problem
}

#[test]
fn a_problem_reads_as_the_house_style_shows() {
    assert_snapshot!(example());
}

#[test]
fn a_problem_without_a_place_names_the_file() {
    assert_snapshot!(
        Problem::new(
            "/var/lib/drawbridge/ledger/tile/0/071",
            "the ledger does not match its own checkpoint at index 18 204"
        )
        .help("stop; do not delete anything")
    );
}

#[test]
fn a_problem_outside_of_files_has_cause_and_help() {
    assert_snapshot!(
        Problem::new("", "cannot open a link to `pensions`")
            .cause("its certificate expired 3 days ago")
            .help("they must renew it")
    );
}

#[test]
fn line_numbers_of_two_digits_move_the_frame() {
    let text = "\n".repeat(11) + "a = 1\n";
    assert_snapshot!(
        Problem::new("a.toml", "unknown key `a`").within(&text, &(11..12)).help("remove it\nor rename it")
    );
}

#[test]
fn carets_stand_under_tabs_wide_and_accented_letters() {
    let text = "\tname = \"日本 é\" # x";
    let at = text.find("# x").unwrap();
    assert_snapshot!(Problem::new("a.toml", "wrong").within(text, &(at..at + 3)));
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("fields = [{}\"nmae\", {}]", "\"field\", ".repeat(30), "\"field\", ".repeat(30));
    let at = text.find("\"nmae\"").unwrap();
    assert_snapshot!(Problem::new("a.toml", "unknown field `nmae`").within(&text, &(at..at + 6)));
}

#[test]
fn several_problems_have_a_blank_line_between_them() {
    let mut problems =
        [example(), Problem::new("gateway.toml", "no `member`"), Problem::new("a.toml", "wrong").at(3, 1)];
    Problem::sort(&mut problems);
    assert_snapshot!(Problem::render_all(&problems, false));
}

#[test]
fn colours_are_escapes_that_end() {
    let coloured = example().render(true);
    assert!(coloured.starts_with("\x1b[1;31merror\x1b[0m"));
    assert_eq!(strip(&coloured), example().to_string());
}

#[test]
fn nothing_in_a_file_moves_the_cursor() {
    let text = "a = \"\x1b[2J\u{202e}\u{7}\"";
    let mut problem =
        Problem::new("x\x1b[2J.toml", "bad \x1b[2J\u{2066}").within(text, &(0..3)).help("\x07").cause("\u{9b}2J");
    problem.key = Some("\"\x1b[2J\"".to_owned());
    let shown = problem.to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(!shown.contains(['\u{202e}', '\u{2066}']));
}

proptest::proptest! {
    #[test]
    fn any_place_of_any_line_is_rendered(line in ".{0,300}", column in 0_usize..400, width in 0_usize..400) {
        let mut problem = Problem::new("a.toml", "wrong").at(1, column);
        problem.width = width;
        problem.source_line = Some(line);
        proptest::prop_assert!(problem.to_string().contains('^'));
    }
}

fn strip(coloured: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for character in coloured.chars() {
        match character {
            '\x1b' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            other => plain.push(other),
        }
    }
    plain
}
