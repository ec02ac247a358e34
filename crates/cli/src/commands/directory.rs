//! `drawbridge directory`: the members that a gateway knows.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use federation::{Change, Directory as Members, Entry, Federation, MemberId};
use problem::{Problem, nearest};

use super::entry;
use crate::{
    failure::Outcome,
    files, moments,
    place::{ConfigOption, read_directory},
    table::{Column, Table},
    terminal::{Out, warn},
};

/// Adds, shows and removes members
#[derive(Debug, Subcommand)]
pub(crate) enum Directory {
    Add(Add),
    Show(Show),
    Remove(Remove),
}

/// Adds members by their entries, or takes newer versions of entries
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Files with entries, as members have given them
    #[arg(required = true, value_name = "ENTRY")]
    entries: Vec<PathBuf>,
    #[command(flatten)]
    file: FileOption,
}

/// Shows the members, or one of them in full
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The member to show
    member: Option<MemberId>,
    #[command(flatten)]
    file: FileOption,
}

/// Removes a member: gateways that load the directory no longer ask or answer it
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The member to remove
    member: MemberId,
    #[command(flatten)]
    file: FileOption,
}

/// Names the directory.
#[derive(Debug, Args)]
pub(crate) struct FileOption {
    /// The directory file. Default: that of the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

impl FileOption {
    fn path(&self) -> Outcome<PathBuf> {
        if let Some(path) = &self.directory {
            return Ok(path.clone());
        }
        let file = self.config.read()?;
        Ok(file.path(&file.config.directory.file))
    }
}

impl Directory {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Add(add) => add.run(),
            Self::Show(show) => show.run(),
            Self::Remove(remove) => remove.run(),
        }
    }
}

impl Add {
    fn run(self) -> Outcome {
        let path = self.file.path()?;
        let mut members = if path.exists() { read_directory(&path)? } else { Members::new() };
        let (mut problems, mut changes) = (Vec::new(), Vec::new());
        for file in &self.entries {
            match files::read(file).and_then(|text| Ok(Entry::parse(file, &text)?)) {
                Ok(entry) => match members.add(entry.clone()) {
                    Ok(change) => changes.push((entry, change)),
                    Err(error) => problems.push(error.problem(file)),
                },
                Err(failure) => problems.extend(failure.into_problems()),
            }
        }
        if !problems.is_empty() {
            return Err(problems.into());
        }
        write(&path, &members)?;
        let mut out = Out::new();
        for (entry, change) in changes {
            tell(&entry, change, &mut out)?;
        }
        out.flush()
    }
}

fn tell(entry: &Entry, change: Change, out: &mut Out) -> Outcome {
    let Entry { member, version, .. } = entry;
    match change {
        Change::Unchanged => out.line(format_args!("{member}: version {version} is there already")),
        Change::Replaced { from, to } => out.line(format_args!(
            "{member}: version {to} in the place of version {from}, signed by the key known so far"
        )),
        Change::Added => {
            out.line(format_args!("{member}: added, version {version}"))?;
            out.line(format_args!("  its member key is {}", entry.member_key))?;
            out.line(format_args!("  compare it with {member} by other means than the one by which the entry came: whoever holds this key speaks for {member}"))
        }
    }
}

impl Show {
    fn run(self) -> Outcome {
        let path = self.file.path()?;
        let members = read_directory(&path)?;
        let mut out = Out::new();
        let Some(member) = &self.member else {
            list(&members, &mut out)?;
            for warning in Federation::load(members, None)?.warnings(moments::now()) {
                warn(warning);
            }
            return out.flush();
        };
        entry::show(found(&members, member, &path)?, &mut out)?;
        out.flush()
    }
}

fn list(members: &Members, out: &mut Out) -> Outcome {
    if members.entries().len() == 0 {
        return out.line("no members");
    }
    let columns = [
        Column::left("MEMBER"),
        Column::left("NAME"),
        Column::right("VERSION"),
        Column::left("GATEWAYS"),
        Column::left("OFFERS"),
        Column::left("GOOD UNTIL"),
    ];
    let mut table = Table::new(columns);
    for entry in members.entries() {
        let gateway = |gateway: &federation::GatewayEntry| match &gateway.address {
            Some(address) => format!("{} at {address}", gateway.id.name()),
            None => format!("{}, asks only", gateway.id.name()),
        };
        let gateways: Vec<String> = entry.gateways.iter().map(gateway).collect();
        let offers: Vec<&str> = entry.contracts.iter().map(|(service, _)| service.as_str()).collect();
        let cells = [
            entry.member.to_string(),
            entry.display_name.clone(),
            entry.version.to_string(),
            gateways.join("; "),
            offers.join(", "),
            moments::to_the_minute(entry.valid_until),
        ];
        table.row(cells, out)?;
    }
    table.finish(out)
}

impl Remove {
    fn run(self) -> Outcome {
        let path = self.file.path()?;
        let mut members = read_directory(&path)?;
        found(&members, &self.member, &path)?;
        members.remove(&self.member);
        write(&path, &members)?;
        Out::new().text(&format!("{}: removed\n", self.member))
    }
}

fn found<'m>(members: &'m Members, member: &MemberId, path: &Path) -> Outcome<&'m Entry> {
    members.entry(member).ok_or_else(|| {
        let problem = Problem::new(path, format!("the directory has no member `{member}`"));
        match nearest(member.as_str(), members.entries().map(|entry| entry.member.as_str())) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")).into(),
            None => problem.help("`drawbridge directory show` lists them").into(),
        }
    })
}

/// Writes a directory that gateways will take: whatever two members share is found before it is on disk.
pub(crate) fn write(path: &Path, members: &Members) -> Outcome {
    let text = members.to_text();
    Federation::load(Members::parse(path, &text)?, None)?;
    files::replace(path, &text, files::PUBLIC)
}
