//! Writes the story: headings, sentences, the commands that were run and what came back. Colour only on a terminal.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Widest line of prose, in characters.
const WIDTH: usize = 100;

/// Where the story is told.
pub(crate) struct Teller<W> {
    out: W,
    colour: bool,
    chapter: usize,
    /// Chapters that did not end as told, by title.
    broken: Vec<String>,
    title: String,
    last: Block,
    /// Why something of it could not be written, though there is somebody to read it.
    unwritten: Option<io::Error>,
}

/// What was written last. A blank line parts one kind from another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Blank,
    Prose,
    Command,
    Output,
    Fact,
}

impl Teller<io::Stdout> {
    /// Tells the story on standard output; in colour on a terminal, unless the environment asks for none (`NO_COLOR`).
    pub(crate) fn on_stdout() -> Self {
        let out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Teller::to(out, colour)
    }
}

impl<W: Write> Teller<W> {
    pub(crate) fn to(out: W, colour: bool) -> Self {
        Teller {
            out,
            colour,
            chapter: 0,
            broken: Vec::new(),
            title: String::new(),
            last: Block::Blank,
            unwritten: None,
        }
    }

    /// The titles of the chapters that did not end as told.
    pub(crate) fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Why something could not be written, other than that nobody reads any more.
    pub(crate) fn unwritten(&mut self) -> Option<io::Error> {
        self.unwritten.take()
    }

    /// How many chapters were begun.
    pub(crate) fn chapters(&self) -> usize {
        self.chapter
    }

    /// The title of the whole, before the first chapter.
    pub(crate) fn headline(&mut self, text: &str) {
        self.line(&self.paint(Style::Heading, text));
        self.line("");
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        title.clone_into(&mut self.title);
        self.blank();
        self.line("");
        let heading = format!("{}. {title}", self.chapter);
        self.line(&self.paint(Style::Heading, &heading));
        self.line("");
    }

    /// A paragraph, broken into lines.
    pub(crate) fn say(&mut self, text: &str) {
        self.begin(Block::Prose);
        for line in wrapped(text, WIDTH) {
            self.line(&line);
        }
    }

    /// A command that was run, as it can be pasted.
    pub(crate) fn command(&mut self, command: impl Display) {
        self.plain_command(&command.to_string());
    }

    /// A command that was not run by the story, or not in this form.
    pub(crate) fn plain_command(&mut self, command: &str) {
        self.begin(Block::Command);
        let text = format!("    $ {command}");
        self.line(&self.paint(Style::Command, &text));
    }

    /// What a command wrote: at most `most` lines of it, and how many there were beyond.
    pub(crate) fn output(&mut self, text: &str, most: usize) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            self.begin(Block::Output);
        }
        for line in lines.iter().take(most) {
            for shown in laid_out(line) {
                self.line(&self.paint(Style::Output, &format!("    {shown}")));
            }
        }
        if lines.len() > most {
            let rest = lines.len() - most;
            let word = if rest == 1 { "line" } else { "lines" };
            let rest = grouped(rest as u64);
            let said =
                if most == 0 { format!("    … {rest} {word}") } else { format!("    … and {rest} more {word}") };
            self.line(&self.paint(Style::Output, &said));
        }
    }

    /// Something that was found to be so.
    pub(crate) fn fact(&mut self, text: &str) {
        let mark = self.paint(Style::Good, "✓");
        self.marked(&mark, text);
    }

    /// Something that should have been so and was not: the chapter counts as broken.
    pub(crate) fn broke(&mut self, text: &str) {
        let mark = self.paint(Style::Bad, "✗");
        self.marked(&mark, text);
        if self.broken.last() != Some(&self.title) {
            self.broken.push(self.title.clone());
        }
    }

    /// Says whether the whole ended as told. It belongs to no chapter.
    pub(crate) fn verdict(&mut self, good: bool, text: &str) {
        let mark = if good { self.paint(Style::Good, "✓") } else { self.paint(Style::Bad, "✗") };
        self.begin(Block::Blank);
        self.marked(&mark, text);
    }

    /// Tells `text` as a fact when `holds`, and as broken otherwise.
    pub(crate) fn check(&mut self, holds: bool, text: &str) {
        if holds { self.fact(text) } else { self.broke(&format!("not so: {text}")) }
    }

    /// Parts what comes from what was written last.
    pub(crate) fn blank(&mut self) {
        self.begin(Block::Blank);
    }

    fn begin(&mut self, block: Block) {
        let together =
            self.last == block || self.last == Block::Blank || (self.last, block) == (Block::Command, Block::Output);
        if !together {
            self.line("");
        }
        self.last = block;
    }

    fn marked(&mut self, mark: &str, text: &str) {
        self.begin(Block::Fact);
        for (number, line) in wrapped(text, WIDTH - 4).into_iter().enumerate() {
            let mark = if number == 0 { mark } else { " " };
            self.line(&format!("  {mark} {line}"));
        }
    }

    fn line(&mut self, text: &str) {
        // Who reads the story may have gone away (`| head`): the steps still run, and their end still counts.
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.unwritten.get_or_insert(error);
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
    }
}

#[derive(Clone, Copy)]
enum Style {
    Heading,
    Command,
    Output,
    Good,
    Bad,
}

impl Style {
    /// Parameters of ECMA-48's "select graphic rendition".
    fn code(self) -> &'static str {
        match self {
            Style::Heading => "1",
            Style::Command => "36",
            Style::Output => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
        }
    }
}

/// `text` in lines of at most `width` characters, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// One line of a command's output as lines of the story: a row of JSON is cut, a table stays as it is, prose is wrapped.
fn laid_out(line: &str) -> Vec<String> {
    let (indent, text) = line.split_at(line.len() - line.trim_start().len());
    if text.starts_with('{') {
        return vec![shortened(line, WIDTH)];
    }
    if text.contains("  ") || line.chars().count() <= WIDTH {
        return vec![line.to_owned()];
    }
    let lines = wrapped(text, WIDTH - indent.len());
    lines.into_iter().map(|line| format!("{indent}{line}")).collect()
}

fn shortened(line: &str, most: usize) -> String {
    if line.chars().count() <= most {
        return line.to_owned();
    }
    let kept: String = line.chars().take(most - 1).collect();
    format!("{kept}…")
}

/// A number with its thousands apart: `364,212`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time as a person would say it: `640 ms`, `2.3 s`.
pub(crate) fn spoken(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(colour: bool, tell: impl FnOnce(&mut Teller<Vec<u8>>)) -> (String, Vec<String>) {
        let mut teller = Teller::to(Vec::new(), colour);
        tell(&mut teller);
        let broken = teller.broken().to_vec();
        (String::from_utf8(teller.out).unwrap(), broken)
    }

    #[test]
    fn a_chapter_reads_as_heading_sentence_command_output_and_facts() {
        let (text, broken) = told(false, |teller| {
            teller.chapter("One question");
            teller.say("A question goes out.");
            teller.command("drawbridge call");
            teller.output("one\n\ntwo\nthree\n", 2);
            teller.fact("answered");
        });
        assert_eq!(
            text,
            "\n1. One question\n\nA question goes out.\n\n    $ drawbridge call\n    one\n    two\n    … and 1 more line\n\n  ✓ answered\n"
        );
        assert!(broken.is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_known_other_than_that_nobody_reads() {
        struct Refuses(io::ErrorKind);
        impl Write for Refuses {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, told) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::BrokenPipe, false)] {
            let mut teller = Teller::to(Refuses(kind), false);
            teller.fact("answered");
            assert_eq!(teller.unwritten().map(|error| error.kind()), told.then_some(kind));
        }
    }

    #[test]
    fn the_verdict_breaks_no_chapter() {
        let (text, broken) = told(false, |teller| {
            teller.chapter("Refusals");
            teller.fact("refused");
            teller.verdict(false, "not all");
        });
        assert!(text.ends_with("  ✓ refused\n\n  ✗ not all\n") && broken.is_empty(), "{text}");
    }

    #[test]
    fn a_chapter_that_breaks_twice_is_counted_once() {
        let (text, broken) = told(false, |teller| {
            teller.chapter("Refusals");
            teller.check(false, "refused");
            teller.check(true, "recorded");
            teller.broke("no record");
        });
        assert!(text.contains("✗ not so: refused") && text.contains("✓ recorded"));
        assert_eq!(broken, ["Refusals"]);
    }

    #[test]
    fn colour_is_left_out_where_there_is_no_terminal() {
        let (plain, _) = told(false, |teller| teller.fact("so"));
        let (coloured, _) = told(true, |teller| teller.fact("so"));
        assert!(!plain.contains('\u{1b}') && coloured.contains("\u{1b}[32m✓"));
    }

    #[test]
    fn long_prose_is_broken_between_words_and_long_output_is_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(laid_out(&format!("  {} end", "word ".repeat(20).trim_end())).len(), 2);
        assert_eq!(laid_out(&format!("a  table {}", "cell  ".repeat(40))).len(), 1);
        assert_eq!(laid_out(&format!("{{\"a\":\"{}\"}}", "x".repeat(200)))[0].chars().count(), WIDTH);
    }

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!((grouped(0), grouped(999), grouped(1000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(spoken(Duration::from_millis(640)), "640 ms");
        assert_eq!(spoken(Duration::from_millis(2340)), "2.3 s");
    }
}
