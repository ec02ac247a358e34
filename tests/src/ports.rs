//! Ports for processes that cannot be told to choose their own, since others have to know them before.
//!
//! They lie below those that the kernel gives to connections, which would otherwise take one between its choice and its use, and
//! a lock on a file keeps the tests that run beside this one from choosing the same.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Mutex,
};

/// Below the kernel's own range. Source: `ip_local_port_range` in `ip(7)`, 32768 and above.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Locks of the ports that this process has chosen, until it ends.
static CHOSEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Chooses ports on loopback that nobody listens on, all different.
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    std::array::from_fn(|_| free_port())
}

fn free_port() -> SocketAddr {
    let folder = std::env::temp_dir().join("drawbridge-test-ports");
    fs::create_dir_all(&folder).unwrap();
    let count = RANGE.end - RANGE.start;
    let mut chosen = CHOSEN.lock().unwrap();
    // Each process begins elsewhere, so that few look at the same files.
    let begin = u16::try_from((std::process::id().wrapping_mul(37)) % u32::from(count)).unwrap();
    (0..count)
        .map(|at| RANGE.start + (begin + at) % count)
        .find_map(|port| {
            let lock = File::options().create(true).append(true).open(folder.join(port.to_string())).unwrap();
            lock.try_lock().ok()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpListener::bind(address).ok()?;
            chosen.push(lock);
            Some(address)
        })
        .expect("a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ports_differ_and_can_be_listened_on() {
        let mut ports = free_ports::<40>().to_vec();
        let listening: Vec<TcpListener> = ports.iter().map(|address| TcpListener::bind(address).unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((ports.len(), listening.len()), (40, 40));
    }
}
