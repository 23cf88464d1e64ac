//! Certificates that a member makes for itself: `--auto-tls`. They encrypt, and vouch for nobody.

use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Reloading, Setting, TlsError, TlsSettings, days_left};

/// Where a certificate and its key were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// `cert.pem`.
    pub cert_file: PathBuf,
    /// `key.pem`, for its owner alone.
    pub key_file: PathBuf,
}

/// Days before its end at which a certificate is replaced.
const RENEW_DAYS: f64 = 30.0;

/// The certificate in `dir`, made anew if there is none, or if it ends soon. It is for `hosts` and holds
/// `years`; `now` is Unix seconds. `setting` is the one that asks for it.
pub fn self_signed(
    setting: &'static str,
    dir: &Path,
    hosts: &[String],
    years: u32,
    now: i64,
) -> Result<SelfSigned, TlsError> {
    let files = SelfSigned { cert_file: dir.join("cert.pem"), key_file: dir.join("key.pem") };
    if is_good(&files, now) {
        return Ok(files);
    }
    let wrong = |what: rcgen::Error| TlsError::Setting { setting, what: what.to_string() };
    let failed = |error| TlsError::File { setting, path: dir.to_owned(), error };
    let key = KeyPair::generate().map_err(wrong)?;
    let params = params(hosts, years, now).map_err(wrong)?;
    let certificate = params.self_signed(&key).map_err(wrong)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    write(&files.key_file, key.serialize_pem().as_bytes()).map_err(failed)?;
    write(&files.cert_file, certificate.pem().as_bytes()).map_err(failed)?;
    tracing::info!(cert = ?files.cert_file, years, "made a certificate for automatic TLS");
    Ok(files)
}

fn is_good(files: &SelfSigned, now: i64) -> bool {
    let Ok(pem) = fs::read(&files.cert_file) else { return false };
    let days = CertificateDer::from_pem_slice(&pem).ok().and_then(|cert| days_left(&cert, now));
    files.key_file.exists() && days.is_some_and(|days| days > RENEW_DAYS)
}

fn params(hosts: &[String], years: u32, now: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "callboard");
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let day = jiff::Timestamp::from_second(now).unwrap_or_default();
    let day = jiff::tz::Offset::UTC.to_datetime(day).date();
    // From yesterday on: clocks differ.
    let from = day.yesterday().unwrap_or(day);
    let month_day = |date: jiff::civil::Date| (date.month() as u8, date.day().min(28) as u8);
    let (month, first) = month_day(from);
    params.not_before = date_time_ymd(from.year().into(), month, first);
    let (month, last) = month_day(day);
    let end = i32::from(day.year()).saturating_add(years as i32).min(9999);
    params.not_after = date_time_ymd(end, month, last);
    Ok(params)
}

/// Writes a file that only its owner can read.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How a port gets a certificate where none is given.
#[derive(Clone, Debug)]
pub struct Auto {
    /// The setting that asks for it.
    pub setting: &'static str,
    /// Where the certificate is kept.
    pub dir: PathBuf,
    /// Whom it is for.
    pub hosts: Vec<String>,
    /// Years that it holds.
    pub years: u32,
    /// Unix seconds.
    pub now: i64,
}

/// The certificates of a port: those of its settings, or one of its own.
pub fn serving(
    mut settings: TlsSettings,
    auto: Option<Auto>,
    protocols: &'static [&'static [u8]],
) -> Result<Arc<Reloading<ServerConfig>>, TlsError> {
    if let Some(Auto { setting, dir, hosts, years, now }) = auto
        && settings.cert_file.is_none()
    {
        let made = self_signed(setting, &dir, &hosts, years, now)?;
        let (cert, key) = made.settings(setting);
        (settings.cert_file, settings.key_file) = (Some(cert), Some(key));
    }
    Reloading::new(settings, protocols)
}

impl SelfSigned {
    /// As settings, in the name of the setting that asked for it.
    pub fn settings(self, name: &'static str) -> (Setting, Setting) {
        (Setting { name, path: self.cert_file }, Setting { name, path: self.key_file })
    }
}
