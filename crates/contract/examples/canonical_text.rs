//! Writes the canonical text of every service of a descriptor set, and their digests, into a folder:
//! `cargo run -p drawbridge-contract --example canonical_text -- SET FOLDER`.

use std::fmt::Write;
use std::path::PathBuf;

use contract::{Contracts, Source};
use drawbridge_contract as contract;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let set = arguments.next().ok_or("name a descriptor set")?;
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?);
    let bytes = std::fs::read(&set)?;
    let contracts = Contracts::load(&[Source::DescriptorSet { name: set, bytes }])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut digests = String::new();
    for service in contracts.services() {
        std::fs::write(folder.join(format!("{}.txt", service.name)), service.canonical_text())?;
        writeln!(digests, "{} {}", service.digest, service.name)?;
    }
    std::fs::write(folder.join("digests.txt"), digests)?;
    Ok(())
}
