//! A member without a log: the real doors and the real Store, and between them an actor that commits
//! whatever is proposed.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler};
use callboard::{
    actors::{
        lease_keeper::{
            host::{LeaseKeeper, Wiring},
            role::Role as KeeperRole,
        },
        mailbox::{Ask, Gauge, Mailbox},
        raft_node::{Propose, ReadIndex, Transfer, host::SendToPeer},
        store::{
            compactor::{Compactor, Retention},
            host::{ApplyBatch, Pace, Store},
            role::{Committed, Role},
        },
    },
    command::{Command, Proposal, ProposalId},
    http::{
        DoorSettings, Doors, Http2Settings,
        drain::DrainSignal,
        grpc::figures::GrpcFigures,
        quota::Quota,
        server::{Drain, HttpServer, Listening, ServerSettings, Start},
    },
    metrics::Metrics,
    published::{Identity, Published},
    storage::{
        mvcc::{Member as ClusterMember, State},
        v2_tree::stats::V2Stats,
    },
    types::{ClusterId, Index, MemberId, Term, UnixNanos},
};

/// 2026-01-01T00:00:00Z: every proposal is made then.
pub const NOW: UnixNanos = UnixNanos(1_767_225_600_000_000_000);

/// Commits at once; while `hold` is set it leaves questions in its mailbox instead.
struct Log {
    store: Addr<Store>,
    hold: Arc<AtomicBool>,
    held: Vec<Ask<Propose>>,
    last: Index,
}

impl Actor for Log {
    type Context = Context<Self>;
}

impl Handler<Ask<Propose>> for Log {
    type Result = ();

    fn handle(&mut self, ask: Ask<Propose>, _ctx: &mut Context<Self>) {
        if self.hold.load(Ordering::Acquire) {
            return self.held.push(ask);
        }
        let (Propose(command), reply) = ask.take();
        self.last = self.last.next();
        let id = ProposalId(self.last.0);
        let proposal = Proposal { id, member: MemberId(0xa), time: NOW, command };
        let data = rmp_serde::to_vec(&proposal).expect("plain data into memory").into();
        let entries = vec![Committed { index: self.last, term: Term(1), data }];
        self.store.do_send(ApplyBatch { entries, waiting: BTreeMap::from([(id, reply)]) });
    }
}

impl Handler<Ask<ReadIndex>> for Log {
    type Result = ();

    fn handle(&mut self, ask: Ask<ReadIndex>, _ctx: &mut Context<Self>) {
        let (ReadIndex, reply) = ask.take();
        _ = reply.send(Ok(self.last));
    }
}

/// There are no peers.
impl Handler<SendToPeer> for Log {
    type Result = ();

    fn handle(&mut self, _: SendToPeer, _ctx: &mut Context<Self>) {}
}

impl Handler<Transfer> for Log {
    type Result = ();

    fn handle(&mut self, _: Transfer, _ctx: &mut Context<Self>) {} // there is nobody
}

/// See the head of the module.
pub struct Member {
    pub doors: Arc<Doors>,
    pub clients: SocketAddr,
    pub probes: SocketAddr,
    pub hold: Arc<AtomicBool>,
    http: Addr<HttpServer>,
}

/// What a test may want to be small.
pub struct Sizes {
    pub request_bytes: usize,
    pub watch_capacity: usize,
    pub watch_progress_interval: Duration,
    pub propose_capacity: usize,
    /// Whether the member has no vote.
    pub learner: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            request_bytes: 1 << 20,
            watch_capacity: 64,
            watch_progress_interval: Duration::from_mins(10),
            propose_capacity: 64,
            learner: false,
        }
    }
}

impl Member {
    pub async fn start(sizes: Sizes) -> Member {
        let identity = Identity {
            cluster_id: ClusterId(0x00c0_ffee),
            member_id: MemberId(0xa),
            name: "one".to_owned(),
        };
        let urls = |url: &str| vec![url.to_owned()];
        let state = State::new(vec![ClusterMember {
            id: MemberId(0xa),
            name: "one".to_owned(),
            peer_urls: urls("http://127.0.0.1:2380"),
            client_urls: urls("http://127.0.0.1:2379"),
            learner: sizes.learner,
        }]);
        let published = Published::new(identity, state.clone());
        published.raft.leader.store(0xa, Ordering::Release);
        published.raft.term.store(2, Ordering::Release);
        published.raft.commit.store(5, Ordering::Release);
        let stats = Arc::new(V2Stats::default());
        let role = Role::new(MemberId(0xa), state, Compactor::new(Retention::Off, 0), NOW);
        let metrics = Metrics::new();
        let pace = Pace { metrics: Arc::clone(&metrics), warn_after: Duration::MAX };
        let store = Store::new(role, Arc::clone(&published), Arc::clone(&stats), pace).start();
        let hold = Arc::new(AtomicBool::new(false));
        let log =
            Log { store: store.clone(), hold: Arc::clone(&hold), held: Vec::new(), last: Index(0) }
                .start();
        let raft_gauge = Gauge::new("raft-node", sizes.propose_capacity);
        let store_gauge = Gauge::new("store", 64);
        metrics.register_mailbox(Arc::clone(&raft_gauge));
        metrics.register_mailbox(Arc::clone(&store_gauge));
        let keeper = LeaseKeeper::new(
            KeeperRole::new(0),
            Wiring {
                published: Arc::clone(&published),
                read_index: Mailbox::new(log.clone().recipient(), Arc::clone(&raft_gauge)),
                propose: Mailbox::new(log.clone().recipient(), Arc::clone(&raft_gauge)),
                store: Mailbox::new(store.clone().recipient(), Arc::clone(&store_gauge)),
                to_peers: log.clone().recipient(),
            },
        )
        .start();
        let doors = Arc::new(Doors {
            propose: Mailbox::new(log.clone().recipient(), Arc::clone(&raft_gauge)),
            read_index: Mailbox::new(log.clone().recipient(), raft_gauge),
            transfer: log.recipient(),
            quota: Quota::new(true),
            subscribe: Mailbox::new(store.clone().recipient(), Arc::clone(&store_gauge)),
            subscribe_range: Mailbox::new(store.clone().recipient(), Arc::clone(&store_gauge)),
            mark: store.clone().recipient(),
            cancel: store.clone().recipient(),
            leases: Mailbox::new(keeper.recipient(), Arc::clone(&store_gauge)),
            leases_by_end: Mailbox::new(store.recipient(), Arc::clone(&store_gauge)),
            published,
            stats,
            metrics,
            audit: None,
            limits: callboard::http::limits::Limits::default(),
            gate: callboard::http::auth::Gate::default(),
            settings: DoorSettings {
                max_request_bytes: sizes.request_bytes,
                watch_capacity: sizes.watch_capacity,
                watch_progress_interval: sizes.watch_progress_interval,
                cors: urls("*"),
                enable_v2: true,
                enable_gateway: true,
                client_cert_auth: false,
                metrics_auth: false,
                max_txn_ops: 128,
                quota_backend_bytes: None,
                http2: Http2Settings::default(),
                host_whitelist: urls("*"),
                request_timeout: Duration::from_secs(2),
                election_timeout: Duration::from_secs(1),
                strict_reconfig_check: true,
                max_learners: 1,
                stalled_timeout: Duration::from_secs(60),
                max_watches: 100_000,
                start_time: NOW,
            },
            telemetry: None,
            certificates: Vec::new(),
            grpc: Arc::new(GrpcFigures::new(false)),
            drain: DrainSignal::default(),
        });
        let settings = ServerSettings { workers: 2, ..ServerSettings::default() };
        let http = HttpServer::new(Arc::clone(&doors), settings).start();
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (client, probe) = (listen(), listen());
        let (clients, probes) = (client.local_addr().unwrap(), probe.local_addr().unwrap());
        let start = Start {
            clients: vec![Listening::plain(client)],
            http: Vec::new(),
            probes: vec![Listening::plain(probe)],
            local: Vec::new(),
        };
        http.send(start).await.expect("an actor").expect("a server");
        Member { doors, clients, probes, hold, http }
    }

    /// Puts a command through the log without a door.
    pub async fn propose(&self, command: Command) {
        let answering = self.doors.propose.ask(Propose(command)).expect("a slot");
        answering.await.expect("an answer").expect("it is applied");
    }

    pub async fn drain(&self) {
        self.http.send(Drain).await.expect("an actor");
    }

    /// Waits until so many watch.
    pub async fn watchers(&self, count: u64) {
        let reached = async {
            while self.doors.stats.watchers.load(Ordering::Relaxed) != count {
                tokio::task::yield_now().await;
            }
        };
        let seen = || self.doors.stats.watchers.load(Ordering::Relaxed);
        let in_time = tokio::time::timeout(Duration::from_secs(1), reached).await;
        assert!(in_time.is_ok(), "{} watch, not {count}", seen());
    }
}
