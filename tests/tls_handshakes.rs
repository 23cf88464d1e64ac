//! Real handshakes between the serving and the calling side, over a pipe in memory: who is let in, who is
//! not, and what happens when files change.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use callboard::tls::{
    Reloading, Setting, Suites, TlsError, TlsSettings, Version, client_config, self_signed,
    server_config,
};
use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use support::certs::{self, GOOD, Wish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// An authority and the directory for what it signs.
struct Authority {
    dir: PathBuf,
    signing: certs::Authority,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Authority {
        Authority { dir: dir.to_owned(), signing: certs::Authority::new(name) }
    }

    /// Writes its own certificate.
    fn ca_file(&self) -> Option<Setting> {
        write(&self.dir, "trusted-ca-file", &self.signing.pem)
    }

    /// Signs a certificate; writes it and its key.
    fn sign(&self, wish: Wish<'_>) -> (Option<Setting>, Option<Setting>) {
        let name = format!("signed-{}", fs::read_dir(&self.dir).unwrap().count());
        self.signing.sign(&self.dir, &name, wish);
        let file = |name, file: String| Some(Setting { name, path: self.dir.join(file) });
        (file("cert-file", format!("{name}.crt")), file("key-file", format!("{name}.key")))
    }

    /// Writes a list of revoked serial numbers.
    fn revoke(&self, serial: u64) -> Option<Setting> {
        write(&self.dir, "client-crl-file", &self.signing.revoke(serial))
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the settings have it")]
fn write(dir: &Path, name: &'static str, text: &str) -> Option<Setting> {
    let number = fs::read_dir(dir).unwrap().count();
    let path = dir.join(format!("{name}-{number}.pem"));
    fs::write(&path, text).unwrap();
    Some(Setting { name, path })
}

fn dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap()
}

/// Shakes hands and says a byte each way. The protocol that was agreed on, or why not: the first side that
/// refuses is named.
async fn shake(server: &TlsSettings, client: &TlsSettings, host: &str) -> Result<String, String> {
    let server = server_config(server, PROTOCOLS).map_err(|error| error.to_string())?;
    let client = client_config(client, PROTOCOLS).map_err(|error| error.to_string())?;
    let (near, far) = tokio::io::duplex(1 << 16);
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let serving = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"s").await?;
        stream.read_u8().await
    };
    let calling = async {
        let mut stream = TlsConnector::from(client).connect(host, near).await?;
        stream.write_all(b"c").await?;
        stream.read_u8().await?;
        let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        Ok::<_, std::io::Error>(String::from_utf8(protocol).unwrap())
    };
    let (served, called) = tokio::join!(serving, calling);
    match (served, called) {
        (Ok(_), Ok(protocol)) => Ok(protocol),
        (Err(error), Ok(_)) => Err(format!("server: {error}")),
        (_, Err(error)) => Err(format!("client: {error}")),
    }
}

fn pair(files: (Option<Setting>, Option<Setting>)) -> TlsSettings {
    TlsSettings { cert_file: files.0, key_file: files.1, ..TlsSettings::default() }
}

#[tokio::test]
async fn who_is_let_in() {
    let dir = dir();
    let ours = Authority::new(dir.path(), "ours");
    let theirs = Authority::new(dir.path(), "theirs");
    let server = pair(ours.sign(GOOD));
    let asking = TlsSettings { ca_file: ours.ca_file(), client_cert_auth: true, ..server.clone() };
    let plain = TlsSettings { ca_file: ours.ca_file(), ..TlsSettings::default() };
    let with = |wish| TlsSettings { ca_file: ours.ca_file(), ..pair(ours.sign(wish)) };
    let named = |cn: &[&str], hosts: &[&str]| TlsSettings {
        allowed_cn: cn.iter().map(ToString::to_string).collect(),
        allowed_hostname: hosts.iter().map(ToString::to_string).collect(),
        ..asking.clone()
    };
    let of_theirs = TlsSettings { ca_file: ours.ca_file(), ..pair(theirs.sign(GOOD)) };
    let optional = TlsSettings { client_cert_auth: false, ..asking.clone() };
    let revoking = TlsSettings { crl_file: ours.revoke(66), ..asking.clone() };
    let calls_only = |cn: &[&str], hosts: &[&str]| TlsSettings {
        allowed_cn: cn.iter().map(ToString::to_string).collect(),
        allowed_hostname: hosts.iter().map(ToString::to_string).collect(),
        ..plain.clone()
    };
    let not_seven = TlsSettings { crl_file: ours.revoke(7), ..plain.clone() };
    let believing = TlsSettings { believe_anyone: true, ..TlsSettings::default() };
    let expired = Wish { until: 2020, ..GOOD };
    let early = Wish { from: 2999, ..GOOD };
    for (what, server, client, host, expected) in [
        ("plain TLS", &server, &plain, "localhost", true),
        ("another host", &server, &plain, "example", false),
        ("anyone is believed", &server, &believing, "example", true),
        ("a certificate", &asking, &with(GOOD), "localhost", true),
        ("no certificate", &asking, &plain, "localhost", false),
        ("another authority", &asking, &of_theirs, "localhost", false),
        ("expired", &asking, &with(expired), "localhost", false),
        ("not valid yet", &asking, &with(early), "localhost", false),
        ("optional, none", &optional, &plain, "localhost", true),
        ("optional, bad", &optional, &of_theirs, "localhost", false),
        ("revoked", &revoking, &with(Wish { serial: 66, ..GOOD }), "localhost", false),
        ("not revoked", &revoking, &with(Wish { serial: 67, ..GOOD }), "localhost", true),
        ("right name", &named(&["other", "member"], &[]), &with(GOOD), "localhost", true),
        ("wrong name", &named(&["other"], &[]), &with(GOOD), "localhost", false),
        ("right host", &named(&[], &["localhost"]), &with(GOOD), "localhost", true),
        ("wrong host", &named(&[], &["example"]), &with(GOOD), "localhost", false),
        ("calls the right name", &server, &calls_only(&["member"], &[]), "localhost", true),
        ("calls a wrong name", &server, &calls_only(&["other"], &[]), "localhost", false),
        ("calls the right host", &server, &calls_only(&[], &["localhost"]), "localhost", true),
        ("calls a wrong host", &server, &calls_only(&[], &["example"]), "localhost", false),
        ("calls who was revoked", &server, &not_seven, "localhost", false),
    ] {
        let shaken = shake(server, client, host).await;
        assert_eq!(shaken.is_ok(), expected, "{what}: {shaken:?}");
        if let Ok(protocol) = shaken {
            assert_eq!(protocol, "h2", "{what}");
        }
    }
}

#[tokio::test]
async fn versions_and_suites() {
    const AES: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    const CHACHA: &str = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
    let dir = dir();
    let ours = Authority::new(dir.path(), "ours");
    let server = pair(ours.sign(GOOD));
    let speaks = |min, max, names: &[&str]| Suites {
        min,
        max,
        names: names.iter().map(ToString::to_string).collect(),
    };
    let (v12, v13) = (Version::Tls12, Version::Tls13);
    for (serves, calls, expected) in [
        (speaks(v12, v13, &[]), speaks(v12, v12, &[]), true),
        (speaks(v13, v13, &[]), speaks(v12, v12, &[]), false),
        (speaks(v12, v12, &[AES]), speaks(v12, v13, &[AES]), true),
        (speaks(v12, v12, &[AES]), speaks(v12, v12, &[CHACHA]), false),
        (speaks(v12, v13, &[AES]), speaks(v12, v13, &[CHACHA]), true), // by 1.3
    ] {
        let server = TlsSettings { suites: serves, ..server.clone() };
        let client = TlsSettings { ca_file: ours.ca_file(), suites: calls, ..Default::default() };
        let shaken = shake(&server, &client, "localhost").await;
        assert_eq!(shaken.is_ok(), expected, "{:?} {:?}: {shaken:?}", server.suites, client.suites);
    }
    let refused = |suites| match server_config(&TlsSettings { suites, ..server.clone() }, PROTOCOLS)
    {
        Ok(_) => "it is taken".to_owned(),
        Err(error) => error.to_string(),
    };
    let text = refused(speaks(v12, v13, &["TLS_RSA_WITH_AES_128_CBC_SHA"]));
    assert!(
        text.starts_with("setting cipher-suites: \"TLS_RSA_WITH_AES_128_CBC_SHA\" is not"),
        "{text}"
    );
    let text = refused(speaks(v13, v12, &[]));
    assert_eq!(text, "setting tls-max-version: is less than tls-min-version");
}

#[tokio::test]
async fn changed_files_are_taken_and_broken_ones_refused() {
    let dir = dir();
    let ours = Authority::new(dir.path(), "ours");
    let later = Authority::new(dir.path(), "later");
    let settings = pair(ours.sign(GOOD));
    let reloading = Reloading::<ServerConfig>::new(settings.clone(), PROTOCOLS).unwrap();
    let ends = reloading.figures.not_after.load(Ordering::Relaxed);
    let believed = async |authority: &Authority| {
        let settings = TlsSettings { ca_file: authority.ca_file(), ..Default::default() };
        let client: std::sync::Arc<ClientConfig> = client_config(&settings, PROTOCOLS).unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let accepting = TlsAcceptor::from(reloading.current()).accept(far);
        let host = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(client).connect(host, near);
        tokio::join!(accepting, connecting).1.is_ok()
    };
    assert!(believed(&ours).await);
    reloading.look();
    assert_eq!(reloading.figures.reloads.load(Ordering::Relaxed), 0, "nothing has changed");

    let replace = |files: (Option<Setting>, Option<Setting>)| {
        let to = [settings.cert_file.as_ref(), settings.key_file.as_ref()];
        for (from, to) in [files.0, files.1].into_iter().flatten().zip(to.into_iter().flatten()) {
            fs::rename(from.path, &to.path).unwrap();
        }
    };
    replace(later.sign(Wish { until: 2999, ..GOOD }));
    reloading.look();
    assert!(believed(&later).await && !believed(&ours).await);
    assert_ne!(reloading.figures.not_after.load(Ordering::Relaxed), ends);

    fs::write(&settings.key_file.as_ref().unwrap().path, "no key").unwrap();
    reloading.look();
    assert!(believed(&later).await, "the old one goes on");
    assert_eq!(reloading.figures.refusals.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let dir = dir();
    let ours = Authority::new(dir.path(), "ours");
    let good = pair(ours.sign(GOOD));
    let other = pair(ours.sign(GOOD));
    let missing = Some(Setting { name: "cert-file", path: dir.path().join("none") });
    let garbage = write(dir.path(), "cert-file", "garbage");
    for (settings, expected) in [
        (TlsSettings { key_file: None, ..good.clone() }, "setting key-file: is needed"),
        (TlsSettings { cert_file: None, ..good.clone() }, "setting cert-file: is needed"),
        (TlsSettings { cert_file: missing, ..good.clone() }, "setting cert-file: \""),
        (TlsSettings { cert_file: garbage, ..good.clone() }, "setting cert-file: \""),
        (TlsSettings { key_file: other.key_file, ..good.clone() }, "setting key-file: \""),
        (
            TlsSettings { client_cert_auth: true, ..good.clone() },
            "setting trusted-ca-file: is needed",
        ),
    ] {
        let error: TlsError = server_config(&settings, PROTOCOLS).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(expected) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_certificate_of_ones_own_is_kept_until_it_ends_soon() {
    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;
    let dir = dir();
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let make = |now| self_signed("auto-tls", &dir.path().join("client"), &hosts, 1, now).unwrap();
    let first = make(NOW);
    let pem = |files: &callboard::tls::SelfSigned| fs::read(&files.cert_file).unwrap();
    let before = pem(&first);
    assert_eq!(pem(&make(NOW + 300 * DAY)), before);
    assert_ne!(pem(&make(NOW + 350 * DAY)), before);
    let mode = fs::metadata(&first.key_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (cert, key) = first.settings("auto-tls");
    let settings = TlsSettings { cert_file: Some(cert), key_file: Some(key), ..Default::default() };
    assert!(server_config(&settings, PROTOCOLS).is_ok());
}
