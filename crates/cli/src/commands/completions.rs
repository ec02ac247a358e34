//! `drawbridge completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use crate::{Arguments, failure::Outcome, terminal::Out};

/// Writes a script that completes commands and options in a shell
///
/// For bash: `drawbridge completions bash > /usr/share/bash-completion/completions/drawbridge`. For zsh: into a folder of `$fpath`,
/// as `_drawbridge`. For fish: into `~/.config/fish/completions/drawbridge.fish`. The Debian package brings all three.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Kind,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self) -> Outcome {
        Out::new().text(&script(self.shell))
    }
}

fn script(kind: Kind) -> String {
    let shell = match kind {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "drawbridge", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands, each with the names above it.
    fn names(command: &clap::Command, above: &[String], found: &mut Vec<Vec<String>>) {
        for each in command.get_subcommands() {
            let mut path = above.to_vec();
            path.push(each.get_name().to_owned());
            names(each, &path, found);
            found.push(path);
        }
    }

    #[test]
    fn every_command_and_option_is_completed_in_every_shell() {
        let command = Arguments::command();
        let mut found = Vec::new();
        names(&command, &[], &mut found);
        assert!(found.iter().any(|path| *path == ["agreement", "new"]) && found.len() > 30, "{found:?}");
        for kind in [Kind::Bash, Kind::Zsh, Kind::Fish] {
            let script = script(kind);
            for path in &found {
                let last = path.last().unwrap();
                assert!(script.contains(last.as_str()), "{kind:?} does not know {path:?}");
                // bash and zsh have a case of its own for each command.
                let case = match kind {
                    Kind::Bash => format!("drawbridge__{}", path.join("__").replace('-', "__")),
                    Kind::Zsh | Kind::Fish => last.clone(),
                };
                assert!(script.replace("__subcmd", "").contains(&case), "{kind:?} has no case {case}");
            }
            assert!(script.contains("config"), "{kind:?} completes no options");
        }
    }
}
