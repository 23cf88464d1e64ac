//! `callboard restore SNAPSHOT DIR`: makes a data directory from a snapshot file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command, value_parser};

use super::Streams;
use crate::config::ExitStatus;
use crate::storage::{
    disk::{Disk, RealDisk},
    founding,
};

pub(super) fn command() -> Command {
    let path = || value_parser!(PathBuf);
    Command::new("restore")
        .about("Make a data directory from a snapshot file, for a member to go on from")
        .disable_version_flag(true)
        .arg(Arg::new("SNAPSHOT").required(true).value_parser(path()).help("A .snap file"))
        .arg(
            Arg::new("DIR")
                .required(true)
                .value_parser(path())
                .help("The data directory to make; it must not hold a member's data"),
        )
        .arg(super::wal_dir_arg())
}

pub(super) fn help() -> String {
    command().bin_name("callboard restore").render_help().to_string()
}

pub(super) fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let matches = match command().no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            streams.complain("restore: allowed: a snapshot file, then the data directory to make");
            return ExitStatus::Usage.code();
        }
        Err(_) => {
            streams.answer(&help());
            return 0;
        }
    };
    let path = |name| matches.get_one::<PathBuf>(name);
    let (Some(snapshot), Some(folder)) = (path("SNAPSHOT"), path("DIR")) else {
        return ExitStatus::Usage.code();
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match founding::restore(&disk, snapshot, folder, path("wal-dir").map(PathBuf::as_path)) {
        Ok(meta) => {
            streams.answer(&format!(
                "restored cluster {:x}, member {:x}: index {}, term {}, revision {}\n",
                meta.cluster_id, meta.member_id, meta.index, meta.term, meta.revision
            ));
            0
        }
        Err(error) => {
            streams.complain(format_args!("{}: {error}", snapshot.display()));
            ExitStatus::Failure.code()
        }
    }
}
