//! Reading PEM files.

use std::{fs, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};

use super::{Setting, TlsError};

/// No bundle of certificates is larger.
const BYTES_MAX: u64 = 16 << 20;

fn read(setting: &Setting) -> Result<Vec<u8>, TlsError> {
    let failed =
        |error| TlsError::File { setting: setting.name, path: setting.path.clone(), error };
    let bytes = fs::metadata(&setting.path).map_err(failed)?.len();
    if bytes > BYTES_MAX {
        return Err(content(setting, format!("{bytes} bytes are more than {BYTES_MAX}")));
    }
    fs::read(&setting.path).map_err(failed)
}

pub(super) fn content(setting: &Setting, what: impl ToString) -> TlsError {
    TlsError::Content { setting: setting.name, path: setting.path.clone(), what: what.to_string() }
}

/// A certificate and those that vouch for it, its own first.
pub fn chain(setting: &Setting) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(setting)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| content(setting, error))?;
    if found.is_empty() {
        return Err(content(setting, "there is no certificate in it"));
    }
    Ok(found)
}

/// A private key: PKCS#8, PKCS#1 or SEC1.
pub fn key(setting: &Setting) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(setting)?).map_err(|error| content(setting, error))
}

/// Authorities.
pub fn roots(setting: &Setting) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(setting)? {
        roots.add(certificate).map_err(|error| content(setting, error))?;
    }
    Ok(Arc::new(roots))
}

/// Where systems keep the authorities that they believe.
const SYSTEM_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that the system believes, or those of `SSL_CERT_FILE`, and where they are written. One
/// among them that is broken is left out: they are not ours to repair.
pub fn system_roots() -> Result<(Arc<RootCertStore>, Setting), TlsError> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let paths = match named {
        Some(path) => vec![path.into()],
        None => SYSTEM_ROOTS.map(std::path::PathBuf::from).to_vec(),
    };
    let name = "SSL_CERT_FILE";
    let Some(path) = paths.into_iter().find(|path| path.exists()) else {
        return Err(TlsError::Setting {
            setting: name,
            what: "the system has no authorities, and no trusted-ca-file is set".to_owned(),
        });
    };
    let setting = Setting { name, path };
    let pem = read(&setting)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        return Err(content(&setting, "there is no authority in it"));
    }
    Ok((Arc::new(roots), setting))
}

/// Lists of revoked certificates: PEM, or one in DER, as etcd takes it.
pub fn revoked(setting: &Setting) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(setting)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| content(setting, error))?;
    if found.is_empty() {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    Ok(found)
}
