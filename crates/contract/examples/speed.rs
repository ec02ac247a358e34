//! Prints what checking and cutting a message costs: `cargo run --release -p drawbridge-contract --example speed`.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drawbridge_contract::{Contracts, Projection, Selector, Source};
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let contracts = contracts()?;
    let find = contracts.method("/registry.v1.Persons/Find").ok_or("no such method")?;
    for (name, size) in [("100 B", 1), ("1 KiB", 14), ("100 KiB", 1_400)] {
        let message = Bytes::from(person(find.output(), size)?.encode_to_vec());
        println!("{name}: {} bytes, {size} addresses", message.len());
        report("check", message.len(), || {
            black_box(find.check_answer(black_box(&message)).is_ok());
        });
        let all = Projection::compile(find.output(), &Selector::All)?;
        report("projection, nothing taken out", message.len(), || {
            black_box(all.apply(black_box(message.clone())).is_ok());
        });
        let paths = ["number", "name.family", "addresses.postcode", "addresses.lines", "codes"].map(str::to_owned);
        let some = Projection::compile(find.output(), &Selector::Paths(paths.to_vec()))?;
        report("projection, a field of each address taken out", message.len(), || {
            black_box(some.apply(black_box(message.clone())).is_ok());
        });
        let few = Projection::compile(find.output(), &Selector::Paths(vec!["number".to_owned()]))?;
        report("projection, all but one field taken out", message.len(), || {
            black_box(few.apply(black_box(message.clone())).is_ok());
        });
        report("for comparison: decoding with prost-reflect", message.len(), || {
            black_box(DynamicMessage::decode(find.output().clone(), black_box(&message[..])).is_ok());
        });
    }
    Ok(())
}

fn report(name: &str, bytes: usize, mut work: impl FnMut()) {
    let enough = Duration::from_millis(300);
    let mut rounds = 0_u32;
    let start = Instant::now();
    while start.elapsed() < enough {
        for _ in 0..64 {
            work();
        }
        rounds += 64;
    }
    let each = start.elapsed().as_secs_f64() / f64::from(rounds);
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = bytes as f64 / each / 1e9;
    println!("  {:>10.0} ns  {rate:>6.2} GB/s  {name}", each * 1e9);
}

fn contracts() -> Result<Contracts, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/proto");
    let mut files = Vec::new();
    for path in ["registry/v1/person.proto", "registry/v1/place.proto"] {
        files.push((path.to_owned(), std::fs::read_to_string(root.join(path))?));
    }
    let source = Source::Protos { name: "fixtures".to_owned(), files };
    Contracts::load(&[source]).map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>().into())
}

fn person(descriptor: &prost_reflect::MessageDescriptor, addresses: usize) -> Result<DynamicMessage, Failure> {
    let mut person = DynamicMessage::new(descriptor.clone());
    person.set_field_by_name("number", Value::String("9990000018".to_owned()));
    let pool = descriptor.parent_pool();
    let mut name = DynamicMessage::new(pool.get_message_by_name("registry.v1.Name").ok_or("no name")?);
    name.set_field_by_name("given", Value::String("Ada".to_owned()));
    name.set_field_by_name("family", Value::String("Wexcombe".to_owned()));
    person.set_field_by_name("name", Value::Message(name));
    let address = pool.get_message_by_name("registry.place.v1.Address").ok_or("no address")?;
    let area = pool.get_message_by_name("registry.place.v1.Area").ok_or("no area")?;
    let each = (0..addresses).map(|number| {
        let mut area = DynamicMessage::new(area.clone());
        area.set_field_by_name("code", Value::String("E09000001".to_owned()));
        let mut address = DynamicMessage::new(address.clone());
        let lines = ["The Old Gatehouse".to_owned(), format!("{number} Castle Street")];
        address.set_field_by_name("lines", Value::List(lines.map(Value::String).to_vec()));
        address.set_field_by_name("postcode", Value::String("WX1 1AA".to_owned()));
        address.set_field_by_name("area", Value::Message(area));
        Value::Message(address)
    });
    person.set_field_by_name("addresses", Value::List(each.collect()));
    Ok(person)
}
