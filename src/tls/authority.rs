//! A private authority, and the certificates that it signs: for members, and for clients. Bytes go in and
//! out; who calls reads the clock and keeps the files.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use x509_parser::prelude::*;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// What is shown.
    pub certificate: String,
    /// What is kept.
    pub key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Unix seconds.
    pub now: u64,
    /// From `now` on.
    pub days: u32,
}

/// Why there is no certificate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No address, and no name of DNS.
    #[error("{0:?} is no host; allowed: an address, a DNS name, or *. and a DNS name")]
    Host(String),
    /// It would end after those who believe the authority have stopped to.
    #[error("the authority ends in {left} days; allowed: at most as many, or a new authority")]
    Outlives {
        /// Whole days.
        left: i64,
    },
    /// A certificate, and no authority's.
    #[error("the authority's certificate may not sign others")]
    NoAuthority,
    /// They were not made together.
    #[error("the authority's key does not go with its certificate")]
    Mismatch,
    /// Not PEM, or a name that no certificate can hold.
    #[error("{0}")]
    Other(String),
}

const DAY: u64 = 86_400;
/// Certificates are good from an hour before they were made: clocks differ.
const BEFORE: u64 = 3600;

/// A new authority. It signs members and clients, no further authorities.
pub fn new_authority(validity: Validity) -> Result<Pair, AuthorityError> {
    let mut params = params("callboard authority", validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(other)?;
    let certificate = params.self_signed(&key).map_err(other)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A certificate for a member, which serves as one of `hosts` and calls other members.
pub fn for_member(
    authority: &Pair,
    name: &str,
    hosts: &[String],
    validity: Validity,
) -> Result<Pair, AuthorityError> {
    let mut params = params(name, validity);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = hosts.iter().map(|host| san(host)).collect::<Result<_, _>>()?;
    sign(authority, params, validity)
}

/// A certificate for the client `name`.
pub fn for_client(
    authority: &Pair,
    name: &str,
    validity: Validity,
) -> Result<Pair, AuthorityError> {
    let mut params = params(name, validity);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(authority, params, validity)
}

fn sign(
    authority: &Pair,
    mut params: CertificateParams,
    validity: Validity,
) -> Result<Pair, AuthorityError> {
    let issuer = issuer(authority, validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(other)?;
    let certificate = params.signed_by(&key, &issuer).map_err(other)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The authority, if it is one and is there for as long as what it is to sign.
fn issuer(
    authority: &Pair,
    validity: Validity,
) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let key = KeyPair::from_pem(&authority.key).map_err(other)?;
    let der = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).map_err(other)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(other)?;
    if !parsed.is_ca() {
        return Err(AuthorityError::NoAuthority);
    }
    if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
        return Err(AuthorityError::Mismatch);
    }
    let left = parsed.validity().not_after.timestamp() - validity.now as i64;
    if left < (u64::from(validity.days) * DAY) as i64 {
        return Err(AuthorityError::Outlives { left: left.div_euclid(DAY as i64) });
    }
    Issuer::from_ca_cert_der(&der, key).map_err(other)
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    let days = u64::from(validity.days.min(DAYS_MAX));
    params.not_before = epoch + Duration::from_secs(validity.now.saturating_sub(BEFORE));
    params.not_after = epoch + Duration::from_secs(validity.now + days * DAY);
    params
}

/// A hundred years: more is a mistake, and dates have an end.
pub const DAYS_MAX: u32 = 36_500;

fn san(host: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || AuthorityError::Host(host.to_owned());
    let name = host.strip_prefix("*.").unwrap_or(host);
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) => Ok(SanType::DnsName(host.try_into().map_err(|_| refused())?)),
        _ => Err(refused()),
    }
}

fn other(error: impl ToString) -> AuthorityError {
    AuthorityError::Other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{days_left, identity_of};

    const NOW: u64 = 1_800_000_000;

    fn days(days: u32) -> Validity {
        Validity { now: NOW, days }
    }

    fn der(pair: &Pair) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn certificates_say_who_and_until_when() {
        let authority = new_authority(days(100)).unwrap();
        let hosts = ["127.0.0.1".to_owned(), "::1".into(), "*.a.example".into()];
        let member = for_member(&authority, "n1", &hosts, days(10)).unwrap();
        let identity = identity_of(&der(&member)).unwrap();
        assert_eq!(identity.common_name.as_deref(), Some("n1"));
        assert_eq!(identity.dns_names, ["*.a.example"]);
        assert_eq!(identity.addresses, ["127.0.0.1", "::1"]);
        let left = days_left(&der(&member), NOW as i64).unwrap();
        assert!((9.99..=10.0).contains(&left), "{left}");
        let client = for_client(&authority, "alice", days(10)).unwrap();
        let (_, parsed) = X509Certificate::from_der(der(&client).as_ref().to_vec().leak()).unwrap();
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(!parsed.is_ca());
    }

    #[test]
    fn what_cannot_be_signed_is_said() {
        let authority = new_authority(days(100)).unwrap();
        let another = new_authority(days(100)).unwrap();
        let client = for_client(&authority, "alice", days(10)).unwrap();
        let mixed = Pair { certificate: authority.certificate.clone(), key: another.key };
        let error = |authority, days| for_client(authority, "b", days).err().unwrap();
        assert_eq!(error(&mixed, days(1)), AuthorityError::Mismatch);
        assert_eq!(error(&client, days(1)), AuthorityError::NoAuthority);
        assert_eq!(error(&authority, days(101)), AuthorityError::Outlives { left: 100 });
        for host in ["", "a b", "*", "a..b", "http://a", "a:1", "a/8", "ä.example"] {
            let made = for_member(&authority, "n", &[host.to_owned()], days(1));
            assert_eq!(made.err(), Some(AuthorityError::Host(host.to_owned())));
        }
    }
}
