//! One connection to a server of somebody else's.

use bytes::Bytes;
use drawbridge_link::Http2;
use drawbridge_link::client::Single;
use futures_util::future::join_all;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::question;

#[tokio::test]
async fn streams_beyond_what_the_server_allows_wait_for_their_turn_from_the_first_one_on() {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut builder = h2::server::Builder::new();
        let mut server = builder.max_concurrent_streams(2).handshake::<_, Bytes>(theirs).await.unwrap();
        while let Some(Ok((_, mut respond))) = server.accept().await {
            tokio::spawn(async move {
                // Others arrive meanwhile, if they may.
                tokio::task::yield_now().await;
                respond.send_response(Response::new(()), true).unwrap();
            });
        }
    });
    let (single, driven) = Single::open(ours, &Http2::default()).await.unwrap();
    tokio::spawn(driven);
    for answer in join_all((0..50).map(|_| single.send(question("")))).await {
        // One too many would have been refused.
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert!(single.is_open());
    assert_eq!(single.streams(), 0);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_connection() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        theirs.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        theirs.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let Err(Some(error)) = Single::open(ours, &Http2::default()).await.map(drop) else { panic!("it was opened") };
    assert!(!error.is_io(), "{error}");

    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    assert!(Single::open(ours, &Http2::default()).await.map(drop).is_err());
}
