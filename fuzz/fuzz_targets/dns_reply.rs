//! The target `dns_reply` of `targets.rs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| touchmark::fuzzing::run("dns_reply", bytes));
