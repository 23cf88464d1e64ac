//! `callboard check-data-dir DIR`: verifies a data directory that no process has open.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command, value_parser};

use super::Streams;
use crate::config::ExitStatus;
use crate::storage::{
    check,
    disk::{Disk, RealDisk},
};

pub(super) fn command() -> Command {
    Command::new("check-data-dir")
        .about("Verify every record of a data directory; changes nothing")
        .disable_version_flag(true)
        .arg(
            Arg::new("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The data directory of a member that is not running"),
        )
        .arg(super::wal_dir_arg())
}

pub(super) fn help() -> String {
    command().bin_name("callboard check-data-dir").render_help().to_string()
}

pub(super) fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let matches = match command().no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            streams.complain("check-data-dir: allowed: one argument, the data directory");
            return ExitStatus::Usage.code();
        }
        Err(_) => {
            streams.answer(&help());
            return 0;
        }
    };
    let Some(folder) = matches.get_one::<PathBuf>("DIR") else {
        return ExitStatus::Usage.code();
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let wal_dir = matches.get_one::<PathBuf>("wal-dir").map(PathBuf::as_path);
    match check::check_data_dir(&disk, folder, wal_dir, streams.out) {
        Ok(()) => 0,
        Err(error) => {
            streams.complain(format_args!("{}: {error}", folder.display()));
            ExitStatus::Failure.code()
        }
    }
}
