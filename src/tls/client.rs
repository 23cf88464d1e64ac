//! The calling side: of peers, of the proxy, of discovery.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{TlsError, TlsSettings, files, identity::Names};

/// A configuration for outgoing connections. The certificate and key of `settings` are shown if they are
/// given; `ca_file` says whom to believe, and without one those whom the system believes. With
/// `believe_anyone` nobody is vouched for, and the connection is encrypted but could be to anyone: so
/// etcd's automatic TLS works.
pub fn client_config(
    settings: &TlsSettings,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = settings.suites.provider()?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&settings.suites.versions()?)
        .map_err(|error| TlsError::Setting { setting: "cipher-suites", what: error.to_string() })?;
    let verifier: Arc<dyn ServerCertVerifier> = if settings.believe_anyone {
        Arc::new(Anyone(Arc::clone(&provider)))
    } else {
        let (roots, named) = match &settings.ca_file {
            Some(ca_file) => (files::roots(ca_file)?, ca_file.clone()),
            None => files::system_roots()?,
        };
        let mut verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
        if let Some(crl_file) = &settings.crl_file {
            verifier =
                verifier.with_crls(files::revoked(crl_file)?).allow_unknown_revocation_status();
        }
        let inner = verifier
            .build()
            .map_err(|error| files::content(settings.crl_file.as_ref().unwrap_or(&named), error))?;
        Arc::new(Allowed { inner, names: Names::of(settings) })
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => builder
            .with_client_auth_cert(files::chain(cert_file)?, files::key(key_file)?)
            .map_err(|error| files::content(key_file, error))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Believes an authority, if the other side also has one of these names (if any are given).
#[derive(Debug)]
struct Allowed {
    inner: Arc<WebPkiServerVerifier>,
    names: Names,
}

impl ServerCertVerifier for Allowed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
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

/// Believes anyone who holds the key of the certificate that it shows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
