//! The log: lines as etcd writes them, to one or several places, at a level that can be changed while
//! the process runs. Depends on `config` for what was asked, and on tracing.
//!
//! The members of a line keep etcd's names (`level`, `ts`, `caller`, `msg`), because alerts and
//! parsers look for them; the fields of an event follow under their own names.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Config, LogFormat, LogOutput};

/// Libraries whose every-day lines are not for who runs this server; `trace` shows them too.
const QUIET_TARGETS: [&str; 5] = ["actix_server", "actix_web", "actix_rt", "mio", "h2"];

/// The HTTP parser calls it an error when a client sends nonsense: whoever wants to could fill the log
/// with it. `debug` and `trace` show it.
const ABOUT_CLIENTS: &str = "actix_http";

/// Why the log could not be set up, or its level not be changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// No level has this name.
    #[error("log level {0:?}: allowed: trace, debug, info, warn, error, dpanic, panic, fatal")]
    Level(String),
    /// A file of `log-outputs` cannot be written.
    #[error("setting log-outputs: value {path:?}: {error}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The process has a log already, or has lost it.
    #[error("log: {0}")]
    Install(String),
}

/// The log of this process, once it is set up.
#[derive(Clone, Debug)]
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
}

impl Telemetry {
    /// Sets up the log of this process; once in its life.
    pub fn init(config: &Config) -> Result<Telemetry, TelemetryError> {
        let outputs = Outputs::open(&config.log_outputs)?;
        let (subscriber, telemetry) = subscriber(&config.log_level, config.log_format, outputs)?;
        subscriber.try_init().map_err(|error| TelemetryError::Install(error.to_string()))?;
        Ok(telemetry)
    }

    /// Changes the level, from the next line on.
    pub fn set_level(&self, level: &str) -> Result<(), TelemetryError> {
        let targets = targets(level)?;
        self.filter.reload(targets).map_err(|error| TelemetryError::Install(error.to_string()))
    }
}

fn subscriber<W>(
    level: &str,
    format: LogFormat,
    outputs: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, Telemetry), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level)?);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(EtcdLines { format })
        .with_writer(outputs)
        .with_filter(filter);
    Ok((tracing_subscriber::registry().with(lines), Telemetry { filter: handle }))
}

/// etcd's levels. Its three above error end the process when they are logged; here a line cannot do
/// that, and the nearest that still shows errors is meant.
fn targets(level: &str) -> Result<Targets, TelemetryError> {
    let level = match level {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        "error" | "dpanic" | "panic" | "fatal" => LevelFilter::ERROR,
        _ => return Err(TelemetryError::Level(level.to_owned())),
    };
    let quiet = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let clients = if level >= LevelFilter::DEBUG { quiet } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(level).with_target(ABOUT_CLIENTS, clients);
    Ok(QUIET_TARGETS.iter().fold(targets, |targets, target| targets.with_target(*target, quiet)))
}

/// One line for each event.
struct EtcdLines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for EtcdLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let ts = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let caller = match (metadata.file(), metadata.line()) {
            (Some(file), Some(line)) => Some(format!("{}:{line}", short_path(file))),
            _ => None,
        };
        let msg = fields.msg();
        match self.format {
            LogFormat::Json => {
                write!(writer, "{{{}", member("level", &level_name(*metadata.level()).into()))?;
                write!(writer, ",{}", member("ts", &ts.into()))?;
                if let Some(caller) = caller {
                    write!(writer, ",{}", member("caller", &caller.into()))?;
                }
                write!(writer, ",{}", member("msg", &msg.into()))?;
                for (name, value) in fields.others() {
                    write!(writer, ",{}", member(name, value))?;
                }
                writeln!(writer, "}}")
            }
            LogFormat::Console => {
                let level = level_name(*metadata.level()).to_ascii_uppercase();
                write!(writer, "{ts}\t{level}\t")?;
                if let Some(caller) = caller {
                    write!(writer, "{caller}\t")?;
                }
                // A line stays a line, and a terminal gets no control characters from outside.
                write!(writer, "{}", printable(&msg))?;
                let others: Vec<String> = fields.others().map(|(n, v)| member(n, v)).collect();
                if !others.is_empty() {
                    write!(writer, "\t{{{}}}", others.join(", "))?;
                }
                writeln!(writer)
            }
        }
    }
}

fn member(name: &str, value: &Value) -> String {
    format!("{}:{value}", Value::from(name))
}

fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// The last folder and the file, as etcd shows its callers.
fn short_path(path: &str) -> &str {
    match path.rmatch_indices('/').nth(1) {
        Some((at, _)) => &path[at + 1..],
        None => path,
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn msg(&self) -> String {
        let message = self.0.iter().find(|(name, _)| *name == "message").map(|(_, value)| value);
        match message {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// All but the message; a field may not pose as one of the line's own members.
    fn others(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().filter(|(name, _)| *name != "message" && !name.starts_with("log.")).map(
            |(name, value)| {
                let name = match *name {
                    "level" => "field-level",
                    "ts" => "field-ts",
                    "caller" => "field-caller",
                    "msg" => "field-msg",
                    name => name,
                };
                (name, value)
            },
        )
    }
}

impl Fields {
    /// Takes a field, but for those that say where in the `raft` crate a line comes from.
    fn push(&mut self, field: &Field, value: Value) {
        const OF_THE_RAFT_CRATE: &str = "slog.";
        if !field.name().starts_with(OF_THE_RAFT_CRATE) {
            self.0.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Only a value's own Debug can fail here; what it wrote until then is shown.
        let _ = write!(text, "{value:?}");
        self.push(field, text.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string().into());
    }
}

/// Where lines go: each to all.
#[derive(Clone, Debug)]
struct Outputs(Arc<Vec<Output>>);

#[derive(Debug)]
enum Output {
    Stderr,
    Stdout,
    /// Opened for appending, so that lines of several threads do not mix and a rotated file may be
    /// cut short under it.
    File(File),
}

impl Outputs {
    fn open(outputs: &[LogOutput]) -> Result<Outputs, TelemetryError> {
        let open = |output: &LogOutput| match output {
            LogOutput::Stderr => Ok(Output::Stderr),
            LogOutput::Stdout => Ok(Output::Stdout),
            LogOutput::File(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .map(Output::File)
                .map_err(|error| TelemetryError::Open { path: path.display().to_string(), error }),
        };
        Ok(Outputs(Arc::new(outputs.iter().map(open).collect::<Result<_, _>>()?)))
    }
}

impl Write for Outputs {
    /// A place that cannot be written (a closed pipe, a full disk) does not keep the line from the
    /// others, and is no reason to stop serving.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in self.0.iter() {
            let _ = match output {
                Output::Stderr => io::stderr().lock().write_all(line),
                Output::Stdout => io::stdout().lock().write_all(line),
                Output::File(file) => (&*file).write_all(line),
            };
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Outputs;

    fn make_writer(&'a self) -> Outputs {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What was written to a log that lives in memory.
    fn logged(level: &str, format: LogFormat, events: impl FnOnce(&Telemetry)) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let writer = move || Sink(Arc::clone(&sink));
        let (subscriber, telemetry) = subscriber(level, format, writer).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&telemetry));
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_are_etcd_s() {
        let lines = logged("info", LogFormat::Json, |_| {
            tracing::info!(term = 3, name = "n\"1", ok = true, "became leader");
            tracing::warn!(msg = "forged", level = "forged", "two\nlines");
        });
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(lines[0].starts_with(r#"{"level":"info","ts":""#), "{}", lines[0]);
        assert_eq!(first["msg"], "became leader");
        assert_eq!(first["term"], 3);
        assert_eq!(first["name"], "n\"1");
        assert_eq!(first["ok"], true);
        let ts = first["ts"].as_str().unwrap();
        assert_eq!(ts.len(), "2026-01-01T00:00:00.000Z".len(), "{ts}");
        assert!(ts.parse::<jiff::Timestamp>().is_ok());
        assert!(first["caller"].as_str().unwrap().starts_with("src/telemetry.rs:"));
        let second: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(second["msg"], "two\nlines", "and still one line");
        assert_eq!(second["field-msg"], "forged");
        assert_eq!(second["level"], "warn");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn console_lines_are_columns() {
        let lines = logged("info", LogFormat::Console, |_| {
            tracing::error!(index = 7, "torn\ttail\u{1b}[2J\nand more");
            tracing::info!("plain");
        });
        assert_eq!(lines.len(), 2);
        let columns: Vec<&str> = lines[0].split('\t').collect();
        assert_eq!(columns[1], "ERROR");
        assert_eq!(columns[3], "torn\\ttail\\u{1b}[2J\\nand more");
        assert_eq!(columns[4], "{\"index\":7}");
        assert!(lines[1].ends_with("\tplain"));
    }

    #[test]
    fn the_level_changes_while_running() {
        let lines = logged("warn", LogFormat::Json, |telemetry| {
            tracing::info!("hidden");
            tracing::error!(target: "actix_http::h1", "nonsense from a client, hidden");
            telemetry.set_level("debug").unwrap();
            tracing::debug!("seen");
            tracing::error!(target: "actix_http::h1", "nonsense from a client");
            tracing::info!(target: "actix_server::builder", "a library's every-day line");
            telemetry.set_level("fatal").unwrap();
            tracing::warn!("hidden again");
            tracing::error!("errors are always seen");
            assert!(matches!(telemetry.set_level("loud"), Err(TelemetryError::Level(_))));
        });
        let seen: Vec<Value> = lines
            .iter()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["msg"].clone())
            .collect();
        assert_eq!(seen, ["seen", "nonsense from a client", "errors are always seen"]);
    }

    #[test]
    fn lines_go_to_every_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a.log"), folder.path().join("b.log")];
        let outputs: Vec<LogOutput> = paths.iter().cloned().map(LogOutput::File).collect();
        let mut opened = Outputs::open(&outputs).unwrap();
        opened.write_all(b"one\n").unwrap();
        opened.write_all(b"two\n").unwrap();
        for path in &paths {
            assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
        }
        let missing = LogOutput::File(folder.path().join("none").join("c.log"));
        let error = Outputs::open(&[missing]).unwrap_err().to_string();
        assert!(error.starts_with("setting log-outputs: value "), "{error}");
    }
}
