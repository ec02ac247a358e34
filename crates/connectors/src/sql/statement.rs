//! Reads the text of a statement as far as parameters are concerned: `:field.path` becomes a numbered parameter.
//!
//! [`Dialect`] is what databases differ in here: their mark of a parameter, and what may hold a `:name` that is none.
//!
//! The text comes from the binding only. Strings, quoted names and comments are stepped over, so a `:name` in them stays.

use std::fmt;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// What stands before the number of a parameter.
    fn mark(self) -> char {
        match self {
            Self::Sqlite => '?',
            Self::Postgres => '$',
        }
    }
}

/// What a statement that reads may begin with.
const READING: &[&str] = &["select", "with", "values"];

/// What a statement of a command may begin with: nothing that ends the transaction, or changes a schema or setting.
const CHANGING: &[&str] = &["insert", "update", "delete", "merge", "replace", "select", "with", "values"];

/// A statement, with numbered parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The text with `?1`, `?2`, … or `$1`, `$2`, … in place of the names.
    pub(crate) sql: String,
    /// Field paths in the request; parameter 1 is the first of them.
    pub(crate) parameters: Vec<String>,
}

impl Statement {
    /// Reads a statement that reads.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, Fault> {
        Self::read(text, dialect, READING)
    }

    /// Reads a statement of a command.
    pub(crate) fn parse_command(text: &str, dialect: Dialect) -> Result<Self, Fault> {
        Self::read(text, dialect, CHANGING)
    }

    fn read(text: &str, dialect: Dialect, openings: &'static [&'static str]) -> Result<Self, Fault> {
        let mut sql = String::with_capacity(text.len());
        let mut parameters: Vec<String> = Vec::new();
        let mut shape = Shape { openings, ..Shape::default() };
        for token in (Tokens { rest: text, dialect }) {
            let (kind, token) = token?;
            shape.see(kind, token)?;
            match kind {
                Kind::Parameter => {
                    let name = token.strip_prefix(':').unwrap_or(token);
                    let number = parameters.iter().position(|known| known == name).unwrap_or_else(|| {
                        parameters.push(name.to_owned());
                        parameters.len() - 1
                    });
                    sql.push(dialect.mark());
                    sql.push_str(&(number + 1).to_string());
                }
                Kind::End => {}
                Kind::Comment => sql.push(' '),
                Kind::Word | Kind::Quoted | Kind::Space | Kind::Other => sql.push_str(token),
            }
        }
        shape.end()?;
        Ok(Self { sql: sql.trim().to_owned(), parameters })
    }
}

/// What is wrong with the text of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    Several,
    NotReading { word: String },
    NotChanging { word: String },
    Wildcard,
    Unnamed { token: String },
    Unclosed { what: &'static str },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the statement is empty"),
            Self::Several => f.write_str("there is more than one statement"),
            Self::NotReading { word } => write!(f, "the statement begins with `{word}`, and the gateway only reads"),
            Self::NotChanging { word } => {
                write!(f, "a statement of a command cannot begin with `{word}`: its transaction is the gateway's")
            }
            Self::Wildcard => f.write_str("the statement selects `*`, which changes when the table does"),
            Self::Unnamed { token } => write!(f, "the parameter `{token}` does not name a field of the request"),
            Self::Unclosed { what } => write!(f, "{what} is not closed"),
        }
    }
}

impl Fault {
    /// How to mend it.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Empty => "write a statement that reads, as in `SELECT pat_nm AS \"name.family\" FROM pat WHERE nhs_no = :nhs_number`".into(),
            Self::Several => "leave one statement; a second one needs a binding of its own".into(),
            Self::NotReading { .. } => "begin with `SELECT`, `WITH` or `VALUES`".into(),
            Self::NotChanging { .. } => "begin with `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `SELECT` or `WITH`".into(),
            Self::Wildcard => "name each column that a field of the answer needs".into(),
            Self::Unnamed { .. } => "write `:field` or `:field.path`, named as in the contract".into(),
            Self::Unclosed { .. } => "close it".into(),
        }
    }
}

/// The facts about a statement that its tokens show.
#[derive(Default)]
struct Shape {
    /// What it may begin with.
    openings: &'static [&'static str],
    begun: bool,
    ended: bool,
    depth: usize,
    /// Whether a `*` here stands for all columns.
    wildcard_next: bool,
}

impl Shape {
    fn see(&mut self, kind: Kind, token: &str) -> Result<(), Fault> {
        if matches!(kind, Kind::Space | Kind::Comment) {
            return Ok(());
        }
        if kind == Kind::End {
            self.ended = self.begun;
            return Ok(());
        }
        if self.ended {
            return Err(Fault::Several);
        }
        if !self.begun {
            self.begun = true;
            if !self.openings.iter().any(|word| word.eq_ignore_ascii_case(token)) {
                let word = token.to_owned();
                let reads = self.openings == READING;
                return Err(if reads { Fault::NotReading { word } } else { Fault::NotChanging { word } });
            }
        }
        match token {
            "(" => self.depth += 1,
            ")" => self.depth = self.depth.saturating_sub(1),
            "*" if self.wildcard_next && self.depth == 0 => return Err(Fault::Wildcard),
            _ => {}
        }
        self.wildcard_next = matches!(token, "," | ".")
            || (kind == Kind::Word
                && ["select", "distinct", "all", "returning"].iter().any(|word| word.eq_ignore_ascii_case(token)));
        Ok(())
    }

    fn end(&self) -> Result<(), Fault> {
        if self.begun { Ok(()) } else { Err(Fault::Empty) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Parameter,
    Space,
    Comment,
    /// The semicolon.
    End,
    Other,
}

struct Tokens<'t> {
    rest: &'t str,
    dialect: Dialect,
}

impl<'t> Tokens<'t> {
    fn take(&mut self, kind: Kind, bytes: usize) -> (Kind, &'t str) {
        let (token, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        (kind, token)
    }

    /// Takes a token that runs up to `close`, which doubled stands for itself.
    fn quoted(&mut self, close: char, what: &'static str) -> Result<(Kind, &'t str), Fault> {
        let mut from = 1;
        loop {
            let Some(at) = self.rest.get(from..).and_then(|rest| rest.find(close)) else {
                return Err(Fault::Unclosed { what });
            };
            from += at + 1;
            // `]` closes at once; the other marks may be doubled.
            if close == ']' || !self.rest.get(from..).is_some_and(|rest| rest.starts_with(close)) {
                return Ok(self.take(Kind::Quoted, from));
            }
            from += 1;
        }
    }

    fn step(&mut self, first: char) -> Result<(Kind, &'t str), Fault> {
        let rest = self.rest;
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        let run = |belongs: fn(char) -> bool| rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        match first {
            '\'' => self.quoted('\'', "a string"),
            '"' => self.quoted('"', "a quoted name"),
            '-' if after.starts_with('-') => Ok(self.take(Kind::Comment, rest.find('\n').unwrap_or(rest.len()))),
            '/' if after.starts_with('*') => match comment_length(rest, self.dialect) {
                Some(length) => Ok(self.take(Kind::Comment, length)),
                None => Err(Fault::Unclosed { what: "a comment" }),
            },
            ';' => Ok(self.take(Kind::End, 1)),
            // A cast, in databases that have it.
            ':' if after.starts_with(':') => Ok(self.take(Kind::Other, 2)),
            ':' if after.starts_with(starts_word) => Ok(self.take(Kind::Parameter, 1 + path_length(after))),
            c if c.is_whitespace() => Ok(self.take(Kind::Space, run(char::is_whitespace))),
            c if continues_word(c) => self.word(run(|c| continues_word(c) || c == '$')),
            c => match self.dialect {
                Dialect::Sqlite => self.sqlite(c, after),
                Dialect::Postgres => self.postgres(c, after),
            },
        }
    }

    /// Takes a word, or in PostgreSQL a string with escapes: `E'it\'s'`.
    fn word(&mut self, length: usize) -> Result<(Kind, &'t str), Fault> {
        let (word, after) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        if self.dialect == Dialect::Sqlite || !word.eq_ignore_ascii_case("e") || !after.starts_with('\'') {
            return Ok(self.take(Kind::Word, length));
        }
        let mut within = after.char_indices().skip(1).peekable();
        while let Some((at, c)) = within.next() {
            match c {
                // An escape, or a doubled mark: the next stands for itself.
                '\\' => drop(within.next()),
                '\'' if within.next_if(|(_, next)| *next == '\'').is_none() => {
                    return Ok(self.take(Kind::Quoted, length + at + 1));
                }
                _ => {}
            }
        }
        Err(Fault::Unclosed { what: "a string" })
    }

    fn sqlite(&mut self, first: char, after: &str) -> Result<(Kind, &'t str), Fault> {
        match first {
            '`' => self.quoted('`', "a quoted name"),
            '[' => self.quoted(']', "a quoted name"),
            '?' | ':' => Err(self.unnamed()),
            '@' | '$' if after.starts_with(continues_word) => Err(self.unnamed()),
            c => Ok(self.take(Kind::Other, c.len_utf8())),
        }
    }

    fn postgres(&mut self, first: char, after: &str) -> Result<(Kind, &'t str), Fault> {
        if first != '$' {
            // `?`, `@` and `:` are operators, or the colon of a slice.
            return Ok(self.take(Kind::Other, first.len_utf8()));
        }
        if after.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.unnamed());
        }
        // `$tag$ … $tag$`, where the tag may be empty.
        let tag = after.find(|c| !continues_word(c)).unwrap_or(after.len());
        if !after.get(tag..).is_some_and(|rest| rest.starts_with('$')) {
            return Ok(self.take(Kind::Other, 1));
        }
        let open = tag + 2;
        let mark = self.rest.get(..open).unwrap_or_default();
        match self.rest.get(open..).and_then(|rest| rest.find(mark)) {
            Some(at) => Ok(self.take(Kind::Quoted, open + at + open)),
            None => Err(Fault::Unclosed { what: "a string" }),
        }
    }

    fn unnamed(&self) -> Fault {
        let after = self.rest.get(1..).unwrap_or_default();
        let length = 1 + after.find(|c| !continues_word(c)).unwrap_or(after.len());
        Fault::Unnamed { token: self.rest.get(..length).unwrap_or_default().to_owned() }
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Result<(Kind, &'t str), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.chars().next()?;
        let token = self.step(first);
        if token.is_err() {
            self.rest = "";
        }
        Some(token)
    }
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the comment that `text` begins with. PostgreSQL's may hold others.
fn comment_length(text: &str, dialect: Dialect) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let (open, close) = (rest.find("/*"), rest.find("*/")?);
        match open {
            Some(open) if open < close && (depth == 0 || dialect == Dialect::Postgres) => {
                depth += 1;
                at += open + 2;
            }
            Some(_) | None => {
                depth = depth.saturating_sub(1);
                at += close + 2;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
    }
}

/// Length of `a.b_c.d` at the start of `text`, in bytes. A dot belongs to it if a word follows.
fn path_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        length += rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let Some(after) = text.get(length..).and_then(|rest| rest.strip_prefix('.')) else {
            return length;
        };
        if !after.starts_with(starts_word) {
            return length;
        }
        length += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, sql: &str, parameters: &[&str]) {
        let statement = Statement::parse(text, Dialect::Sqlite).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(statement.sql, sql);
        assert_eq!(statement.parameters, parameters, "{text}");
    }

    #[test]
    fn names_become_numbers_and_the_same_name_the_same_number() {
        check("SELECT a FROM t WHERE b = :b", "SELECT a FROM t WHERE b = ?1", &["b"]);
        check(
            "SELECT a FROM t WHERE b=:x.y_1 AND c=:z OR d=:x.y_1",
            "SELECT a FROM t WHERE b=?1 AND c=?2 OR d=?1",
            &["x.y_1", "z"],
        );
        check("SELECT a WHERE b = :b.", "SELECT a WHERE b = ?1.", &["b"]);
    }

    #[test]
    fn strings_quoted_names_comments_and_casts_are_stepped_over() {
        check(
            "SELECT ':a', \":b\", `:c`, [:d], 'it''s :e' FROM t",
            "SELECT ':a', \":b\", `:c`, [:d], 'it''s :e' FROM t",
            &[],
        );
        check("SELECT a -- :x; no\nFROM t /* :y ; */ WHERE b = :b", "SELECT a  \nFROM t   WHERE b = ?1", &["b"]);
        check("SELECT a::text, x$y FROM t;", "SELECT a::text, x$y FROM t", &[]);
        check(
            "SELECT strftime('%H:%M', t) AS \"at.é\" FROM t ; -- the end",
            "SELECT strftime('%H:%M', t) AS \"at.é\" FROM t",
            &[],
        );
    }

    #[test]
    fn postgresql_has_marks_strings_and_comments_of_its_own() {
        for (text, sql, parameters) in [
            ("SELECT a::text FROM t WHERE b = ANY(:b)", "SELECT a::text FROM t WHERE b = ANY($1)", &["b"][..]),
            ("SELECT a[1], b[:i] FROM t", "SELECT a[1], b[$1] FROM t", &["i"]),
            (
                "SELECT a[1 : 2] FROM t WHERE j ? 'x' AND k @> :k",
                "SELECT a[1 : 2] FROM t WHERE j ? 'x' AND k @> $1",
                &["k"],
            ),
            ("SELECT $$:a$$, $x$ $$ :b $x$, :c", "SELECT $$:a$$, $x$ $$ :b $x$, $1", &["c"]),
            (r"SELECT E'it\':a' AS x, 'b\' AS y, :c", r"SELECT E'it\':a' AS x, 'b\' AS y, $1", &["c"]),
            ("SELECT E'it'':a', e'\\\\', :c", "SELECT E'it'':a', e'\\\\', $1", &["c"]),
            ("SELECT 1 /* a /* :b */ :c */ AS x", "SELECT 1   AS x", &[]),
            ("SELECT :a::text::integer", "SELECT $1::text::integer", &["a"]),
        ] {
            let statement = Statement::parse(text, Dialect::Postgres).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(statement.sql, sql);
            assert_eq!(statement.parameters, parameters, "{text}");
        }
        for (text, fault) in [
            ("SELECT a FROM t WHERE b = $1", Fault::Unnamed { token: "$1".into() }),
            ("SELECT E'a\\'", Fault::Unclosed { what: "a string" }),
            ("SELECT $x$ $$", Fault::Unclosed { what: "a string" }),
            ("SELECT 1 /* /* */", Fault::Unclosed { what: "a comment" }),
            ("SELECT 1; DROP TABLE t", Fault::Several),
        ] {
            assert_eq!(Statement::parse(text, Dialect::Postgres), Err(fault), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_statement_that_reads_is_refused() {
        for (text, fault) in [
            ("  -- nothing\n", Fault::Empty),
            (";", Fault::Empty),
            ("SELECT 1; SELECT 2", Fault::Several),
            ("DELETE FROM t", Fault::NotReading { word: "DELETE".into() }),
            ("PRAGMA user_version", Fault::NotReading { word: "PRAGMA".into() }),
            ("SELECT * FROM t", Fault::Wildcard),
            ("select distinct t.* from t", Fault::Wildcard),
            ("WITH x AS (SELECT * FROM t) SELECT a, * FROM x", Fault::Wildcard),
            ("SELECT a FROM t WHERE b = ?", Fault::Unnamed { token: "?".into() }),
            ("SELECT a FROM t WHERE b = ?12", Fault::Unnamed { token: "?12".into() }),
            ("SELECT a FROM t WHERE b = @b", Fault::Unnamed { token: "@b".into() }),
            ("SELECT a FROM t WHERE b = $1", Fault::Unnamed { token: "$1".into() }),
            ("SELECT a FROM t WHERE b = :1", Fault::Unnamed { token: ":1".into() }),
            ("SELECT 'a", Fault::Unclosed { what: "a string" }),
            ("SELECT \"a", Fault::Unclosed { what: "a quoted name" }),
            ("SELECT a /* b", Fault::Unclosed { what: "a comment" }),
        ] {
            assert_eq!(Statement::parse(text, Dialect::Sqlite), Err(fault), "{text}");
        }
    }

    #[test]
    fn counting_multiplying_and_inner_wildcards_are_fine() {
        for text in [
            "SELECT count(*) AS n FROM t",
            "SELECT a * 2 AS a, 3*b AS b FROM t",
            "WITH x AS (SELECT * FROM t) SELECT a FROM x",
            "SELECT a FROM t WHERE EXISTS (SELECT * FROM u)",
            "VALUES (1)",
        ] {
            assert!(Statement::parse(text, Dialect::Sqlite).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = Statement::parse(&text, Dialect::Sqlite);
            let _ = Statement::parse(&text, Dialect::Postgres);
        }

        #[test]
        fn a_statement_without_names_is_kept_as_it_is(text in "SELECT [a-z0-9 '\"(),=<>+]{0,40}") {
            if let Ok(statement) = Statement::parse(&text, Dialect::Sqlite) {
                prop_assert_eq!(statement.sql, text.trim());
            }
        }
    }
}
