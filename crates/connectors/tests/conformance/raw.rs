//! A back end that speaks HTTP/2 by hand, to retire connections and refuse calls at the moment that a test wants.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// `REFUSED_STREAM`. Source: RFC 9113, section 7.
const REFUSED: u32 = 0x7;

/// The length of a client's first bytes.
const PREFACE: usize = 24;

#[derive(Clone)]
pub(crate) struct Raw(Arc<TcpListener>);

impl Raw {
    pub(crate) async fn start() -> Self {
        Self(Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap()))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Takes the next connection, and says the first word.
    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = self.0.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = Connection(stream);
        connection.write(SETTINGS, 0, 0, &[]).await;
        connection.0.read_exact(&mut [0; PREFACE]).await.unwrap();
        connection
    }
}

pub(crate) struct Connection(TcpStream);

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Connection {
    /// Waits for the next call, and returns its stream.
    pub(crate) async fn call(&mut self) -> u32 {
        self.until(|frame| frame.kind == HEADERS).await.stream
    }

    /// Waits for the next piece of a call's body.
    pub(crate) async fn piece(&mut self, stream: u32) -> Vec<u8> {
        self.until(|frame| frame.kind == DATA && frame.stream == stream).await.payload
    }

    /// Reads a call's body to its end.
    pub(crate) async fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.until(|frame| frame.kind == DATA && frame.stream == stream).await;
            body.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                return body;
            }
        }
    }

    /// Answers a call with one message, and `OK`.
    pub(crate) async fn answer(&mut self, stream: u32, message: &[u8]) {
        // `:status: 200` of the static table, and `content-type` by its name's number there.
        let mut head = vec![0x88, 0x0f, 0x10, 16];
        head.extend(b"application/grpc");
        self.write(HEADERS, END_HEADERS, stream, &head).await;
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(message);
        self.write(DATA, 0, stream, &framed).await;
        let mut trailers = vec![0, 11];
        trailers.extend(b"grpc-status");
        trailers.extend([1, b'0']);
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &trailers).await;
    }

    /// Says that it takes no more calls, and has seen none beyond `last`.
    pub(crate) async fn go_away(&mut self, last: u32) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    /// Says that it has not looked at a call.
    pub(crate) async fn refuse(&mut self, stream: u32) {
        self.write(RST_STREAM, 0, stream, &REFUSED.to_be_bytes()).await;
    }

    /// Goes there and back once, so that all that was written before has been seen.
    pub(crate) async fn round_trip(&mut self) {
        self.write(PING, 0, 0, b"and back").await;
        self.until(|frame| frame.kind == PING && frame.flags & ACK != 0).await;
    }

    /// Waits until the gateway closes it.
    pub(crate) async fn closed(mut self) {
        while self.read().await.is_some() {}
    }

    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.read().await.expect("the connection goes on");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // Whether or not the gateway still takes it.
        let _ = self.0.write_all(&frame).await;
    }
}
