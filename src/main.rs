//! The `callboard` binary: hands over to the library.

fn main() {}
