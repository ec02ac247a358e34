//! A connection whose every byte a test writes: TLS with a certificate that is taken, and HTTP by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{Client, Member, client, federation::standard};

/// Longest that a peer which keeps no rule is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The types of HTTP/2's frames that the tests write. Source: RFC 9113, section 6.
pub mod kind {
    /// `DATA`.
    pub const DATA: u8 = 0x0;
    /// `HEADERS`.
    pub const HEADERS: u8 = 0x1;
    /// `PRIORITY`.
    pub const PRIORITY: u8 = 0x2;
    /// `RST_STREAM`.
    pub const RST_STREAM: u8 = 0x3;
    /// `SETTINGS`.
    pub const SETTINGS: u8 = 0x4;
    /// `PING`.
    pub const PING: u8 = 0x6;
    /// `WINDOW_UPDATE`.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// `CONTINUATION`.
    pub const CONTINUATION: u8 = 0x9;
}

/// The flag that ends a stream.
pub const END_STREAM: u8 = 0x1;
/// The flag that ends a header block.
pub const END_HEADERS: u8 = 0x4;

/// One connection.
pub struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Connects a system of a member to its clients' port, with HTTP/1.1 or `h2`.
    pub async fn system(member: &Member, system: &str, protocol: &str) -> Self {
        let read = |name: String| std::fs::read_to_string(member.folder.join(name)).unwrap();
        let (certificate, key) = (read(format!("systems/{system}.pem")), read(format!("systems/{system}.key.pem")));
        let root = member.authority.certificate_pem();
        Self(client::raw(member.clients, &root, (&certificate, &key), protocol).await.unwrap())
    }

    /// Connects the gateway of a member to the links' port of another.
    pub async fn gateway(from: &Member, to: &Member) -> Self {
        let (certificate, key) = from.gateway_tls();
        let root = to.authority.certificate_pem();
        Self(client::raw(to.links, &root, (&certificate, &key), "h2").await.unwrap())
    }

    /// Opens HTTP/2, with these settings.
    pub async fn open(&mut self, settings: &[u8]) {
        self.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        self.write(&frame(kind::SETTINGS, 0, 0, settings)).await;
    }

    /// Writes; returns whether the peer still took it.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.0.write_all(bytes)).await.is_ok_and(|written| written.is_ok())
    }

    /// Reads until `end` was met, or the connection has ended.
    pub async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        let read = async {
            while !String::from_utf8_lossy(&text).contains(end) {
                match self.0.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => text.extend_from_slice(&buffer[..count]),
                }
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("there is no `{end}` after {PATIENCE:?}"));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads until the peer closes, and returns what it said.
    pub async fn closed(mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut said)).await;
        assert!(read.is_ok(), "the connection is still open after {PATIENCE:?}");
        said
    }
}

/// Writes a frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes a header block without dynamic table: a POST to `path`, as gRPC has it, with the metadata of a call.
pub fn head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    for (name, value) in
        [(":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")]
    {
        block.extend(field(name, value));
    }
    for (name, value) in &standard() {
        block.extend(field(name.as_str(), value.to_str().unwrap()));
    }
    block
}

/// Writes a header field that is not to be remembered. Source: RFC 7541, section 6.2.2.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            bytes.push(u8::try_from(rest).unwrap());
        } else {
            bytes.push(127);
            rest -= 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// An honest caller that asks again and again while something else goes on.
pub struct Honest {
    over: Arc<AtomicBool>,
    asking: JoinHandle<u64>,
}

impl Honest {
    /// Begins to ask. Every call has to be answered.
    pub fn asks(mut client: Client, path: &'static str, message: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let asking = tokio::spawn(async move {
            let mut answered = 0;
            while !until.load(Ordering::Relaxed) || answered == 0 {
                let reply = client.call(path, &standard(), &message).await.unwrap();
                assert_eq!(reply.status.code, 0, "{}", reply.status.message);
                answered += 1;
            }
            answered
        });
        Self { over, asking }
    }

    /// Ends, and returns how often it was answered.
    pub async fn answered(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}
