//! Generates the messages from the folder `proto/` with a compiler in pure Rust: nobody installs `protoc`.

use std::{env, path::PathBuf};

use prost::Message;

const FILES: [&str; 3] =
    ["drawbridge/link/v1/link.proto", "drawbridge/records/v1/records.proto", "drawbridge/exchange/v1/receipts.proto"];

/// Messages that hold personal data or payloads. `src/lib.rs` gives them a `Debug` that shows neither.
const HIDDEN: [&str; 9] = [
    ".drawbridge.link.v1.Actor",
    ".drawbridge.link.v1.ConsumerClaims",
    ".drawbridge.link.v1.OutcomeResponse.Answer",
    ".drawbridge.records.v1.Body",
    ".drawbridge.records.v1.Shared",
    ".drawbridge.records.v1.Private",
    ".drawbridge.records.v1.KeptAnswer",
    ".drawbridge.exchange.v1.Receipt",
    ".drawbridge.exchange.v1.Disclosure",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.join("drawbridge").display());
    let set = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("drawbridge.binpb"), set.encode_to_vec())?;
    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    tonic_prost_build::configure()
        .build_client(services)
        .build_server(services)
        .build_transport(false)
        .bytes(".")
        .skip_debug(HIDDEN)
        .compile_fds(set)?;
    Ok(())
}
