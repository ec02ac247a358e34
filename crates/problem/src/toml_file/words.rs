//! Turns what `toml_edit` and `serde` say into words for the person who wrote the file.

use crate::nearest;

/// An error of `serde`, in plain words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) what: String,
    pub(super) help: Option<String>,
    /// The key that is missing.
    pub(super) missing: Option<String>,
    /// The key that is not known.
    pub(super) unknown: Option<String>,
}

/// Explains a message of a `Deserialize`. A message in no form of `serde`'s own is taken as it is, and split at its first
/// "; " into what is wrong and how to mend it.
pub(super) fn explain(message: &str) -> Explained {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown(rest, "key", true);
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return unknown(rest, "value", false);
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Explained {
            what: format!("`{key}` is missing"),
            help: Some(format!("add `{key} = …` here")),
            missing: Some(key.to_owned()),
            unknown: None,
        };
    }
    if let Some(key) = message.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        return plain(format!("`{key}` is given twice"), Some("keep one of them".to_owned()));
    }
    for prefix in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected ")) {
            return plain(format!("expected {}, found {}", expectation(expected), unexpected(found)), None);
        }
    }
    if let Some((length, expected)) =
        message.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "))
    {
        return plain(format!("expected {}, found {length} of them", expectation(expected)), None);
    }
    if message.starts_with("data did not match any variant") {
        return plain("this is in none of the forms that are allowed here".to_owned(), None);
    }
    match message.split_once("; ") {
        Some((what, help)) => plain(what.to_owned(), Some(help.to_owned())),
        None => plain(message.to_owned(), None),
    }
}

fn plain(what: String, help: Option<String>) -> Explained {
    Explained { what, help, ..Explained::default() }
}

fn unknown(rest: &str, noun: &str, is_key: bool) -> Explained {
    // What follows the name holds our own words only, so the last of these marks ends the name whatever it holds.
    let (name, tail) = rest
        .rsplit_once("`, expected ")
        .or_else(|| rest.rsplit_once("`, there are no "))
        .unwrap_or((rest.trim_end_matches('`'), ""));
    // Serde writes `a`, or `a` or `b`, or one of `a`, `b`, `c`: every second part between backticks is a name.
    let mut known: Vec<&str> = tail.split('`').skip(1).step_by(2).collect();
    known.sort_unstable();
    let help = match known.as_slice() {
        [] => is_key.then(|| "remove it".to_owned()),
        [only] => Some(format!("the only one is `{only}`")),
        several => {
            let list = several.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            let meant = nearest(name, several.iter().copied()).map(|word| format!("; did you mean `{word}`?"));
            Some(format!("use one of {list}{}", meant.unwrap_or_default()))
        }
    };
    Explained {
        what: format!("unknown {noun} `{name}`"),
        help,
        missing: None,
        unknown: is_key.then(|| name.to_owned()),
    }
}

/// What was found, as `serde::de::Unexpected` writes it.
fn unexpected(found: &str) -> String {
    let found = found.trim();
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "Option value" => "nothing".to_owned(),
        _ => match found.split_once(' ') {
            Some(("string", text)) => {
                let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
                format!("the text `{text}`")
            }
            Some(("integer", number)) => format!("the number {number}"),
            Some(("boolean", value)) => value.to_owned(),
            _ => found
                .strip_prefix("floating point ")
                .map_or_else(|| found.to_owned(), |number| format!("the number {number}")),
        },
    }
}

/// What was expected, as derived `Deserialize` implementations write it.
fn expectation(expected: &str) -> String {
    let whole_number =
        matches!(expected, "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize");
    if whole_number {
        return if expected.starts_with('u') { "a whole number of 0 or more" } else { "a whole number" }.to_owned();
    }
    match expected {
        "a string" | "a borrowed string" | "string" | "str" => "a text in quotation marks".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" | "map" => "a table".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "nonzero u8" | "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" => {
            "a whole number above 0".to_owned()
        }
        _ if expected.starts_with("struct ") || expected.contains("tagged enum ") => "a table".to_owned(),
        _ if expected.starts_with("enum ") || expected.contains("variant identifier") => {
            "one of the words allowed here".to_owned()
        }
        _ => expected.to_owned(),
    }
}

/// Explains a syntax error of `toml_edit`.
pub(super) fn syntax(message: &str) -> (String, Option<String>) {
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, "nothing")) => (what, None),
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    let told = [
        ("duplicate key", "this key is there twice", "keep one of them; a table is opened once"),
        (
            "string values must be quoted",
            "there is no value here",
            "write one after `=`; a text stands in quotation marks",
        ),
        ("recurs", "this is nested too deeply", "use fewer than 80 levels"),
    ];
    for (sign, what_we_say, help) in told {
        if what.contains(sign) {
            return (what_we_say.to_owned(), Some(help.to_owned()));
        }
    }
    (format!("not valid TOML: {what}"), expected.map(|expected| format!("expected here: {expected}")))
}
