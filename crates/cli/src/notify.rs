//! Tells the service manager how the gateway stands; nothing is told where none asks.
//!
//! Source: `sd_notify(3)`: a datagram to the socket that `NOTIFY_SOCKET` names, with `@` first for an abstract one.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use crate::terminal::warn;

/// Every port listens.
pub(crate) const READY: &str = "READY=1";
/// The files are being read again; [`READY`] follows, whatever comes of it.
pub(crate) const RELOADING: &str = "RELOADING=1";
/// Open exchanges may end, nothing new is taken.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells `state` to the service manager.
pub(crate) fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        warn(format_args!("cannot tell the service manager `{state}`: {error}"));
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reaches_a_socket_with_a_path_and_an_abstract_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("drawbridge-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(abstract_name.as_bytes()).unwrap();
        let listens = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&abstract_address).unwrap()];
        for (socket, name) in listens.iter().zip([path.into_os_string(), format!("@{abstract_name}").into()]) {
            send(&name, READY).unwrap();
            let mut read = [0; 64];
            let length = socket.recv(&mut read).unwrap();
            assert_eq!(&read[..length], READY.as_bytes());
        }
        assert!(send(OsStr::new("/nowhere/notify"), READY).is_err());
    }
}
