//! The target `dns_request` of `targets.rs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| touchmark::fuzzing::run("dns_request", bytes));
