//! "Did you mean": the word nearest to a mistyped one.

/// Returns the word among `among` that `word` was most likely meant to be, if any is near enough.
///
/// Near enough is an optimal string alignment distance (insertions, deletions, substitutions, swapped neighbours; letters' case
/// ignored) of at most a third of the longer word's characters, and at least 1. Of equally near words the first wins. A word that
/// equals `word` but for case, or that ends in `.word` (as a nested path does), is nearer than any other.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in among {
        let lower = candidate.to_lowercase();
        let distance = distance(&wanted, &lower);
        let longer = wanted.chars().count().max(lower.chars().count());
        let near = distance <= (longer / 3).max(1) && distance < longer;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn distance(wanted: &str, candidate: &str) -> usize {
    let ends_in_it = candidate.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.') || rest.ends_with('/'));
    if ends_in_it && !wanted.is_empty() { 1 } else { strsim::osa_distance(wanted, candidate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_what_was_meant() {
        let kinds = ["file", "grpc", "http", "ldap", "odbc", "soap", "sql", "name.family"];
        let cases = [
            ("ldpa", Some("ldap")),
            ("LDAP", Some("ldap")),
            ("sqlx", Some("sql")),
            ("family", Some("name.family")),
            ("name.famly", Some("name.family")),
            ("postgres", None),
            ("", None),
            ("x", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, kinds), expected, "{word}");
        }
    }

    #[test]
    fn of_equally_near_words_the_first_wins() {
        assert_eq!(nearest("cat", ["bat", "hat"]), Some("bat"));
    }
}
