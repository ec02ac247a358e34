//! Path templates of `google.api.http`: `/v1/patients/{nhs_number}:summary`.
//!
//! Source: `google/api/http.proto`, "Path template syntax". The surprising fact: two templates that can match the same path are fine as long
//! as one of them is the narrower in every place where they differ; else nobody could say which is meant.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use percent_encoding::percent_decode_str;

/// One parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) parts: Vec<Part>,
    pub(crate) variables: Vec<Variable>,
    /// What follows a colon at the end.
    pub(crate) suffix: Option<String>,
}

/// What one segment of a path has to be. In the order of how narrow it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// This text.
    Literal(String),
    /// One segment, whatever it is.
    One,
    /// All segments that are left, none included.
    Rest,
}

/// A field that takes its value from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The field's path, `patient.nhs_number`.
    pub(crate) field: String,
    /// The parts that make its value.
    pub(crate) parts: Range<usize>,
}

/// Longest template, in bytes.
const MAX_BYTES: usize = 1024;

/// A template cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidTemplate(pub(crate) &'static str);

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > MAX_BYTES {
            return Err(InvalidTemplate("it is longer than 1,024 bytes"));
        }
        let rest = text.strip_prefix('/').ok_or(InvalidTemplate("it does not begin with `/`"))?;
        // A colon within braces belongs to no suffix, and none is allowed there.
        let after_brace = rest.rfind(['}', '/']).map_or(0, |at| at.saturating_add(1));
        let (path, suffix) = match rest.get(after_brace..).and_then(|tail| tail.rfind(':')) {
            Some(at) => rest.split_at(after_brace.saturating_add(at)),
            None => (rest, ""),
        };
        let suffix = match suffix.strip_prefix(':') {
            Some(word) if is_literal(word) => Some(word.to_owned()),
            Some(_) => return Err(InvalidTemplate("what follows the colon is not a word")),
            None => None,
        };
        let mut template = Self { parts: Vec::new(), variables: Vec::new(), suffix };
        let mut path = path;
        loop {
            path = template.segment(path)?;
            match path.strip_prefix('/') {
                Some(next) => path = next,
                None if path.is_empty() => break,
                None => return Err(InvalidTemplate("a segment is followed by something else than `/`")),
            }
        }
        let last = template.parts.len().saturating_sub(1);
        if template.parts.iter().take(last).any(|part| *part == Part::Rest) {
            return Err(InvalidTemplate("`**` stands before the end"));
        }
        Ok(template)
    }

    /// Reads one segment, a variable being one, and returns what follows it.
    fn segment<'a>(&mut self, path: &'a str) -> Result<&'a str, InvalidTemplate> {
        let Some(inner) = path.strip_prefix('{') else {
            let end = path.find('/').unwrap_or(path.len());
            let (word, rest) = path.split_at(end);
            self.parts.push(part(word)?);
            return Ok(rest);
        };
        let (inner, rest) = inner.split_once('}').ok_or(InvalidTemplate("a brace is not closed"))?;
        let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        if !field.split('.').all(is_identifier) {
            return Err(InvalidTemplate("a variable is not the path of a field"));
        }
        let first = self.parts.len();
        for word in pattern.split('/') {
            self.parts.push(part(word)?);
        }
        self.variables.push(Variable { field: field.to_owned(), parts: first..self.parts.len() });
        Ok(rest)
    }

    /// A path of two words, as methods have.
    pub(crate) fn literal(service: &str, method: &str) -> Self {
        let parts = vec![Part::Literal(service.to_owned()), Part::Literal(method.to_owned())];
        Self { parts, variables: Vec::new(), suffix: None }
    }

    /// Returns the values of the variables, in their order, when `path` matches. Values are percent-decoded; one that is not UTF-8 then
    /// does not match. In the value of a variable that may have several segments `%2F` stays as it is: a slash parts segments there.
    pub(crate) fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut path = path.strip_prefix('/')?;
        if let Some(suffix) = &self.suffix {
            path = path.strip_suffix(suffix.as_str())?.strip_suffix(':')?;
        }
        let segments: Vec<&str> = path.split('/').collect();
        // Where each part begins and ends among the segments: one each, but for the last one if it takes the rest.
        let fixed = self.parts.iter().filter(|part| **part != Part::Rest).count();
        let rest = fixed < self.parts.len();
        if segments.len() < fixed || (!rest && segments.len() != fixed) {
            return None;
        }
        for (part, segment) in self.parts.iter().zip(&segments) {
            let fits = match part {
                Part::Literal(word) => decoded(segment).is_some_and(|segment| segment == *word),
                Part::One => !segment.is_empty(),
                Part::Rest => true,
            };
            if !fits {
                return None;
            }
        }
        let value = |variable: &Variable| {
            let takes_rest = self.parts.get(variable.parts.clone())?.contains(&Part::Rest);
            let end = if takes_rest { segments.len() } else { variable.parts.end };
            let decode = if takes_rest || variable.parts.len() > 1 { decoded_but_slashes } else { decoded };
            let segments: Option<Vec<_>> =
                segments.get(variable.parts.start..end)?.iter().map(|segment| decode(segment)).collect();
            Some(segments?.join("/"))
        };
        self.variables.iter().map(value).collect()
    }

    /// Returns whether some path matches both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (&self.suffix, &other.suffix) {
            (Some(one), Some(two)) if one != two => return false,
            // A word that stands for itself holds no colon.
            (Some(_), None) if matches!(other.parts.last(), Some(Part::Literal(_))) => return false,
            (None, Some(_)) if matches!(self.parts.last(), Some(Part::Literal(_))) => return false,
            _ => {}
        }
        let mut at = 0_usize;
        loop {
            match (self.parts.get(at), other.parts.get(at)) {
                (Some(Part::Rest), _) | (_, Some(Part::Rest)) | (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Part::Literal(one)), Some(Part::Literal(two))) if one != two => return false,
                (Some(Part::Literal(_) | Part::One), Some(Part::Literal(_) | Part::One)) => {}
            }
            at = at.saturating_add(1);
        }
    }

    /// Says which of two overlapping templates is the narrower one in every place where they differ. None: neither, or they are alike.
    pub(crate) fn narrower(&self, other: &Self) -> Option<Ordering> {
        let suffix = other.suffix.is_some().cmp(&self.suffix.is_some());
        let length = self.parts.len().max(other.parts.len());
        let mut found = suffix;
        for at in 0..length {
            let here = breadth(self.parts.get(at)).cmp(&breadth(other.parts.get(at)));
            match (found, here) {
                (Ordering::Less, Ordering::Greater) | (Ordering::Greater, Ordering::Less) => return None,
                (Ordering::Equal, _) => found = here,
                _ => {}
            }
        }
        (found != Ordering::Equal).then_some(found)
    }

    /// What templates are sorted by, so that the first that matches is the narrowest.
    pub(crate) fn breadth(&self) -> (Vec<u8>, bool) {
        (self.parts.iter().map(|part| breadth(Some(part))).collect(), self.suffix.is_none())
    }
}

fn breadth(part: Option<&Part>) -> u8 {
    match part {
        Some(Part::Literal(_)) | None => 0,
        Some(Part::One) => 1,
        Some(Part::Rest) => 2,
    }
}

fn part(word: &str) -> Result<Part, InvalidTemplate> {
    match word {
        "*" => Ok(Part::One),
        "**" => Ok(Part::Rest),
        word if is_literal(word) => Ok(Part::Literal(word.to_owned())),
        _ => Err(InvalidTemplate("a segment is empty, or holds what a segment cannot")),
    }
}

/// Unreserved characters and those that a segment of a path may hold besides. Source: RFC 3986, section 3.3, without `:` and `*`.
fn is_literal(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()+,;=@".contains(&b))
}

fn is_identifier(word: &str) -> bool {
    let mut letters = word.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Decodes what surrounds each `%2F`. Source: `google/api/http.proto`, "Path template syntax", of variables with several segments.
fn decoded_but_slashes(segment: &str) -> Option<String> {
    let mut value = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find("%2F").into_iter().chain(rest.find("%2f")).min() {
        let (before, slash) = rest.split_at_checked(at)?;
        let (slash, after) = slash.split_at_checked("%2F".len())?;
        value.push_str(&decoded(before)?);
        value.push_str(slash);
        rest = after;
    }
    value.push_str(&decoded(rest)?);
    Some(value)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            let opens = self.variables.iter().find(|variable| variable.parts.start == at);
            let closes = self.variables.iter().any(|variable| variable.parts.end == at.saturating_add(1));
            let simple = opens.is_some_and(|variable| variable.parts.len() == 1) && *part == Part::One;
            f.write_str("/")?;
            match opens {
                Some(variable) if simple => write!(f, "{{{}", variable.field)?,
                Some(variable) => write!(f, "{{{}={part}", variable.field)?,
                None => write!(f, "{part}")?,
            }
            if closes {
                f.write_str("}")?;
            }
        }
        self.suffix.as_ref().map_or(Ok(()), |suffix| write!(f, ":{suffix}"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(word) => word,
            Self::One => "*",
            Self::Rest => "**",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn templates_match_paths_and_give_values() {
        let check = |text: &str, path: &str, expected: Option<&[&str]>| {
            let found = template(text).matches(path);
            let expected = expected.map(|values| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{text} {path}");
        };
        check("/v1/patients", "/v1/patients", Some(&[]));
        check("/v1/patients", "/v1/patients/", None);
        check("/v1/patients", "/v1", None);
        check("/v1/patients/{id}", "/v1/patients/7", Some(&["7"]));
        check("/v1/patients/{id}", "/v1/patients/", None);
        check("/v1/patients/{id}", "/v1/patients/7/8", None);
        check("/v1/patients/{id}", "/v1/patients/a%2Fb%20c", Some(&["a/b c"]));
        check("/v1/patients/{id}", "/v1/patients/%ff", None);
        check("/v1/patients/{id}:summary", "/v1/patients/7:summary", Some(&["7"]));
        check("/v1/patients/{id}:summary", "/v1/patients/7", None);
        check("/v1/{name=shelves/*}", "/v1/shelves/3", Some(&["shelves/3"]));
        check("/v1/{name=shelves/*}", "/v1/books/3", None);
        check("/v1/{name=shelves/*/books/*}/x", "/v1/shelves/3/books/4/x", Some(&["shelves/3/books/4"]));
        check("/v1/{path=files/**}", "/v1/files/a/b/c", Some(&["files/a/b/c"]));
        check("/v1/{path=files/**}", "/v1/files", Some(&["files"]));
        check("/v1/{name=shelves/*}", "/v1/shelves/a%2Fb%20%c3%A9", Some(&["shelves/a%2Fb é"]));
        check(
            "/v1/{name=shelves/*/books/**}",
            "/v1/shelves/a%2fb/books/c%2Fd/e",
            Some(&["shelves/a%2fb/books/c%2Fd/e"]),
        );
        check("/v1/{name=shelves/*/books/**}", "/v1/shelves/a%252F/books", Some(&["shelves/a%2F/books"]));
        check("/v1/{name=**}", "/v1/a%2Fb", Some(&["a%2Fb"]));
        check("/v1/{name=**}", "/v1/a%2F%ff", None);
        check("/v1/{name=*}/{of}", "/v1/a%2Fb/c%2fd", Some(&["a/b", "c/d"]));
        check("/v1/*/{a.b}", "/v1/x/y", Some(&["y"]));
        check("/**", "/", Some(&[]));
    }

    #[test]
    fn what_is_no_template_is_named() {
        let check = |text: &str, expected: &str| assert_eq!(Template::parse(text).unwrap_err().0, expected, "{text}");
        check("v1", "it does not begin with `/`");
        check("/v1//x", "a segment is empty, or holds what a segment cannot");
        check("/v1/{a", "a brace is not closed");
        check("/v1/{a}b", "a segment is followed by something else than `/`");
        check("/v1/{1a}", "a variable is not the path of a field");
        check("/v1/{a={b}}", "a segment is empty, or holds what a segment cannot");
        check("/v1/**/x", "`**` stands before the end");
        check("/v1/x:", "what follows the colon is not a word");
    }

    #[test]
    fn of_two_that_overlap_the_narrower_is_known_or_none_is() {
        let check = |one: &str, two: &str, expected: Option<Option<Ordering>>| {
            let (one, two) = (template(one), template(two));
            let found = one.overlaps(&two).then(|| one.narrower(&two));
            assert_eq!(found, expected, "{one} {two}");
            assert_eq!(
                two.overlaps(&one).then(|| two.narrower(&one)),
                expected.map(|order| order.map(Ordering::reverse)),
                "{two} {one}"
            );
        };
        check("/a/b", "/a/{x}", Some(Some(Ordering::Less)));
        check("/a/{x}", "/a/{y}", Some(None));
        check("/a/{x}/c", "/a/b/{y}", Some(None));
        check("/a/{x}/c", "/b/{x}/c", None);
        check("/a/{x}", "/a/{x=**}", Some(Some(Ordering::Less)));
        check("/a", "/a/{x=**}", Some(Some(Ordering::Less)));
        check("/a/{x}:do", "/a/{x}", Some(Some(Ordering::Less)));
        check("/a/{x}:do", "/a/{x}:undo", None);
        check("/a/{x}:do", "/a/b", None);
        check("/a/{x}:do", "/a/b/{y=**}", Some(None));
    }

    #[test]
    fn a_template_is_written_as_it_was_read() {
        for text in ["/v1/{id}", "/v1/{name=shelves/*}/x:do", "/a/*/**", "/v1/{a.b=x/**}", "/pkg.v1.Service/Method"] {
            assert_eq!(template(text).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[/{}*=:a-c.%]{0,24}", path in "[/{}*=:a-c.%]{0,24}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.matches(&path);
                let again = Template::parse(&template.to_string()).unwrap();
                prop_assert_eq!(again, template);
            }
        }
    }
}
