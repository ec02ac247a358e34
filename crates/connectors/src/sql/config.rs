//! Takes what a binding of kind `sql` needs out of the connector's table.

use jiff::tz::TimeZone;

use crate::bindings::Complaint;
use crate::config::ConnectorConfig;
use crate::sql::moment::{Clock, Twice};
use crate::sql::plan::Mapping;
use crate::sql::statement::{Dialect, Statement};

/// The keys of the kind.
const KEYS: &[&str] = &[
    "database",
    "query",
    "statements",
    "columns",
    "formats",
    "values",
    "separators",
    "gather",
    "timezone",
    "ambiguous",
];

/// What the connector's table says, checked as far as that goes without a database.
#[derive(Clone, Debug)]
pub(crate) struct SqlBinding {
    pub(crate) database: String,
    pub(crate) script: Script,
    pub(crate) clock: Clock,
    /// What is wrong in it that does not keep the rest from being looked at.
    pub(crate) wrong: Vec<Complaint>,
    config: ConnectorConfig,
}

/// What a binding runs.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// One statement that reads.
    Query(Statement),
    /// The statements of a command, at least one.
    Command(Vec<Statement>),
}

impl SqlBinding {
    /// Reads the table, or says everything that is wrong with it where there is nothing to hold against a database. The dialect is that of
    /// the database it names.
    pub(crate) fn read(config: &ConnectorConfig, dialect: Dialect) -> Result<Self, Vec<Complaint>> {
        let mut complaints = config.foreign(KEYS);
        if config.database.is_none() {
            complaints.push(Complaint::new(
                "",
                "a connector of kind `sql` needs `database`",
                "name a table `[database.<name>]` of this file: `database = \"<name>\"`",
            ));
        }
        let script = script(config, dialect, &mut complaints);
        let zone = config.timezone.as_deref().map_or(Some(TimeZone::UTC), |name| TimeZone::get(name).ok());
        if let (None, Some(name)) = (&zone, config.timezone.as_deref()) {
            complaints.push(Complaint::new(
                "timezone",
                format!("`{name}` is not a time zone"),
                "use a name of the IANA database, as in `Europe/London`",
            ));
        }
        let twice = match config.ambiguous.as_deref() {
            None => None,
            Some("earlier") => Some(Twice::Earlier),
            Some("later") => Some(Twice::Later),
            Some(word) => {
                let what = format!("`{word}` is not which of two times is meant");
                complaints.push(Complaint::new("ambiguous", what, "use `earlier` or `later`"));
                None
            }
        };
        match (config.database.clone(), script) {
            (Some(database), Some(script)) => {
                let clock = Clock::new(zone.unwrap_or(TimeZone::UTC), twice);
                Ok(Self { database, script, clock, wrong: complaints, config: config.clone() })
            }
            _ => Err(complaints),
        }
    }

    /// Returns how columns fill fields.
    pub(crate) fn mapping(&self) -> Mapping<'_> {
        Mapping {
            columns: &self.config.columns,
            formats: &self.config.formats,
            values: &self.config.values,
            separators: &self.config.separators,
            gather: self.config.gather.as_deref(),
            clock: &self.clock,
        }
    }
}

/// Reads `query` or `statements`, one of which has to be there.
fn script(config: &ConnectorConfig, dialect: Dialect, complaints: &mut Vec<Complaint>) -> Option<Script> {
    match (&config.query, &config.statements) {
        (Some(query), None) => match Statement::parse(query, dialect) {
            Ok(statement) => Some(Script::Query(statement)),
            Err(fault) => {
                complaints.push(Complaint::new("query", fault.to_string(), fault.help()));
                None
            }
        },
        (None, Some(texts)) => {
            let mut statements = Vec::new();
            for (at, text) in texts.iter().enumerate() {
                match Statement::parse_command(text, dialect) {
                    Ok(statement) => statements.push(statement),
                    Err(fault) => {
                        let key = format!("statements[{at}]");
                        complaints.push(Complaint::new(key, fault.to_string(), fault.help()));
                    }
                }
            }
            if texts.is_empty() {
                let help = "write what the command does, as in `statements = [\"INSERT …\"]`";
                complaints.push(Complaint::new("statements", "a command needs at least one statement", help));
            }
            (statements.len() == texts.len() && !texts.is_empty()).then_some(Script::Command(statements))
        }
        (Some(_), Some(_)) => {
            let what = "`query` answers a query and `statements` carry out a command; a binding has one of them";
            complaints.push(Complaint::new("statements", what, "leave one of them out"));
            None
        }
        (None, None) => {
            complaints.push(Complaint::new(
                "",
                "a connector of kind `sql` needs `query`, or of a command `statements`",
                "write the statement that answers, as in `query = \"SELECT …\"`",
            ));
            None
        }
    }
}
