//! What a partner's developer begins with: a question for each method, and a script that asks the first of them.

use std::path::Path;

use contract::{Method, Shape};

use super::{Contract, MockError, Options, PARTNER};
use crate::members::{MembersError, Ports, write_text};

/// The script, with what it asks to be filled in.
const SCRIPT: &str = include_str!("snippets/ask.py");

/// The file of the question for a method, below the folder of the mock.
pub(super) fn request_file(method: &Method) -> String {
    format!("requests/{}.json", method.path().trim_start_matches('/').replace('/', "."))
}

/// Writes questions and script. Returns whether there is a script: not where the contract has no .proto files.
pub(super) fn write(folder: &Path, options: &Options, contract: &Contract, partner: &Ports) -> Result<bool, MockError> {
    for method in contract.methods() {
        let request = method.request_sampler().sample(options.seed).message;
        let text = serde_json::to_string_pretty(&request)
            .map_err(|error| MembersError::make(format!("a question for `{}`", method.path()), error))?;
        write_text(&folder.join(request_file(method)), &format!("{text}\n"))?;
    }
    let Some(method) = contract.first() else { return Ok(false) };
    let service = method.descriptor().parent_service().parent_file();
    let input = method.input();
    let (of_service, of_input) = (module(service.name()), module(input.parent_file().name()));
    if !folder.join(PARTNER).join("proto").join(service.name()).exists() {
        return Ok(false);
    }
    let name = input.full_name().strip_prefix(input.package_name()).unwrap_or_default().trim_start_matches('.');
    let answers = "    for answer in ask(request, metadata=metadata, timeout=10):\n        print(answer)";
    let answer = "    print(ask(request, metadata=metadata, timeout=10))";
    let mut imports = [imported(&format!("{of_service}_pb2_grpc")), imported(&format!("{of_input}_pb2"))];
    imports.sort();
    let service_name = method.service().rsplit('.').next().unwrap_or_default();
    let script = SCRIPT
        .replace("@imports@", &imports.join("\n"))
        .replace("@request@", &request_file(method))
        .replace("@message@", &format!("{}_pb2.{name}", last(&of_input)))
        .replace("@stub@", &format!("{}_pb2_grpc.{service_name}Stub", last(&of_service)))
        .replace("@method@", method.name())
        .replace("@system@", options.systems.first().map_or("", String::as_str))
        .replace("@clients@", &format!("localhost:{}", partner.clients.port()))
        .replace("@provider@", &options.provider)
        .replace("@purpose@", options.purposes.first().map_or("", String::as_str))
        .replace("@ask@", if method.shape() == Shape::Unary { answer } else { answers });
    write_text(&folder.join("ask.py"), &script)?;
    Ok(true)
}

/// The name that protoc gives a file's module in Python, without its ending: `housing.v1.tenancies`.
fn module(file: &str) -> String {
    file.trim_end_matches(".proto").replace('-', "_").replace('/', ".")
}

fn imported(module: &str) -> String {
    match module.rsplit_once('.') {
        Some((package, name)) => format!("from {package} import {name}"),
        None => format!("import {module}"),
    }
}

fn last(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}
