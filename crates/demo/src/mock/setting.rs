//! The folders of both members: made by `drawbridge init`, completed as an operator would, and kept from one start to the next.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};

use contract::Shape;
use federation::Directory;
use gateway::ConfigFile;
use jiff::{Timestamp, tz::Offset};
use note::SigningKey;
use policy::AgreementFile;

use super::{Contract, MockError, Options, PARTNER, PROVIDER, snippets};
use crate::{
    members::{self, MembersError, Ports, write_text},
    story::command::{CommandLine, Place},
};

/// What stands below this line in the provider's configuration is written anew each time.
const MARK: &str = "# ---- The mock. `drawbridge mock` writes anew what stands below this line.";

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The members as they were made.
pub(super) struct Setting {
    pub(super) provider: Ports,
    /// `None` where the partner brings its own gateway.
    pub(super) partner: Option<Ports>,
    pub(super) consumer: String,
    /// The script that asks the first question, where there is one.
    pub(super) script: bool,
}

impl Setting {
    /// Makes what is not there yet, and writes contract, bindings and agreement anew.
    pub(super) async fn make(place: &Place, options: &Options, contract: &Contract) -> Result<Self, MockError> {
        let fresh = !place.folder.join(PROVIDER).exists();
        if fresh {
            init(place, options).await?;
        }
        let mut members = vec![PROVIDER];
        if let Some(entry) = &options.entry {
            let entry = entry.canonicalize().map_err(MockError::Prepare)?;
            add(place, PROVIDER, &entry.to_string_lossy()).await?;
        } else {
            members.push(PARTNER);
            add(place, PROVIDER, &format!("{PARTNER}/entry.note")).await?;
            add(place, PARTNER, &format!("{PROVIDER}/entry.note")).await?;
        }
        for member in &members {
            let folder = place.folder.join(member);
            let sources = contract.write(&folder)?;
            let bindings = if *member == PROVIDER { bindings(options, contract)? } else { String::new() };
            configure(&folder.join("gateway.toml"), &sources, &bindings)?;
        }
        let consumer = if options.entry.is_some() { stranger(place, options)? } else { options.consumer.clone() };
        agree(place, options, contract, &consumer, &members)?;
        check(place).await?;
        let partner = match options.entry {
            Some(_) => None,
            None => Some(ports(&place.folder.join(PARTNER))?),
        };
        let asked = partner.as_ref().map(|partner| snippets::write(&place.folder, options, contract, partner));
        Ok(Self {
            provider: ports(&place.folder.join(PROVIDER))?,
            partner,
            consumer,
            script: asked.transpose()?.unwrap_or_default(),
        })
    }
}

/// Runs a command, which has to succeed.
async fn succeed(place: &Place, command: CommandLine) -> Result<(), MockError> {
    let ran = command.run(place).await.map_err(MockError::Prepare)?;
    if ran.succeeded { Ok(()) } else { Err(MockError::Command { command: command.to_string(), said: ran.stderr }) }
}

/// Makes the folders. Their keys say NOT FOR PRODUCTION, and only gateways in development take them.
async fn init(place: &Place, options: &Options) -> Result<(), MockError> {
    let [provider, partner, _] = members::free_ports().map_err(MembersError::Ports)?;
    let links = options.links.unwrap_or(provider.links).to_string();
    let name = format!("A mock of {}", options.provider);
    let (clients, operations) = (provider.clients.to_string(), provider.operations.to_string());
    let common = ["init", "--development", "--member"];
    let command = CommandLine::new(common)
        .with([&options.provider, "--name", &name, "--links", &links, "--clients", &clients])
        .with(["--operations", &operations, PROVIDER]);
    succeed(place, command).await?;
    if options.entry.is_some() {
        return Ok(());
    }
    let (clients, operations) =
        (options.clients.unwrap_or(partner.clients).to_string(), partner.operations.to_string());
    let mut command = CommandLine::new(common).with([options.consumer.as_str(), "--clients", &clients]);
    for system in &options.systems {
        command = command.with(["--system", system]);
    }
    succeed(place, command.with(["--operations", &operations, PARTNER])).await
}

/// Lets one member know another.
async fn add(place: &Place, member: &str, entry: &str) -> Result<(), MockError> {
    let config = format!("{member}/gateway.toml");
    succeed(place, CommandLine::new(["directory", "add", "--config", &config, entry])).await
}

/// Looks at the provider's configuration before anything starts: what is wrong with examples is told here.
async fn check(place: &Place) -> Result<(), MockError> {
    let config = format!("{PROVIDER}/gateway.toml");
    succeed(place, CommandLine::new(["check", "--config", &config])).await
}

fn read(path: &Path) -> Result<String, MockError> {
    fs::read_to_string(path).map_err(MockError::Prepare)
}

/// Names the contract's sources in a configuration, and writes the bindings below the mark.
fn configure(path: &Path, sources: &[String], bindings: &str) -> Result<(), MockError> {
    let text = read(path)?;
    let (settings, _) = text.split_once(MARK).unwrap_or((&text, ""));
    let mut lines: Vec<String> = settings.trim_end().lines().map(str::to_owned).collect();
    for line in &mut lines {
        if line.starts_with("# sources = ") || line.starts_with("sources = ") {
            *line = format!("sources = {sources:?}");
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    if !bindings.is_empty() {
        text = format!("{text}\n{MARK}\n{bindings}");
    }
    Ok(write_text(path, &text)?)
}

fn bindings(options: &Options, contract: &Contract) -> Result<String, MockError> {
    let examples = match &options.examples {
        Some(path) => {
            let path = path.canonicalize().map_err(|source| MockError::Read { path: path.clone(), source })?;
            format!(", examples = {:?}", path.display().to_string())
        }
        None => String::new(),
    };
    let binding = |method: &std::sync::Arc<contract::Method>| {
        let rows =
            if method.shape() == Shape::ServerStream { format!(", rows = {}", options.rows) } else { String::new() };
        format!(
            "\n[[binding]]\nmethod = \"{}\"\nconnector = {{ kind = \"mock\", seed = {}{rows}{examples} }}\n",
            method.path().trim_start_matches('/'),
            options.seed
        )
    };
    Ok(contract.methods().map(binding).collect())
}

/// The one member beside the provider in the provider's directory.
fn stranger(place: &Place, options: &Options) -> Result<String, MockError> {
    let path = place.folder.join(PROVIDER).join("directory.note");
    let directory = Directory::parse(&path, &read(&path)?).map_err(MockError::Contract)?;
    let mut others = directory.entries().map(|entry| entry.member.to_string()).filter(|id| *id != options.provider);
    others.next().ok_or_else(|| MockError::Prepare(std::io::Error::other("the entry is of the mock itself")))
}

/// Writes the agreement, signed by every member whose key is here, where their gateways look for it.
fn agree(
    place: &Place,
    options: &Options,
    contract: &Contract,
    consumer: &str,
    members: &[&str],
) -> Result<(), MockError> {
    let text = agreement(options, contract, consumer, SystemTime::now())?;
    let mut file = AgreementFile::parse("mock.note", &text)
        .map_err(|problems| MembersError::problems("the agreement of the mock", &problems))?;
    let what = "the agreement of the mock";
    for member in members {
        let key = SigningKey::read_file(&place.folder.join(member).join("offline/member.key"));
        let key = key.map_err(|error| MembersError::make(what, error))?;
        file.sign(&key).map_err(|error| MembersError::make(what, error))?;
    }
    write_text(&place.folder.join("mock.note"), &file.to_string())?;
    if members.contains(&PARTNER) {
        for member in members {
            write_text(&place.folder.join(member).join("agreements/mock.note"), &file.to_string())?;
        }
    }
    Ok(())
}

/// The agreement's text: every method of the contract and every field, for a year.
fn agreement(options: &Options, contract: &Contract, consumer: &str, now: SystemTime) -> Result<String, MockError> {
    let instant = |time: SystemTime| {
        let seconds = Timestamp::try_from(time).map(Timestamp::as_second).and_then(Timestamp::from_second);
        seconds.map_err(|error| MembersError::make("the period of the agreement", error))
    };
    let mut text = format!(
        "# Made by `drawbridge mock`: everything that the contract has, since all of it is made up.\n\
         format = \"drawbridge.agreement/v1\"\nid = \"mock\"\nconsumer = \"{consumer}\"\nprovider = \"{}\"\n\
         valid_from = {}\nvalid_until = {}\nreview_on = {}\nretention = \"30 days\"\n",
        options.provider,
        instant(now - HOUR)?,
        instant(now + 365 * DAY)?,
        Offset::UTC.to_datetime(instant(now + 300 * DAY)?).date(),
    );
    for purpose in &options.purposes {
        text = format!("{text}\n[purpose.{purpose}]\nlegal_basis = \"None is needed: what is answered is made up\"\n");
    }
    for service in &contract.services {
        // What the contract does not say of a method, the agreement has to.
        let (said, unsaid): (Vec<_>, Vec<_>) = service.methods.iter().partition(|method| method.kind().is_some());
        for (methods, kind) in [(said, ""), (unsaid, "kind = \"query\"\n")] {
            let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
            if !names.is_empty() {
                text = format!(
                    "{text}\n[[grant]]\nservice = \"{}\"\ndigest = \"{}\"\nmethods = {names:?}\nsystems = {:?}\n\
                     purposes = {:?}\nfields = \"all\"\n{kind}",
                    service.name, service.digest, options.systems, options.purposes
                );
            }
        }
    }
    Ok(text)
}

/// Where a member's gateway listens, by its configuration.
fn ports(folder: &Path) -> Result<Ports, MockError> {
    let file = ConfigFile::read(&folder.join("gateway.toml"), []).map_err(MockError::Contract)?;
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Ok(Ports {
        links: file.config.links.map_or(nowhere, |links| links.listen),
        clients: file.config.clients.map_or(nowhere, |clients| clients.listen),
        operations: file.config.operations.listen,
    })
}
