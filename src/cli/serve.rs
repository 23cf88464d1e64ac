//! `callboard serve`: reads the configuration, opens the log, runs the member until it ends. With
//! `--proxy`, or where a proxy ran before, it runs a proxy instead.

use std::ffi::OsString;

use super::proxy::{self, DataOf};
use super::{Streams, serve_help, version};
use crate::config::env::Variables;
use crate::config::flags::{self, Asked};
use crate::config::{self, Config, ExitStatus, Loaded, ProxyMode, verify_bootstrap};
use crate::node::{self, Ended};
use crate::telemetry::Telemetry;

pub(super) fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> u8 {
    let mut loaded = match asked(args, environment, &serve_help, streams) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    // What the data directory is for counts more than the flag, as with etcd.
    let wanted = loaded.config.proxy.mode;
    match (proxy::data_of(&loaded.config.data_dir), wanted) {
        (DataOf::Both, _) => return proxy::refuse_both(&loaded.config, streams),
        (DataOf::Proxy, ProxyMode::Off) => {
            loaded.notices.push(
                "the data directory is a proxy's: this process is a proxy, as before".to_owned(),
            );
            loaded.config.proxy.mode = ProxyMode::On;
        }
        (DataOf::Member, ProxyMode::On | ProxyMode::ReadOnly) => {
            loaded
                .notices
                .push("setting proxy: has no effect: the data directory is a member's".to_owned());
            loaded.config.proxy.mode = ProxyMode::Off;
        }
        (DataOf::Nobody, ProxyMode::Off) => {
            // With data the `initial-` settings are not looked at.
            if let Err(error) = verify_bootstrap(&loaded.config) {
                streams.complain(&error);
                return error.exit_status().code();
            }
        }
        (DataOf::Nobody | DataOf::Proxy, _) | (DataOf::Member, ProxyMode::Off) => {}
    }
    with_log(loaded, streams, |config, telemetry| match config.proxy.mode {
        ProxyMode::Off => match node::run(config, telemetry) {
            Ok(Ended::Stopped) => Ok(()),
            Ok(Ended::Proxy(urls)) => proxy::run_beside(config, &urls),
            Err(error) => Err(error.to_string()),
        },
        ProxyMode::On | ProxyMode::ReadOnly => proxy::run_by_peers(config, telemetry),
    })
}

/// Reads a command line; help, version and mistakes are answered here, and are a status to end with.
pub(super) fn asked(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    help: &dyn Fn() -> String,
    streams: &mut Streams<'_>,
) -> Result<Loaded, u8> {
    let loaded = match flags::parse(args) {
        Ok(Asked::Help) => {
            streams.answer(&help());
            return Err(0);
        }
        Ok(Asked::Version) => {
            streams.answer(&version());
            return Err(0);
        }
        Ok(Asked::Run(flags)) => {
            Variables::new(environment).and_then(|variables| config::load(&flags, &variables))
        }
        Err(error) => Err(error),
    };
    loaded.map_err(|error| {
        streams.complain(&error);
        error.exit_status().code()
    })
}

/// Opens the log, and runs something until it ends.
pub(super) fn with_log(
    loaded: Loaded,
    streams: &mut Streams<'_>,
    run: impl FnOnce(&Config, Telemetry) -> Result<(), String>,
) -> u8 {
    let Loaded { config, notices } = loaded;
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
    match run(&config, telemetry) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error, "stopped");
            ExitStatus::Failure.code()
        }
    }
}
