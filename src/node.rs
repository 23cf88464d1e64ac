//! One member, from start to end: opens its data, starts the actors in order, waits for a signal,
//! stops them in order.
//!
//! The order of starting: data directory (locked), listeners (so that a taken port is told before any
//! long work), recovery, WAL writer, Store and RaftNode, Snapshotter, doors; ready once the member has
//! published itself through the log. The order of draining: doors (no new requests, parked watches
//! end), RaftNode (what was accepted is carried through), Snapshotter, WAL writer (synced).

mod boot;
mod clocks;
mod force_new_cluster;
mod gate;
mod leases;
mod listening;
mod peering;
mod publish;
mod signals;

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use actix::{Actor, Addr, Arbiter};
use crossbeam_channel::Sender;
use tokio::sync::Notify;

use crate::{
    actors::{
        audit::digest::Digester,
        lease_keeper::host::LeaseKeeper,
        mailbox::{Gauge, Mailbox, Reply, bell::RingingSender},
        raft_node::{
            Propose, ProposeError, ReadIndex, Transfer,
            host::{Digested, Persisted, RaftNode, SnapshotTaken, StopTaking, Wiring},
            role::Role as RaftRole,
        },
        snapshotter::{self, host::Snapshotter, role::Policy},
        store::{
            Cancel, Subscribe,
            compactor::Compactor,
            host::{Meet, Pace, Store},
            role::Role as StoreRole,
            watch_line::{Mark, SubscribeRange},
        },
        wal_writer::{self, Control, WalFigures, role::Role as WalRole},
    },
    audit_log::AuditLog,
    bootstrap::{self, Bootstrap, BootstrapError},
    clock::wall_clock,
    config::{Config, MetricsDetail},
    http::{
        self, DoorSettings, Doors,
        grpc::figures::GrpcFigures,
        server::{HttpServer, Listening},
    },
    metrics::Metrics,
    published::Published,
    storage::{
        data_dir::DataDir,
        disk::{Disk, RealDisk},
        v2_tree::stats::V2Stats,
    },
    telemetry::Telemetry,
    tls::{Dialer, Figures},
    types::Index,
};

pub use boot::BootError;

/// Why a member ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not learn whose member it is.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// It could not start from its data.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A listener, or a key, could not be opened.
    #[error("setting {setting}: value {url:?}: {error}")]
    Listen {
        /// Which setting names it.
        setting: &'static str,
        /// The URL, or what else was asked for.
        url: String,
        /// Why.
        error: std::io::Error,
    },
    /// A certificate, a key or a list of authorities is missing, or not what it should be.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The `raft` crate refused what it was given.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// A thread could not be started, or signals not be waited for.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The HTTP server is gone.
    #[error("the HTTP server has ended")]
    ServerEnded,
    /// It was removed from the cluster.
    #[error("this member was removed from the cluster, and its id can never return")]
    Removed,
    /// The member could not publish itself.
    #[error("publishing this member: {0}")]
    Publish(ProposeError),
}

/// How a member came to its end.
#[derive(Debug)]
pub enum Ended {
    /// It was told to, or was removed.
    Stopped,
    /// It never was one: the cluster that it was to found has all its members, and it is to be their proxy.
    /// These are their peer URLs.
    Proxy(Vec<String>),
}

/// Runs a member until it is told to stop.
pub fn run(config: &Config, telemetry: Telemetry) -> Result<Ended, RunError> {
    boot::stop_on_panic();
    let system = actix::System::new();
    let result = system.block_on(serve(config, telemetry));
    actix::System::current().stop();
    result
}

async fn serve(config: &Config, telemetry: Telemetry) -> Result<Ended, RunError> {
    let mut signals = signals::Signals::listen().map_err(system("listening for signals"))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dialer = config.peer_tls.dialer()?;
    let first = if boot::has_member(&disk, config)? {
        None
    } else {
        let found = tokio::select! {
            found = bootstrap::resolve(config) => found?,
            signal = signals.wait(|| {}) => {
                tracing::info!(signal, "stopping before the other members were found");
                return Ok(Ended::Stopped);
            }
        };
        match found {
            Bootstrap::New { members, own, cluster } => {
                Some(boot::First { cluster, own, founders: members })
            }
            Bootstrap::Join { own, cluster, .. } => {
                Some(boot::First { cluster, own, founders: Vec::new() })
            }
            Bootstrap::Proxy { members } => {
                return Ok(Ended::Proxy(members.into_iter().flat_map(|m| m.peer_urls).collect()));
            }
        }
    };
    let opened = boot::open(&disk, config, first)?;
    if opened.recovered.state.membership().removed().contains(&opened.identity.member_id) {
        return Err(RunError::Removed);
    }
    let certificates = listening::Certificates::read(config)?;
    let clients = certificates.listen("listen-client-urls", &config.listen_client_urls)?;
    let http = certificates.listen("listen-client-http-urls", &config.listen_client_http_urls)?;
    let probes = certificates.listen("listen-metrics-urls", &config.listen_metrics_urls)?;
    let (local, socket_files) = certificates.listen_local(config)?;
    let metrics = Metrics::new();
    let peers =
        Way { listeners: certificates.listen_for_peers(config)?, dialer: Arc::clone(&dialer) };
    certificates.look_after(&dialer).map_err(system("listening for signals"))?;
    let core = Core::start(config, &disk, opened, &metrics, peers)?;
    let gate = gate::open(config)?;
    let audit = gate::open_audit_log(config)?;
    let figures = certificates.figures(&dialer);
    let doors = Arc::new(core.doors(config, telemetry, figures, gate, audit));
    let publishing =
        publish::publish(config, &core.published, core.raft_node.clone(), &core.raft_gauge);
    tokio::pin!(publishing);
    // A cluster that has no quorum yet, or no more, is served as well as it can be, but not as ready.
    let patience = Duration::from_millis(2 * config.election_timeout_ms);
    let mut ready = tokio::select! {
        published = tokio::time::timeout(patience, &mut publishing) => match published {
            Ok(published) => published.map(|()| true)?,
            Err(_) => false,
        },
        end = core.end(&mut signals) => {
            end.log();
            core.stop().await;
            return Ok(Ended::Stopped);
        }
    };
    // One worker is none of its own: it shares the thread of RaftNode and Store.
    let workers = if config.http_workers == 1 { 0 } else { config.http_workers };
    let settings = gate::server_settings(config, workers);
    let server = {
        let doors = Arc::clone(&doors);
        HttpServer::start_in_arbiter(&core.arbiter.handle(), move |_| {
            HttpServer::new(doors, settings)
        })
    };
    core.arbiter.spawn(http::quota::guard(Arc::clone(&doors)));
    let start = http::server::Start { clients, http, probes, local };
    server.send(start).await.map_err(|_| RunError::ServerEnded)?.map_err(system("serving HTTP"))?;
    if !ready {
        tracing::warn!("no quorum yet: serving what needs none");
    }
    let end = loop {
        if ready {
            let identity = &doors.published.identity;
            tracing::info!(
                member = format!("{:x}", identity.member_id),
                cluster = format!("{:x}", identity.cluster_id),
                "ready to serve client requests"
            );
            // Outside systemd there is no socket to notify, and that is no error.
            _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            break core.end(&mut signals).await;
        }
        tokio::select! {
            published = &mut publishing => published.map(|()| ready = true)?,
            end = core.end(&mut signals) => break end,
        }
    };
    end.log();
    _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    core.hand_over(Duration::from_millis(config.election_timeout_ms)).await;
    drop(socket_files); // nobody is to come any more
    _ = server.send(http::server::Drain).await; // or it has ended by itself
    core.stop().await;
    if let Some(audit) = &doors.audit {
        audit.close();
    }
    tracing::info!("stopped");
    Ok(Ended::Stopped)
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |error| RunError::System { what, error }
}

/// Why a running member ends.
enum End {
    /// This signal came.
    Signal(&'static str),
    /// It is no member any more.
    Removed,
}

impl End {
    fn log(&self) {
        match self {
            End::Signal(signal) => {
                tracing::info!(signal, "stopping: no new requests, parked watches end");
            }
            End::Removed => tracing::error!(
                "this member was removed from the cluster, and its id can never return: stopping; to bring \
                 it back, add it as a new member and start it with an empty data directory"
            ),
        }
    }
}

/// How long a stop waits for proposals under way.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// To the other members, and from them.
struct Way {
    listeners: Vec<Listening>,
    dialer: Arc<Dialer>,
}

/// The actors behind the doors.
struct Core {
    arbiter: Arbiter,
    raft_node: Addr<RaftNode>,
    store: Addr<Store>,
    leases: Addr<LeaseKeeper>,
    raft_gauge: Arc<Gauge>,
    store_gauge: Arc<Gauge>,
    snapshotter: Sender<snapshotter::Ordered>,
    snapshotter_gauge: Arc<Gauge>,
    wal_control: RingingSender<Control>,
    threads: Vec<JoinHandle<()>>,
    clocks: clocks::Clocks,
    removed: Arc<Notify>,
    peering: peering::Peering,
    published: Arc<Published>,
    stats: Arc<V2Stats>,
    metrics: Arc<Metrics>,
    /// Locked until the member has stopped.
    _data_dir: DataDir,
}

impl Core {
    fn start(
        config: &Config,
        disk: &Arc<dyn Disk>,
        opened: boot::Opened,
        metrics: &Arc<Metrics>,
        peers: Way,
    ) -> Result<Core, RunError> {
        let boot::Opened { data_dir, snapshots, recovered, wal, identity } = opened;
        let member = identity.member_id;
        let published = Published::new(identity, recovered.state.clone());
        let stats = Arc::new(V2Stats::default());
        let gauges = config.mailbox;
        let gauge = |name, capacity| {
            let gauge = Gauge::new(name, capacity);
            metrics.register_mailbox(Arc::clone(&gauge));
            gauge
        };
        let raft_gauge = gauge("raft-node", gauges.raft_node);
        let wal_gauge = gauge("wal-writer", gauges.wal_writer);
        let store_gauge = gauge("store", gauges.store);
        let snapshotter_gauge = gauge("snapshotter", gauges.snapshotter);
        let snapshot_index = recovered.snapshot.as_ref().map_or(Index(0), |meta| meta.index);
        let wal_figures = Arc::new(WalFigures::default());
        wal_figures.snapshot_index.store(snapshot_index.0, Ordering::Release);

        let state = recovered.state.clone();
        let compactor =
            Compactor::new(boot::retention(config.auto_compaction), config.history_bytes_max);
        let raft_role =
            RaftRole::new(boot::raft_boot(config, member, recovered), &boot::raft_logger())?;
        let store_role = StoreRole::new(member, state, compactor, wall_clock());

        // RaftNode and Store share an arbiter: a message between them then costs a tenth of a
        // microsecond, where another thread would cost several.
        let arbiter = Arbiter::new();
        let Way { listeners, dialer } = peers;
        let peering = peering::Peering::new(config, snapshots.clone(), &published, metrics, dialer);
        let store = {
            let (published, stats) = (Arc::clone(&published), Arc::clone(&stats));
            let pace =
                Pace { metrics: Arc::clone(metrics), warn_after: config.warning_apply_duration };
            Store::start_in_arbiter(&arbiter.handle(), move |_| {
                Store::new(store_role, published, stats, pace)
            })
        };
        let removed = Arc::new(Notify::new());
        let (append, wal_control, inbox) = wal_writer::host::channels(gauges.wal_writer);
        let (snapshot_orders, orders) = crossbeam_channel::bounded(gauges.snapshotter);
        let raft_node = {
            let wiring = Wiring {
                store: store.clone(),
                wal_writer: append,
                wal_gauge,
                wal_figures: Arc::clone(&wal_figures),
                published: Arc::clone(&published),
                network: Box::new(peering.peers(Arc::clone(&removed))),
                want_snapshot: snapshotter::for_peers(
                    snapshot_orders.clone(),
                    Arc::clone(&snapshotter_gauge),
                ),
                removed: {
                    let removed = Arc::clone(&removed);
                    Box::new(move || removed.notify_one())
                },
                auditor: boot::auditor(config),
                proposal_bytes_max: boot::proposal_bytes_max(config),
                first_proposal: boot::first_proposal(),
            };
            RaftNode::start_in_arbiter(&arbiter.handle(), move |_| RaftNode::new(raft_role, wiring))
        };
        let leases = leases::Wires {
            published: &published,
            raft_node: &raft_node,
            raft_gauge: &raft_gauge,
            store: &store,
            store_gauge: &store_gauge,
        }
        .start(&arbiter);
        let receiver_thread = peering
            .open(raft_node.clone(), leases.clone().recipient(), listeners)
            .map_err(system("serving peers"))?;
        store.do_send(Meet {
            applied: raft_node.clone().recipient(),
            propose: raft_node.clone().recipient(),
            digester: {
                let raft_node = raft_node.clone();
                Digester::new(move |index, hash| raft_node.do_send(Digested { index, hash }))
            },
        });
        let persisted = raft_node.clone();
        let outbox = wal_writer::host::Outbox {
            persisted: Box::new(move |number| persisted.do_send(Persisted { number })),
            failed: Box::new(|error| {
                tracing::error!(%error, "the WAL has failed: nothing more can be acknowledged; this process ends");
                std::process::exit(1);
            }),
            figures: Arc::clone(&wal_figures),
            metrics: Arc::clone(metrics),
        };
        let wal_thread = wal_writer::host::spawn(WalRole::new(wal, snapshot_index), inbox, outbox)
            .map_err(system("starting the WAL writer"))?;
        let taken = raft_node.clone();
        let snapshot_thread = Snapshotter {
            disk: Arc::clone(disk),
            dir: snapshots,
            keep: config.max_snapshots as usize,
            policy: Policy {
                ratio_percent: config.snapshot_wal_ratio_percent,
                bytes_min: config.snapshot_wal_bytes_min,
                entries: config.snapshot_count,
            },
            published: Arc::clone(&published),
            wal: Arc::clone(&wal_figures),
            wal_writer: wal_control.clone(),
            taken: Box::new(move |metadata| taken.do_send(SnapshotTaken(metadata))),
            metrics: Arc::clone(metrics),
        }
        .spawn(orders)
        .map_err(system("starting the snapshotter"))?;
        let clocks = clocks::Clocks::start(
            Duration::from_millis(config.heartbeat_interval_ms),
            raft_node.clone(),
            store.clone(),
            snapshot_orders.clone(),
            Arc::clone(&snapshotter_gauge),
        );
        Ok(Core {
            arbiter,
            raft_node,
            store,
            leases,
            raft_gauge,
            store_gauge,
            snapshotter: snapshot_orders,
            snapshotter_gauge,
            wal_control,
            threads: vec![receiver_thread, snapshot_thread, wal_thread],
            clocks,
            removed,
            peering,
            published,
            stats,
            metrics: Arc::clone(metrics),
            _data_dir: data_dir,
        })
    }

    fn doors(
        &self,
        config: &Config,
        telemetry: Telemetry,
        certificates: Vec<(&'static str, Arc<Figures>)>,
        gate: http::auth::Gate,
        audit: Option<AuditLog>,
    ) -> Doors {
        let raft_node = self.raft_node.clone();
        Doors {
            propose: Mailbox::<Propose>::new(
                raft_node.clone().recipient(),
                Arc::clone(&self.raft_gauge),
            ),
            read_index: Mailbox::<ReadIndex>::new(
                raft_node.clone().recipient(),
                Arc::clone(&self.raft_gauge),
            ),
            transfer: raft_node.recipient(),
            limits: gate::limits(config),
            quota: http::quota::Quota::new(config.quota_auto_disarm),
            subscribe: Mailbox::<Subscribe>::new(
                self.store.clone().recipient(),
                Arc::clone(&self.store_gauge),
            ),
            subscribe_range: Mailbox::<SubscribeRange>::new(
                self.store.clone().recipient(),
                Arc::clone(&self.store_gauge),
            ),
            mark: self.store.clone().recipient::<Mark>(),
            cancel: self.store.clone().recipient::<Cancel>(),
            leases: Mailbox::new(self.leases.clone().recipient(), Arc::clone(&self.store_gauge)),
            leases_by_end: Mailbox::new(
                self.store.clone().recipient(),
                Arc::clone(&self.store_gauge),
            ),
            published: Arc::clone(&self.published),
            stats: Arc::clone(&self.stats),
            metrics: Arc::clone(&self.metrics),
            telemetry: Some(telemetry),
            certificates,
            drain: http::drain::DrainSignal::default(),
            gate,
            audit,
            grpc: Arc::new(GrpcFigures::new(config.metrics == MetricsDetail::Extensive)),
            settings: DoorSettings {
                max_request_bytes: config.max_request_bytes as usize,
                watch_capacity: config.mailbox.watch,
                watch_progress_interval: config.watch_progress_notify_interval,
                cors: config.cors.clone(),
                enable_v2: config.enable_v2,
                enable_gateway: config.enable_grpc_gateway,
                client_cert_auth: config.client_cert_auth,
                metrics_auth: config.metrics_auth,
                max_txn_ops: config.max_txn_ops as usize,
                quota_backend_bytes: config.quota_backend_bytes,
                http2: http::Http2Settings {
                    max_concurrent_streams: config.max_concurrent_streams,
                    keepalive_min_time: config.grpc_keepalive_min_time,
                    keepalive_interval: config.grpc_keepalive_interval,
                    keepalive_timeout: config.grpc_keepalive_timeout,
                },
                host_whitelist: config.host_whitelist.clone(),
                // etcd's: 5 s for a slow disk, and two elections.
                request_timeout: Duration::from_millis(5000 + 2 * config.election_timeout_ms),
                election_timeout: Duration::from_millis(config.election_timeout_ms),
                strict_reconfig_check: config.strict_reconfig_check,
                max_learners: config.max_learners as usize,
                stalled_timeout: config.limits.stalled_timeout,
                max_watches: config.limits.watches,
                start_time: wall_clock(),
            },
        }
    }

    /// Waits for a reason to end.
    async fn end(&self, signals: &mut signals::Signals) -> End {
        tokio::select! {
            signal = signals.wait(|| self.snapshot_now()) => End::Signal(signal),
            () = self.removed.notified() => End::Removed,
        }
    }

    /// Hands the lead to another member before this one stops, so that nobody has to wait for an election.
    /// Where there is no other, or none that can, it ends after `patience`.
    async fn hand_over(&self, patience: Duration) {
        const LOOK: Duration = Duration::from_millis(2);
        let others = {
            let state = self.published.state.load();
            state.membership().voters().any(|id| id != self.published.identity.member_id)
        };
        if !others || !self.published.is_leader() {
            return;
        }
        self.raft_node.do_send(Transfer(None));
        let gone = async {
            while self.published.is_leader() || self.published.raft.leader().is_none() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(patience, gone).await.is_err() {
            tracing::warn!("the lead could not be handed to another member");
        }
    }

    /// Orders a snapshot; it is taken in the background.
    fn snapshot_now(&self) {
        let (reply, _) = Reply::channel();
        let order = snapshotter::Order::Take(reply);
        let slot = self.snapshotter_gauge.take_slot();
        let sent = slot.is_ok_and(|slot| {
            self.snapshotter.try_send(snapshotter::Ordered { order, slot }).is_ok()
        });
        if !sent {
            tracing::warn!("the snapshotter is busy; no snapshot was ordered");
        }
    }

    /// Ends the actors in order; everything accepted is on disk when this returns.
    async fn stop(self) {
        self.clocks.stop();
        // Answered when all that was accepted is applied. A full disk may keep that from happening.
        let (reply, settled) = Reply::channel();
        self.raft_node.do_send(StopTaking(reply));
        if tokio::time::timeout(SETTLE_MAX, settled).await.is_err() {
            tracing::warn!("stopping with proposals that are not committed");
        }
        self.peering.stop().await;
        // RaftNode keeps an end of this channel too: only the order ends the thread.
        let slot = loop {
            match self.snapshotter_gauge.take_slot() {
                Ok(slot) => break slot,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let order = snapshotter::Order::Stop;
        _ = self.snapshotter.try_send(snapshotter::Ordered { order, slot });
        drop(self.snapshotter);
        _ = self.wal_control.send(Control::Stop);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                _ = thread.join(); // a panic in it has ended the process already
            }
        });
        _ = joined.await;
        self.arbiter.stop();
    }
}
