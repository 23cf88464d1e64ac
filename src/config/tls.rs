//! The settings of TLS, gathered for each port. The files are read later, when the port is opened.

use super::{build::Givens, error::ConfigError, rules::refuse, url::Url, values::parse_u64};
use crate::tls::{Setting, Suites, TlsSettings, Version};

/// TLS of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTls {
    /// Of what serves the port.
    pub serving: TlsSettings,
    /// Make a certificate where none is given.
    pub auto: bool,
    /// Years that it holds.
    pub self_signed_years: u32,
}

/// `cert-file` and what goes with it.
pub(super) fn client_port(givens: &Givens) -> Result<PortTls, ConfigError> {
    let old_ca = file(givens, "ca-file");
    let serving = TlsSettings {
        cert_file: file(givens, "cert-file"),
        key_file: file(givens, "key-file"),
        ca_file: file(givens, "trusted-ca-file").or_else(|| old_ca.clone()),
        crl_file: file(givens, "client-crl-file"),
        // 2.3's name means both: whom to believe, and that a certificate must be shown.
        client_cert_auth: givens.bool("client-cert-auth")? || old_ca.is_some(),
        allowed_cn: givens.words("client-cert-allowed-cn"),
        allowed_hostname: givens.words("client-cert-allowed-hostname"),
        suites: suites(givens)?,
    };
    let years =
        givens.read("self-signed-cert-validity", |text| u32::try_from(parse_u64(text)?).ok())?;
    let tls = PortTls { serving, auto: givens.bool("auto-tls")?, self_signed_years: years };
    if tls.serving.cert_file.is_some() != tls.serving.key_file.is_some() {
        let (given, missing) = match tls.serving.cert_file {
            Some(_) => ("cert-file", "key-file"),
            None => ("key-file", "cert-file"),
        };
        return Err(refuse(givens, given, format!("a file, with --{missing} beside it")));
    }
    if tls.auto && tls.self_signed_years == 0 {
        return Err(refuse(givens, "self-signed-cert-validity", "a number of years, 1 or more"));
    }
    Ok(tls)
}

/// Whether `https` can be served at `urls`: never without TLS what was to be served with it.
pub(super) fn can_serve(
    givens: &Givens,
    name: &'static str,
    urls: &[Url],
    tls: &PortTls,
    notices: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let has_certificate = tls.serving.cert_file.is_some();
    let secure = urls.iter().filter(|url| url.scheme().is_tls()).count();
    if secure > 0 && !has_certificate && !tls.auto {
        return Err(refuse(
            givens,
            name,
            "https with --cert-file and --key-file, or with --auto-tls; else http",
        ));
    }
    if secure < urls.len() && (has_certificate || tls.auto) {
        notices.push(format!(
            "setting {name}: says http for some URLs, which are served without TLS though there is a certificate"
        ));
    }
    Ok(())
}

fn file(givens: &Givens, name: &'static str) -> Option<Setting> {
    givens.path(name).map(|path| Setting { name, path })
}

fn suites(givens: &Givens) -> Result<Suites, ConfigError> {
    let version = |name| match givens.text(name).as_str() {
        "TLS1.2" => Version::Tls12,
        _ => Version::Tls13, // the greatest, where none is given
    };
    let (min, max) = (version("tls-min-version"), version("tls-max-version"));
    if min > max {
        return Err(refuse(givens, "tls-max-version", "tls-min-version or later"));
    }
    Ok(Suites { min, max, names: givens.words("cipher-suites") })
}
