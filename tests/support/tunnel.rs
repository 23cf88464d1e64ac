//! Certificates, and a way to a port with TLS for clients that speak plain text: a tunnel from a port of
//! its own, with a certificate of the client's or none.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, thread};

use callboard::tls::{Setting, TlsSettings, client_config};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

/// Makes a directory of certificates: `ca.crt`, and for each name `NAME.crt` and `NAME.key`.
pub fn make_certificates(dir: &Path, names: &[&str]) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root"); // who signs is no user
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in names {
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if *name != "nameless" {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        fs::write(dir.join(format!("{name}.crt")), pem).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Opens a tunnel to `target` with the certificate of that name; lasts as long as the test.
pub fn tunnel(target: SocketAddr, dir: &Path, name: &str) -> SocketAddr {
    let file = |name: &'static str, file: String| Some(Setting { name, path: dir.join(file) });
    let settings = TlsSettings {
        ca_file: file("ca", "ca.crt".to_owned()),
        cert_file: file("cert", format!("{name}.crt")),
        key_file: file("key", format!("{name}.key")),
        ..TlsSettings::default()
    };
    // Which protocol is spoken the server sees by itself.
    let config = client_config(&settings, &[b"h2", b"http/1.1"]).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (mut inside, _) = listener.accept().await.unwrap();
                let connector = TlsConnector::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let tcp = TcpStream::connect(target).await?;
                    let host = ServerName::try_from("localhost").expect("a name");
                    let mut outside = connector.connect(host, tcp).await?;
                    copy_bidirectional(&mut inside, &mut outside).await
                });
            }
        });
    });
    addr
}
