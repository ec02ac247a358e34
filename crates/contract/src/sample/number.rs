//! Numbers that fit the name of their field and its rules.

use prost_reflect::{EnumDescriptor, Kind, Value};

use crate::rules::{FractionRule, WholeRule};

use super::{random::Random, words};

/// Returns a whole number as a value of this kind; `None` for other kinds.
pub(super) fn whole(
    kind: &Kind,
    rule: Option<&WholeRule>,
    given: bool,
    words: &[&str],
    random: &mut Random,
) -> Option<Value> {
    let (lowest, highest) = limits(kind)?;
    let listed: Vec<i128> = rule.iter().flat_map(|rule| &rule.one_of).map(|(number, _)| *number).collect();
    let number = if listed.is_empty() {
        let least = rule.and_then(|rule| rule.range.least).unwrap_or(lowest);
        let most = rule.and_then(|rule| rule.range.most).unwrap_or(highest);
        between(least, most, words, random)
    } else {
        random.pick(&listed)
    };
    // Where protobuf keeps no presence, 0 would be no number at all.
    let other = |number: i128| if listed.is_empty() { Some(number) } else { listed.iter().copied().find(|n| *n != 0) };
    let number = if number == 0 && given { other(1).unwrap_or_default() } else { number };
    let allowed = rule.is_none_or(|rule| allows_whole(rule, number));
    value(kind, number).filter(|_| allowed)
}

/// Draws a number as it is usual for a field of this name, or as near to that as the bounds allow.
fn between(least: i128, most: i128, words: &[&str], random: &mut Random) -> i128 {
    /// How far from a bound a number lies where the usual ones are out of bounds.
    const NEAR: i128 = 1000;
    let (usual_least, usual_most) = words::usual(words);
    let (usual_least, usual_most) = (truncated(usual_least), truncated(usual_most));
    if usual_most < least {
        random.between(least, most.min(least.saturating_add(NEAR)))
    } else if usual_least > most {
        random.between(least.max(most.saturating_sub(NEAR)), most)
    } else {
        random.between(least.max(usual_least), most.min(usual_most))
    }
}

/// The usual numbers are small.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a cast from float saturates")]
fn truncated(number: f64) -> i128 {
    number as i128
}

/// Returns whether a number keeps a rule.
pub(super) fn allows_whole(rule: &WholeRule, number: i128) -> bool {
    rule.range.contain(number) && (rule.one_of.is_empty() || rule.one_of.iter().any(|(listed, _)| *listed == number))
}

/// Returns the least and the greatest number of a kind.
fn limits(kind: &Kind) -> Option<(i128, i128)> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Some((i32::MIN.into(), i32::MAX.into())),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Some((i64::MIN.into(), i64::MAX.into())),
        Kind::Uint32 | Kind::Fixed32 => Some((0, u32::MAX.into())),
        Kind::Uint64 | Kind::Fixed64 => Some((0, u64::MAX.into())),
        Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Enum(_) => None,
    }
}

fn value(kind: &Kind, number: i128) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number.try_into().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number.try_into().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => number.try_into().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => number.try_into().ok().map(Value::U64),
        Kind::Enum(_) => number.try_into().ok().map(Value::EnumNumber),
        Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// Returns a number with a fraction, of 64 bits or of 32.
pub(super) fn fraction(
    kind: &Kind,
    rule: Option<&FractionRule>,
    given: bool,
    words: &[&str],
    random: &mut Random,
) -> Option<Value> {
    let (usual_least, usual_most) = words::usual(words);
    let bounds = rule.map(|rule| rule.range);
    let mut least = bounds.and_then(|bounds| bounds.least).unwrap_or(usual_least);
    let mut most = bounds.and_then(|bounds| bounds.most).unwrap_or(usual_most);
    // The usual numbers, as far as they are within the bounds; only one bound may have been given.
    if least > most {
        (least, most) =
            if bounds.is_some_and(|b| b.least.is_some()) { (least, least + 100.0) } else { (most - 100.0, most) };
    }
    if usual_least.max(least) < usual_most.min(most) {
        (least, most) = (usual_least.max(least), usual_most.min(most));
    }
    let drawn = least + (most - least) * random.fraction();
    let allowed =
        |number: &f64| number.is_finite() && !(given && *number == 0.0) && bounds.is_none_or(|b| b.contain(*number));
    // Two decimals read well, and five are a metre on a map.
    let rounded = [100.0, 100_000.0].map(|scale: f64| (drawn * scale).round() / scale);
    let candidates =
        if most - least > 20.0 { [rounded[0], drawn, least, most] } else { [rounded[1], drawn, least, most] };
    match kind {
        Kind::Double => candidates.into_iter().find(allowed).map(Value::F64),
        Kind::Float => candidates.into_iter().map(narrow).find(|number| allowed(&f64::from(*number))).map(Value::F32),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64
        | Kind::Bool
        | Kind::String
        | Kind::Bytes
        | Kind::Message(_)
        | Kind::Enum(_) => None,
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a float has 32 bits, and is looked at again"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// Returns a value of an enum: one that says something, where there is one.
pub(super) fn named(of: &EnumDescriptor, rule: Option<&WholeRule>, given: bool, random: &mut Random) -> Option<Value> {
    let allowed = |number: &i32| rule.is_none_or(|rule| allows_whole(rule, i128::from(*number)));
    let telling = |name: &str| !["UNSPECIFIED", "UNKNOWN"].iter().any(|nothing| name.ends_with(nothing));
    let all: Vec<(i32, bool)> = of.values().map(|value| (value.number(), telling(value.name()))).collect();
    let numbers = |some: &dyn Fn(&(i32, bool)) -> bool| -> Vec<i32> {
        all.iter().filter(|value| some(value)).map(|(number, _)| *number).filter(allowed).collect()
    };
    let best = numbers(&|(number, telling)| *telling && *number != 0);
    let telling =
        if best.is_empty() { numbers(&|(number, telling)| *telling && !(given && *number == 0)) } else { best };
    let any = if telling.is_empty() { numbers(&|(number, _)| !(given && *number == 0)) } else { telling };
    (!any.is_empty()).then(|| Value::EnumNumber(random.pick(&any)))
}
