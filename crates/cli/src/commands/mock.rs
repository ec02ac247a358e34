//! `drawbridge mock`: a member that makes its answers up, for partners who cannot wait for the real one.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use demo::mock::{self, MockError, Options};
use federation::MemberId;

use crate::failure::{Failure, Outcome, because};

/// Serves a contract with made-up answers, through two real gateways with a real agreement, until Ctrl-C
#[derive(Debug, Args)]
pub(crate) struct Mock {
    /// The contract: a folder of .proto files, one file with what it imports, or a descriptor set
    #[arg(value_name = "CONTRACT", required = true)]
    contracts: Vec<PathBuf>,
    /// A service to mock, as in housing.v1.Tenancies. May be given more than once. Default: all of the contract
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// JSON or TOML file with examples, by method; they come before what is made up
    #[arg(long, value_name = "FILE")]
    examples: Option<PathBuf>,
    /// What is made up follows from this number, and from the question
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// How many messages a stream of answers has
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    rows: u32,
    /// The member that answers: the id of the real one lets your code stay as it is
    #[arg(long, value_name = "MEMBER", default_value = "mock.example")]
    provider: MemberId,
    /// The member that asks
    #[arg(long, value_name = "MEMBER", default_value = "partner.example", conflicts_with = "entry")]
    consumer: MemberId,
    /// A system of the member that asks. May be given more than once. Default: app
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// A purpose to ask for. May be given more than once. Default: development
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// Where systems of the asking member ask. Default: a free port
    #[arg(long, value_name = "IP:PORT", conflicts_with = "entry")]
    clients: Option<SocketAddr>,
    /// Make the answering gateway alone, for a member with a gateway of its own, whose entry this is
    #[arg(long, value_name = "ENTRY")]
    entry: Option<PathBuf>,
    /// Where gateways of others reach the answering one. Default: a free port of this machine alone
    #[arg(long, value_name = "IP:PORT")]
    links: Option<SocketAddr>,
    /// Keep keys, ports and logs in this folder. Default: a temporary folder
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl Mock {
    pub(crate) fn run(self) -> Outcome {
        let or = |given: Vec<String>, default: &str| if given.is_empty() { vec![default.to_owned()] } else { given };
        let options = Options {
            contracts: self.contracts,
            services: self.services,
            examples: self.examples,
            seed: self.seed,
            rows: self.rows,
            provider: self.provider.to_string(),
            consumer: self.consumer.to_string(),
            systems: or(self.systems, "app"),
            purposes: or(self.purposes, "development"),
            clients: self.clients,
            entry: self.entry,
            links: self.links,
            keep: self.data,
            binary: None,
        };
        if options.entry.is_none() && options.provider == options.consumer {
            return Err(Failure::usage("a member does not ask itself", "name two members"));
        }
        super::block_on(async {
            Box::pin(mock::run(options)).await.map_err(|error| match error {
                MockError::Contract(problems) => problems.into(),
                error @ (MockError::Read { .. }
                | MockError::NotEmpty(_)
                | MockError::Prepare(_)
                | MockError::Members(_)
                | MockError::Command { .. }
                | MockError::Gateway(_)
                | MockError::Interrupted) => because("there is no mock", &error).into(),
            })
        })
    }
}
