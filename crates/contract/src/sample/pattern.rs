//! Text that matches a regular expression.

use regex_syntax::Parser;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::random::Random;

/// Most bytes of a text; a longer one matches no pattern of a contract.
const MOST: usize = 1024;

/// A pattern, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Hir);

impl Pattern {
    /// Takes a pattern apart. `None` where it is none, which the contract would not have loaded with.
    pub(super) fn parse(written: &str) -> Option<Self> {
        Parser::new().parse(written).ok().map(Self)
    }

    /// Returns a text that matches, as far as it can be told from the pattern's parts alone: what it says of places, as `\b`, is
    /// not looked at. What may be repeated without end is repeated at most `extra` times more than it has to be.
    pub(super) fn made(&self, extra: u32, random: &mut Random) -> String {
        let mut text = String::new();
        make(
            &self.0,
            &mut |min, max, random| random.between(min, max.min(min.saturating_add(extra.into()))),
            random,
            &mut text,
        );
        text
    }

    /// Returns such a text of about `length` characters, where the pattern repeats something without end.
    pub(super) fn of_length(&self, length: usize, random: &mut Random) -> String {
        let mut repeated = |extra: usize| {
            let extra = i128::try_from(extra).unwrap_or(i128::MAX);
            let mut text = String::new();
            make(&self.0, &mut |min, max, _| max.min(min.saturating_add(extra)), random, &mut text);
            text
        };
        let (none, one) = (repeated(0).chars().count(), repeated(1).chars().count());
        let each = one.saturating_sub(none).max(1);
        repeated(length.saturating_sub(none).div_ceil(each))
    }
}

/// Says how often something is repeated, that is repeated from `min` to `max` times.
type Times<'t> = dyn FnMut(i128, i128, &mut Random) -> i128 + 't;

fn make(hir: &Hir, times: &mut Times<'_>, random: &mut Random, text: &mut String) {
    if text.len() > MOST {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => text.extend(character(class, random)),
        HirKind::Capture(capture) => make(&capture.sub, times, random, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| make(part, times, random, text)),
        HirKind::Alternation(branches) => {
            if let Some(branch) = branches.get(random.position(branches.len())) {
                make(branch, times, random, text);
            }
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.map_or(i128::from(u32::MAX), i128::from);
            let count = times(repetition.min.into(), most, random);
            for _ in 0..count {
                if text.len() > MOST {
                    return;
                }
                make(&repetition.sub, times, random, text);
            }
        }
    }
}

/// Returns a character of a class: a letter or digit where it has any.
fn character(class: &Class, random: &mut Random) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class.ranges().iter().map(|r| (char::from(r.start()), char::from(r.end()))).collect(),
    };
    let has = |c: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&c));
    let all = |of: std::ops::RangeInclusive<char>| of.filter(|c| has(c)).collect::<Vec<_>>();
    let (lower, upper, digits) = (all('a'..='z'), all('A'..='Z'), all('0'..='9'));
    // What takes every letter is meant for words.
    let plain = if lower.len() == 26 && upper.len() == 26 { lower } else { [lower, upper, digits].concat() };
    let some = if plain.is_empty() { all(' '..='~') } else { plain };
    if some.is_empty() { ranges.first().map(|(first, _)| *first) } else { Some(random.pick(&some)) }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn what_is_made_matches() {
        for pattern in [
            "[A-Z]{2}[0-9]{6}",
            r"T-\d{4}",
            "a|bc|(?:d|e)f*",
            r"[^\s]+@[a-z]+(\.[a-z]+)+",
            "(?i)ref-[a-f0-9]{8}",
            r"\p{Greek}*x?",
            "",
            "[à-ü]{3}",
            r"[^a-zA-Z0-9]{2}",
            ".{3,}",
        ] {
            let Some(parts) = Pattern::parse(pattern) else { continue };
            let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
            for seed in 0..200 {
                let text = parts.made(u32::try_from(seed % 9).unwrap(), &mut Random::of(seed, 0));
                assert!(whole.is_match(&text), "{pattern}: {text}");
            }
        }
    }

    #[test]
    fn a_length_is_met_where_the_pattern_lets_it() {
        for (pattern, length) in [("[a-z ]*", 200), ("x[0-9]+y", 40), ("(?:ab)*", 30), (r"\b[^\s]+\b", 64)] {
            let text = Pattern::parse(pattern).unwrap().of_length(length, &mut Random::of(1, 0));
            assert_eq!(text.chars().count(), length, "{pattern}: {text}");
        }
    }

    #[test]
    fn what_has_no_end_is_cut_off() {
        let parts = Pattern::parse("((a*)*)*").unwrap();
        assert!(parts.made(1000, &mut Random::of(7, 0)).len() <= MOST + 1);
    }
}
