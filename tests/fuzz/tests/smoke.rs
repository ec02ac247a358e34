//! The smoke run: every target on its corpus, on what chance makes of it, and on inputs swollen to their limit.
//!
//! Bounded by rounds and not by time, and the same every time. `DRAWBRIDGE_FUZZ_ROUNDS` is a factor: 100 is a longer run.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use drawbridge_fuzz::{TARGETS, Target, corpus, dice::Dice, mutate};

const ROUNDS: &str = "DRAWBRIDGE_FUZZ_ROUNDS";

/// Runs one input, and keeps it where it breaks something.
fn on(target: &Target, what: &str, input: &[u8], check: impl FnOnce(&[u8])) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) else { return };
    let file = std::env::temp_dir().join(format!("drawbridge-fuzz-{}-{}.input", target.name, std::process::id()));
    std::fs::write(&file, input).unwrap();
    eprintln!(
        "`{}` broke on {what}: the input is in {}; put it into {} once it is mended",
        target.name,
        file.display(),
        corpus::folder(target).display()
    );
    resume_unwind(panic)
}

fn smoke(name: &str) {
    let target = Target::named(name).unwrap();
    let inputs = corpus::of(target);
    assert!(!inputs.is_empty(), "`{name}` has no corpus");
    target.prepare();
    for (file, input) in &inputs {
        on(target, file, input, |input| target.check(input));
    }
    let factor: u32 = std::env::var(ROUNDS).ok().map_or(1, |factor| factor.parse().unwrap());
    let mut dice = Dice::new(7);
    for round in 0..target.rounds * factor {
        let input = mutate::mutated(&inputs, target.longest, &mut dice);
        on(target, &format!("round {round}"), &input, |input| target.check(input));
    }
    for (file, input) in &inputs {
        let input = mutate::swollen(input, target.longest, &mut dice);
        on(target, &format!("{file}, swollen"), &input, |input| target.check_in_time(input));
    }
}

/// A test for each target, and one that none is left out.
macro_rules! targets {
    ($($name:ident)*) => {
        mod keeps_its_promises {
            $(#[test] fn $name() { super::smoke(stringify!($name)); })*
        }

        #[test]
        fn every_target_is_tried() {
            let named: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(named, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    headers claims proofs note journal tiles filter request descriptor_set protos json frames framing web agreement directory
    configuration certificate
}

#[test]
fn chance_is_the_same_every_time() {
    let inputs = corpus::of(Target::named("note").unwrap());
    let made = || {
        let mut dice = Dice::new(7);
        (0..20).map(|_| mutate::mutated(&inputs, 1_000, &mut dice)).collect::<Vec<_>>()
    };
    assert_eq!(made(), made());
}
