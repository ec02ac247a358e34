//! A streamed request as JSON lines, cut into lines however it arrives.

/// Cuts what arrives into lines.
///
/// Lines end in `\n`, the last one also without. Empty ones count and mean nothing.
#[derive(Debug)]
pub struct RequestLines {
    limit: usize,
    waiting: Vec<u8>,
    /// Where the next line begins in `waiting`.
    begin: usize,
    /// Up to where `waiting` has no end of a line.
    searched: usize,
    number: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, counted from 1.
    pub number: u64,
    /// What stands in it, without its end.
    pub text: Vec<u8>,
}

/// A line is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: it is longer than {limit} bytes")]
pub struct LongLine {
    /// Its number, counted from 1.
    pub number: u64,
    /// The limit, in bytes.
    pub limit: usize,
}

impl RequestLines {
    /// Starts at the first line; none may be longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Vec::new(), begin: 0, searched: 0, number: 0 }
    }

    /// Takes what arrived next.
    ///
    /// At most one line and one chunk wait here.
    pub fn push(&mut self, chunk: &[u8]) {
        self.waiting.drain(..self.begin);
        self.searched = self.searched.saturating_sub(self.begin);
        self.begin = 0;
        self.waiting.extend_from_slice(chunk);
    }

    /// Says that nothing follows: what waits is the last line.
    pub fn end(&mut self) {
        self.push(b"\n");
    }

    /// Returns the next line that is whole; none when more is needed.
    ///
    /// # Errors
    ///
    /// [`LongLine`], as soon as more of a line waits than it may have.
    pub fn next_line(&mut self) -> Result<Option<Line>, LongLine> {
        loop {
            let unread = self.waiting.get(self.searched..).unwrap_or_default();
            let found = unread.iter().position(|byte| *byte == b'\n').map(|at| self.searched.saturating_add(at));
            let end = found.unwrap_or(self.waiting.len());
            if end.saturating_sub(self.begin) > self.limit {
                return Err(LongLine { number: self.number.saturating_add(1), limit: self.limit });
            }
            if found.is_none() {
                self.searched = end;
                return Ok(None);
            }
            let text = self.waiting.get(self.begin..end).unwrap_or_default().to_vec();
            self.begin = end.saturating_add(1);
            self.searched = self.begin;
            self.number = self.number.saturating_add(1);
            if !text.trim_ascii().is_empty() {
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &[u8], cut: usize) -> Result<Vec<(u64, String)>, LongLine> {
        let mut lines = RequestLines::new(10);
        let mut found = Vec::new();
        let mut take = |lines: &mut RequestLines| {
            while let Some(line) = lines.next_line()? {
                found.push((line.number, String::from_utf8(line.text).unwrap()));
            }
            Ok(())
        };
        for chunk in text.chunks(cut) {
            lines.push(chunk);
            take(&mut lines)?;
        }
        lines.end();
        take(&mut lines)?;
        Ok(found)
    }

    #[test]
    fn lines_are_cut_and_numbered_and_empty_ones_only_counted() {
        let check = |text: &str, expected: &[(u64, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect();
            for cut in 1..=text.len().max(1) {
                assert_eq!(lines(text.as_bytes(), cut), Ok(expected.clone()), "{text:?} {cut}");
            }
        };
        check("", &[]);
        check("\n\n", &[]);
        check("{}", &[(1, "{}")]);
        check("{}\n", &[(1, "{}")]);
        check("{}\r\n \n\n[1]\n2", &[(1, "{}\r"), (4, "[1]"), (5, "2")]);
        check("0123456789\n0123456789", &[(1, "0123456789"), (2, "0123456789")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_before_its_end() {
        for cut in [1, 7, 30] {
            assert_eq!(lines(b"{}\n\n01234567890", cut), Err(LongLine { number: 3, limit: 10 }), "{cut}");
        }
        let mut lines = RequestLines::new(10);
        lines.push(b"01234567890");
        assert_eq!(lines.next_line(), Err(LongLine { number: 1, limit: 10 }));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(text in "[ab\n ]{0,60}", cut in 1_usize..20) {
            prop_assert_eq!(lines(text.as_bytes(), cut), lines(text.as_bytes(), 100));
        }
    }
}
