//! Authorities, what they sign, and a client that speaks HTTP/1.1 through TLS.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use callboard::tls::{Setting, TlsSettings, client_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::http::PATIENCE;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// What a certificate is to be.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// The common name.
    pub name: &'a str,
    /// Names and addresses.
    pub hosts: &'a [&'a str],
    /// The first year in which it is good.
    pub from: i32,
    /// The last.
    pub until: i32,
    /// Its number.
    pub serial: u64,
}

/// One that is good.
pub const GOOD: Wish<'_> =
    Wish { name: "member", hosts: &["localhost", "127.0.0.1"], from: 2000, until: 3000, serial: 7 };

impl Authority {
    /// A new one, with a key that nobody else has.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Writes `FILE.crt` and `FILE.key` into `dir`, the key first: a moment between the two is a pair that
    /// does not fit.
    pub fn sign(&self, dir: &Path, file: &str, wish: Wish<'_>) {
        let hosts: Vec<String> = wish.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, wish.name);
        params.serial_number = Some(SerialNumber::from(wish.serial));
        params.not_before = date_time_ymd(wish.from, 1, 1);
        params.not_after = date_time_ymd(wish.until, 12, 31);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        put(dir, &format!("{file}.key"), &key.serialize_pem());
        put(dir, &format!("{file}.crt"), &pem);
    }

    /// A list with the number of one certificate that is good no more.
    pub fn revoke(&self, serial: u64) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(3000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Puts a file there in one step, as those do who renew certificates.
pub fn put(dir: &Path, name: &str, text: &str) {
    let fresh = dir.join(format!("{name}.fresh"));
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, dir.join(name)).unwrap();
}

/// A client that believes the authority in `dir/CA.crt`, and shows a certificate if one is named.
pub fn client(dir: &Path, ca: &str, certificate: Option<&str>) -> Arc<ClientConfig> {
    let file = |name, file: String| Some(Setting { name, path: dir.join(file) });
    let settings = TlsSettings {
        ca_file: file("ca", format!("{ca}.crt")),
        cert_file: certificate.and_then(|name| file("cert", format!("{name}.crt"))),
        key_file: certificate.and_then(|name| file("key", format!("{name}.key"))),
        ..TlsSettings::default()
    };
    client_config(&settings, &[b"http/1.1"]).unwrap()
}

/// One request on a connection of its own: the status and the body.
pub fn ask(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
    method: &str,
    target: &str,
    form: &str,
) -> io::Result<(u16, String)> {
    let mut stream = connect(config, at)?;
    let length = form.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => _ = read?,
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(ErrorKind::InvalidData)?, body.to_owned()))
}

/// A connection whose handshake is done.
pub fn connect(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let tcp = TcpStream::connect(at)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let host = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::clone(config), host).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
