#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.resize(HEAD_LENGTH + payload, 0xff);
    bytes
}

fn walk(walker: &mut FrameWalker, bytes: &[u8]) -> Vec<Frame> {
    let mut seen = Vec::new();
    walker
        .walk(bytes, |frame| {
            seen.push(frame);
            Ok::<(), ()>(())
        })
        .unwrap();
    seen
}

#[test]
fn frames_are_seen_once_they_are_whole() {
    let mut walker = FrameWalker::with_preface();
    assert!(walker.owes());
    assert!(walk(&mut walker, &[b'P'; PREFACE_LENGTH]).is_empty());
    assert!(walker.owes(), "the first frame is still owed");
    let settings = frame(0x4, 0, 6);
    assert!(walk(&mut walker, &settings[..12]).is_empty());
    let seen = walk(&mut walker, &settings[12..]);
    assert_eq!(seen.len(), 1);
    assert!(!walker.owes());
    assert_eq!(walker.completed(), 1);
}

#[test]
fn a_header_block_is_owed_until_its_last_continuation() {
    let mut walker = FrameWalker::without_preface();
    walk(&mut walker, &frame(0x4, 0, 0));
    walk(&mut walker, &frame(0x1, 0, 10));
    assert!(walker.owes());
    walk(&mut walker, &frame(0x9, 0, 10));
    assert!(walker.owes());
    walk(&mut walker, &frame(0x9, END_HEADERS, 0));
    assert!(!walker.owes());
}

#[test]
fn the_rest_of_a_data_frame_is_not_owed_but_its_head_is() {
    let mut walker = FrameWalker::without_preface();
    walk(&mut walker, &frame(0x4, 0, 0));
    let data = frame(0x0, END_STREAM, 100);
    walk(&mut walker, &data[..5]);
    assert!(walker.owes());
    walk(&mut walker, &data[5..20]);
    assert!(!walker.owes());
    let seen = walk(&mut walker, &data[20..]);
    assert_eq!(seen, [Frame { kind: Kind::Data, stream: 1, bytes: 100, empty: false, end_stream: true }]);
}

proptest! {
    #[test]
    fn the_frames_seen_do_not_depend_on_where_the_bytes_were_cut(
        frames in proptest::collection::vec((0u8..12, any::<u8>(), 0usize..300), 0..20),
        cuts in proptest::collection::vec(1usize..50, 1..200),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|&(kind, flags, size)| frame(kind, flags, size)).collect();
        let whole = walk(&mut FrameWalker::without_preface(), &bytes);
        prop_assert_eq!(whole.len(), frames.len());

        let mut walker = FrameWalker::without_preface();
        let mut parts = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, tail) = rest.split_at((*cut).min(rest.len()));
            parts.extend(walk(&mut walker, part));
            rest = tail;
        }
        prop_assert_eq!(parts, whole);
    }
}
