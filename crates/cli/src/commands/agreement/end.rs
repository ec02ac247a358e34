//! `drawbridge agreement end`: a member's signed word that an agreement is over.

use std::path::{Path, PathBuf};

use clap::Args;
use policy::EndNote;
use problem::Problem;

use super::{Known, find};
use crate::{
    failure::Outcome,
    files, moments,
    place::{ConfigOption, folder_of, read_key},
    terminal::Out,
};

/// Ends an agreement at once. One member's key is enough
///
/// It writes an end note into the gateway's folder of agreements, which the running gateway notices and passes on to the other member's.
/// With a file and no `--config` the note is written beside that file, to be put into the folder by hand. There is no way back but a new
/// agreement.
#[derive(Debug, Args)]
pub(crate) struct End {
    /// The agreement's file; or its id or digest, where it lies in the gateway's folder of agreements
    #[arg(value_name = "FILE|ID")]
    agreement: String,
    /// The member key, `offline/member.key` for most
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Why, in one line. The other member reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
}

impl End {
    pub(super) fn run(self) -> Outcome {
        let by_file = Path::new(&self.agreement).is_file();
        let known = if by_file && self.config.config.is_none() { None } else { Some(Known::read(&self.config)?) };
        let agreement = find(&self.agreement, known.as_ref())?;
        let agreement = agreement.agreement();
        let key = read_key(&self.key, "the member key")?;
        let end = EndNote::sign(agreement, &key, moments::now(), self.reason.as_deref()).map_err(|error| {
            Problem::new(agreement.file(), error.to_string())
                .help("only the consumer and the provider can end it, each with its member key")
        })?;
        if let Some(known) = &known {
            end.verified(&|member: &federation::MemberId| known.keys(member))?;
        }
        let folder = known.as_ref().map_or_else(|| folder_of(agreement.file()).to_owned(), Known::folder);
        let path = folder.join(end.file());
        let mut out = Out::new();
        if path.exists() {
            out.line(format_args!("{} has been ended already, by {}", agreement.id(), path.display()))?;
            return out.flush();
        }
        files::create(&path, &end.to_string(), files::PUBLIC)?;
        out.line(format_args!("ended {}: wrote {}", agreement.id(), path.display()))?;
        out.line("  a gateway that looks into this folder notices within a second or two, closes what is open under the agreement,")?;
        out.line("  and passes the note on to the other member's gateway")?;
        out.flush()
    }
}
