//! Makes inputs from inputs, without knowing what they mean.

use crate::dice::Dice;

/// Numbers at which lengths and counters break.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000, i64::MAX as u64, u64::MAX];

/// What lies at the borders of the texts and encodings that are read here.
const WORDS: [&[u8]; 26] = [
    b"\n",
    b"\n\n",
    b"\0",
    b"\"",
    b"\"\"\"",
    b"'''",
    b"[",
    b"[[",
    b"{",
    b"}",
    b"]",
    b"=",
    b".",
    b",",
    b":",
    b"/",
    b"%",
    b"%00",
    b"\\u0000",
    b"\xff",
    b"\xef\xbb\xbf",
    b"-1",
    b"1e999",
    b"nan",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "\u{2014} ".as_bytes(),
];

/// Changes one of `inputs` in up to four places; the result has at most `longest` bytes.
pub fn mutated(inputs: &[(String, Vec<u8>)], longest: usize, dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one(inputs).1.clone();
    for _ in 0..=dice.below(4) {
        change(&mut input, inputs, dice);
    }
    input.truncate(longest);
    input
}

fn change(input: &mut Vec<u8>, inputs: &[(String, Vec<u8>)], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = dice.byte();
            }
        }
        2 => drop(input.splice(at..at, dice.one(&WORDS).iter().copied())),
        3 => {
            let number = dice.one(&NUMBERS).to_be_bytes();
            let width = *dice.one(&[1, 2, 4, 8]);
            let end = input.len().min(at + width);
            drop(input.splice(at..end, number[8 - width..].iter().copied()));
        }
        4 => drop(input.drain(at..within(input.len(), at, dice))),
        5 => {
            let part = input[at..within(input.len(), at, dice)].to_vec();
            let to = dice.below(input.len() + 1);
            drop(input.splice(to..to, part));
        }
        6 => {
            let other = &dice.one(inputs).1;
            let from = dice.below(other.len() + 1);
            let part = &other[from..within(other.len(), from, dice)];
            drop(input.splice(at..at, part.iter().copied()));
        }
        7 => input.truncate(at),
        _ => {
            let some: Vec<u8> = (0..=dice.below(8)).map(|_| dice.byte()).collect();
            drop(input.splice(at..at, some));
        }
    }
}

/// An end for what begins at `from`: mostly near.
fn within(length: usize, from: usize, dice: &mut Dice) -> usize {
    let reach = *dice.one(&[4, 16, 64, length]);
    from + dice.below((length - from).min(reach) + 1)
}

/// Repeats a piece of `input` within it until it has `longest` bytes: what is nested or listed once is nested or listed thousands of
/// times.
#[must_use]
pub fn swollen(input: &[u8], longest: usize, dice: &mut Dice) -> Vec<u8> {
    let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let (from, to) = if dice.below(2) == 0 && lines.len() > 1 {
        let line = dice.below(lines.len());
        let from: usize = lines[..line].iter().map(|line| line.len()).sum();
        (from, from + lines[line].len())
    } else {
        let from = dice.below(input.len() + 1);
        (from, within(input.len(), from, dice))
    };
    let piece = if from == to { &[0][..] } else { &input[from..to] };
    let room = longest.saturating_sub(input.len()) / piece.len();
    [&input[..to], &piece.repeat(room), &input[to..]].concat()
}
