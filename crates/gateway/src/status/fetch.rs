//! Asks a running gateway how it stands.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use super::{STATUS_FORMAT, Status};
use crate::load::chain;

/// How long the gateway may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest status that is read, in bytes: some 50,000 agreements.
const MAX_STATUS_BYTES: usize = 64 * 1024 * 1024;

/// A gateway did not tell how it stands.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Nothing listens there.
    #[error("nothing listens on {address}")]
    Nobody {
        /// What was asked.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("{address} did not answer within 5 s")]
    Late {
        /// What was asked.
        address: SocketAddr,
    },
    /// The configuration leaves the port to the system.
    #[error(
        "the configuration leaves `operations.listen` to the system, and no gateway has left its addresses in the data folder"
    )]
    NoPort,
    /// The gateway that answers there is not the one that was meant.
    #[error("`{found}` answers on {address}, not `{own}`")]
    Another {
        /// What was asked.
        address: SocketAddr,
        /// Which gateway answers.
        found: String,
        /// Which one was meant.
        own: String,
    },
    /// A gateway of the same name answers there, and nobody has the log in this data folder open.
    #[error("`{found}` answers on {address}, and it runs with another data folder than `{data}`")]
    OtherFolder {
        /// What was asked.
        address: SocketAddr,
        /// Which gateway answers.
        found: String,
        /// The data folder of the configuration.
        data: String,
    },
    /// Something else listens there, or an older gateway.
    #[error("what listens on {address} is not a gateway that tells how it stands: {what}")]
    Other {
        /// What was asked.
        address: SocketAddr,
        /// What it did.
        what: String,
    },
}

/// Asks the gateway whose operations port is `listen`, an address that it listens on.
///
/// # Errors
///
/// [`FetchError`].
pub async fn fetch(listen: SocketAddr) -> Result<Status, FetchError> {
    let address = reachable(listen);
    tokio::time::timeout(TIMEOUT, ask(address)).await.unwrap_or(Err(FetchError::Late { address }))
}

async fn ask(address: SocketAddr) -> Result<Status, FetchError> {
    let other = |what: String| FetchError::Other { address, what };
    let stream = TcpStream::connect(address).await.map_err(|source| FetchError::Nobody { address, source })?;
    let (mut requests, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| other(chain(&error)))?;
    // It ends with the answer.
    let _running = tokio::spawn(connection);
    let request = Request::builder()
        .uri("/status")
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| other(chain(&error)))?;
    let response = requests.send_request(request).await.map_err(|error| other(chain(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(other(format!("it answered with HTTP status {}", response.status())));
    }
    let body = Limited::new(response.into_body(), MAX_STATUS_BYTES).collect().await;
    let body = body.map_err(|error| other(chain(&*error)))?.to_bytes();
    let status: Status = serde_json::from_slice(&body).map_err(|error| other(error.to_string()))?;
    if status.format != STATUS_FORMAT {
        return Err(other(format!("this version reads `{STATUS_FORMAT}`, not `{}`", status.format)));
    }
    Ok(status)
}

/// Returns where a port that is listened on is reached from this machine.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    listen
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_port_on_every_address_is_reached_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:9464", "[::1]:9464"), ("10.1.2.3:9464", "10.1.2.3:9464")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_not_a_gateway_is_told_as_such() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "220 mail\r\n",
        ];
        let server = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = [0; 1024];
                let _ = stream.read(&mut read).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        for answer in answers {
            let error = fetch(address).await.unwrap_err();
            assert!(matches!(error, FetchError::Other { .. }), "{answer}: {error}");
        }
        server.await.unwrap();
        assert!(matches!(fetch(address).await.unwrap_err(), FetchError::Nobody { .. }));
    }
}
