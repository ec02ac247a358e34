#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::BufMut;
use proptest::prelude::*;

use super::*;

fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags];
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.extend_from_slice(message);
    bytes
}

fn walk(limit: u32, bytes: &[u8]) -> Result<(u64, u64), FramingError> {
    let mut walker = MessageWalker::new(limit);
    walker.feed(bytes)?;
    walker.finish()?;
    Ok((walker.messages(), walker.bytes()))
}

#[test]
fn bodies_are_judged_by_their_prefixes() {
    let check = |limit, bytes: &[u8], expected| assert_eq!(walk(limit, bytes), expected, "{bytes:?}");
    check(10, &[], Ok((0, 0)));
    check(10, &framed(0, b""), Ok((1, 0)));
    check(10, &framed(0, b"0123456789"), Ok((1, 10)));
    check(9, &framed(0, b"0123456789"), Err(FramingError::TooLong { length: 10, limit: 9 }));
    check(10, &framed(1, b"x"), Err(FramingError::Compressed));
    check(10, &framed(2, b"x"), Err(FramingError::Flags(2)));
    check(10, &[0, 0, 0], Err(FramingError::CutShort));
    check(10, &framed(0, b"abc")[..7], Err(FramingError::CutShort));
    check(u32::MAX, &[0, 0xff, 0xff, 0xff, 0xff], Err(FramingError::CutShort));
}

#[test]
fn a_message_that_is_too_long_is_refused_before_it_has_come() {
    let mut walker = MessageWalker::new(10);
    let refused = walker.feed(&[0, 0, 0, 0, 11]);
    assert_eq!(refused, Err(FramingError::TooLong { length: 11, limit: 10 }));
    let mut splitter = MessageSplitter::new(10);
    splitter.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
    assert_eq!(splitter.next_message(), Err(FramingError::TooLong { length: 11, limit: 10 }));
}

#[test]
fn compressed_messages_pass_where_they_may_and_are_counted() {
    let mut walker = MessageWalker::new(10).allowing_compression();
    walker.feed(&framed(1, b"abc")).unwrap();
    walker.feed(&framed(0, b"abc")).unwrap();
    assert_eq!((walker.messages(), walker.compressed()), (2, 1));
}

#[test]
fn a_message_within_one_chunk_is_not_copied() {
    let chunk = Bytes::from(framed(0, b"abc"));
    let mut splitter = MessageSplitter::new(10);
    splitter.push(chunk.clone());
    let message = splitter.next_message().unwrap().unwrap();
    assert_eq!(message.as_ptr(), chunk[5..].as_ptr());
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_where_the_body_was_cut(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
        cuts in proptest::collection::vec(1usize..30, 1..50),
    ) {
        let body: Vec<u8> = messages.iter().flat_map(|message| framed(0, message)).collect();
        let mut walker = MessageWalker::new(40);
        let mut splitter = MessageSplitter::new(40);
        let mut split = Vec::new();
        let mut rest = body.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, tail) = rest.split_at((*cut).min(rest.len()));
            walker.feed(part).unwrap();
            splitter.push(Bytes::copy_from_slice(part));
            while let Some(message) = splitter.next_message().unwrap() {
                split.push(message);
            }
            prop_assert_eq!(walker.messages(), split.len() as u64);
            rest = tail;
        }
        prop_assert_eq!(walker.finish(), Ok(()));
        prop_assert_eq!(splitter.finish(), Ok(()));
        prop_assert_eq!(split, messages);
    }

    #[test]
    fn any_bytes_are_either_refused_or_counted(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut walker = MessageWalker::new(64).allowing_compression();
        if walker.feed(&bytes).is_ok() {
            prop_assert!(walker.messages() * 5 <= bytes.len() as u64);
        }
    }
}
