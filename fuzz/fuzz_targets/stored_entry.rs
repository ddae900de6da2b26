//! The target `stored_entry` of `targets.rs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| touchmark::fuzzing::run("stored_entry", bytes));
