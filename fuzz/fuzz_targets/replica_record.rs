//! The target `replica_record` of `targets.rs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| touchmark::fuzzing::run("replica_record", bytes));
