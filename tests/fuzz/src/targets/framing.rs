//! Bodies of gRPC messages, and of lines of JSON. The first byte says how they are cut; four readers of the same messages have to agree,
//! and lines have to be those of the whole.

use bytes::Bytes;
use exchange::framing::{Cutter, MessageWalker, PREFIX, framed, single};

/// Largest message that is taken, in bytes.
const LIMIT: usize = 4_096;

/// Reads a body with each of the readers.
pub fn run(input: &[u8]) {
    let Some((cut, body)) = input.split_first() else { return };
    let size = usize::from(*cut) + 1;
    let (messages, ended) = cut_out(body, size);
    let mut walker = MessageWalker::new(LIMIT);
    let walked = body.chunks(size).try_for_each(|chunk| walker.feed(chunk));
    assert_eq!(walked.err(), ended.err());
    let mut counting = link::MessageWalker::new(u32::try_from(LIMIT).unwrap());
    let counted = body.chunks(size).try_for_each(|chunk| counting.feed(chunk));
    assert_eq!(counted.is_ok(), ended.is_ok());
    if let Ok(whole) = ended {
        assert_eq!(messages.len() as u64, walker.messages());
        assert_eq!(messages.len() as u64, counting.messages());
        assert_eq!((walker.at_boundary(), counting.is_between()), (whole, whole));
    }
    assert!(body.starts_with(&messages.concat()), "messages are cut out as they came");
    split(body, size, &messages);
    lines(body, size, &messages);
    request_lines(body, size);
    if let Ok(message) = single(&Bytes::copy_from_slice(body), LIMIT) {
        assert_eq!(framed(&message), body);
        assert_eq!(messages, [Bytes::copy_from_slice(body)]);
    }
}

/// The messages up to what may not pass, and whether the body ended between two.
fn cut_out(body: &[u8], size: usize) -> (Vec<Bytes>, Result<bool, exchange::framing::FramingError>) {
    let (mut cutter, mut messages) = (Cutter::new(LIMIT), Vec::new());
    for chunk in body.chunks(size) {
        cutter.push(Bytes::copy_from_slice(chunk));
        loop {
            match cutter.cut() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(cutter.at_boundary()))
}

fn split(body: &[u8], size: usize, messages: &[Bytes]) {
    let mut splitter = link::MessageSplitter::new(u32::try_from(LIMIT).unwrap());
    let mut expected = messages.iter();
    for chunk in body.chunks(size) {
        splitter.push(Bytes::copy_from_slice(chunk));
        loop {
            match splitter.next_message() {
                Ok(Some(message)) => assert_eq!(expected.next().map(|message| message.slice(PREFIX..)), Some(message)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert_eq!(expected.next(), None);
}

/// Lines of JSON are cut from answers that have passed already: what these readers refuse never comes there.
fn lines(body: &[u8], size: usize, messages: &[Bytes]) {
    let passed = &body[..messages.iter().map(Bytes::len).sum()];
    let mut lines = rest::Lines::default();
    let cut: Vec<Vec<u8>> = passed.chunks(size).flat_map(|chunk| lines.feed(chunk)).collect();
    assert!(cut.iter().eq(messages.iter().map(|message| &message[PREFIX..])));
}

/// Longest line of a request, in bytes.
const LONGEST_LINE: usize = 64;

/// A streamed request in lines of JSON, held against the lines of the whole.
fn request_lines(body: &[u8], size: usize) {
    let mut expected = Vec::new();
    let mut too_long = None;
    for (line, number) in body.split(|byte| *byte == b'\n').zip(1_u64..) {
        if line.len() > LONGEST_LINE {
            too_long = Some(number);
            break;
        }
        if !line.trim_ascii().is_empty() {
            expected.push((number, line));
        }
    }
    let (mut cutter, mut cut) = (rest::RequestLines::new(LONGEST_LINE), Vec::new());
    let mut take = |cutter: &mut rest::RequestLines| loop {
        match cutter.next_line() {
            Ok(Some(line)) => cut.push((line.number, line.text)),
            Ok(None) => return Ok(()),
            Err(long) => return Err(long.number),
        }
    };
    let passed = body.chunks(size).try_for_each(|chunk| {
        cutter.push(chunk);
        take(&mut cutter)
    });
    let passed = passed.and_then(|()| {
        cutter.end();
        take(&mut cutter)
    });
    assert_eq!(passed.err(), too_long);
    assert!(cut.iter().map(|(number, text)| (*number, text.as_slice())).eq(expected));
}
