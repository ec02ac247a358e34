use contract::{Contracts, Source};
use rest::{Found, Routes};

use super::*;

const CONTRACT: &str = r#"syntax = "proto3";
package a.v1;
import "drawbridge/options/v1/options.proto";
service S {
  rpc Take(stream Q) returns (Q) { option (drawbridge.options.v1.method) = { kind: KIND_QUERY }; }
}
message Q {
  optional int32 days = 1 [(drawbridge.options.v1.field) = { minimum: "1", maximum: "366" }];
}
"#;
const PATH: &str = "/a.v1.S/Take";

fn call() -> Arc<Call> {
    let files = vec![("a/v1/a.proto".to_owned(), CONTRACT.to_owned())];
    let contracts = Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }]).unwrap();
    let routes = Arc::new(Routes::of(&contracts).unwrap());
    let Found::Route(matched) = routes.find("POST", PATH) else { panic!("there is no route") };
    let route = Some(matched.route.clone());
    Arc::new(Call { routes, verb: "POST".to_owned(), path: PATH.to_owned(), query: None, gzip: false, route })
}

fn pieces(text: &[u8], cut: usize) -> RequestBody {
    let frames: Vec<_> = text.chunks(cut).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Box::pin(StreamBody::new(stream::iter(frames)))
}

/// Reads to the end: what was made, and the reason and the word of the refusal.
async fn read(mut body: RequestBody) -> (Vec<u8>, Option<(Reason, String)>) {
    let mut made = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => made.extend_from_slice(&frame.into_data().unwrap()),
            Err(Broken::Unfit(refusal)) => {
                assert!(body.frame().await.is_none(), "nothing follows a refusal");
                return (made, Some((refusal.reason, refusal.told)));
            }
            Err(Broken::Withdrawn) => panic!("nobody gave it up"),
        }
    }
    (made, None)
}

/// Messages whose only field has these values.
fn messages(values: &[u8]) -> Vec<u8> {
    values.iter().flat_map(|value| framing::framed(&[8, *value])).collect()
}

fn enveloped(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn lines_become_messages_up_to_the_first_that_is_none() {
    let long = format!("{{\"days\": 1}}\n{}", " ".repeat(101));
    for (text, made, refused) in [
        ("", &[][..], None),
        ("{\"days\": 1}\n\n{\"days\": 2}", &[1, 2], None),
        (
            "{\"days\": 1}\n{\"days\": 1.5}\n{\"days\": 3}\n",
            &[1],
            Some((Reason::Malformed, "line 2: the request does not")),
        ),
        ("{\"days\": 1}\n{\"days\": 2\n", &[1], Some((Reason::Malformed, "line 2: the request does not"))),
        // What its contract has rules about.
        ("\n{\"days\": 366}\n{\"days\": 7}\n{\"days\": 367}", &[], None),
        (&long, &[1], Some((Reason::TooLarge, "line 2: it is longer than 100 bytes"))),
    ] {
        for cut in [1, 7, text.len().max(1)] {
            let flaws = Flaws::default();
            let (found, told) = read(of_lines(pieces(text.as_bytes(), cut), call(), 100, flaws.clone())).await;
            if text.contains("367") {
                let (reason, told) = told.unwrap();
                assert_eq!(reason, Reason::Malformed);
                assert!(told.starts_with("line 4: ") && !told.contains("367"), "{told}");
                assert!(found.ends_with(&messages(&[7])));
                continue;
            }
            assert_eq!(found, messages(made), "{text} {cut}");
            match (told, refused) {
                (None, None) => {}
                (Some((reason, told)), Some((expected, begins))) => {
                    assert_eq!(reason, expected, "{text}");
                    assert!(told.starts_with(begins), "{told}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn envelopes_become_messages_up_to_the_first_that_is_none() {
    let one = enveloped(0, b"{\"days\": 1}");
    for (text, made, refused) in [
        (one.clone(), &[1][..], None),
        ([&one[..], &one].concat(), &[1, 1], None),
        ([&one[..], &one[..9]].concat(), &[1], Some((Reason::Malformed, "the body ends inside a message"))),
        ([&one[..], &enveloped(0, b"[]")].concat(), &[1], Some((Reason::Malformed, "message 2: "))),
        ([&one[..], &enveloped(1, b"{}")].concat(), &[1], Some((Reason::Malformed, "a message is compressed"))),
        (b"\0\xff\0\0\0".to_vec(), &[], Some((Reason::TooLarge, "a message has"))),
    ] {
        for cut in [1, 7, text.len()] {
            let (found, told) = read(of_envelopes(pieces(&text, cut), call(), 100, Flaws::default())).await;
            assert_eq!(found, messages(made), "{text:?} {cut}");
            let told = told.as_ref().map(|(reason, told)| (*reason, told.as_str()));
            assert_eq!(told.map(|(reason, _)| reason), refused.map(|(reason, _)| reason), "{text:?}");
            assert!(told.is_none_or(|(_, told)| told.starts_with(refused.unwrap().1)), "{told:?}");
        }
    }
}
