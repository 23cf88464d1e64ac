//! The listeners, and the certificates of those that speak TLS.

use std::{
    io,
    net::{TcpListener, ToSocketAddrs},
    path::Path,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

use super::RunError;
use crate::{
    clock::wall_clock,
    config::{Config, Url},
    http::{
        server::{Listening, Local, Port, Tls},
        unix::SocketFile,
    },
    tls::{Reloading, Setting, TlsSettings, self_signed},
};

/// What is spoken inside TLS, the preferred first.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// How often certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Listens at all of `urls`.
pub fn listen(setting: &'static str, urls: &[Url]) -> Result<Vec<TcpListener>, RunError> {
    let open = |url: &Url| {
        bind(url.address()).map_err(|error| RunError::Listen {
            setting,
            url: url.as_str().to_owned(),
            error,
        })
    };
    urls.iter().map(open).collect()
}

/// Listens on the first address of `host` that works, IPv4 before IPv6 as with etcd: `localhost` is
/// 127.0.0.1 even where the system names `::1` first.
fn bind(host: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut addresses: Vec<_> = host.to_socket_addrs()?.collect();
    addresses.sort_unstable();
    TcpListener::bind(&addresses[..])
}

/// The certificates of the client port, if it has an https URL.
pub struct Certificates(Option<Tls>);

impl Certificates {
    /// Reads them, or makes them where the member is to make its own.
    pub fn read(config: &Config) -> Result<Certificates, RunError> {
        let urls = || {
            let http = config.listen_client_http_urls.iter().chain(&config.listen_metrics_urls);
            config.listen_client_urls.iter().chain(http)
        };
        if !urls().any(|url| url.scheme().is_tls()) {
            return Ok(Certificates(None));
        }
        let tls = &config.client_tls;
        let mut serving: TlsSettings = tls.serving.clone();
        if serving.cert_file.is_none() && tls.auto {
            let tcp =
                urls().map(|url| if url.scheme().is_unix() { "localhost" } else { url.host() });
            let mut hosts: Vec<String> = tcp.map(str::to_owned).collect();
            hosts.dedup();
            let dir = config.data_dir.join("fixtures").join("client");
            let now = (wall_clock().0 / 1_000_000_000) as i64;
            let made = self_signed("auto-tls", &dir, &hosts, tls.self_signed_years, now)?;
            let (cert, key): (Setting, Setting) = made.settings("auto-tls");
            (serving.cert_file, serving.key_file) = (Some(cert), Some(key));
        }
        Ok(Certificates(Some(Reloading::new(serving, PROTOCOLS)?)))
    }

    /// Listens at all of `urls`, with TLS where they say https.
    pub fn listen(&self, setting: &'static str, urls: &[Url]) -> Result<Vec<Listening>, RunError> {
        let urls: Vec<Url> = urls.iter().filter(|url| !url.scheme().is_unix()).cloned().collect();
        let sockets = listen(setting, &urls)?.into_iter().zip(&urls);
        let dress = |(socket, url): (TcpListener, &Url)| Listening { socket, tls: self.of(url) };
        Ok(sockets.map(dress).collect())
    }

    /// Listens at the Unix sockets of the client port. Their files are there for as long as the second
    /// answer is kept.
    pub fn listen_local(&self, config: &Config) -> Result<(Vec<Local>, Vec<SocketFile>), RunError> {
        let (mut listening, mut files) = (Vec::new(), Vec::new());
        for (setting, of, urls) in [
            ("listen-client-urls", Port::Clients, &config.listen_client_urls),
            ("listen-client-http-urls", Port::Http, &config.listen_client_http_urls),
            ("listen-metrics-urls", Port::Probes, &config.listen_metrics_urls),
        ] {
            for url in urls.iter().filter(|url| url.scheme().is_unix()) {
                let failed =
                    |error| RunError::Listen { setting, url: url.as_str().to_owned(), error };
                let (socket, file) = SocketFile::listen(Path::new(url.host())).map_err(failed)?;
                listening.push(Local { socket, tls: self.of(url), of });
                files.push(file);
            }
        }
        Ok((listening, files))
    }

    fn of(&self, url: &Url) -> Option<Tls> {
        self.0.clone().filter(|_| url.scheme().is_tls())
    }

    /// The certificates, if there are any.
    pub fn current(&self) -> Option<Tls> {
        self.0.clone()
    }

    /// Takes changed files from now on: when they are seen to have changed, and on SIGHUP, which no longer
    /// ends the process.
    pub fn look_after(&self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let tls = self.0.clone();
        actix::spawn(async move {
            let mut beat = tokio::time::interval(LOOK_EVERY);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let asked = tokio::select! {
                    _ = beat.tick() => false,
                    _ = hangup.recv() => true,
                };
                let Some(tls) = tls.clone() else { continue };
                let look = move || if asked { tls.read_again() } else { tls.look() };
                _ = tokio::task::spawn_blocking(look).await; // files may be slow
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use super::*;

    #[test]
    fn ipv4_is_listened_on_first() {
        let host: [SocketAddr; 2] =
            [(Ipv6Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into()];
        let listener = bind(&host[..]).unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    }
}
