//! `drawbridge log`: reads and verifies the exchange log, also while the gateway runs.

pub(super) mod claims;
mod compare;
mod list;
mod prove;
mod show;
mod signatures;
mod verify;
mod view;

use clap::Subcommand;
use problem::Problem;
use records::{ExchangeId, Record};

use crate::{
    failure::{Failure, Outcome},
    place::{Log as Opened, read_failure},
};

/// Reads, proves, verifies and compares exchange logs
#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    List(Box<list::List>),
    Show(show::Show),
    Prove(prove::Prove),
    Verify(verify::Verify),
    Compare(compare::Compare),
}

impl Log {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Prove(prove) => prove.run(),
            Self::Verify(verify) => verify.run(),
            Self::Compare(compare) => compare.run(),
        }
    }
}

/// An exchange's id, or the index of a record.
#[derive(Clone, Debug)]
enum Which {
    Exchange(ExchangeId),
    Index(u64),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        text.parse().map(Self::Exchange).map_err(|_| {
            "expected an exchange's id or the index of a record; `drawbridge log list --wide` shows both".to_owned()
        })
    }
}

/// Reads the records of a log in order.
fn records(log: &Opened) -> impl Iterator<Item = Outcome<Record>> {
    log.reader.entries().map(|stored| {
        let stored = stored.map_err(|error| read_failure(&log.folder, &error))?;
        Record::open(stored).map_err(|error| unreadable(log, &error))
    })
}

/// Returns the records that are meant, in order; at least one.
fn find(log: &Opened, which: &Which) -> Outcome<Vec<Record>> {
    match which {
        Which::Index(index) => {
            let stored = log.reader.get(*index).map_err(|error| read_failure(&log.folder, &error))?;
            Ok(vec![Record::open(stored).map_err(|error| unreadable(log, &error))?])
        }
        Which::Exchange(id) => {
            let of_exchange =
                |record: &Outcome<Record>| record.as_ref().map_or(true, |record| record.exchange() == Some(*id));
            let found = records(log).filter(of_exchange).collect::<Outcome<Vec<_>>>()?;
            if found.is_empty() {
                let problem = Problem::new(&log.folder, format!("the log has no exchange {id}"));
                return Err(problem.help("look into the log of the gateway that answered, or that asked; `drawbridge log list` shows what is here").into());
            }
            Ok(found)
        }
    }
}

fn unreadable(log: &Opened, error: &records::Unreadable) -> Failure {
    Problem::new(&log.folder, "the log holds a record that does not belong to its leaf")
        .cause(error.to_string())
        .help(ledger::Damage::HELP)
        .into()
}
