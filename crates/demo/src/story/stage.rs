//! What the chapters play on: the three gateways, the commands, and the one who tells.

use std::io;

use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    StoryError,
    command::{CommandLine, Place, Ran},
    process::Process,
    teller::Teller,
};
use crate::members::{ALL, COUNCIL, Folders, Member, POLICE, TRUST};

/// The stage.
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) folders: Folders,
    pub(crate) teller: Teller<io::Stdout>,
    pub(crate) trust: Process,
    pub(crate) police: Process,
    pub(crate) council: Process,
}

/// A question, as a partner system asks it.
pub(crate) struct Question {
    pub(crate) member: &'static Member,
    pub(crate) system: &'static str,
    pub(crate) provider: &'static Member,
    /// `package.Service/Method`.
    pub(crate) method: &'static str,
    pub(crate) purpose: &'static str,
    /// Further arguments.
    pub(crate) more: &'static [&'static str],
    /// File with the request, below `requests`.
    pub(crate) request: &'static str,
}

impl Question {
    /// The command line that asks it.
    pub(crate) fn command(&self) -> CommandLine {
        let config = format!("{}/gateway.toml", self.member.folder);
        CommandLine::new(["call", "--config", &config, "--system", self.system, self.provider.id, self.method])
            .with(["--purpose", self.purpose])
            .with(self.more.iter().copied())
            .with([format!("@requests/{}", self.request)])
    }
}

impl Stage {
    pub(crate) fn new(place: Place, folders: Folders, teller: Teller<io::Stdout>) -> Self {
        let [trust, police, council] = [&TRUST, &POLICE, &COUNCIL].map(|member| {
            let ports = ALL.iter().zip(&folders.ports).find(|(other, _)| other.id == member.id).map(|(_, ports)| ports);
            let operations = ports.unwrap_or(&folders.ports[0]).operations;
            Process::new(place.clone(), member.folder, operations)
        });
        Stage { place, folders, teller, trust, police, council }
    }

    /// Prints `command`, runs it and prints at most `most` lines of what it wrote.
    pub(crate) async fn run(&mut self, command: &CommandLine, most: usize) -> io::Result<Ran> {
        self.teller.command(command);
        let ran = command.run(&self.place).await?;
        self.teller.output(&ran.stdout, most);
        self.teller.output(&ran.stderr, most);
        Ok(ran)
    }

    /// Prints and asks `question`, and prints `most` lines of the answer and of what the command says about it.
    pub(crate) async fn ask(&mut self, question: &Question, most: usize) -> io::Result<Ran> {
        let command = question.command();
        self.teller.command(&command);
        let ran = command.run(&self.place).await?;
        self.teller.output(&ran.stdout, most);
        self.teller.output(&ran.stderr, 8);
        Ok(ran)
    }

    /// The records of a member's log that meet `conditions`, newest last, as `drawbridge log list --json` writes them.
    pub(crate) async fn records(&self, member: &Member, conditions: &[&str]) -> io::Result<Vec<Value>> {
        let data = format!("{}/data", member.folder);
        let command = CommandLine::new(["log", "list", "--data", &data, "--json"]).with(conditions.iter().copied());
        let ran = command.run(&self.place).await?;
        let lines = ran.stdout.lines().filter(|line| !line.trim().is_empty());
        let records: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
        records
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("`{command}` wrote no JSON: {error}")))
    }

    /// Looks one exchange up in a member's log, and prints the command that shows the same to a reader. Returns what settled it.
    pub(crate) async fn look_up(&mut self, member: &Member, exchange: &str) -> io::Result<Value> {
        let data = format!("{}/data", member.folder);
        self.teller.command(CommandLine::new(["log", "list", "--data", &data, "--exchange", exchange]));
        let records = self.records(member, &["--exchange", exchange]).await?;
        let settled = |record: &&Value| ["outcome", "refusal"].iter().any(|kind| record["kind"] == *kind);
        Ok(records.iter().rev().find(settled).cloned().unwrap_or_default())
    }

    /// The first row that `sql` finds in a member's legacy system: its columns as text.
    pub(crate) async fn legacy(&self, member: &Member, sql: &'static str) -> io::Result<String> {
        let file = self.place.folder.join(member.folder).join("legacy.db");
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let mut legacy = SqliteConnection::connect_with(&options).await.map_err(io::Error::other)?;
        let row = sqlx::query_scalar(sql).fetch_one(&mut legacy).await.map_err(io::Error::other)?;
        legacy.close().await.map_err(io::Error::other)?;
        Ok(row)
    }

    /// Waits until one of the gateways ends, which none should.
    pub(crate) async fn somebody_ends(&mut self) -> Result<(), StoryError> {
        let what = tokio::select! {
            what = self.trust.ended() => what,
            what = self.police.ended() => what,
            what = self.council.ended() => what,
        };
        Err(StoryError::Gateway(what))
    }

    /// Asks the three gateways to end, and waits for it.
    pub(crate) async fn stop(&mut self) {
        for process in [&mut self.council, &mut self.police, &mut self.trust] {
            // A gateway that does not end by itself has been killed; there is nothing more to do about it.
            let _ = process.stop().await;
        }
    }
}
