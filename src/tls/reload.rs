//! A configuration that is made anew when its files change. A broken new file changes nothing but a
//! figure and a line in the log: what was good before goes on serving.

use std::{
    fmt, fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};
use tracing::{info, warn};
use x509_parser::prelude::*;

use super::{TlsError, TlsSettings, client_config, files, server_config};

/// A side of a connection: what is made of the settings.
pub trait Side: Sized + Send + Sync + 'static {
    /// Makes it.
    fn make(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Arc<Self>, TlsError>;
}

impl Side for ServerConfig {
    fn make(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Arc<Self>, TlsError> {
        server_config(settings, protocols)
    }
}

impl Side for ClientConfig {
    fn make(settings: &TlsSettings, protocols: &[&[u8]]) -> Result<Arc<Self>, TlsError> {
        client_config(settings, protocols)
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Figures {
    /// How often changed files were taken.
    pub reloads: AtomicU64,
    /// How often they were refused.
    pub refusals: AtomicU64,
    /// When the certificate ends, in Unix seconds; 0 without one.
    pub not_after: AtomicI64,
}

/// See the head of the module.
pub struct Reloading<S> {
    settings: TlsSettings,
    protocols: &'static [&'static [u8]],
    now: ArcSwap<S>,
    /// What the files looked like when they were last read.
    seen: Mutex<Vec<Option<Stamp>>>,
    /// For the metrics.
    pub figures: Arc<Figures>,
}

impl<S> fmt::Debug for Reloading<S> {
    /// Without what was read: the key is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// By what a change is noticed: whoever replaces a file makes a new one, or writes another time.
type Stamp = (u64, u64, i64, i64);

impl<S: Side> Reloading<S> {
    /// Reads the files for the first time: here an error ends the start.
    pub fn new(
        settings: TlsSettings,
        protocols: &'static [&'static [u8]],
    ) -> Result<Arc<Reloading<S>>, TlsError> {
        let seen = stamps(&settings);
        let now = S::make(&settings, protocols)?;
        let reloading = Reloading {
            protocols,
            now: ArcSwap::new(now),
            seen: Mutex::new(seen),
            figures: Arc::default(),
            settings,
        };
        reloading.note_end();
        Ok(Arc::new(reloading))
    }

    /// The configuration for a new connection.
    pub fn current(&self) -> Arc<S> {
        self.now.load_full()
    }

    /// Looks whether a file has changed, and takes what it holds. Reads files: not for a thread that must
    /// not wait.
    pub fn look(&self) {
        let found = stamps(&self.settings);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return;
            }
            *seen = found;
        }
        self.read_again();
    }

    /// Reads the files, changed or not.
    pub fn read_again(&self) {
        match S::make(&self.settings, self.protocols) {
            Ok(config) => {
                self.now.store(config);
                self.note_end();
                self.figures.reloads.fetch_add(1, Ordering::Relaxed);
                info!("certificates were read anew");
            }
            Err(error) => {
                self.figures.refusals.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "changed certificates are refused; those from before go on");
            }
        }
    }

    fn note_end(&self) {
        let chain = self.settings.cert_file.as_ref().and_then(|file| files::chain(file).ok());
        let ends = chain.iter().flatten().filter_map(|certificate| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            Some(parsed.validity().not_after.timestamp())
        });
        self.figures.not_after.store(ends.min().unwrap_or(0), Ordering::Relaxed);
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt as _;
    let files = [&settings.cert_file, &settings.key_file, &settings.ca_file, &settings.crl_file];
    let stamp = |path: &std::path::Path| -> io::Result<Stamp> {
        let meta = fs::metadata(path)?;
        Ok((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    files.into_iter().flatten().map(|file| stamp(&file.path).ok()).collect()
}
