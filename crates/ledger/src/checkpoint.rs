//! The text of a checkpoint: a signed note that names a log, its size and its root.
//!
//! Source: <https://c2sp.org/tlog-checkpoint>.

use thiserror::Error;

use crate::Hash;

/// A tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// The number of its leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// Writes the note's text: three lines, origin, size in decimal, root in base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// Reads a note's text. Extension lines after the third are allowed, as the format has it, and passed over.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError { line: 1 })?;
        let digits = lines.next().ok_or(CheckpointError { line: 2 })?;
        let size: u64 = digits.parse().map_err(|_| CheckpointError { line: 2 })?;
        if size.to_string() != digits {
            return Err(CheckpointError { line: 2 });
        }
        let root = lines.next().and_then(Hash::from_base64).ok_or(CheckpointError { line: 3 })?;
        // After the last newline `split` yields one empty line; extension lines before it are not empty.
        let mut number = 4;
        loop {
            match (lines.next(), lines.clone().next()) {
                (Some(""), None) => {
                    return Ok(Self { origin: origin.to_owned(), size, root });
                }
                (Some(extension), Some(_)) if !extension.is_empty() => number += 1,
                _ => return Err(CheckpointError { line: number }),
            }
        }
    }
}

/// The text is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a checkpoint: line {line} is wrong; expected origin, size and root in base64, each on a line")]
pub struct CheckpointError {
    /// Counted from 1.
    pub line: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_implementation_reads_and_writes_the_same(size in any::<u64>(), root in any::<[u8; 32]>(), extension in "([a-z ]{1,5}\n){0,2}") {
            let ours = Checkpoint { origin: "county.example/log/main".into(), size, root: Hash(root) };
            let theirs = tlog_tiles::Checkpoint::new(&ours.origin, size, tlog_tiles::Hash(root), "").unwrap();
            prop_assert_eq!(ours.to_text().into_bytes(), theirs.to_bytes());
            let text = ours.to_text() + &extension;
            prop_assert_eq!(Checkpoint::parse(&text).unwrap(), ours);
            prop_assert!(tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).is_ok());
        }

        #[test]
        fn what_another_implementation_refuses_is_refused(text in "(a|)\n?(0|7|07|x|)\n?(47DEQpj8HBSa\\+/TImW\\+5JCeuQeRkm5NMpJWZG3hSuFU=|)\n{0,3}(e\n|\n|){0,2}") {
            let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).is_ok();
            prop_assert!(theirs || Checkpoint::parse(&text).is_err(), "{:?}", text);
        }
    }

    #[test]
    fn the_wrong_line_is_named() {
        let root = Hash::ZERO.to_base64();
        let line = |text: String| Checkpoint::parse(&text).unwrap_err().line;
        assert_eq!(line(format!("\n1\n{root}\n")), 1);
        assert_eq!(line(format!("a\n01\n{root}\n")), 2);
        assert_eq!(line("a\n1\nAAAA\n".into()), 3);
        assert_eq!(line(format!("a\n1\n{root}")), 4);
        assert_eq!(line(format!("a\n1\n{root}\n\n")), 4);
        assert_eq!(line(format!("a\n1\n{root}\nextension")), 4);
    }
}
