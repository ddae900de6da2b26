//! The target `entry_text` of `targets.rs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| touchmark::fuzzing::run("entry_text", bytes));
