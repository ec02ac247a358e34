//! Makes listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted. As nginx on Linux, twice: a restart of a busy peer brings all of its connections at once.
const BACKLOG: i32 = 1_024;

/// Whether a port is listened on once, or by several listeners of this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Once. A second listener, of this or another process, is refused.
    Alone,
    /// By several (`SO_REUSEPORT`), one for each runtime.
    Shared,
}

/// Listens on `address` as often as there are runtimes.
///
/// `SO_REUSEPORT` alone would let a second gateway of the same user take half of the first one's connections; so the port is first
/// tried alone. Port 0 stands for a free one, the same for all.
///
/// # Errors
///
/// As the system says; `AddrInUse` when the port is taken, even by somebody who shares it.
pub fn listeners(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if count <= 1 || address.port() != 0 {
        let alone = listener(address, Sharing::Alone)?;
        if count <= 1 {
            return Ok(vec![alone]);
        }
    }
    let first = listener(address, Sharing::Shared)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listener(address, Sharing::Shared)?);
    }
    Ok(listeners)
}

/// Listens on `address`, ready for [`Server::serve`](super::Server::serve).
///
/// # Errors
///
/// As the system says; `AddrInUse` when the port is taken.
pub fn listener(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart may take the port while old connections of it linger.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn all_listeners_have_one_address_and_a_second_gateway_does_not_join_them() {
        let first = listeners(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let addresses: Vec<_> = first.iter().map(|one| one.local_addr().unwrap()).collect();
        assert_eq!(addresses.len(), 3);
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        for count in [1, 2] {
            let second = listeners(addresses[0], count).unwrap_err();
            assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        }
        drop(first);
        assert_eq!(listeners(addresses[0], 2).unwrap().len(), 2);
    }
}
