//! `drawbridge man`: the manual, one page a command.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};

use crate::{
    Arguments,
    failure::{Outcome, because},
    terminal::{Out, some},
};

/// Writes the manual into a folder, one page for each command: `drawbridge.1`, `drawbridge-run.1`, …
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder; made when it is not there. `man --local-file FOLDER/drawbridge-run.1` shows a page
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Outcome {
        let folder = self.folder.display();
        let failed = |error| because(format!("cannot write the manual into `{folder}`"), &error);
        fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(failed)?;
        let mut out = Out::new();
        out.line(format_args!("{} in {folder}", some(pages(&Arguments::command()), "page")))?;
        out.flush()
    }
}

/// Counts a command and all below it that are shown.
fn pages(command: &clap::Command) -> u64 {
    let below = command.get_subcommands().filter(|each| !each.is_hide_set()).map(pages);
    below.fold(1, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_says_what_it_does() {
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), folder.path()).unwrap();
        let check = |command: &clap::Command, name: &str| {
            let page = fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
            let about = command.get_about().unwrap().to_string();
            let word = about.split(' ').next().unwrap();
            assert!(page.contains(word), "{name} does not say `{about}`: {page}");
        };
        let root = Arguments::command();
        check(&root, "drawbridge");
        for command in root.get_subcommands() {
            check(command, &format!("drawbridge-{}", command.get_name()));
            for below in command.get_subcommands() {
                check(below, &format!("drawbridge-{}-{}", command.get_name(), below.get_name()));
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count() as u64, pages(&root));
    }
}
