//! Writes a [`Problem`] for a terminal. Everything shown may come from a stranger's file, so control characters never reach the terminal.

use std::fmt::{self, Write};

use unicode_width::UnicodeWidthChar;

use crate::Problem;

/// Most columns of a source line that are shown. A longer line is cut around the place concerned.
const SHOWN_COLUMNS: usize = 120;

/// Columns kept before the place concerned when a line is cut.
const KEPT_BEFORE: usize = 40;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self, f, &PLAIN)
    }
}

impl Problem {
    /// Returns the problem as a person reads it, with terminal colours (ANSI escapes) if `colour`.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        let written = write(self, &mut out, if colour { &COLOURED } else { &PLAIN });
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        out
    }

    /// Returns all `problems`, a blank line between each two, with terminal colours if `colour`.
    #[must_use]
    pub fn render_all(problems: &[Problem], colour: bool) -> String {
        problems.iter().map(|problem| problem.render(colour)).collect::<Vec<_>>().join("\n\n")
    }
}

/// Escapes written around the parts of a problem.
struct Palette {
    error: &'static str,
    what: &'static str,
    frame: &'static str,
    help: &'static str,
    end: &'static str,
}

const PLAIN: Palette = Palette { error: "", what: "", frame: "", help: "", end: "" };

const COLOURED: Palette =
    Palette { error: "\x1b[1;31m", what: "\x1b[1m", frame: "\x1b[1;34m", help: "\x1b[1;36m", end: "\x1b[0m" };

fn write(problem: &Problem, out: &mut impl Write, palette: &Palette) -> fmt::Result {
    let Palette { error, what, frame, help, end } = palette;
    let number = problem.line.map(|line| line.to_string()).unwrap_or_default();
    let gutter = number.len().max(1);

    write!(out, "{error}error{end}{what}: ")?;
    write_indented(out, &problem.what, "error: ".len())?;
    out.write_str(end)?;
    if !problem.file.as_os_str().is_empty() {
        write!(out, "\n{:gutter$}{frame}-->{end} ", "")?;
        out.write_str(&shown(&problem.file.to_string_lossy()))?;
        if let (Some(line), Some(column)) = (problem.line, problem.column) {
            write!(out, ":{line}:{column}")?;
        }
        if let Some(key) = &problem.key {
            write!(out, "  ({})", shown(key))?;
        }
    }
    if let (Some(source), Some(column)) = (&problem.source_line, problem.column) {
        let (source, before, carets) = excerpt(source, column, problem.width);
        write!(out, "\n{:gutter$} {frame}|{end}", "")?;
        write!(out, "\n{frame}{number:>gutter$} |{end} {source}")?;
        write!(out, "\n{:gutter$} {frame}|{end} {before}{error}{}{end}", "", "^".repeat(carets))?;
    }
    if let Some(text) = &problem.cause {
        write!(out, "\n{:gutter$} {help}cause{end}: ", "")?;
        write_indented(out, text, gutter.saturating_add(" cause: ".len()))?;
    }
    if let Some(text) = &problem.help {
        write!(out, "\n{:gutter$} {help}= help{end}: ", "")?;
        write_indented(out, text, gutter.saturating_add(" = help: ".len()))?;
    }
    Ok(())
}

/// Writes text whose second and further lines stand under the first.
fn write_indented(out: &mut impl Write, text: &str, indent: usize) -> fmt::Result {
    for (place, line) in text.lines().enumerate() {
        if place > 0 {
            write!(out, "\n{:indent$}", "")?;
        }
        out.write_str(&shown(line))?;
    }
    Ok(())
}

/// Returns the part of `line` to show, the blanks that stand under what is before `column`, and the number of carets.
fn excerpt(line: &str, column: usize, width: usize) -> (String, String, usize) {
    let characters: Vec<char> = line.chars().map(visible).collect();
    let start = column.saturating_sub(1).min(characters.len());
    let end = start.saturating_add(width).min(characters.len());
    let all: usize = characters.iter().map(|c| columns(*c)).sum();
    let first = if all <= SHOWN_COLUMNS { 0 } else { start.saturating_sub(KEPT_BEFORE) };
    let last =
        if all <= SHOWN_COLUMNS { characters.len() } else { first.saturating_add(SHOWN_COLUMNS).min(characters.len()) };

    let mut source = String::new();
    let mut before = String::new();
    if first > 0 {
        source.push('…');
        before.push(' ');
    }
    let mut carets = 0_usize;
    for (place, character) in characters.iter().enumerate().take(last).skip(first) {
        source.push(*character);
        if place < start {
            // A tab stays a tab, so that the carets stand under the text however wide tabs are.
            let blanks = if *character == '\t' { "\t".to_owned() } else { " ".repeat(columns(*character)) };
            before.push_str(&blanks);
        } else if place < end {
            carets = carets.saturating_add(columns(*character));
        }
    }
    if last < characters.len() {
        source.push('…');
    }
    (source.trim_end().to_owned(), before, carets.max(1))
}

fn columns(character: char) -> usize {
    if character == '\t' { 1 } else { character.width().unwrap_or(1) }
}

/// Returns `text` without what would move a terminal's cursor or reverse the reading direction.
fn shown(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(character: char) -> char {
    let reverses = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let moves = (character.is_control() && character != '\t') || matches!(character, '\u{2028}' | '\u{2029}');
    if reverses || moves { '\u{fffd}' } else { character }
}

#[cfg(test)]
mod tests;
