//! `drawbridge agreement new`: a text to fill in, with what the contracts say.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use contract::{Contracts, Method};
use federation::MemberId;
use gateway::load;
use policy::Template;
use problem::{Problem, nearest};

use crate::{
    failure::{Failure, Outcome, because},
    files, moments,
    place::{ConfigOption, own_gateway},
    terminal::Out,
};

/// Drafts an agreement between two members, to be filled in
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The member that asks. Default: the configuration's own, where it is not the provider
    #[arg(long, value_name = "MEMBER")]
    consumer: Option<MemberId>,
    /// The member that answers. Default: the configuration's own, where it is not the consumer
    #[arg(long, value_name = "MEMBER")]
    provider: Option<MemberId>,
    /// A service, all of whose methods may be asked, as in housing.v1.Tenancies. May be given more than once, as may `--method`
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// A method that may be asked, as in housing.v1.Tenancies/Find
    #[arg(long = "method", value_name = "SERVICE/METHOD")]
    methods: Vec<String>,
    /// A system of the consumer that may ask, by its name alone. May be given more than once, as may `--purpose`
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// A purpose to ask for
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// The agreement's id. Default: made of the members' names and the year
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
    /// The file to write. Default: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self) -> Outcome {
        let file = self.config.read()?;
        let contracts = load::contracts(&file)?;
        let own = own_gateway(&file)?.member().clone();
        let (consumer, provider) = self.parties(own)?;
        let methods = self.chosen(&contracts)?;
        let template = Template {
            id: self.id.clone(),
            consumer,
            provider,
            methods,
            systems: self.systems.clone(),
            purposes: self.purposes.clone(),
        };
        let text = template.write(moments::now()).map_err(|error| because("cannot draft the agreement", &error))?;
        let Some(path) = &self.output else { return Out::new().text(&text) };
        files::create(path, &text, files::PUBLIC)?;
        let mut out = Out::new();
        let name = path.display();
        out.line(format_args!("wrote {name}"))?;
        let config = self.config.again();
        out.line(format_args!(
            "next: fill it in, then `drawbridge agreement check {name}{config}`, then both members sign it"
        ))?;
        out.flush()
    }

    fn parties(&self, own: MemberId) -> Outcome<(MemberId, MemberId)> {
        match (self.consumer.clone(), self.provider.clone()) {
            (Some(consumer), Some(provider)) => Ok((consumer, provider)),
            (Some(consumer), None) if consumer != own => Ok((consumer, own)),
            (None, Some(provider)) if provider != own => Ok((own, provider)),
            _ => Err(Failure::usage(
                "an agreement is between two members",
                format!("name the other one with `--consumer` or `--provider`; this one is `{own}`"),
            )),
        }
    }

    fn chosen(&self, contracts: &Contracts) -> Outcome<Vec<Arc<Method>>> {
        let mut methods = Vec::new();
        let mut problems = Vec::new();
        for name in &self.services {
            match contracts.service(name) {
                Some(service) => methods.extend(service.methods.iter().cloned()),
                None => problems.push(unknown(
                    "service",
                    name,
                    &contracts.services().map(|service| service.name.clone()).collect::<Vec<_>>(),
                )),
            }
        }
        for name in &self.methods {
            match contracts.method(&format!("/{}", name.trim_start_matches('/'))) {
                Some(method) => methods.push(method.clone()),
                None => problems.push(unknown("method", name, &method_names(contracts))),
            }
        }
        if !problems.is_empty() {
            return Err(problems.into());
        }
        if methods.is_empty() {
            return Err(Failure::usage(
                "no service or method is named",
                "name what may be asked with `--service` or `--method`",
            ));
        }
        methods.sort_by(|a, b| a.path().cmp(b.path()));
        methods.dedup_by(|a, b| a.path() == b.path());
        Ok(methods)
    }
}

/// The names of all methods, as people write them.
pub(super) fn method_names(contracts: &Contracts) -> Vec<String> {
    contracts
        .services()
        .flat_map(|service| service.methods.iter().map(|method| method.path().trim_start_matches('/').to_owned()))
        .collect()
}

/// Says that no contract has something of this name.
pub(super) fn unknown(what: &str, name: &str, all: &[String]) -> Problem {
    let problem = Problem::new("", format!("no contract that is loaded has a {what} `{name}`"));
    match nearest(name, all.iter().map(String::as_str)) {
        Some(meant) => problem.help(format!("did you mean `{meant}`?")),
        None if all.is_empty() => {
            problem.help("put the contract's .proto files into a folder that `contracts.sources` names")
        }
        None => problem.help(format!("there is {}", list(all))),
    }
}

fn list(all: &[String]) -> String {
    /// Most names in a help.
    const MOST: usize = 12;
    let some: Vec<String> = all.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    let more = if all.len() > MOST { format!(" and {} more", all.len().saturating_sub(MOST)) } else { String::new() };
    format!("{}{more}", some.join(", "))
}
