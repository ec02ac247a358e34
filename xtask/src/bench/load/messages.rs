//! Counts the length-prefixed messages of a gRPC body without keeping any of it.

use anyhow::{Result, bail};

/// What has been seen of a body.
#[derive(Default)]
pub(super) struct Count {
    whole: u64,
    /// The prefix of the message that is being read.
    prefix: [u8; 5],
    /// Bytes of `prefix` that are there.
    known: usize,
    /// Bytes of the message after its prefix that are to come.
    left: usize,
}

impl Count {
    /// Takes the body's next bytes, and returns how many messages they completed.
    ///
    /// # Errors
    ///
    /// When a message says that it is compressed, which nobody asked for.
    pub(super) fn add(&mut self, mut data: &[u8]) -> Result<u64> {
        let before = self.whole;
        while !data.is_empty() {
            if let (true, Some(rest)) = (self.known == 5, data.get(self.left..)) {
                data = rest;
                self.finish();
                continue;
            }
            if self.known == 5 {
                self.left -= data.len();
                break;
            }
            let (first, rest) = data.split_at(1);
            self.prefix[self.known] = first[0];
            self.known += 1;
            data = rest;
            if self.known == 5 {
                let [compressed, length @ ..] = self.prefix;
                if compressed != 0 {
                    bail!("a message is compressed");
                }
                self.left = usize::try_from(u32::from_be_bytes(length))?;
                if self.left == 0 {
                    self.finish();
                }
            }
        }
        Ok(self.whole - before)
    }

    /// Messages that have arrived whole.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    fn finish(&mut self) {
        self.whole += 1;
        self.known = 0;
        self.left = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut body = Vec::new();
        for length in [0_u8, 1, 7, 200, 0, 3] {
            body.extend([0, 0, 0, 0, length]);
            body.extend(vec![9; length.into()]);
        }
        for size in 1..body.len() {
            let mut count = Count::default();
            let arrived: u64 = body.chunks(size).map(|chunk| count.add(chunk).unwrap()).sum();
            assert_eq!((arrived, count.whole()), (6, 6), "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_that_is_cut_off_does_not_count() {
        let mut count = Count::default();
        assert_eq!(count.add(&[0, 0, 0, 0, 2, 1]).unwrap(), 0);
    }

    #[test]
    fn a_compressed_message_is_an_error() {
        assert!(Count::default().add(&[1, 0, 0, 0, 0]).is_err());
    }
}
