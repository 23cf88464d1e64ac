//! `callboard serve`: reads the configuration, opens the log, runs the member until it ends.

use std::ffi::OsString;

use super::{Streams, serve_help, version};
use crate::config::env::Variables;
use crate::config::flags::{self, Asked};
use crate::config::{self, Config, ConfigError, ExitStatus, Loaded, verify_bootstrap};
use crate::node;
use crate::telemetry::Telemetry;

pub(super) fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> u8 {
    let loaded = match flags::parse(args) {
        Ok(Asked::Help) => {
            streams.answer(&serve_help());
            return 0;
        }
        Ok(Asked::Version) => {
            streams.answer(&version());
            return 0;
        }
        Ok(Asked::Run(flags)) => load(&flags, environment),
        Err(error) => Err(error),
    };
    let Loaded { config, notices } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            streams.complain(&error);
            return error.exit_status().code();
        }
    };
    let telemetry = match Telemetry::init(&config) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            streams.complain(error);
            return ExitStatus::Failure.code();
        }
    };
    for notice in &notices {
        tracing::warn!("{notice}");
    }
    match node::run(&config, telemetry) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitStatus::Failure.code()
        }
    }
}

fn load(
    flags: &flags::Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let loaded = config::load(flags, &Variables::new(environment)?)?;
    if !has_data(&loaded.config) {
        verify_bootstrap(&loaded.config)?;
    }
    Ok(loaded)
}

/// Whether the member was started before: then the `initial-` settings are not looked at.
fn has_data(config: &Config) -> bool {
    config.data_dir.join("member").exists()
}
