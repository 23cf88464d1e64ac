//! The listeners, and the certificates of those that speak TLS.

use std::{
    io,
    net::{TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::RunError;
use crate::{
    clock::wall_clock,
    config::{Config, PortTls, Url},
    http::{
        server::{Listening, Local, Port, Tls},
        unix::SocketFile,
    },
    tls::{Dialer, Figures, Look, look_after, serving},
};

/// What is spoken inside TLS, the preferred first.
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
/// The same at the peer port.
const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// Listens at all of `urls`.
fn listen(setting: &'static str, urls: &[Url]) -> Result<Vec<TcpListener>, RunError> {
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

/// The certificates of the ports that have an https URL.
pub struct Certificates {
    client: Option<Tls>,
    peer: Option<Tls>,
}

impl Certificates {
    /// Reads them, or makes them where the member is to make its own.
    pub fn read(config: &Config) -> Result<Certificates, RunError> {
        let http = config.listen_client_http_urls.iter().chain(&config.listen_metrics_urls);
        let clients: Vec<&Url> = config.listen_client_urls.iter().chain(http).collect();
        let peers: Vec<&Url> = config.listen_peer_urls.iter().collect();
        let dir = config.data_dir.join("fixtures");
        let client = of_port(&config.client_tls, &clients, "auto-tls", dir.join("client"), BOTH)?;
        let peer_tls = &config.peer_tls.port;
        let peer = of_port(peer_tls, &peers, "peer-auto-tls", dir.join("peer"), HTTP1)?;
        Ok(Certificates { client, peer })
    }

    /// Listens for clients at all of `urls`, with TLS where they say https.
    pub fn listen(&self, setting: &'static str, urls: &[Url]) -> Result<Vec<Listening>, RunError> {
        let urls: Vec<Url> = urls.iter().filter(|url| !url.scheme().is_unix()).cloned().collect();
        listen_with(self.client.as_ref(), setting, &urls)
    }

    /// The same for members.
    pub fn listen_for_peers(&self, config: &Config) -> Result<Vec<Listening>, RunError> {
        listen_with(self.peer.as_ref(), "listen-peer-urls", &config.listen_peer_urls)
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
                let tls = self.client.clone().filter(|_| url.scheme().is_tls());
                listening.push(Local { socket, tls, of });
                files.push(file);
            }
        }
        Ok((listening, files))
    }

    /// What is counted, for each place where there are certificates.
    pub fn figures(&self, dialer: &Dialer) -> Vec<(&'static str, Arc<Figures>)> {
        let of_ports = [("client", &self.client), ("peer", &self.peer)];
        let of_ports = of_ports.into_iter().filter_map(|(name, tls)| Some((name, tls.as_ref()?)));
        let mut all: Vec<_> =
            of_ports.map(|(name, tls)| (name, Arc::clone(&tls.figures))).collect();
        all.extend(dialer.known().map(|calls| ("peer-calls", Arc::clone(&calls.figures))));
        all
    }

    /// Takes changed files from now on.
    pub fn look_after(&self, dialer: &Arc<Dialer>) -> io::Result<()> {
        let ports = [&self.client, &self.peer].into_iter().flatten();
        let mut all: Vec<Arc<dyn Look>> =
            ports.map(|tls| Arc::clone(tls) as Arc<dyn Look>).collect();
        all.push(Arc::<Dialer>::clone(dialer));
        actix::spawn(look_after(all)?);
        Ok(())
    }
}

fn of_port(
    tls: &PortTls,
    urls: &[&Url],
    auto: &'static str,
    dir: PathBuf,
    protocols: &'static [&'static [u8]],
) -> Result<Option<Tls>, RunError> {
    if !urls.iter().any(|url| url.scheme().is_tls()) {
        return Ok(None);
    }
    let own = tls.own(auto, dir, urls, (wall_clock().0 / 1_000_000_000) as i64);
    Ok(Some(serving(tls.serving.clone(), own, protocols)?))
}

fn listen_with(
    tls: Option<&Tls>,
    setting: &'static str,
    urls: &[Url],
) -> Result<Vec<Listening>, RunError> {
    let sockets = listen(setting, urls)?.into_iter().zip(urls);
    let dress = |(socket, url): (TcpListener, &Url)| Listening {
        socket,
        tls: tls.filter(|_| url.scheme().is_tls()).cloned(),
    };
    Ok(sockets.map(dress).collect())
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
