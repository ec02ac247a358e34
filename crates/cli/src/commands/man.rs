//! `drawbridge man`: the manual, one page a command.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;

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
        write(&self.folder).map_err(failed)?;
        let mut out = Out::new();
        out.line(format_args!("{} in {folder}", some(pages(&Arguments::command()), "page")))?;
        out.flush()
    }
}

/// Writes the pages of all commands into a folder.
fn write(folder: &Path) -> io::Result<()> {
    let mut all = Arguments::command().disable_help_subcommand(true);
    all.build();
    below(&all, folder)
}

fn below(command: &Command, folder: &Path) -> io::Result<()> {
    command.get_subcommands().filter(|each| !each.is_hide_set()).try_for_each(|each| below(each, folder))?;
    let version = format!("drawbridge {}", env!("CARGO_PKG_VERSION"));
    let page = Page::new(command.clone()).source(version).manual("Drawbridge");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    writeln!(text, ".SH SYNOPSIS\n{}", synopsis(command))?;
    page.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        page.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    fs::write(folder.join(page.get_filename()), text)
}

/// How a command is typed, with what each argument takes, as `--help` says it.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let lines =
        usage.trim_start_matches("Usage:").lines().map(|line| line.trim().replace('\\', "\\e").replace('-', "\\-"));
    lines.collect::<Vec<_>>().join("\n.br\n")
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
        write(folder.path()).unwrap();
        let check = |command: &clap::Command, name: &str| {
            let page = fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
            let title = page.lines().find(|line| line.starts_with(".TH")).unwrap();
            assert!(title.contains(&format!("\"drawbridge {}\"", env!("CARGO_PKG_VERSION"))), "{name}: {title}");
            let about = command.get_about().unwrap().to_string();
            let word = about.split(' ').next().unwrap();
            assert!(page.contains(word), "{name} does not say `{about}`: {page}");
        };
        let page = fs::read_to_string(folder.path().join("drawbridge-key-new.1")).unwrap();
        assert!(page.contains("drawbridge key new [OPTIONS] \\-\\-output <FILE> <WHAT>"), "{page}");
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
