//! Generates the messages from the folder `proto/` with a compiler in pure Rust: nobody installs `protoc`.

use std::{env, path::PathBuf};

use prost::Message;

const FILES: [&str; 3] =
    ["drawbridge/link/v1/link.proto", "drawbridge/records/v1/records.proto", "drawbridge/exchange/v1/receipts.proto"];

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
        .compile_fds(set)?;
    Ok(())
}
