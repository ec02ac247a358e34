//! The targets under libFuzzer. `cargo xtask fuzz` builds and runs it; which target it is, `DRAWBRIDGE_FUZZ_TARGET` says.

#![no_main]

use std::sync::LazyLock;

use drawbridge_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("DRAWBRIDGE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = Target::named(&name) else {
        eprintln!("error: there is no target `{name}`: set DRAWBRIDGE_FUZZ_TARGET, or use `cargo xtask fuzz`");
        std::process::exit(2);
    };
    target.prepare();
    target
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.check(input));
