//! The `callboard` binary: hands over to the library.

use std::io;
use std::process::ExitCode;

use callboard::cli::{self, Streams};

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let streams = Streams { out: &mut out, err: &mut err };
    let status = cli::run(std::env::args_os().skip(1), std::env::vars_os(), streams);
    ExitCode::from(status)
}
