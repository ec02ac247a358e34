//! Who takes part: the direct call, and pairs of proxies, each in front of a back end of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::workspace;

use super::{
    certificates::Certificates,
    drawbridge, haproxy,
    load::Target,
    nginx,
    process::{self, Process},
};

/// One way from the callers to the back end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No proxy at all, and no TLS.
    Direct,
    /// Two nginx with mutual TLS between them.
    Nginx,
    /// Two HAProxy with mutual TLS between them.
    HaProxy,
    /// Two of our gateways.
    Drawbridge,
}

impl Contender {
    /// In the order of the tables.
    pub(crate) const ALL: &[Self] = &[Self::Direct, Self::Nginx, Self::HaProxy, Self::Drawbridge];

    /// The name to choose it by.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Drawbridge => "drawbridge",
        }
    }

    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct call",
            Self::Nginx => "nginx pair",
            Self::HaProxy => "HAProxy pair",
            Self::Drawbridge => "our pair",
        }
    }
}

/// Where contenders are set up, and what they share.
pub(crate) struct Workshop {
    folder: PathBuf,
    certificates: Certificates,
    client_tls: bool,
}

/// A contender that runs.
///
/// Fields end in this order: who calls before who is called.
pub(crate) struct Running {
    pub(crate) target: Target,
    pub(crate) consumer: Option<Process>,
    pub(crate) provider: Option<Process>,
    pub(crate) backend: Process,
}

impl Workshop {
    /// Sets up in `folder`.
    ///
    /// # Errors
    ///
    /// When certificates cannot be made.
    pub(crate) fn open(folder: &Path, client_tls: bool) -> Result<Self> {
        Ok(Self { folder: folder.to_owned(), certificates: Certificates::make(folder)?, client_tls })
    }

    /// Starts `contender` afresh.
    ///
    /// # Errors
    ///
    /// When one of its processes does not come up; the error carries what it said.
    pub(crate) fn start(&self, contender: Contender) -> Result<Running> {
        let (backend, address) = {
            let mut command = Command::new(workspace::program()?);
            command.arg("bench-backend");
            Process::start_and_ask(&command, self.folder.join("backend.log")).context("the back end")?
        };
        let target = |address| Target { address, tls: None, metadata: Vec::new() };
        match contender {
            Contender::Direct => Ok(Running { target: target(address), consumer: None, provider: None, backend }),
            Contender::Nginx => self.peers(contender, backend, address, (nginx::provider, nginx::consumer)),
            Contender::HaProxy => self.peers(contender, backend, address, (haproxy::provider, haproxy::consumer)),
            Contender::Drawbridge => {
                let folder = self.folder.join(contender.short());
                let pair = drawbridge::start(&folder, &drawbridge::binary()?, address, self.client_tls)?;
                let (consumer, provider) = (Some(pair.consumer), Some(pair.provider));
                Ok(Running { target: pair.target, consumer, provider, backend })
            }
        }
    }

    /// Starts a pair of other people's proxies.
    fn peers(
        &self,
        contender: Contender,
        backend: Process,
        address: SocketAddr,
        (provider, consumer): (StartProvider, StartConsumer),
    ) -> Result<Running> {
        let [ours, theirs] = process::free_ports()?;
        let folder = |side: &str| {
            let folder = self.folder.join(contender.short()).join(side);
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            Ok::<_, anyhow::Error>(folder)
        };
        let certificates = &self.certificates;
        let provider = provider(&folder("provider")?, certificates, theirs, address).context("the provider's proxy")?;
        let consumer = consumer(&folder("consumer")?, certificates, ours, theirs, self.client_tls)
            .context("the consumer's proxy")?;
        let target =
            Target { address: ours, tls: self.client_tls.then(|| certificates.client()), metadata: Vec::new() };
        Ok(Running { target, consumer: Some(consumer), provider: Some(provider), backend })
    }
}

/// Starts the provider's proxy: folder, certificates, where to listen, the back end.
type StartProvider = fn(&Path, &Certificates, SocketAddr, SocketAddr) -> Result<Process>;
/// Starts the consumer's proxy: folder, certificates, where to listen, the provider's proxy, whether callers use TLS.
type StartConsumer = fn(&Path, &Certificates, SocketAddr, SocketAddr, bool) -> Result<Process>;
