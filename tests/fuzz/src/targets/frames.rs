//! Connections of HTTP/2. The first byte says how they are cut and whether they open with a client's preface; what is followed piece by
//! piece has to be what is there as a whole.

use std::convert::Infallible;

use link::{Frame, FrameKind, FrameWalker};

/// Length of a frame's head, and of the client's first bytes. Source: RFC 9113, sections 3.4 and 4.1.
const HEAD: usize = 9;
const PREFACE: usize = 24;

/// Follows a connection in pieces, and holds it against the frames that are there.
pub fn run(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else { return };
    let (preface, size) = (first & 0x80 != 0, usize::from(first & 0x7f) + 1);
    let mut walker = if preface { FrameWalker::with_preface() } else { FrameWalker::without_preface() };
    let mut seen = Vec::new();
    for piece in bytes.chunks(size) {
        let Ok(()) = walker.walk(piece, |frame| {
            seen.push(frame);
            Ok::<(), Infallible>(())
        });
    }
    let Whole { frames, owes } = whole(bytes, preface);
    assert_eq!(seen, frames);
    assert_eq!(walker.completed(), frames.len() as u64);
    assert_eq!(walker.owes(), owes);
    // Whoever looks at the frames may stop at any of them.
    let stopped = FrameWalker::without_preface().walk(bytes, |frame| if frame.empty { Err(frame) } else { Ok(()) });
    assert!(stopped.err().is_none_or(|frame| frame.empty));
}

/// What is there.
struct Whole {
    frames: Vec<Frame>,
    /// Whether something has begun that has to come to its end in time.
    owes: bool,
}

fn whole(bytes: &[u8], preface: bool) -> Whole {
    let mut rest = bytes.get(if preface { PREFACE } else { 0 }..).unwrap_or_default();
    let (mut frames, mut block, mut begun) = (Vec::new(), false, false);
    while let Some((head, behind)) = rest.split_at_checked(HEAD) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (kind(head[3]), head[4]);
        if matches!(kind, FrameKind::Headers | FrameKind::Continuation) {
            block = flags & 0x4 == 0;
        }
        let Some(next) = behind.get(length..) else {
            begun = kind != FrameKind::Data;
            rest = &[];
            break;
        };
        let end_stream = matches!(kind, FrameKind::Data | FrameKind::Headers) && flags & 0x1 != 0;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        frames.push(Frame { kind, stream, bytes: length, empty: length == 0, end_stream });
        rest = next;
    }
    let owes = frames.is_empty() || block || begun || !rest.is_empty();
    Whole { frames, owes }
}

/// Source: RFC 9113, section 6.
fn kind(number: u8) -> FrameKind {
    match number {
        0 => FrameKind::Data,
        1 => FrameKind::Headers,
        3 => FrameKind::Reset,
        7 => FrameKind::GoAway,
        9 => FrameKind::Continuation,
        _ => FrameKind::Other,
    }
}
