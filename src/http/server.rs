//! The actor `HttpServer` owns the listeners and the worker pool. It takes [`Start`] and [`Drain`] from
//! the node; its workers send proposals, reads and watch subscriptions.
//!
//! The limits that it sets: the head of a request within 30 seconds and 128 KiB, idle connections for
//! a time, so many connections at each listener and from each address (more are closed), and what a
//! client does not read holds back only that client.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use actix_http::HttpService;
use actix_service::fn_factory;
use actix_web::dev::{Server, ServerHandle, Service, ServiceFactory, fn_service};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

pub use super::accept::Tls;
use super::{
    Doors,
    accept::{AcceptError, Origin, accept},
    audit,
    auth::certificate::{Client, CommonName},
    grpc::{self, GrpcDoor},
    here::Here,
    limits::connections::{Admission, PROBES_MAX, share},
    opening::{self, Opened, Protocol},
    route::Offer,
    service::DoorFactory,
    stream::ClientStream,
    unix::Connection,
    wire::Wire,
};

/// How long a client may take to send the head of its first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that ends may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How the server is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Threads that serve connections; with 0 it is the thread that the actor runs on.
    pub workers: usize,
    /// Connections of each listener; more are closed.
    pub connections_max: usize,
    /// Connections from one address, at each listener; none: as many as there are.
    pub connections_per_address: Option<usize>,
    /// Connections that may wait to be accepted, on each listener.
    pub backlog: i32,
    /// How long a connection may idle between two requests.
    pub idle_timeout: Duration,
    /// How long requests may go on once the server drains.
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            workers: std::thread::available_parallelism().map_or(2, usize::from).min(4),
            connections_max: 50_000,
            connections_per_address: None,
            backlog: 4096,
            idle_timeout: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Runs the doors.
pub struct HttpServer {
    doors: Arc<Doors>,
    settings: ServerSettings,
    running: Option<Running>,
}

/// Who serves the connections.
enum Running {
    Workers(ServerHandle),
    Here(Here),
}

impl HttpServer {
    /// Not started yet.
    pub fn new(doors: Arc<Doors>, settings: ServerSettings) -> HttpServer {
        HttpServer { doors, settings, running: None }
    }
}

impl Actor for HttpServer {
    type Context = Context<Self>;
}

/// Serve on these listeners. Sent once by the node, when the member can serve; answered when
/// connections are taken.
#[derive(Debug, Message)]
#[rtype(result = "io::Result<()>")]
pub struct Start {
    /// `--listen-client-urls`, bound.
    pub clients: Vec<Listening>,
    /// `--listen-client-http-urls`, bound: if there are any, HTTP is served there, and gRPC alone to
    /// `clients`.
    pub http: Vec<Listening>,
    /// `--listen-metrics-urls`, bound: probes and metrics alone.
    pub probes: Vec<Listening>,
    /// Unix sockets among them.
    pub local: Vec<Local>,
}

/// A Unix socket that is listened at.
#[derive(Debug)]
pub struct Local {
    /// The socket.
    pub socket: UnixListener,
    /// As [`Listening::tls`].
    pub tls: Option<Tls>,
    /// Which setting names it.
    pub of: Port,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `--listen-client-urls`
    Clients,
    /// `--listen-client-http-urls`
    Http,
    /// `--listen-metrics-urls`
    Probes,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: TcpListener,
    /// The certificates to speak TLS with; none: plain text.
    pub tls: Option<Tls>,
}

impl Listening {
    /// One that speaks plain text.
    pub fn plain(socket: TcpListener) -> Listening {
        Listening { socket, tls: None }
    }
}

/// Serve no more: nothing new is accepted, requests that came in are answered, parked watches end
/// with an empty body. Answered when all connections are closed, or after the drain timeout.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

impl Handler<Start> for HttpServer {
    type Result = io::Result<()>;

    fn handle(&mut self, start: Start, _ctx: &mut Context<Self>) -> Self::Result {
        let ServerSettings {
            workers,
            connections_max,
            connections_per_address,
            backlog,
            idle_timeout,
            drain_timeout,
        } = self.settings;
        let of_local = |of| start.local.iter().filter(|local| local.of == of).count();
        let probes_count = start.probes.len() + of_local(Port::Probes);
        let http_count = start.http.len() + of_local(Port::Http);
        let clients_count = start.clients.len() + of_local(Port::Clients) + http_count;
        let files = fitting(usize::MAX, files_max());
        let each = share(connections_max, files, clients_count, probes_count);
        let all = each * clients_count + PROBES_MAX * probes_count;
        // Those that are refused are accepted first.
        let all = all.saturating_add(PROBES_MAX);
        let offer = |port| match port {
            Port::Clients if http_count > 0 => Offer::Grpc,
            Port::Clients => Offer::Everything,
            Port::Http => Offer::Http,
            Port::Probes => Offer::Probes,
        };
        let manner = |offer, tls, per_address| {
            let figures = Arc::clone(&self.doors.limits.connections);
            let admission = match offer {
                Offer::Probes => Admission::new(PROBES_MAX, None, figures),
                _ => Admission::new(each, per_address, figures),
            };
            Manner { offer, idle_timeout, tls, admission }
        };
        let clients = start.clients.into_iter().map(|listener| (listener, offer(Port::Clients)));
        let http = start.http.into_iter().map(|listener| (listener, offer(Port::Http)));
        let probes = start.probes.into_iter().map(|listener| (listener, offer(Port::Probes)));
        let mut listeners = Vec::new();
        for (Listening { socket, tls }, offer) in clients.chain(http).chain(probes) {
            rustix::net::listen(&socket, backlog)?; // sets the length of the queue anew
            info!(address = %socket.local_addr()?, tls = tls.is_some(), "serving HTTP");
            listeners.push((socket, manner(offer, tls, connections_per_address)));
        }
        let mut locals = Vec::new();
        for Local { socket, tls, of } in start.local {
            rustix::net::listen(&socket, backlog)?;
            info!(address = ?socket.local_addr()?, tls = tls.is_some(), "serving HTTP");
            socket.set_nonblocking(true)?;
            locals.push((socket, manner(offer(of), tls, None)));
        }
        if workers == 0 {
            let here = Here::new(all);
            for (listener, manner) in listeners {
                listener.set_nonblocking(true)?;
                here.serve(&self.doors, manner, tokio::net::TcpListener::from_std(listener)?);
            }
            for (listener, manner) in locals {
                here.serve(&self.doors, manner, tokio::net::UnixListener::from_std(listener)?);
            }
            self.running = Some(Running::Here(here));
            return Ok(());
        }
        let mut server = Server::build()
            .workers(workers)
            .max_concurrent_connections(all.div_ceil(workers))
            .shutdown_timeout(drain_timeout.as_secs())
            .disable_signals();
        for (listener, manner) in listeners {
            let (name, doors) = (listener.local_addr()?.to_string(), Arc::clone(&self.doors));
            server = server.listen(name, listener, move || connections(&doors, &manner))?;
        }
        for (listener, manner) in locals {
            let (name, doors) = (format!("{:?}", listener.local_addr()?), Arc::clone(&self.doors));
            server = server.listen_uds(name, listener, move || connections(&doors, &manner))?;
        }
        let server = server.run();
        self.running = Some(Running::Workers(server.handle()));
        actix::spawn(async move {
            if let Err(error) = server.await {
                warn!(%error, "HTTP server has ended");
            }
        });
        Ok(())
    }
}

/// How many files this process may have open, after asking for as many as it can get.
pub fn files_max() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }); // or what there is must do
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections fit beside the member's own files. Without a file for its next segment the log
/// fails, and with it the member: clients must never be able to take them all.
pub fn fitting(connections_max: usize, files_max: u64) -> usize {
    const OWN_FILES: u64 = 256;
    let for_clients = files_max.saturating_sub(OWN_FILES.min(files_max / 2)).max(1);
    connections_max.min(usize::try_from(for_clients).unwrap_or(usize::MAX))
}

/// How the connections of a listener are served.
#[derive(Clone)]
pub(super) struct Manner {
    offer: Offer,
    idle_timeout: Duration,
    tls: Option<Tls>,
    admission: Arc<Admission>,
}

/// What is done with each connection of a listener.
pub(super) fn connections<C: Connection>(
    doors: &Arc<Doors>,
    manner: &Manner,
) -> impl ServiceFactory<C, Config = (), Response = (), InitError = ()> + use<C> {
    let drained = Arc::clone(doors);
    let Manner { offer, idle_timeout, tls, admission } = manner.clone();
    let by_certificate = doors.settings.client_cert_auth;
    let wants_names = by_certificate || doors.audit.is_some();
    let http = HttpService::build()
        .on_connect_ext(move |io: &ClientStream<Opened<Wire>>, data| {
            let wire = io.get_ref().get_ref();
            if wants_names && let Some(name) = CommonName::of_connection(wire, by_certificate) {
                data.insert(name);
            }
        })
        .keep_alive(idle_timeout)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(CLOSE_TIMEOUT)
        .h1_allow_half_closed(false) // or a parked watch would not notice that its client left
        .graceful_shutdown_signal(move || {
            let doors = Arc::clone(&drained);
            async move { doors.drain.given().await }
        })
        .h1(DoorFactory::new(Arc::clone(doors), offer));
    let doors = Arc::clone(doors);
    fn_factory(move || {
        let (http, doors, tls) = (http.new_service(()), Arc::clone(&doors), tls.clone());
        let admission = Arc::clone(&admission);
        async move {
            let http = Rc::new(http.await?);
            let grpc = Rc::new(GrpcDoor::new(doors, offer).await?);
            Ok::<_, ()>(fn_service(move |connection: C| {
                let admitted = connection.address().and_then(|from| admission.admit(from));
                let (tls, http, grpc) = (tls.clone(), Rc::clone(&http), Rc::clone(&grpc));
                async move {
                    let Some(_admitted) = admitted else { return Ok(()) }; // closed, and counted
                    connection.take(tls, http, grpc).await;
                    Ok::<(), Infallible>(())
                }
            }))
        }
    })
}

/// What the service of HTTP/1.1 takes.
pub(super) type Parsed = (ClientStream<Opened<Wire>>, Option<SocketAddr>);

/// Serves one connection, in plain text or behind a handshake, to its end.
pub(super) async fn take<S>(
    tcp: TcpStream,
    tls: Option<Tls>,
    http: Rc<S>,
    grpc: Rc<GrpcDoor>,
) -> Result<(), Infallible>
where
    S: Service<(ClientStream<Opened<Wire>>, Option<SocketAddr>)>,
{
    _ = tcp.set_nodelay(true); // a connection without it works too
    let peer = tcp.peer_addr().ok();
    let accepted = tokio::select! {
        accepted = accept(tcp, tls.as_ref(), Origin::Any) => accepted,
        () = grpc.drained() => return Ok(()),
    };
    match accepted {
        Ok(wire) => serve(wire, peer, http, grpc).await,
        Err(error) => {
            refused(&error, peer, &grpc);
            Ok(())
        }
    }
}

/// A connection was not taken.
pub(super) fn refused(error: &AcceptError, peer: Option<SocketAddr>, grpc: &GrpcDoor) {
    if let (Some(log), AcceptError::Handshake(error)) = (grpc.audit(), error) {
        audit::handshake_refused(log, peer, error);
    }
    debug!(?peer, %error, "a TLS handshake came to nothing");
}

/// Serves one connection, whatever it speaks, to its end.
pub(super) async fn serve<S>(
    io: Wire,
    peer: Option<SocketAddr>,
    http: Rc<S>,
    grpc: Rc<GrpcDoor>,
) -> Result<(), Infallible>
where
    S: Service<(ClientStream<Opened<Wire>>, Option<SocketAddr>)>,
{
    let opening = tokio::select! {
        opening = tokio::time::timeout(HEAD_TIMEOUT, opening::read(io)) => opening,
        () = grpc.drained() => return Ok(()),
    };
    // How it ended concerns only the client.
    match opening {
        Ok(Ok((Protocol::Http2, io))) => {
            let is_user = grpc.takes_certificates();
            let wants_name = is_user || grpc.audit().is_some();
            let certificate = wants_name.then(|| CommonName::of_connection(io.get_ref(), is_user));
            let certificate = certificate.flatten();
            grpc::server::serve(io, Client { address: peer, certificate }, grpc).await;
        }
        Ok(Ok((Protocol::Http1, _))) if !grpc.offers_http() => {} // as etcd does, without a word
        Ok(Ok((Protocol::Http1, io))) => {
            _ = http.call((ClientStream::new(io, grpc.stalled_timeout()), peer)).await;
        }
        Ok(Err(_)) | Err(_) => {} // it said nothing
    }
    Ok(())
}

impl Handler<Drain> for HttpServer {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _ctx: &mut Context<Self>) -> Self::Result {
        self.doors.published.draining.store(true, Ordering::Release);
        self.doors.drain.give();
        let (running, patience) = (self.running.take(), self.settings.drain_timeout);
        Box::pin(async move {
            match running {
                Some(Running::Workers(handle)) => handle.stop(true).await,
                Some(Running::Here(here)) => here.ended(patience).await,
                None => {}
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn connections_leave_the_member_its_files() {
        for (connections, files, expected) in [
            (50_000, u64::MAX, 50_000),
            (50_000, 65_536, 50_000),
            (50_000, 1024, 768),
            (50_000, 256, 128),
            (50_000, 0, 1),
            (100, 1024, 100),
        ] {
            assert_eq!(fitting(connections, files), expected, "{connections}, {files} files");
        }
    }
}
