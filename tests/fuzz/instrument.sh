#!/bin/sh
# Stands before rustc for the crates of this workspace, and asks it for what libFuzzer follows: see xtask/src/fuzz.rs.
case " $* " in
*" build_script_build "*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
