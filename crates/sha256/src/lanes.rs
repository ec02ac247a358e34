//! Sixteen at once, one in each 32-bit lane of the registers of AVX-512.
//!
//! The names of the steps are those of FIPS 180-4, section 6.2.

#![allow(
    clippy::inline_always,
    reason = "what is not part of one function that has the processor's features is a call"
)]
#![allow(clippy::many_single_char_names, reason = "the standard's names of the working variables")]
#![allow(clippy::large_types_passed_by_value, reason = "registers")]

use std::arch::x86_64::__m512i;

use pulp::{NullaryFnOnce, cast, x86::V4};

use crate::{HASH, TOGETHER};

/// Bytes of a block, the unit that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// `H(0)`, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// `K`, section 4.2.2, sixteen rounds a row.
#[rustfmt::skip]
const ROUNDS: [[u32; 16]; 4] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
     0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
     0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
     0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
     0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Each byte of a 32-bit word, last one first.
const BIG_ENDIAN: [u32; TOGETHER] = {
    let quarter = [0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f];
    let mut order = [0; TOGETHER];
    let mut at = 0;
    while at < TOGETHER {
        order[at] = quarter[at % 4];
        at += 1;
    }
    order
};

/// A word of each of the sixteen.
type Words = __m512i;

/// A processor that has AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(V4);

impl Lanes {
    /// `None` on a processor without. Found out once and remembered.
    pub fn detect() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// Hashes up to [`TOGETHER`] inputs. What stands in places beyond them means nothing.
    pub fn hash(self, inputs: &[&[u8]]) -> [[u8; HASH]; TOGETHER] {
        let mut padded = [Padded::default(); TOGETHER];
        for (place, input) in padded.iter_mut().zip(inputs) {
            *place = Padded::new(input);
        }
        self.0.vectorize(All { lanes: self, inputs: &padded })
    }

    #[inline(always)]
    fn add(self, a: Words, b: Words) -> Words {
        self.0.avx512f._mm512_add_epi32(a, b)
    }

    #[inline(always)]
    fn xor(self, a: Words, b: Words, c: Words) -> Words {
        self.0.avx512f._mm512_ternarylogic_epi32::<0x96>(a, b, c)
    }

    /// `Ch`: of each bit, `b` where `a` has it, else `c`.
    #[inline(always)]
    fn choose(self, a: Words, b: Words, c: Words) -> Words {
        self.0.avx512f._mm512_ternarylogic_epi32::<0xca>(a, b, c)
    }

    /// `Maj`: of each bit, what two of the three say.
    #[inline(always)]
    fn majority(self, a: Words, b: Words, c: Words) -> Words {
        self.0.avx512f._mm512_ternarylogic_epi32::<0xe8>(a, b, c)
    }

    #[inline(always)]
    fn rotate<const BITS: i32>(self, a: Words) -> Words {
        self.0.avx512f._mm512_ror_epi32::<BITS>(a)
    }

    /// `Σ0` and `Σ1`, by the distances of their three rotations.
    #[inline(always)]
    fn sum<const A: i32, const B: i32, const C: i32>(self, a: Words) -> Words {
        self.xor(self.rotate::<A>(a), self.rotate::<B>(a), self.rotate::<C>(a))
    }

    /// `σ0` and `σ1`, by the distances of two rotations and a shift.
    #[inline(always)]
    fn sigma<const A: i32, const B: i32, const SHIFT: u32>(self, a: Words) -> Words {
        self.xor(self.rotate::<A>(a), self.rotate::<B>(a), self.0.avx512f._mm512_srli_epi32::<SHIFT>(a))
    }

    /// One round: the working variables, the word of the schedule and the constant. `d` and `h` are the ones that change; the
    /// others only change their names.
    #[inline(always)]
    fn round(self, state: [Words; 8], word: Words, constant: u32) -> [Words; 8] {
        let [a, b, c, d, e, f, g, h] = state;
        let first = self.add(
            self.add(self.add(h, word), splat(constant)),
            self.add(self.sum::<6, 11, 25>(e), self.choose(e, f, g)),
        );
        let second = self.add(self.sum::<2, 13, 22>(a), self.majority(a, b, c));
        [self.add(first, second), a, b, c, self.add(d, first), e, f, g]
    }

    /// Makes the next sixteen words of the schedule of the sixteen before.
    #[inline(always)]
    fn schedule(self, words: &mut [Words; 16]) {
        for at in 0..16 {
            let near = self.sigma::<7, 18, 3>(words[(at + 1) & 15]);
            let far = self.sigma::<17, 19, 10>(words[(at + 14) & 15]);
            words[at] = self.add(self.add(words[at], near), self.add(words[(at + 9) & 15], far));
        }
    }

    /// Takes one block of each of the sixteen.
    #[inline(always)]
    fn compress(self, state: &mut [Words; 8], mut words: [Words; 16]) {
        let mut next = *state;
        for (at, constants) in ROUNDS.iter().enumerate() {
            if at > 0 {
                self.schedule(&mut words);
            }
            // Eight rounds a turn, after which each variable has its name again: no register is moved.
            for (words, constants) in words.as_chunks::<8>().0.iter().zip(constants.as_chunks::<8>().0) {
                next = self.round(next, words[0], constants[0]);
                next = self.round(next, words[1], constants[1]);
                next = self.round(next, words[2], constants[2]);
                next = self.round(next, words[3], constants[3]);
                next = self.round(next, words[4], constants[4]);
                next = self.round(next, words[5], constants[5]);
                next = self.round(next, words[6], constants[6]);
                next = self.round(next, words[7], constants[7]);
            }
        }
        for (to, from) in state.iter_mut().zip(next) {
            *to = self.add(*to, from);
        }
    }

    /// Turns sixteen blocks, a register each, into sixteen registers that hold the same word of each block, in this machine's order
    /// of bytes: pairs of words are brought together, then pairs of pairs, then the quarters of registers.
    #[inline(always)]
    fn transpose(self, blocks: [&[u8; BLOCK]; TOGETHER]) -> [Words; 16] {
        let (f, swap) = (self.0.avx512f, cast(BIG_ENDIAN));
        let mut rows = [splat(0); TOGETHER];
        // Not `map`: its closure would be a function without the processor's features.
        for (row, block) in rows.iter_mut().zip(blocks) {
            *row = self.0.avx512bw._mm512_shuffle_epi8(cast(*block), swap);
        }
        for four in rows.as_chunks_mut::<4>().0 {
            let [a, b, c, d] = *four;
            let (low, high) = (f._mm512_unpacklo_epi32(a, b), f._mm512_unpackhi_epi32(a, b));
            let (low_2, high_2) = (f._mm512_unpacklo_epi32(c, d), f._mm512_unpackhi_epi32(c, d));
            *four = [
                f._mm512_unpacklo_epi64(low, low_2),
                f._mm512_unpackhi_epi64(low, low_2),
                f._mm512_unpacklo_epi64(high, high_2),
                f._mm512_unpackhi_epi64(high, high_2),
            ];
        }
        let mut words = rows;
        for at in 0..4 {
            let (a, b, c, d) = (rows[at], rows[4 + at], rows[8 + at], rows[12 + at]);
            let (even, odd) = (f._mm512_shuffle_i32x4::<0x88>(a, b), f._mm512_shuffle_i32x4::<0xdd>(a, b));
            let (even_2, odd_2) = (f._mm512_shuffle_i32x4::<0x88>(c, d), f._mm512_shuffle_i32x4::<0xdd>(c, d));
            words[at] = f._mm512_shuffle_i32x4::<0x88>(even, even_2);
            words[4 + at] = f._mm512_shuffle_i32x4::<0x88>(odd, odd_2);
            words[8 + at] = f._mm512_shuffle_i32x4::<0xdd>(even, even_2);
            words[12 + at] = f._mm512_shuffle_i32x4::<0xdd>(odd, odd_2);
        }
        words
    }
}

/// The same word for each of the sixteen.
#[inline(always)]
fn splat(word: u32) -> Words {
    cast([word; TOGETHER])
}

/// All blocks of up to sixteen inputs.
struct All<'a> {
    lanes: Lanes,
    inputs: &'a [Padded<'a>; TOGETHER],
}

impl NullaryFnOnce for All<'_> {
    type Output = [[u8; HASH]; TOGETHER];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { lanes, inputs } = self;
        let mut hashes = [[0; HASH]; TOGETHER];
        let mut state = INITIAL.map(splat);
        for at in 0..inputs.iter().map(Padded::blocks).max().unwrap_or(0) {
            let mut blocks = [&[0; BLOCK]; TOGETHER];
            for (block, input) in blocks.iter_mut().zip(inputs) {
                *block = input.block(at);
            }
            let words = lanes.transpose(blocks);
            lanes.compress(&mut state, words);
            if inputs.iter().any(|input| input.blocks() == at + 1) {
                let words: [[u32; TOGETHER]; 8] = state.map(cast);
                for (place, (hash, input)) in hashes.iter_mut().zip(inputs).enumerate() {
                    if input.blocks() == at + 1 {
                        for (bytes, words) in hash.as_chunks_mut::<4>().0.iter_mut().zip(&words) {
                            *bytes = words[place].to_be_bytes();
                        }
                    }
                }
            }
        }
        hashes
    }
}

/// An input and its end: what is left over of a block, a bit, zeros, and the length in bits, section 5.1.1.
#[derive(Clone, Copy)]
struct Padded<'a> {
    whole: &'a [[u8; BLOCK]],
    end: [[u8; BLOCK]; 2],
    ends: usize,
}

impl<'a> Padded<'a> {
    fn new(input: &'a [u8]) -> Self {
        let (whole, rest) = input.as_chunks::<BLOCK>();
        let ends = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        let mut end = [[0; BLOCK]; 2];
        let bytes = end.as_flattened_mut();
        for (to, from) in bytes.iter_mut().zip(rest.iter().chain(&[0x80])) {
            *to = *from;
        }
        let bits = (input.len() as u64).wrapping_mul(8).to_be_bytes();
        for (to, from) in bytes.iter_mut().skip(ends * BLOCK - 8).zip(bits) {
            *to = from;
        }
        Self { whole, end, ends }
    }

    fn blocks(&self) -> usize {
        self.whole.len() + self.ends
    }

    /// Any block where the input has ended.
    #[inline(always)]
    fn block(&self, at: usize) -> &[u8; BLOCK] {
        self.whole.get(at).unwrap_or(&self.end[usize::from(at > self.whole.len())])
    }
}

/// An empty place: no block at all.
impl Default for Padded<'_> {
    fn default() -> Self {
        Self { whole: &[], end: [[0; BLOCK]; 2], ends: 0 }
    }
}
