//! A single file with what it imports, and nothing else of what lies beside it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
};

use contract::Source;

use super::MockError;

/// Reads a file below `root`, and all that it imports from there. What is not there is left to the compiler: gateways bring some of it.
pub(super) fn with_imports(root: &Path, file: String) -> Result<Source, MockError> {
    let mut read = BTreeMap::new();
    let mut wanted = VecDeque::from([file]);
    while let Some(name) = wanted.pop_front() {
        let path = root.join(&name);
        let is_below = Path::new(&name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if read.contains_key(&name) || !is_below || !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|source| MockError::Read { path, source })?;
        wanted.extend(imports(&text));
        read.insert(name, text);
    }
    Ok(Source::Protos { name: root.display().to_string(), files: read.into_iter().collect() })
}

/// The paths that a file imports.
fn imports(text: &str) -> Vec<String> {
    statements(text).iter().filter_map(|statement| imported(statement)).collect()
}

fn imported(statement: &str) -> Option<String> {
    let rest = statement.trim_start().strip_prefix("import")?.trim_start();
    let rest = ["public", "weak"].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest).trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (path, _) = rest.strip_prefix(quote)?.split_once(quote)?;
    Some(path.to_owned())
}

/// Parts a file at each `;` and brace that stands in no text, and leaves comments out.
fn statements(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end.saturating_add(2)),
            '"' | '\'' => quoted(rest, next),
            _ => next.len_utf8(),
        };
        let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match (next, found.last_mut()) {
            (';' | '{' | '}', _) => found.push(String::new()),
            ('/', _) if length > 1 => {}
            (_, Some(statement)) => statement.push_str(taken),
            (_, None) => {}
        }
        rest = after;
    }
    found
}

/// The length of the text in quotes at the beginning.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_and_what_only_looks_like_one_is_not() {
        let text = r#"
            syntax = "proto3"; // import "comment.proto";
            import "a.proto"; import public 'b/c.proto';
            /* import "block.proto"; */ import weak
                "d.proto";
            option java_package = "x; import \"text.proto\"; //";
            message M { string import = 1; } import "e.proto";
        "#;
        assert_eq!(imports(text), ["a.proto", "b/c.proto", "d.proto", "e.proto"]);
        assert!(imports("import \"open").is_empty());
        assert!(imports("/* open import \"a\";").is_empty());
    }
}
