//! `drawbridge key`: signing keys on their own, for rotation.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use note::SigningKey;

use crate::{
    failure::{Outcome, because},
    files,
    place::{ConfigOption, own_gateway, read_key},
    terminal::Out,
};

/// Makes and shows signing keys
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    New(New),
    Show(Show),
}

/// Makes a key to change to; `drawbridge entry sign` then lists it
#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the key is for
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    config: ConfigOption,
    /// The file to write. It must not be there yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Signs agreements and the member's entry, and stays offline
    Member,
    /// Signs claims
    Gateway,
}

/// Shows the public half of a key
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The key file
    file: PathBuf,
}

impl Key {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::New(new) => new.run(),
            Self::Show(show) => show.run(),
        }
    }
}

impl New {
    fn run(self) -> Outcome {
        let gateway = own_gateway(&self.config.read()?)?;
        let (name, then) = match self.what {
            What::Member => (
                gateway.member().member_key_name(),
                format!("drawbridge entry sign --key {} --former-key OLD-MEMBER-KEY", self.output.display()),
            ),
            What::Gateway => (
                gateway.gateway_key_name(),
                format!(
                    "set `keys.gateway` to it ({}), leave the old file where it is, and do not restart the gateway yet; then: drawbridge entry sign --key offline/member.key, which says how to go on",
                    self.output.display()
                ),
            ),
        };
        let key = SigningKey::generate(&name).map_err(|error| because("cannot make a key", &error))?;
        if let Some(folder) = self.output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::make_folder(folder, 0o700)?;
        }
        key.write_file(&self.output).map_err(|error| because("cannot keep the key", &error))?;
        let mut out = Out::new();
        out.line(format_args!("made {}: {}", self.output.display(), key.verifier()))?;
        out.line(format_args!("next: {then}"))?;
        out.flush()
    }
}

impl Show {
    fn run(self) -> Outcome {
        let key = read_key(&self.file, "the key")?;
        Out::new().text(&format!("{}\n", key.verifier()))
    }
}
