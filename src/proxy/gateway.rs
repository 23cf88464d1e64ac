//! The gateway: joins each client's TCP connection to one of the endpoints, in turn, and looks at
//! nothing that goes through. TLS passes through it as it is.
//!
//! An endpoint that cannot be reached is left out until a try in the background reaches it; when all are
//! left out they are tried all the same.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{TokioResolver, proto::rr::RData};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tracing::{debug, info, warn};

use crate::{
    http::server::{files_max, fitting},
    tls::{Dialer, Place, Setting, TlsError, TlsSettings},
};

/// How long an endpoint may take to accept a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is looked after this often by the kernel.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Client connections in all; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 50_000;
/// How long accepting rests after it failed: out of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// How a gateway is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens: `host:port`.
    pub listen_addr: String,
    /// The endpoints, `host:port` each; not looked at with `discovery_srv`.
    pub endpoints: Vec<String>,
    /// A domain whose SRV records name the endpoints.
    pub discovery_srv: Option<String>,
    /// What the service in those records is called beside `etcd-client`.
    pub discovery_srv_name: String,
    /// Who must vouch for the endpoints that `discovery_srv` finds; none: they are taken as DNS names them.
    pub trusted_ca_file: Option<PathBuf>,
    /// How long an endpoint is left out before it is tried again.
    pub retry_delay: Duration,
}

/// Why a gateway ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The listener could not be opened.
    #[error("setting --listen-addr: value {address:?}: {error}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// DNS names no endpoint.
    #[error("setting --discovery-srv: value {domain:?}: {reason}")]
    Discovery {
        /// The domain.
        domain: String,
        /// Why.
        reason: String,
    },
    /// The authority is not what it should be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be waited for.
    #[error("listening for signals: {0}")]
    Signals(io::Error),
}

/// An endpoint.
#[derive(Debug)]
struct Target {
    address: String,
    /// Lower ones are preferred.
    priority: u16,
    up: AtomicBool,
}

impl Target {
    fn new(address: String, priority: u16) -> Target {
        Target { address, priority, up: AtomicBool::new(true) }
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let connecting = TcpStream::connect(&self.address);
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, connecting).await;
        let tcp = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        look_after(&tcp);
        Ok(tcp)
    }
}

/// A connection whose other side has vanished must not stay for ever.
fn look_after(tcp: &TcpStream) {
    _ = tcp.set_nodelay(true); // connections work without either
    _ = rustix::net::sockopt::set_socket_keepalive(tcp, true)
        .and_then(|()| rustix::net::sockopt::set_tcp_keepidle(tcp, KEEPALIVE));
}

/// Runs a gateway until it is told to stop.
pub fn run(settings: &Settings) -> Result<(), GatewayError> {
    let system = actix::System::new();
    let result = system.block_on(serve(settings));
    actix::System::current().stop();
    result
}

async fn serve(settings: &Settings) -> Result<(), GatewayError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::Signals)?;
    let targets: Vec<Target> = match &settings.discovery_srv {
        Some(domain) => {
            let authority = settings.trusted_ca_file.as_ref();
            let dialer = authority.map(|path| believing(path, domain)).transpose()?;
            discover(domain, &settings.discovery_srv_name, dialer.as_deref()).await?
        }
        None => settings.endpoints.iter().map(|it| Target::new(it.clone(), 0)).collect(),
    };
    let targets: Arc<[Target]> = targets.into();
    let refused = |error| GatewayError::Listen { address: settings.listen_addr.clone(), error };
    let listener = listen(&settings.listen_addr).map_err(refused)?;
    let endpoints: Vec<&str> = targets.iter().map(|target| target.address.as_str()).collect();
    info!(
        address = settings.listen_addr,
        endpoints = endpoints.join(","),
        "ready to proxy client requests"
    );
    _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let signal = tokio::select! {
        () = accept(listener, &targets) => "none", // it goes on for ever
        () = revive(&targets, settings.retry_delay) => "none",
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    // Where a request ends is not known here: what is under way is cut.
    info!(signal, "stopped");
    Ok(())
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    addresses.sort_unstable();
    let listener = StdListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(listener: TcpListener, targets: &Arc<[Target]>) {
    let connections_max = fitting(CONNECTIONS_MAX, files_max() / 2);
    let slots = Arc::new(Semaphore::new(connections_max));
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let (targets, turn) = (Arc::clone(targets), Arc::clone(&turn));
                tokio::spawn(async move {
                    join(client, &targets, turn.fetch_add(1, Ordering::Relaxed)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "a connection was not accepted; accepting pauses");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Joins a client to the first endpoint that can be reached.
async fn join(mut client: TcpStream, targets: &[Target], turn: usize) {
    look_after(&client);
    for target in order(targets, turn) {
        match target.dial().await {
            Ok(mut endpoint) => {
                target.up.store(true, Ordering::Relaxed);
                // Each side's end is passed on to the other, which may go on; an error ends both.
                _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
                return;
            }
            Err(error) if target.up.swap(false, Ordering::Relaxed) => {
                warn!(endpoint = target.address, %error, "an endpoint is left out");
            }
            Err(error) => debug!(endpoint = target.address, %error, "still not reached"),
        }
    }
    warn!("a client was turned away: no endpoint can be reached");
}

/// Whom to try for the connection with this number: those that are up before those that are not, lower
/// priorities first, and in turn among equals.
fn order(targets: &[Target], turn: usize) -> Vec<&Target> {
    let rank = |target: &Target| (!target.up.load(Ordering::Relaxed), target.priority);
    let mut ranked: Vec<(_, &Target)> = targets.iter().map(|it| (rank(it), it)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut ordered = Vec::new();
    for equals in ranked.chunk_by(|a, b| a.0 == b.0) {
        let first = turn % equals.len();
        ordered.extend(equals[first..].iter().chain(&equals[..first]).map(|(_, target)| *target));
    }
    ordered
}

/// Tries those that are left out, again and again.
async fn revive(targets: &[Target], delay: Duration) {
    let delay = delay.max(PAUSE);
    loop {
        tokio::time::sleep(delay).await;
        for target in targets.iter().filter(|target| !target.up.load(Ordering::Relaxed)) {
            match target.dial().await {
                Ok(_) => {
                    target.up.store(true, Ordering::Relaxed);
                    info!(endpoint = target.address, "an endpoint is back");
                }
                Err(error) => debug!(endpoint = target.address, %error, "still not reached"),
            }
        }
    }
}

/// The names of the records for clients, those with TLS first.
fn srv_names(domain: &str, service: &str) -> [String; 2] {
    let suffix = if service.is_empty() { String::new() } else { format!("-{service}") };
    ["etcd-client-ssl", "etcd-client"].map(|label| format!("_{label}{suffix}._tcp.{domain}."))
}

/// Whether certificates are of this authority, and for this domain: as with etcd, an endpoint that DNS has
/// named vouches for the domain, not for its own name.
fn believing(authority: &Path, domain: &str) -> Result<Arc<Dialer>, TlsError> {
    let ca_file = Some(Setting { name: "trusted-ca-file", path: authority.to_owned() });
    let settings = TlsSettings { ca_file, ..TlsSettings::default() };
    Dialer::new(settings, Some(domain.trim_end_matches('.').to_owned()))
}

/// An endpoint that DNS has named.
struct Found {
    place: Place,
    priority: u16,
}

impl Found {
    fn target(&self) -> Target {
        Target::new(format!("{}:{}", self.place.host, self.place.port), self.priority)
    }
}

async fn discover(
    domain: &str,
    service: &str,
    dialer: Option<&Dialer>,
) -> Result<Vec<Target>, GatewayError> {
    let refused = |reason: String| GatewayError::Discovery { domain: domain.to_owned(), reason };
    let resolver =
        TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let resolver = resolver.map_err(|error| refused(error.to_string()))?;
    let (mut all, mut why) = (Vec::new(), Vec::new());
    let names = srv_names(domain.trim_end_matches('.'), service);
    for (name, is_secure) in names.into_iter().zip([true, false]) {
        match resolver.srv_lookup(name.as_str()).await {
            Ok(found) => all.extend(found.answers().iter().filter_map(|record| {
                let RData::SRV(srv) = &record.data else { return None };
                let host = srv.target.to_utf8().trim_end_matches('.').to_owned();
                let place = Place { is_secure, host, port: srv.port };
                Some(Found { place, priority: srv.priority })
            })),
            Err(error) => why.push(format!("{name}: {error}")),
        }
    }
    if all.is_empty() {
        let reason = why.join("; ").replace('\n', " ");
        return Err(refused(format!("no SRV records: {reason}")));
    }
    if let Some(dialer) = dialer {
        all = vouched_for(dialer, all).await;
        if all.is_empty() {
            return Err(refused("no endpoint has a certificate of trusted-ca-file".to_owned()));
        }
    }
    Ok(all.iter().map(Found::target).collect())
}

/// Those that shake hands with a good certificate. A forged record of DNS must not lead clients away.
async fn vouched_for(dialer: &Dialer, all: Vec<Found>) -> Vec<Found> {
    let mut good = Vec::new();
    for found in all {
        let Place { is_secure, host, port } = &found.place;
        let why = if *is_secure {
            match tokio::time::timeout(DIAL_TIMEOUT, dialer.dial(&found.place)).await {
                Ok(Ok(_)) => {
                    good.push(found);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no handshake in time".to_owned(),
            }
        } else {
            "its record is not one of those with TLS".to_owned()
        };
        warn!(endpoint = format!("{host}:{port}"), why, "an endpoint is left out for good");
    }
    good
}

#[cfg(test)]
mod tests {
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{clock::wall_clock, tls};

    /// What DNS names is taken if it shows a certificate of the authority, for the domain.
    #[actix_rt::test]
    async fn only_endpoints_that_are_vouched_for_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let now = (wall_clock().0 / 1_000_000_000) as i64;
        let mut all = Vec::new();
        let mut authority = None;
        for (name, domain) in [("good", "d.example"), ("stranger", "d.example")] {
            let own = tls::Auto {
                setting: "auto-tls",
                dir: folder.path().join(name),
                hosts: vec![domain.to_owned()],
                years: 1,
                now,
            };
            let serving = tls::serving(TlsSettings::default(), Some(own), &[]).unwrap();
            authority.get_or_insert(folder.path().join(name).join("cert.pem"));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    _ = TlsAcceptor::from(serving.current()).accept(tcp).await;
                }
            });
            for is_secure in [true, false] {
                let place = Place { is_secure, host: "127.0.0.1".to_owned(), port };
                all.push(Found { place, priority: 0 });
            }
        }
        let good = all[0].place.clone();
        let dialer = believing(&authority.unwrap(), "d.example.").unwrap();
        let found = vouched_for(&dialer, all).await;
        assert_eq!(found.iter().map(|it| &it.place).collect::<Vec<_>>(), [&good]);
        let other = believing(&folder.path().join("good/cert.pem"), "e.example").unwrap();
        let all = vec![Found { place: good, priority: 0 }];
        assert!(vouched_for(&other, all).await.is_empty(), "for another domain");
    }

    fn ordered(targets: &[(&str, u16, bool)], turn: usize) -> String {
        let made: Vec<Target> = targets
            .iter()
            .map(|&(name, priority, up)| {
                let target = Target::new(name.to_owned(), priority);
                target.up.store(up, Ordering::Relaxed);
                target
            })
            .collect();
        order(&made, turn).iter().map(|target| target.address.as_str()).collect()
    }

    #[test]
    fn endpoints_take_turns_among_equals() {
        let equal = [("a", 0, true), ("b", 0, true), ("c", 0, true)];
        for (turn, expected) in [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc")] {
            assert_eq!(ordered(&equal, turn), expected);
        }
        let mixed = [("a", 1, true), ("b", 0, false), ("c", 0, true), ("d", 1, true)];
        for (turn, expected) in [(0, "cadb"), (1, "cdab")] {
            assert_eq!(ordered(&mixed, turn), expected);
        }
        assert_eq!(ordered(&[], 5), "");
    }

    #[test]
    fn records_are_named_as_etcd_names_them() {
        assert_eq!(
            srv_names("example.com", ""),
            ["_etcd-client-ssl._tcp.example.com.", "_etcd-client._tcp.example.com."]
        );
        assert_eq!(srv_names("d", "n")[1], "_etcd-client-n._tcp.d.");
    }
}
