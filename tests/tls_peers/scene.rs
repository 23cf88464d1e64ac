//! Three members that speak TLS to each other and to their clients, and show certificates both ways.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rustix::process::Signal;
use rustls::ClientConfig;

use crate::support::{
    certs::{self, Authority, GOOD, Wish},
    clock::poll,
    cluster::{FAST, SETTLE},
    http::Client,
    json::Json,
    server::{Server, free_addrs},
};

/// See the head of the module.
pub struct Scene {
    dir: tempfile::TempDir,
    /// Signs the certificates of `ca.crt`.
    pub authority: Authority,
    members: Vec<Member>,
    client: Arc<ClientConfig>,
}

struct Member {
    server: Server,
    /// For clients, by https.
    clients: SocketAddr,
}

/// How the members of a scene are told of certificates for members.
#[derive(Clone, Copy, PartialEq)]
pub enum Peers {
    /// Each has its own, `n<N>.crt`, and asks for them.
    Mutual,
    /// Made by themselves.
    Auto,
}

impl Scene {
    /// Starts three, and waits until each is ready.
    pub fn start(peers: Peers, flags: &[&str]) -> Scene {
        let mut scene = Scene::prepare(peers, flags);
        scene.members.iter_mut().for_each(|member| member.server.spawn());
        scene.members.iter_mut().for_each(|member| member.server.wait_ready());
        scene
    }

    fn prepare(peers: Peers, flags: &[&str]) -> Scene {
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        let authority = Authority::new("members");
        certs::put(dir.path(), "ca.crt", &authority.pem);
        certs::put(dir.path(), "revoked.pem", &authority.revoke(66));
        authority.sign(dir.path(), "server", Wish { name: "server", ..GOOD });
        authority.sign(dir.path(), "client", Wish { name: "client", ..GOOD });
        let client = certs::client(dir.path(), "ca", Some("client"));
        let ports: [SocketAddr; 9] = free_addrs();
        let founders = (0..3).map(|n| format!("n{n}=https://{}", ports[n]));
        let founders = founders.collect::<Vec<_>>().join(",");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let members = (0..3).map(|n| {
            let (peer, clients, plain) = (ports[n], ports[3 + n], ports[6 + n]);
            authority.sign(dir.path(), &format!("n{n}"), GOOD);
            certs::put(dir.path(), &format!("ca-n{n}.crt"), &authority.pem);
            let (cert, key) = (path(&format!("n{n}.crt")), path(&format!("n{n}.key")));
            let server = Server::of_flags(plain, peer, |data_dir| {
                let mut all = vec![
                    "serve".to_owned(),
                    format!("--name=n{n}"),
                    format!("--data-dir={}", data_dir.display()),
                    format!("--listen-client-urls=https://{clients}"),
                    format!("--advertise-client-urls=https://{clients}"),
                    format!("--listen-metrics-urls=http://{plain}"),
                    format!("--listen-peer-urls=https://{peer}"),
                    format!("--initial-advertise-peer-urls=https://{peer}"),
                    format!("--initial-cluster={founders}"),
                    format!("--cert-file={}", path("server.crt")),
                    format!("--key-file={}", path("server.key")),
                    format!("--trusted-ca-file={}", path("ca.crt")),
                    "--client-cert-auth".to_owned(),
                ];
                match peers {
                    Peers::Auto => all.push("--peer-auto-tls".to_owned()),
                    Peers::Mutual => all.extend([
                        format!("--peer-cert-file={cert}"),
                        format!("--peer-key-file={key}"),
                        format!("--peer-trusted-ca-file={}", path(&format!("ca-n{n}.crt"))),
                        format!("--peer-crl-file={}", path("revoked.pem")),
                        "--peer-client-cert-auth".to_owned(),
                    ]),
                }
                all.extend(FAST.iter().chain(flags).map(ToString::to_string));
                all
            });
            Member { server, clients }
        });
        let members = members.collect();
        Scene { dir, authority, members, client }
    }

    /// The folder of certificates.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A member's process.
    pub fn member(&mut self, n: usize) -> &mut Server {
        &mut self.members[n].server
    }

    /// Where it listens for clients, by https.
    pub fn clients(&self, n: usize) -> SocketAddr {
        self.members[n].clients
    }

    /// Where it listens for members.
    pub fn peers(&self, n: usize) -> SocketAddr {
        self.members[n].server.peer_addr()
    }

    /// What a client has that is let in.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Writes at a member until it says that it is written.
    pub fn put(&self, n: usize, key: &str, value: &str) {
        let target = format!("/v2/keys{key}");
        let written = poll(SETTLE, || {
            let answer = certs::ask(
                &self.client,
                self.clients(n),
                "PUT",
                &target,
                &format!("value={value}"),
            );
            answer.ok().filter(|(status, _)| matches!(status, 200 | 201))
        });
        assert!(written.is_some(), "n{n} does not take {key}");
    }

    /// Waits until a member has this value, by local reads.
    pub fn has(&self, n: usize, key: &str, value: &str) {
        let target = format!("/v2/keys{key}");
        let wanted = format!(r#""value":"{value}""#);
        let found = poll(SETTLE, || {
            let answer = certs::ask(&self.client, self.clients(n), "GET", &target, "");
            answer.ok().filter(|(_, body)| body.contains(&wanted))
        });
        assert!(found.is_some(), "n{n} has no {key}={value}");
    }

    /// The number of the member that leads, as these see it.
    pub fn leader_among(&self, among: &[usize]) -> usize {
        let leader = poll(SETTLE, || {
            let named = among.iter().map(|&n| {
                let target = "/v2/members/leader";
                let (_, body) =
                    certs::ask(&self.client, self.clients(n), "GET", target, "").ok()?;
                let json = Json::parse(body.trim_end())?;
                json.get("name")?.as_str()?.strip_prefix('n')?.parse().ok()
            });
            let named: Option<Vec<usize>> = named.collect();
            let named = named?;
            let first = *named.first()?;
            (among.contains(&first) && named.iter().all(|&n| n == first)).then_some(first)
        });
        leader.expect("a leader whom all know")
    }

    /// A figure of a member's `/metrics`.
    pub fn figure(&self, n: usize, name: &str) -> Option<u64> {
        let text = Client::new(self.members[n].server.client_addr()).get("/metrics").ok()?.text();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
    }

    /// Changes files, and waits until all members have taken them for both directions.
    pub fn change(&self, what: impl FnOnce()) {
        const SIDES: [&str; 2] = ["peer", "peer-calls"];
        let reloads = |(n, of): (usize, &str)| {
            self.figure(n, &format!("callboard_tls_reloads_total{{of=\"{of}\"}}"))
        };
        let each = || (0..3).flat_map(|n| SIDES.map(|of| (n, of)));
        let before: Vec<_> = each().map(reloads).collect();
        what();
        for (side, before) in each().zip(before) {
            let taken = poll(SETTLE, || (reloads(side)? > before?).then_some(()));
            assert!(taken.is_some(), "the new files are not taken: {side:?}");
        }
    }

    /// Tells all members by SIGHUP to read their files.
    pub fn hang_up(&self) {
        self.members.iter().for_each(|member| member.server.signal(Signal::HUP));
    }

    /// The certificate that a member has made for itself.
    pub fn own_certificate(&self, n: usize) -> PathBuf {
        self.members[n].server.data_dir().join("fixtures").join("peer").join("cert.pem")
    }
}

/// What a file holds.
pub fn bytes(path: &PathBuf) -> Vec<u8> {
    fs::read(path).unwrap()
}
