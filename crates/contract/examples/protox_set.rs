//! Writes the descriptor set that protox makes of the fixtures: `cargo run -p drawbridge-contract --example protox_set -- OUT`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::args().nth(1).ok_or("name the file to write")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let includes = [root.join("tests/fixtures/proto"), root.join("../../proto")];
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(["registry/v1/person.proto", "archive/v1/archive.proto"])?;
    std::fs::write(out, compiler.encode_file_descriptor_set())?;
    Ok(())
}
