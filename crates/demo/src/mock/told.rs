//! What the mock says once it serves: who is there, what can be asked, and lines to paste.

use std::io::Write;

use contract::{Kind, Method, Shape};

use super::{Contract, Options, PARTNER, PROVIDER, Setting, snippets::request_file, source::asks};
use crate::story::{
    command::{Place, quoted},
    teller::Teller,
};

/// Most methods for which a command is shown.
const MOST: usize = 6;

/// Tells it.
pub(super) fn tell<W: Write>(
    teller: &mut Teller<W>,
    place: &Place,
    options: &Options,
    contract: &Contract,
    setting: &Setting,
) {
    let methods = contract.methods().count();
    let word = if methods == 1 { "method" } else { "methods" };
    teller.headline(&format!("Drawbridge: {} is mocked, {methods} {word}", options.provider));
    teller.say("Only the answers are made up. Agreement, signatures, records and refusals are real.");
    teller.fact(&format!(
        "{} answers, in `{PROVIDER}`; gateways reach it at {}",
        options.provider, setting.provider.links
    ));
    if let Some(partner) = &setting.partner {
        let systems: Vec<String> =
            options.systems.iter().map(|system| format!("{}/{system}", setting.consumer)).collect();
        teller.fact(&format!(
            "{} asks, at {}, for {}",
            systems.join(" and "),
            partner.clients,
            options.purposes.join(", ")
        ));
    }
    gaps(teller, contract);
    teller.say("From here the lines below can be pasted:");
    teller.plain_command(&format!("cd {}", quoted(&place.folder.display().to_string())));
    teller.plain_command(&format!("alias drawbridge={}", quoted(&place.binary.display().to_string())));
    match &setting.partner {
        Some(partner) => ask(teller, options, contract, partner.clients.port(), setting.script),
        None => bring_your_own(teller, setting),
    }
    teller.blank();
    teller.say(if options.keep.is_some() {
        "Ctrl-C ends the mock; the folder stays, and the same command takes it up again."
    } else {
        "Ctrl-C ends the mock and removes the folder; `--data FOLDER` keeps keys and ports."
    });
    teller.say("drawbridge: the mock is ready");
}

/// Names what could not be made up.
fn gaps<W: Write>(teller: &mut Teller<W>, contract: &Contract) {
    let told: Vec<String> = contract
        .methods()
        .flat_map(|method| method.answer_sampler().gaps().into_iter().map(|gap| format!("{}, {gap}", named(method))))
        .collect();
    if told.is_empty() {
        return;
    }
    teller.say("Nothing could be made up for these fields, and they are left out; give examples with `--examples`:");
    for gap in told {
        teller.say(&format!("  {gap}"));
    }
}

fn ask<W: Write>(teller: &mut Teller<W>, options: &Options, contract: &Contract, port: u16, script: bool) {
    let system = options.systems.first().map_or("", String::as_str);
    let purpose = options.purposes.first().map_or("", String::as_str);
    teller.say("Ask a question; `requests` holds one for each method:");
    for method in contract.methods().filter(|method| asks(method)).take(MOST) {
        // What changes something has a key, by which it is not done twice.
        let key = if method.kind() == Some(Kind::Command) { " --idempotency-key try-1" } else { "" };
        teller.plain_command(&format!(
            "drawbridge call --config {PARTNER}/gateway.toml --system {system} {} {} --purpose {purpose}{key} @{}",
            options.provider,
            named(method),
            request_file(method)
        ));
    }
    let Some(method) = contract.first() else { return };
    if script {
        teller.say("Ask it in Python, with the stubs that protoc makes; `ask.py` asks the first:");
        teller.plain_command("python3 -m venv python && python/bin/pip install grpcio grpcio-tools");
        teller.plain_command(&format!(
            "python/bin/python -m grpc_tools.protoc -I {PARTNER}/proto --python_out=python --grpc_python_out=python {}",
            contract.files().iter().map(|file| quoted(file)).collect::<Vec<_>>().join(" ")
        ));
        teller.plain_command("PYTHONPATH=python python/bin/python ask.py");
    }
    teller.say("Ask it as JSON over HTTP:");
    teller.plain_command(&format!(
        "curl --cacert {PARTNER}/tls/authority.pem --cert {PARTNER}/tls/systems/{system}.pem \
         --key {PARTNER}/tls/systems/{system}.key.pem --header 'Drawbridge-Provider: {}' --header 'Drawbridge-Purpose: {purpose}' \
         --header 'Content-Type: application/json' --data @{} https://localhost:{port}{}",
        options.provider,
        request_file(method),
        method.path()
    ));
    if contract.methods().any(|method| method.shape() == Shape::Bidirectional || method.shape() == Shape::ClientStream)
    {
        teller.say("Methods that take a stream are answered too: by their last message, or message by message.");
    }
    teller.say("What both gateways have on record of it:");
    teller.plain_command(&format!("drawbridge log list --data {PARTNER}/data"));
}

/// What somebody does who has a gateway already.
fn bring_your_own<W: Write>(teller: &mut Teller<W>, setting: &Setting) {
    teller.say(&format!(
        "{} asks through its own gateway, which needs `development = true` and the contract. There, YOURS being its folder:",
        setting.consumer
    ));
    teller.plain_command(&format!("drawbridge directory add --config YOURS/gateway.toml {PROVIDER}/entry.note"));
    teller.plain_command(
        "drawbridge agreement sign --config YOURS/gateway.toml --key YOURS/offline/member.key mock.note",
    );
    teller.plain_command(&format!("cp mock.note YOURS/agreements/ && cp mock.note {PROVIDER}/agreements/"));
}

fn named(method: &Method) -> &str {
    method.path().trim_start_matches('/')
}
