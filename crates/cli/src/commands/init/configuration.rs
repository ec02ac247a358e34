//! The configuration that a member starts from: every key with what it is for, those with a default as comments.

use std::net::SocketAddr;

use super::{Init, Names, links_port};

/// The text, with places to fill in.
const TEMPLATE: &str = include_str!("gateway.toml");

/// Where the gateway listens.
pub(super) struct Listens {
    pub(super) links: Option<SocketAddr>,
    pub(super) clients: SocketAddr,
    pub(super) operations: SocketAddr,
}

/// Writes the configuration.
pub(super) fn text(init: &Init, names: &Names, listens: &Listens) -> String {
    let links = links_port(listens.links);
    let links = match listens.links {
        Some(_) => format!("[links]\nlisten = \"{links}\""),
        None => format!("# [links]\n# listen = \"{links}\""),
    };
    let systems: Vec<String> = names
        .systems
        .iter()
        .map(|system| format!("[[system]]\nname = \"{}\"\n# The member that is asked when a call names none.\n# provider = \"other.example\"\n", system.name()))
        .collect();
    TEMPLATE
        .replace("@member@", init.member.as_str())
        .replace("@gateway@", names.gateway.name())
        .replace("@development@", if init.development { "development = true" } else { "# development = false" })
        .replace("@links@", &links)
        .replace("@clients@", &listens.clients.to_string())
        .replace("@operations@", &listens.operations.to_string())
        .replace("@systems@", systems.join("\n").trim_end())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gateway::ConfigFile;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: Init,
    }

    fn made(arguments: &[&str]) -> String {
        let init = Line::parse_from(["init"].iter().chain(arguments)).init;
        let names = init.names().unwrap();
        let address = init.address().unwrap();
        text(&init, &names, &init.listens(address.as_ref()))
    }

    fn read(text: &str) -> ConfigFile {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        ConfigFile::read(&file, []).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }

    #[test]
    fn what_is_written_as_a_default_is_the_default() {
        let text = made(&[
            "--member",
            "county.example",
            "--address",
            "gw.county.example:8443",
            "--operations",
            "127.0.0.1:9464",
            "county",
        ]);
        let (settings, _) = text.split_once("# ---- Examples").unwrap();
        let uncommented: Vec<String> = settings
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest
                        .split_once(" = ")
                        .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')) =>
                {
                    rest.to_owned()
                }
                _ => line.to_owned(),
            })
            .collect();
        let uncommented = uncommented.join("\n");
        assert!(uncommented.matches("\nhandshakes = ").count() == 1, "{uncommented}");
        let (with, without) = (read(&uncommented).config, read(&text).config);
        // The level has no default of its own: none means `info`.
        let written = format!("{with:?}").replace("level: Some(\"info\")", "level: None");
        assert_eq!(written, format!("{without:?}"));
    }

    #[test]
    fn every_setting_of_limits_is_there() {
        let text = made(&["--member", "county.example", "county"]);
        let limits = format!("{:?}", read(&text).config.limits);
        for key in limits.split([' ', '{', ',']).filter_map(|word| word.strip_suffix(':')) {
            assert!(
                text.contains(&format!("# {key} = ")),
                "`limits.{key}` is not in the configuration that init makes"
            );
        }
    }

    #[test]
    fn every_setting_of_telemetry_is_there() {
        let text = made(&["--member", "county.example", "county"]);
        let telemetry = format!("{:?}", read(&text).config.telemetry);
        // A table of one's own attributes has no default line.
        let keys = telemetry.split([' ', '{', ',']).filter_map(|word| word.strip_suffix(':'));
        for key in keys.filter(|key| *key != "resource") {
            assert!(
                text.contains(&format!("# {key} = ")),
                "`telemetry.{key}` is not in the configuration that init makes"
            );
        }
    }

    #[test]
    fn the_examples_are_read_when_they_are_uncommented() {
        let text = made(&["--member", "county.example", "--system", "housing", "county"]);
        let (settings, examples) = text.split_once("# ---- Examples").unwrap();
        let examples: Vec<&str> = examples.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
        let config = read(&format!("{settings}\n{}", examples.join("\n"))).config;
        assert_eq!((config.binding.len(), config.database.len(), config.system.len()), (3, 2, 1));
        assert!(config.links.is_none());
    }

    #[test]
    fn a_member_listens_where_it_said() {
        let config = read(&made(&[
            "--member",
            "county.example",
            "--links",
            "127.0.0.1:1",
            "--clients",
            "127.0.0.1:2",
            "--development",
            "county",
        ]))
        .config;
        assert_eq!(config.links.unwrap().listen.to_string(), "127.0.0.1:1");
        assert_eq!(config.clients.unwrap().listen.to_string(), "127.0.0.1:2");
        assert!(config.development);
        let config =
            read(&made(&["--member", "county.example", "--address", "gw.county.example:9443", "county"])).config;
        assert_eq!(config.links.unwrap().listen.to_string(), "0.0.0.0:9443");
        for (address, listens) in
            [("[::1]:8743", "[::]:8743"), ("[2001:db8::7]:1", "[::]:1"), ("192.0.2.7:1", "0.0.0.0:1")]
        {
            let config = read(&made(&["--member", "county.example", "--address", address, "county"])).config;
            assert_eq!(config.links.unwrap().listen.to_string(), listens, "{address}");
        }
    }
}
