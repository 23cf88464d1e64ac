//! Who a certificate says it is.

use rustls::{Error, pki_types::CertificateDer};
use x509_parser::{extensions::GeneralName, prelude::*};

use super::TlsSettings;

/// What is looked at in the other side's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name, if it has one.
    pub common_name: Option<String>,
    /// The DNS names that it holds for.
    pub dns_names: Vec<String>,
    /// The addresses that it holds for, as text.
    pub addresses: Vec<String>,
}

/// Reads a certificate; none if it is no certificate.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let common_name = parsed.subject().iter_common_name().next();
    let mut identity = Identity {
        common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
        ..Identity::default()
    };
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => identity.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => identity.addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    Some(identity)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// Days that a certificate is good for, from `now` (Unix seconds); negative when it has ended.
pub fn days_left(certificate: &CertificateDer<'_>, now: i64) -> Option<f64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.validity().not_after.timestamp() - now) as f64 / 86_400.0)
}

impl Identity {
    /// Whether one of `names` is a DNS name or an address of the certificate. A name in the certificate may
    /// begin with `*.`, for one label.
    pub fn is_for(&self, names: &[String]) -> bool {
        names.iter().any(|name| {
            self.addresses.contains(name)
                || self.dns_names.iter().any(|pattern| matches(pattern, name))
        })
    }
}

/// Which certificates are let in, of those that an authority vouches for: all, or those with one of these
/// names. Both sides ask this.
#[derive(Clone, Debug)]
pub(super) struct Names {
    common_names: Vec<String>,
    host_names: Vec<String>,
}

impl Names {
    pub(super) fn of(settings: &TlsSettings) -> Names {
        Names {
            common_names: settings.allowed_cn.clone(),
            host_names: settings.allowed_hostname.clone(),
        }
    }

    pub(super) fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.common_names.is_empty() && self.host_names.is_empty() {
            return Ok(());
        }
        let identity = identity_of(certificate)
            .ok_or_else(|| Error::General("the certificate cannot be read".to_owned()))?;
        let by_name =
            identity.common_name.as_ref().is_some_and(|name| self.common_names.contains(name));
        let by_host = !self.host_names.is_empty() && identity.is_for(&self.host_names);
        if by_name || by_host {
            return Ok(());
        }
        Err(Error::General("the certificate is not for an allowed name".to_owned()))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    if let Some(parent) = pattern.strip_prefix("*.") {
        return name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent));
    }
    pattern.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_label() {
        for (pattern, name, expected) in [
            ("a.example", "a.example", true),
            ("A.example", "a.Example", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("a.example", "b.example", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
