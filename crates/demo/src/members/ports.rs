//! Free ports of the loopback address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// Where one member's gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For other gateways.
    pub links: SocketAddr,
    /// For systems of its own member.
    pub clients: SocketAddr,
    /// For its operators.
    pub operations: SocketAddr,
}

impl Ports {
    /// Puts the addresses into a configuration, in place of `@links@`, `@clients@` and `@operations@`.
    pub(super) fn fill(&self, configuration: &str) -> String {
        configuration
            .replace("@links@", &self.links.to_string())
            .replace("@clients@", &self.clients.to_string())
            .replace("@operations@", &self.operations.to_string())
    }
}

/// Finds ports for three members (fewer take what they need). Addresses stand in the signed directory, so they must be known before anything listens: the
/// ports are taken all at once, and given back for the gateways.
pub(crate) fn free() -> io::Result<[Ports; 3]> {
    let mut taken = Vec::new();
    let mut take = || -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        taken.push(listener);
        Ok(address)
    };
    let mut one = || Ok::<_, io::Error>(Ports { links: take()?, clients: take()?, operations: take()? });
    Ok([one()?, one()?, one()?])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nine_different_ports_are_found() {
        let ports: BTreeSet<u16> = free()
            .unwrap()
            .iter()
            .flat_map(|ports| [ports.links, ports.clients, ports.operations])
            .map(|address| address.port())
            .collect();
        assert_eq!(ports.len(), 9);
    }
}
