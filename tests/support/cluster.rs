//! A cluster of real processes on loopback, whose members can be killed, stopped, cut off and replaced.

use std::net::SocketAddr;
use std::time::Duration;

use super::clock::poll;
use super::http::{Client, Request, Response};
use super::json::Json;
use super::links::Links;
use super::server::{Server, free_addrs};

/// How long an election, a catching up or an agreement may take, on a machine that is busy compiling.
pub const SETTLE: Duration = Duration::from_secs(30);

/// The members, by number from 0; member `n` is called `n<n>`.
pub struct Cluster {
    members: Vec<Server>,
    /// What lies between them.
    pub links: Links,
    flags: Vec<String>,
    /// The `initial-cluster` of those who founded it.
    founders: String,
}

/// Elections in a tenth of the usual time, so that tests are not all waiting.
pub const FAST: [&str; 2] = ["--heartbeat-interval=20", "--election-timeout=200"];

impl Cluster {
    /// Starts `size` members that found a cluster, and waits until each is ready.
    pub fn start(size: usize, flags: &[&str]) -> Cluster {
        let links = Links::default();
        let addresses: Vec<[SocketAddr; 2]> = (0..size).map(|_| free_addrs()).collect();
        let proxies: Vec<SocketAddr> =
            addresses.iter().map(|&[_, peer]| links.proxy_to(peer)).collect();
        let founders = proxies.iter().enumerate().map(|(n, url)| format!("n{n}=http://{url}"));
        let founders = founders.collect::<Vec<_>>().join(",");
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let mut cluster = Cluster { members: Vec::new(), links, flags, founders: founders.clone() };
        for (n, (addresses, proxy)) in addresses.into_iter().zip(proxies).enumerate() {
            let member = cluster.prepare(&format!("n{n}"), addresses, proxy, &founders, "new");
            cluster.members.push(member);
        }
        cluster.members.iter_mut().for_each(Server::spawn);
        cluster.members.iter_mut().for_each(Server::wait_ready);
        cluster
    }

    fn prepare(
        &self,
        name: &str,
        [client, peer]: [SocketAddr; 2],
        proxy: SocketAddr,
        initial_cluster: &str,
        state: &str,
    ) -> Server {
        Server::of_flags(client, peer, |data_dir| {
            let flags = [
                "serve".to_owned(),
                format!("--name={name}"),
                format!("--data-dir={}", data_dir.display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{proxy}"),
                format!("--initial-cluster={initial_cluster}"),
                format!("--initial-cluster-state={state}"),
            ];
            flags.into_iter().chain(self.flags.iter().cloned()).collect()
        })
    }

    /// Adds a member by way of member `at`, and starts it with an empty directory; answers its number.
    /// `body` is what goes into the request beside the peer URL, such as `,"isLearner":true`.
    pub fn join(&mut self, at: usize, body: &str) -> usize {
        let n = self.members.len();
        let addresses: [SocketAddr; 2] = free_addrs();
        let proxy = self.links.proxy_to(addresses[1]);
        let url = format!("http://{proxy}");
        let added = self.eventually(at, |client| {
            let request = Request::new("POST", "/v2/members")
                .header("Content-Type", "application/json")
                .body(format!(r#"{{"peerURLs":["{url}"]{body}}}"#));
            client.send(&request).ok().filter(|answer| answer.status() == 201)
        });
        assert_eq!(added.status(), 201);
        let listed = self.members_at(at);
        let mut initial: Vec<String> = listed
            .iter()
            .filter(|member| member.peer_url != url)
            .map(|member| format!("{}={}", member.name, member.peer_url))
            .collect();
        initial.push(format!("n{n}={url}"));
        let member =
            self.prepare(&format!("n{n}"), addresses, proxy, &initial.join(","), "existing");
        self.members.push(member);
        self.members[n].spawn();
        n
    }

    /// A member's process.
    pub fn member(&mut self, n: usize) -> &mut Server {
        &mut self.members[n]
    }

    /// How many there are, running or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Those that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|&n| self.members[n].is_running()).collect()
    }

    /// A connection to a member.
    pub fn client(&self, n: usize) -> Client {
        Client::new(self.members[n].client_addr())
    }

    /// Asks a member, on new connections, until the answer is the wanted one.
    pub fn eventually<T>(&self, n: usize, mut ask: impl FnMut(&mut Client) -> Option<T>) -> T {
        let answer = poll(SETTLE, || ask(&mut self.client(n)));
        answer.unwrap_or_else(|| panic!("n{n} did not come to it within {SETTLE:?}"))
    }

    /// Who is listed at a member.
    pub fn members_at(&self, n: usize) -> Vec<Listed> {
        let answer = self.eventually(n, |client| client.get("/v2/members").ok());
        let json = Json::parse(answer.text().trim_end()).expect("JSON");
        let Some(Json::Array(members)) = json.get("members") else { panic!("no members") };
        members.iter().map(Listed::of).collect()
    }

    /// The id of a member, in hex.
    pub fn id(&self, n: usize) -> String {
        let at = self.running()[0];
        let name = format!("n{n}");
        let id = poll(SETTLE, || {
            let listed = self.members_at(at);
            listed.into_iter().find(|member| member.name == name).map(|member| member.id)
        });
        id.unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// The number of the member that leads, as its followers in `among` see it.
    pub fn leader_among(&self, among: &[usize]) -> usize {
        let leader = poll(SETTLE, || {
            let named = among.iter().map(|&n| {
                let answer = self.client(n).get("/v2/members/leader").ok()?;
                let json = Json::parse(answer.text().trim_end())?;
                json.get("name")?.as_str()?.strip_prefix('n')?.parse().ok()
            });
            let named: Option<Vec<usize>> = named.collect();
            let named = named?;
            let first = *named.first()?;
            (among.contains(&first) && named.iter().all(|&n| n == first)).then_some(first)
        });
        leader.expect("a leader whom all know")
    }

    /// The number of the member that leads, as all that run see it.
    pub fn leader(&self) -> usize {
        self.leader_among(&self.running())
    }

    /// Cuts a member off from all others, both ways.
    pub fn isolate(&self, n: usize) {
        let (own, others) = (self.id(n), (0..self.len()).filter(|&other| other != n));
        for other in others.map(|other| self.id(other)).collect::<Vec<_>>() {
            self.links.cut(&own, &other);
            self.links.cut(&other, &own);
        }
    }

    /// Writes until a member says that it is written.
    pub fn put(&self, n: usize, key: &str, value: &str) -> Response {
        self.eventually(n, |client| {
            let answer = client.put(key, &[("value", value)]).ok()?;
            matches!(answer.status(), 200 | 201).then_some(answer)
        })
    }

    /// The value of a key by a linearizable read.
    pub fn get(&self, n: usize, key: &str) -> Option<String> {
        let answer = self.eventually(n, |client| {
            let answer = client.get(&format!("/v2/keys{key}?quorum=true")).ok()?;
            matches!(answer.status(), 200 | 404).then_some(answer)
        });
        value_of(&answer)
    }

    /// Waits until each that runs shows the same, whole keyspace, by local reads, and answers it.
    pub fn agree(&self) -> String {
        let same = poll(SETTLE, || {
            let shown = self.running().into_iter().map(|n| {
                let answer = self.client(n).get("/v2/keys/?recursive=true&sorted=true").ok()?;
                Some((answer.header("X-Etcd-Index")?.to_owned(), answer.text()))
            });
            let shown: Option<Vec<_>> = shown.collect();
            let shown = shown?;
            shown.windows(2).all(|pair| pair[0] == pair[1]).then(|| shown[0].1.clone())
        });
        same.expect("all members show the same")
    }

    /// The `initial-cluster` of those who founded it.
    pub fn founders(&self) -> &str {
        &self.founders
    }
}

/// The value in an answer of the keys.
pub fn value_of(answer: &Response) -> Option<String> {
    let json = Json::parse(answer.text().trim_end())?;
    json.get("node")?.get("value")?.as_str().map(str::to_owned)
}

/// A member as it is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In hex.
    pub id: String,
    /// Empty until it was started.
    pub name: String,
    /// The first of its peer URLs.
    pub peer_url: String,
}

impl Listed {
    fn of(json: &Json) -> Listed {
        let text = |name| json.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let peer_url = match json.get("peerURLs") {
            Some(Json::Array(urls)) => urls.first().and_then(Json::as_str).unwrap_or_default(),
            _ => "",
        };
        Listed { id: text("id"), name: text("name"), peer_url: peer_url.to_owned() }
    }
}
