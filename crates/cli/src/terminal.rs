//! Standard output and standard error: colour only for a terminal, nothing that moves its cursor, and no panic when the reader is gone.

use std::{
    fmt::Display,
    io::{self, BufWriter, IsTerminal as _, Write as _},
};

use crate::failure::{Failure, Outcome, because};

/// Standard output.
pub(crate) struct Out {
    stdout: BufWriter<io::Stdout>,
    bold: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout()), bold: colour(io::stdout().is_terminal()) }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl Display) -> Outcome {
        writeln!(self.stdout, "{line}").map_err(|error| gone(&error))
    }

    /// Writes a line that stands out on a terminal.
    pub(crate) fn heading(&mut self, line: impl Display) -> Outcome {
        if self.bold { self.line(format_args!("\x1b[1m{line}\x1b[0m")) } else { self.line(line) }
    }

    /// Writes a text as it is, and sees to it that it leaves.
    pub(crate) fn text(&mut self, text: &str) -> Outcome {
        self.stdout.write_all(text.as_bytes()).map_err(|error| gone(&error))?;
        self.flush()
    }

    /// Sees to it that what was written leaves.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.stdout.flush().map_err(|error| gone(&error))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Whoever has to know that it left calls `flush`.
        let _ = self.stdout.flush();
    }
}

fn gone(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::nobody_reads()
    } else {
        because("cannot write to standard output", error).into()
    }
}

/// Writes words to standard error.
pub(crate) fn say(words: impl Display) {
    // There is nowhere to say that standard error is gone.
    let _ = writeln!(io::stderr(), "{words}");
}

/// Writes a warning to standard error.
pub(crate) fn warn(words: impl Display) {
    let words = shown(&words.to_string());
    if colour_on_stderr() {
        say(format_args!("\x1b[1;33mwarning\x1b[0m: {words}"));
    } else {
        say(format_args!("warning: {words}"));
    }
}

/// Whether standard error is a terminal that shows colours.
pub(crate) fn colour_on_stderr() -> bool {
    colour(io::stderr().is_terminal())
}

/// Source: <https://no-color.org>.
fn colour(is_terminal: bool) -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    is_terminal && wanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns `text` without what would move a terminal's cursor or reverse the reading direction: what is shown may come from a stranger.
pub(crate) fn shown(text: &str) -> String {
    let visible = |c: char| {
        let reverses = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
        if c.is_control() || reverses { '\u{fffd}' } else { c }
    };
    text.chars().map(visible).collect()
}

/// Writes a path as a shell takes it.
pub(crate) fn typed(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Counts things: `no members`, `1 member`, `2 members`.
pub(crate) fn some(count: u64, thing: &str) -> String {
    match count {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", grouped(count)),
    }
}

/// Writes a number so that its size is seen: `1,234`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_counted_in_words() {
        assert_eq!(
            [some(0, "member"), some(1, "member"), some(1234, "member")],
            ["no members", "1 member", "1,234 members"]
        );
        assert_eq!([grouped(999), grouped(1000), grouped(1_234_567)], ["999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_part_it() {
        for (path, expected) in [
            ("county/gateway.toml", "county/gateway.toml"),
            ("x 6", "'x 6'"),
            ("it's", "'it'\\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(typed(std::path::Path::new(path)), expected);
        }
    }

    #[test]
    fn what_moves_the_cursor_is_not_shown() {
        assert_eq!(shown("case\x1b[2J\n1\u{202e}"), "case\u{fffd}[2J\u{fffd}1\u{fffd}");
        assert_eq!(shown("née, 7 ½"), "née, 7 ½");
    }
}
