//! What a gateway is: its name, keys and certificate, the systems of its member, and settings that go together.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::SystemTime,
};

use federation::{
    GatewayEntry, GatewayId, MemberId, SystemId,
    trust::{Distrust, TlsIdentity, Trust},
};
use note::SigningKey;
use problem::Problem;

use super::{chain, files::read};
use crate::{access, config::ConfigFile, when};

pub(crate) fn gateway(file: &ConfigFile) -> Result<GatewayId, Problem> {
    let config = &file.config;
    let member: MemberId = config.member.parse().map_err(|e: federation::IdError| {
        file.toml
            .problem("member", format!("`{}` is not a member id", config.member))
            .cause(e.to_string())
            .help("a lower-case DNS name, as in \"county.example\"")
    })?;
    format!("{member}/{}", config.gateway).parse().map_err(|e: federation::IdError| {
        file.toml.problem("gateway", format!("`{}` is not a name", config.gateway)).cause(e.to_string())
    })
}

pub(super) fn key(file: &ConfigFile, setting: &str, path: &Path) -> Result<SigningKey, Problem> {
    let path = file.path(path);
    SigningKey::read_file(&path).map_err(|error| {
        let problem =
            file.toml.problem(setting, format!("cannot use the key in `{}`", path.display())).cause(chain(&error));
        let missing = "`drawbridge init` makes keys; only the gateway's user may read them (`chmod 600`)";
        problem.help(access::cure_of_key(&path, &error).unwrap_or_else(|| missing.to_owned()))
    })
}

pub(crate) fn tls(file: &ConfigFile) -> Result<TlsIdentity, Problem> {
    let config = &file.config.tls;
    let read = |setting, path| {
        read(file, setting, path).map_err(|problem| match problem.help {
            Some(_) => problem,
            None => problem.help(format!(
                "issue certificate and key with `drawbridge certificate gateway`, or set `{setting}` to where the file lies"
            )),
        })
    };
    let chain_text = read("tls.certificate", &config.certificate)?;
    let key_text = read("tls.key", &config.key)?;
    TlsIdentity::from_pem(&chain_text, &key_text).map_err(|error| {
        file.toml
            .problem("tls.certificate", "cannot use the TLS certificate and key")
            .cause(chain(&error))
            .help("issue one with `drawbridge certificate gateway`")
    })
}

pub(super) fn systems(
    file: &ConfigFile,
    gateway: Option<&GatewayId>,
) -> Result<BTreeMap<SystemId, Option<MemberId>>, Problem> {
    let mut systems = BTreeMap::new();
    let Some(gateway) = gateway else { return Ok(systems) };
    for (at, system) in file.config.system.iter().enumerate() {
        let id: SystemId =
            format!("{}/{}", gateway.member(), system.name).parse().map_err(|e: federation::IdError| {
                file.toml
                    .problem(&format!("system[{at}].name"), format!("`{}` is not a name", system.name))
                    .cause(e.to_string())
            })?;
        let provider = match &system.provider {
            None => None,
            Some(text) => Some(text.parse::<MemberId>().map_err(|e| {
                file.toml
                    .problem(&format!("system[{at}].provider"), format!("`{text}` is not a member id"))
                    .cause(e.to_string())
            })?),
        };
        if systems.insert(id, provider).is_some() {
            return Err(file
                .toml
                .problem(&format!("system[{at}].name"), format!("`{}` stands twice", system.name))
                .help("leave one of them"));
        }
    }
    Ok(systems)
}

/// Settings that contradict one another.
pub(super) fn settings(file: &ConfigFile) -> Vec<Problem> {
    let config = &file.config;
    let mut problems = Vec::new();
    if config.links.is_none() && config.clients.is_none() {
        let help = "set `links.listen` to answer other members, `clients.listen` to ask them, or both";
        problems.push(file.toml.problem("gateway", "this gateway listens to nobody").help(help));
    }
    if let Some(clients) = &config.clients
        && clients.dangerous_plaintext_system.is_some()
    {
        let key = "clients.dangerous_plaintext_system";
        if !config.development {
            problems.push(
                file.toml
                    .problem(key, "plain text is taken in development only")
                    .help("set `development = true`, or leave this setting out"),
            );
        }
        if !clients.listen.ip().is_loopback() {
            let what = format!("plain text is taken on loopback only, not on {}", clients.listen.ip());
            problems.push(file.toml.problem(key, what).help("listen on 127.0.0.1, or leave this setting out"));
        }
    }
    let mut ports: Vec<(&str, SocketAddr)> = Vec::new();
    let listens = [
        config.links.as_ref().map(|l| ("links.listen", l.listen)),
        config.clients.as_ref().map(|c| ("clients.listen", c.listen)),
        Some(("operations.listen", config.operations.listen)),
    ];
    for (key, address) in listens.into_iter().flatten().filter(|(_, a)| a.port() != 0) {
        if let Some((other, there)) = ports.iter().find(|(_, there)| overlap(*there, address)) {
            let what = if *there == address {
                format!("`{other}` has the same address and port")
            } else {
                format!("`{other}` listens on {there}, and {address} is within that or around it")
            };
            problems.push(file.problem(key, what).help("give each port a number of its own"));
        }
        ports.push((key, address));
    }
    let data = file.path(&config.data.folder);
    if data.join("offline").exists() {
        let what =
            format!("the folder `offline` with the member's keys lies inside the data folder `{}`", data.display());
        problems.push(
            file.toml
                .problem("data.folder", what)
                .help("move `offline` to a medium that is not connected to this machine"),
        );
    }
    problems
}

/// What mends it that this gateway's own certificate is not believed. Of one's own, nobody else is to be asked.
fn own_cure(file: &ConfigFile, gateway: &GatewayId, distrust: &Distrust) -> String {
    let config = file.toml.name().display();
    if matches!(distrust, Distrust::Expired { .. }) {
        return format!(
            "issue the next one with `drawbridge certificate gateway --config {config} --authority <folder>`, where `offline/` of this member is; a running gateway takes it up by itself"
        );
    }
    if matches!(distrust, Distrust::EntryEnded { member, .. } if member == gateway.member()) {
        return format!(
            "sign the next version of this member's own entry with `drawbridge entry sign --config {config} --key <the member key>`, and give it to the other members"
        );
    }
    distrust.help()
}

/// Whether two addresses cannot be listened on at once. All addresses of IPv6 include those of IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let holds = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    one.port() == other.port() && (one.ip() == other.ip() || holds(one.ip(), other.ip()) || holds(other.ip(), one.ip()))
}

/// Until when a key that the directory lists as a former one of this gateway counts, if it still does at `now`.
pub(crate) fn counts_until(entry: &GatewayEntry, key: &SigningKey, now: SystemTime) -> Option<SystemTime> {
    let key = key.verifier();
    let listed = entry.former_gateway_keys.iter().find(|former| former.key == key && former.covers(now));
    listed.map(|former| former.until)
}

/// What someone should know of a gateway that signs with a key that the directory lists as a former one.
pub(crate) fn former_key(entry: &GatewayEntry, key: Option<&SigningKey>, now: SystemTime) -> Option<String> {
    let until = when::rfc3339(counts_until(entry, key?, now)?);
    Some(format!(
        "the directory lists another gateway key, and others take what this one signs until {until} only: set `keys.gateway` to the file of the new key, and restart the gateway before then"
    ))
}

/// Whether keys and certificate are those that the directory lists for this gateway.
pub(super) fn identity(
    file: &ConfigFile,
    gateway: &GatewayId,
    trust: &Trust,
    tls: &TlsIdentity,
    keys: (Option<&SigningKey>, Option<&SigningKey>),
    now: SystemTime,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if tls.is_development() && !file.config.development {
        let what = "the TLS certificate is NOT FOR PRODUCTION";
        problems.push(
            file.toml
                .problem("tls.certificate", what)
                .help("issue one with the member's own authority, or set `development = true`"),
        );
    }
    match trust.check_own(tls, now) {
        Err(distrust) => {
            let help = own_cure(file, gateway, &distrust);
            problems.push(
                file.toml
                    .problem("tls.certificate", "others would refuse the TLS certificate")
                    .cause(distrust.to_string())
                    .help(help),
            );
        }
        Ok(presented) if presented != *gateway => {
            let what = format!("the TLS certificate is that of `{presented}`, not of `{gateway}`");
            problems.push(
                file.toml
                    .problem("tls.certificate", what)
                    .help("set `gateway` to the name in the certificate, or issue another"),
            );
        }
        Ok(_) => {}
    }
    let Some(entry) = trust.federation().gateway(gateway) else {
        let what = format!("the directory does not list the gateway `{gateway}`");
        problems.push(file.toml.problem("gateway", what).help("add it to the member's entry and sign that anew"));
        return problems;
    };
    let pairs = [("keys.gateway", keys.0, &entry.gateway_key), ("keys.log", keys.1, &entry.log_key)];
    for (setting, key, listed) in pairs {
        let former = |key: &SigningKey| setting == "keys.gateway" && counts_until(entry, key, now).is_some();
        if key.is_some_and(|key| key.verifier() != *listed && !former(key)) {
            let what = "the key is not the one that the directory lists for this gateway";
            problems.push(
                file.toml
                    .problem(setting, what)
                    .help("use the listed key, or list this one in a new version of the member's entry"),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_of_one_number_are_told_where_they_are_one() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "[::1]:1", true),
            ("0.0.0.0:1", "[::]:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
        ] {
            let (one, other): (SocketAddr, SocketAddr) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!([overlap(one, other), overlap(other, one)], [expected; 2], "{one} and {other}");
        }
    }
}
