//! See the table in `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callboard_fuzz::run("plain", data));
