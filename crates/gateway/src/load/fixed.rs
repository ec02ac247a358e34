//! What of a configuration holds until the gateway ends: its ports, its data folder, who it is, and all that is not named here.
//!
//! A setting that nobody has thought of is fixed, so that none is ever taken up in part.

use std::collections::BTreeSet;

use problem::Problem;
use toml::{Table, Value};

use crate::config::{
    Config, ConfigFile, ContractsConfig, DirectoryConfig, FolderConfig, KeysConfig, LimitsConfig, RevocationConfig,
    TlsConfig,
};

/// Tables that a running gateway takes up. Of `keys` only where they lie: the keys themselves are compared.
const TAKEN_UP: [&str; 9] =
    ["keys", "tls", "directory", "revocation", "agreements", "contracts", "system", "database", "binding"];

/// Keys of `[limits]` that it takes up.
const LIMITS: [&str; 13] = [
    "exchanges",
    "message",
    "streams",
    "header",
    "header_timeout",
    "handshake_timeout",
    "handshakes",
    "connections",
    "keepalive",
    "connection_age",
    "request_timeout",
    "stream_idle",
    "drain",
];

/// Returns a problem for every setting in `next` that only a restart takes up.
pub(crate) fn needs_restart(running: &ConfigFile, next: &ConfigFile) -> Vec<Problem> {
    if fixed(&running.config) == fixed(&next.config) {
        return Vec::new();
    }
    let table = |file: &ConfigFile| Value::Table(file.toml.text().parse::<Table>().unwrap_or_default());
    let mut keys = Vec::new();
    differing(Some(&table(running)), Some(&table(next)), "", &mut keys);
    keys.retain(|key| is_fixed(key));
    let help = "restart the gateway to take it up, or set it back";
    if keys.is_empty() {
        // Not to be expected: the environment does not change while a process runs.
        return vec![
            Problem::new(next.toml.name(), "a setting differs that a running gateway does not take up").help(help),
        ];
    }
    let problem = |key: &String| {
        next.toml
            .problem(key, format!("`{key}` differs from what the gateway runs with, which does not change it"))
            .help(help)
    };
    keys.iter().map(problem).collect()
}

/// The configuration with everything left out that a running gateway takes up, in comparable form.
fn fixed(config: &Config) -> String {
    let mut fixed = config.clone();
    fixed.keys = KeysConfig::default();
    fixed.tls = TlsConfig::default();
    fixed.directory = DirectoryConfig::default();
    fixed.revocation = RevocationConfig::default();
    fixed.agreements = FolderConfig::default();
    fixed.contracts = ContractsConfig::default();
    let (limits, default) = (&mut fixed.limits, LimitsConfig::default());
    (limits.exchanges, limits.message, limits.streams) = (default.exchanges, default.message, default.streams);
    (limits.header, limits.header_timeout) = (default.header, default.header_timeout);
    (limits.handshakes, limits.handshake_timeout) = (default.handshakes, default.handshake_timeout);
    (limits.connections, limits.connection_age) = (default.connections, default.connection_age);
    (limits.keepalive, limits.request_timeout, limits.drain) =
        (default.keepalive, default.request_timeout, default.drain);
    limits.stream_idle = default.stream_idle;
    fixed.system.clear();
    fixed.database.clear();
    fixed.binding.clear();
    if let Some(clients) = &mut fixed.clients {
        clients.rest = true;
    }
    format!("{fixed:?}")
}

fn is_fixed(key: &str) -> bool {
    let table = key.split('.').next().unwrap_or(key);
    match table {
        "limits" => key.strip_prefix("limits.").is_some_and(|limit| !LIMITS.contains(&limit)),
        "clients" => key != "clients.rest",
        table => !TAKEN_UP.contains(&table),
    }
}

/// Collects the paths of values that differ. A table that is not there is an empty one.
fn differing(one: Option<&Value>, other: Option<&Value>, path: &str, keys: &mut Vec<String>) {
    let (one_table, other_table) = (one.and_then(Value::as_table), other.and_then(Value::as_table));
    if (one.is_none() || one_table.is_some()) && (other.is_none() || other_table.is_some()) {
        let all = [one_table, other_table].into_iter().flatten().flat_map(Table::keys);
        for name in all.collect::<BTreeSet<_>>() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let value = |table: Option<&'_ Table>| table.and_then(|table| table.get(name)).cloned();
            differing(value(one_table).as_ref(), value(other_table).as_ref(), &path, keys);
        }
    } else if one != other {
        keys.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n";

    fn read(text: &str) -> ConfigFile {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        ConfigFile::read(&file, []).unwrap()
    }

    #[test]
    fn ports_identity_and_data_need_a_restart_and_the_rest_does_not() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let problems = needs_restart(&read(&format!("{LEAST}{before}")), &read(&format!("{LEAST}{after}")));
            let keys: Vec<_> = problems.iter().map(|problem| problem.key.clone().unwrap()).collect();
            assert_eq!(keys, expected, "{after}");
        };
        let clients = "[clients]\nlisten = \"127.0.0.1:1\"\n";
        check(clients, clients, &[]);
        check(clients, &format!("{clients}rest = false\n"), &[]);
        check(clients, "[clients]\nlisten = \"127.0.0.1:2\"\n", &["clients.listen"]);
        check(clients, "", &["clients.listen"]);
        check("", "[operations]\nlisten = \"127.0.0.1:9464\"\n", &[]);
        check(
            "",
            "[operations]\nlisten = \"127.0.0.1:1\"\n[data]\nfolder = \"d\"\n",
            &["data.folder", "operations.listen"],
        );
        check("[limits]\nworkers = 1\n", "[limits]\nworkers = 2\nstreams = 7\n", &["limits.workers"]);
        check("", "[limits]\nmessage = \"1MiB\"\n[tls]\npost_quantum = false\n", &[]);
        check("", "[limits]\nworkers = 2\n", &["limits.workers"]);
        let all = "exchanges = 1\nmessage = \"1B\"\nstreams = 1\nheader = \"1B\"\nheader_timeout = \"1s\"\n\
                   handshake_timeout = \"1s\"\nhandshakes = 1\nconnections = 1\nkeepalive = \"1s\"\n\
                   connection_age = \"1s\"\nrequest_timeout = \"1s\"\nstream_idle = \"1s\"\ndrain = \"1s\"\n";
        check("", &format!("[limits]\n{all}"), &[]);

        check("", "[log]\nlevel = \"debug\"\n", &["log.level"]);
        check("", "[[system]]\nname = \"housing\"\n[agreements]\nfolder = \"other\"\n", &[]);
        let other = LEAST.replace("main", "second");
        let problems = needs_restart(&read(LEAST), &read(&other));
        assert_eq!(problems[0].key.as_deref(), Some("gateway"));
        assert_eq!(problems[0].line, Some(3));
    }
}
