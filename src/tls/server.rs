//! The serving side.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{TlsError, TlsSettings, files, identity::Names};

/// A configuration for listeners, with these application protocols, the preferred first.
pub fn server_config(
    settings: &TlsSettings,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let missing = |setting, of| TlsError::Setting {
        setting,
        what: format!("is needed beside {of}, or for https"),
    };
    let cert_file = settings.cert_file.as_ref().ok_or_else(|| missing("cert-file", "key-file"))?;
    let key_file = settings.key_file.as_ref().ok_or_else(|| missing("key-file", "cert-file"))?;
    let provider = settings.suites.provider()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&settings.suites.versions()?)
        .map_err(|error| TlsError::Setting { setting: "cipher-suites", what: error.to_string() })?;
    let wants_certificate = settings.client_cert_auth
        || !settings.allowed_cn.is_empty()
        || !settings.allowed_hostname.is_empty();
    let builder = match &settings.ca_file {
        None if wants_certificate => {
            return Err(TlsError::Setting {
                setting: "trusted-ca-file",
                what: "is needed where clients must show a certificate".to_owned(),
            });
        }
        None => builder.with_no_client_auth(),
        Some(ca_file) => {
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(files::roots(ca_file)?, provider);
            if let Some(crl_file) = &settings.crl_file {
                // A list holds for those whom its own authority signed; of others nothing is known.
                verifier =
                    verifier.with_crls(files::revoked(crl_file)?).allow_unknown_revocation_status();
            }
            if !wants_certificate {
                verifier = verifier.allow_unauthenticated(); // one that is shown must be good all the same
            }
            let inner = verifier.build().map_err(|error| {
                files::content(settings.crl_file.as_ref().unwrap_or(ca_file), error)
            })?;
            builder
                .with_client_cert_verifier(Arc::new(Allowed { inner, names: Names::of(settings) }))
        }
    };
    let mut config = builder
        .with_single_cert(files::chain(cert_file)?, files::key(key_file)?)
        .map_err(|error| files::content(key_file, error))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Lets in whom the authority vouches for, if they also have one of these names.
#[derive(Debug)]
struct Allowed {
    inner: Arc<dyn ClientCertVerifier>,
    names: Names,
}

impl ClientCertVerifier for Allowed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        self.names.check(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
