//! Random messages of any type, from a seed.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// A small generator of numbers (`SplitMix64`), so that a seed says everything about a message.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small numbers often, large ones sometimes.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }
}

pub fn message(descriptor: &MessageDescriptor, dice: &mut Dice, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let required = field.cardinality() == prost_reflect::Cardinality::Required;
        let nested = field.kind().as_message().is_some();
        let set = required || (if nested && depth == 0 { false } else { dice.below(3) > 0 });
        if set {
            let value = value(&field, dice, depth);
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, dice: &mut Dice, depth: u32) -> Value {
    let count = dice.below(4);
    if field.is_map() {
        let kind = field.kind();
        let entry = kind.as_message().unwrap();
        let key = entry.map_entry_key_field();
        let inner = entry.map_entry_value_field();
        let entries = (0..count).map(|_| {
            let key = match key.kind() {
                Kind::String => MapKey::String(text(dice)),
                _ => MapKey::I32(dice.number() as i32),
            };
            (key, single(&inner.kind(), dice, depth))
        });
        return Value::Map(entries.collect());
    }
    if field.is_list() {
        return Value::List((0..count).map(|_| single(&field.kind(), dice, depth)).collect());
    }
    single(&field.kind(), dice, depth)
}

fn text(dice: &mut Dice) -> String {
    let words = [
        "",
        "a",
        "Wexcombe",
        "Straße",
        "日本",
        "N1 9AA",
        "a longer text that takes some more bytes than the others do",
    ];
    let long = dice.below(12) == 0;
    let word = words[dice.below(words.len() as u64) as usize];
    if long { word.repeat(40) } else { word.to_owned() }
}

fn single(kind: &Kind, dice: &mut Dice, depth: u32) -> Value {
    let number = dice.number();
    match kind {
        Kind::Double => Value::F64(number as f64 / 8.0),
        Kind::Float => Value::F32(f32::from(number as u16) / 8.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Bool => Value::Bool(number.is_multiple_of(2)),
        Kind::String => Value::String(text(dice)),
        Kind::Bytes => Value::Bytes(Bytes::from(number.to_le_bytes().to_vec())),
        Kind::Message(inner) => Value::Message(message(inner, dice, depth.saturating_sub(1))),
        Kind::Enum(_) => Value::EnumNumber((number % 5) as i32),
    }
}

/// Changes an encoded message in a few places.
pub fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] = dice.next() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, dice.next() as u8),
        }
    }
}

/// Encodes a random message, now and then with fields that its type does not have, at any depth.
pub fn with_strangers(descriptor: &MessageDescriptor, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let plain = message(descriptor, dice, 3).encode_to_vec();
    // Fields of a message can come in parts: what comes last is merged into what came first.
    let mut more = message(descriptor, dice, 2);
    // Two fields of one oneof are a case of their own.
    for oneof in descriptor.oneofs() {
        oneof.fields().for_each(|field| more.clear_field(&field));
    }
    for part in [stranger(dice), plain, stranger(dice), more.encode_to_vec()] {
        bytes.extend(part);
    }
    bytes
}

/// An unknown field: number 900, of any wire type.
pub fn stranger(dice: &mut Dice) -> Vec<u8> {
    use prost::encoding::{WireType, encode_key, encode_varint};
    let mut bytes = Vec::new();
    match dice.below(6) {
        0 => {
            encode_key(900, WireType::Varint, &mut bytes);
            encode_varint(dice.number(), &mut bytes);
        }
        1 => {
            encode_key(900, WireType::ThirtyTwoBit, &mut bytes);
            bytes.extend([1, 2, 3, 4]);
        }
        2 => {
            encode_key(900, WireType::SixtyFourBit, &mut bytes);
            bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        }
        3 => {
            encode_key(900, WireType::LengthDelimited, &mut bytes);
            bytes.extend([3, b'x', b'y', b'z']);
        }
        4 => {
            encode_key(900, WireType::StartGroup, &mut bytes);
            bytes.extend([0x08, 0x01]);
            encode_key(900, WireType::EndGroup, &mut bytes);
        }
        _ => {}
    }
    bytes
}
