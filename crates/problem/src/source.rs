//! From a span of bytes to a line and a column.

use std::ops::Range;

/// Where a span begins, and the line that it begins on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'t> {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// In characters, at least 1.
    pub(crate) width: usize,
    /// Without its newline.
    pub(crate) source_line: &'t str,
}

/// Returns the place of `span` in `text`. A span outside of `text` is the place behind its last character.
pub(crate) fn place<'t>(text: &'t str, span: &Range<usize>) -> Place<'t> {
    let start = floor(text, span.start);
    let end = floor(text, span.end.max(span.start));
    let (before, from) = text.split_at_checked(start).unwrap_or((text, ""));
    let line = before.matches('\n').count().saturating_add(1);
    let prefix = before.rsplit('\n').next().unwrap_or_default();
    let rest = from.split('\n').next().unwrap_or_default();
    let rest = rest.strip_suffix('\r').unwrap_or(rest);
    let concerned = text.get(start..end).unwrap_or_default();
    let concerned = concerned.split(['\r', '\n']).next().unwrap_or_default();
    let line_start = start.saturating_sub(prefix.len());
    let line_end = start.saturating_add(rest.len());
    Place {
        line,
        column: prefix.chars().count().saturating_add(1),
        width: concerned.chars().count().max(1),
        source_line: text.get(line_start..line_end).unwrap_or_default(),
    }
}

/// Whether a line may hold a password or the like, so that it is not for the eyes of whoever reads about a problem on it: an
/// application log, the status of a gateway. A name of a file that holds one is no secret.
pub(crate) fn may_hold_a_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase().replace("password_file", "");
    let named = ["password", "passwd", "secret", "token", "credential", "api_key", "apikey", "authorization"];
    // A URL, or what was meant to be one, with somebody's name and more before the host, or with parameters.
    let in_url = line.split(['"', '\'', ' ', ',']).any(|word| {
        let (scheme, rest) = word.split_once("://").unwrap_or(("", word));
        rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || (!scheme.is_empty() && rest.contains('?'))
    });
    in_url
        || named.iter().any(|name| {
            line.split(name).skip(1).any(|rest| rest.trim_start_matches(['"', '\'', ' ', '\t']).starts_with(['=', ':']))
        })
}

/// Returns the last character boundary of `text` at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    text.floor_char_boundary(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "first\r\nsecönd line\n\nlast";

    #[test]
    fn a_span_is_found_on_its_line() {
        let cases = [
            (0..5_usize, (1, 1, 5, "first")),
            (7..14, (2, 1, 6, "secönd line")),
            (15..19, (2, 8, 4, "secönd line")),
            (15..25, (2, 8, 4, "secönd line")), // cut at the end of the line
            (20..20, (3, 1, 1, "")),
            (25..25, (4, 5, 1, "last")),
            (900..901, (4, 5, 1, "last")), // outside
        ];
        for (span, expected) in cases {
            let found = place(TEXT, &span);
            assert_eq!((found.line, found.column, found.width, found.source_line), expected, "{span:?}");
        }
    }

    #[test]
    fn lines_that_may_hold_a_secret_are_known() {
        for line in [
            "url = \"postgres://gateway:hunter2@db.internal/library\"",
            "url = 'postgres://gateway:hun/ter2@db.internal/library'",
            "url = \"postgres://gateway@db.internal/library?password=hunter2\"",
            "endpoint = \"https://user:hunter2@collector.internal:4317\"",
            "PassWord = \"hunter2\"",
            "headers = { Authorization = \"Bearer hunter2\" }",
            "endpoint = \"https://collector.internal?key=hunter2\"",
            "endpoint = \"user:hunter2@collector.internal\"",
            "a = \"https://a.example\", b = \"https://user:hunter2@b.example\"",
        ] {
            assert!(may_hold_a_secret(line), "{line}");
        }
        for line in [
            "url = \"postgres://gateway@db.internal:5432/library\"",
            "password_file = \"library.password\"",
            "endpoint = \"https://collector.internal:4317/v1/traces\"",
            "origin = \"trust.example/log\"",
            "spiffe = \"spiffe://trust.example/gateway/main\"",
        ] {
            assert!(!may_hold_a_secret(line), "{line}");
        }
    }

    #[test]
    fn a_span_inside_a_character_begins_with_it() {
        assert_eq!(place("aöb", &(2..3)).column, 2);
    }

    proptest::proptest! {
        #[test]
        fn any_span_has_a_place(text in "[a-zö\r\n\t]{0,40}", start in 0_usize..60, end in 0_usize..60) {
            let found = place(&text, &(start..end));
            proptest::prop_assert!(found.line <= text.matches('\n').count() + 1);
            proptest::prop_assert!(found.column <= found.source_line.chars().count() + 2);
        }
    }
}
