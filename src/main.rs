//! The `callboard` binary: hands over to the library.

use std::io;
use std::process::ExitCode;

use callboard::cli::{self, Streams};

/// glibc's allocator costs a tenth of a request, and gives memory back late.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let streams = Streams { out: &mut out, err: &mut err };
    let status = cli::run(std::env::args_os().skip(1), std::env::vars_os(), streams);
    ExitCode::from(status)
}
