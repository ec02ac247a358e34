use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::refusal::{Hop, Reason, Status};

fn named(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (key, value) in pairs {
        map.append(*key, HeaderValue::from_static(value));
    }
    map
}

fn select(pairs: &[(&'static str, &'static str)], keys: &[&str]) -> Result<ApplicationMetadata, Unfit> {
    ApplicationMetadata::select(&headers(pairs), &named(keys), 100)
}

#[test]
fn only_what_is_named_is_taken_sorted_by_key_and_in_the_order_given_within_one() {
    let taken = select(
        &[
            ("x-b", "second"),
            ("x-a", "2"),
            ("cookie", "canary"),
            ("x-a", "1"),
            ("x-c-bin", "AAE"),
            ("x-c-bin", "Ag==,/w"),
            ("x-other", "canary"),
        ],
        &["x-a", "x-b", "x-c-bin", "x-absent"],
    )
    .unwrap();
    let pairs: Vec<_> = taken.pairs().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(pairs, ["x-a=2", "x-a=1", "x-b=second", "x-c-bin=AAE", "x-c-bin=Ag", "x-c-bin=/w"]);
    assert_eq!(taken.keys(), ["x-a", "x-b", "x-c-bin"]);
    assert!(!format!("{taken:?}").contains("second"));
    let mut written = HeaderMap::new();
    taken.write(&mut written);
    assert_eq!(written.get_all("x-a").iter().collect::<Vec<_>>(), ["2", "1"]);
    assert!(written.values().all(HeaderValue::is_sensitive));
}

#[test]
fn what_cannot_cross_is_named_without_its_value() {
    let long: &'static str =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890";
    for (pairs, expected) in [
        (&[("x-a-bin", "canary!")][..], Unfit::NotBase64("x-a-bin".into())),
        (&[("x-a", "canary\tcanary")], Unfit::NotText("x-a".into())),
        (&[("x-a", "1"), ("x-b", long)], Unfit::TooLong { key: "x-b".into(), limit: 100 }),
    ] {
        let unfit = select(pairs, &["x-a", "x-a-bin", "x-b"]).unwrap_err();
        assert_eq!(unfit, expected);
        assert!(!unfit.to_string().contains("canary"), "{unfit}");
    }
    let many = vec![("x-a", ""); MAX_VALUES + 1];
    let unfit = ApplicationMetadata::select(&headers(&many), &named(&["x-a"]), 4096).unwrap_err();
    assert_eq!(unfit, Unfit::TooMany("x-a".into()));
    assert!(ApplicationMetadata::select(&headers(&many[1..]), &named(&["x-a"]), 4096).is_ok());
}

#[test]
fn a_block_that_is_not_the_one_encoding_is_refused() {
    let block = |entries: &[(&str, &[u8])]| {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value)));
        ApplicationMetadata(entries.collect()).encode()
    };
    let decode = |block: &Bytes| ApplicationMetadata::decode(block, 100);
    let good = block(&[("a", b"2"), ("a", b"1"), ("b-bin", b"\xff")]);
    assert_eq!(decode(&good).unwrap().encode(), good);
    assert!(decode(&Bytes::new()).unwrap().is_empty());
    for bad in [
        block(&[("b", b""), ("a", b"")]),
        block(&[("A", b"")]),
        block(&[("", b"")]),
        block(&[("a", b"\xff")]),
        block(&[("a\n", b"")]),
        block(&[("a", &[b'x'; 100])]),
        good.slice(..good.len() - 1),
        good.slice(1..),
    ] {
        assert_eq!(decode(&bad), None, "{bad:?}");
    }
}

#[test]
fn a_back_end_is_heard_once_and_its_excess_is_its_own_fault() {
    let heard = Heard::new(&Arc::new(named(&["x-a", "x-b-bin"]))).unwrap();
    heard.initial(&headers(&[("x-a", "1"), ("x-z", "no")]));
    heard.initial(&headers(&[("x-a", "2")]));
    heard.trailing(&headers(&[("x-b-bin", "AA"), ("grpc-status", "0")]));
    let said = heard.said(&Status::OK).unwrap();
    assert_eq!(
        (said.initial.pairs(), said.trailing.keys()),
        (vec![("x-a".into(), "1".into())], vec!["x-b-bin".into()])
    );
    assert_eq!(said.keys(), ["x-a", "x-b-bin"]);
    let mut trailers = HeaderMap::new();
    said.write_to_link(&mut trailers);
    let read = Said::read(&trailers).unwrap();
    assert_eq!((read.initial, read.trailing), (said.initial, said.trailing));

    let large = Status { code: 2, message: "x".repeat(6 * 1024), details: vec![0; 4096].into() };
    assert_eq!(heard.said(&Status { message: "x".repeat(6 * 1024), ..Status::OK }).unwrap().keys().len(), 2);
    let refusal = heard.said(&Status { message: "x".repeat(8 * 1024), ..large }).unwrap_err();
    assert_eq!((refusal.reason, refusal.hop), (Reason::TooLarge, Hop::Legacy));

    let heard = Heard::new(&Arc::new(named(&["x-a"]))).unwrap();
    assert!(heard.opening().unwrap().is_none());
    heard.trailing(&headers(&vec![("x-a", ""); MAX_VALUES + 1]));
    let refusal = heard.said(&Status::OK).unwrap_err();
    assert_eq!((refusal.reason, refusal.hop), (Reason::TooLarge, Hop::Legacy));
    assert!(refusal.told.contains("`x-a`"), "{}", refusal.told);
    assert!(Heard::new(&Arc::default()).is_none());
}

#[test]
fn a_body_may_begin_with_a_message() {
    let body = Bytes::from_static(b"\0\0\0\0\x01x");
    let (metadata, rest) = Prelude::default().feed(body.clone()).unwrap().unwrap();
    assert!(metadata.is_empty() && rest == body);
    assert!(Prelude::default().feed(Bytes::new()).unwrap().is_none());
    // The length alone is enough: nothing of that size is kept.
    assert!(Prelude::default().feed(Bytes::from_static(b"\x40\xff\xff\xff\xff")).is_err());
}

fn any_metadata() -> impl Strategy<Value = ApplicationMetadata> {
    prop::collection::btree_map("[a-z0-9_.-]{1,8}", prop::collection::vec("[ -~]{0,9}", 1..4), 0..5).prop_map(|map| {
        let all = map.into_iter().flat_map(|(key, values)| values.into_iter().map(move |v| (key.clone(), v.into())));
        ApplicationMetadata(all.collect())
    })
}

proptest! {
    #[test]
    fn a_frame_is_taken_off_however_the_body_is_cut(
        metadata in any_metadata(),
        rest in prop::collection::vec(any::<u8>(), 0..40),
        step in 1..50_usize,
    ) {
        let body = [&framed(&metadata)[..], &rest].concat();
        let mut prelude = Prelude::default();
        let mut after = BytesMut::new();
        let mut found = None;
        for piece in body.chunks(step) {
            let piece = Bytes::copy_from_slice(piece);
            if found.is_some() {
                after.extend_from_slice(&piece);
            } else if let Some((taken, more)) = prelude.feed(piece).unwrap() {
                found = Some(taken);
                after.extend_from_slice(&more);
            }
        }
        prop_assert_eq!(found.unwrap(), metadata);
        prop_assert_eq!(&after[..], &rest[..]);
    }

    #[test]
    fn any_block_is_read_as_what_it_encodes_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
        let block = Bytes::from(block);
        if let Some(metadata) = ApplicationMetadata::decode(&block, 200) {
            prop_assert_eq!(metadata.encode(), block);
        }
    }
}
