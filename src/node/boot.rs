//! What a member does before its actors run: opens and reads its data, learns who it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use raft::eraftpb;
use slog::Drain;

use super::force_new_cluster;

use crate::{
    actors::store::compactor::Retention,
    actors::{
        audit,
        raft_node::{host::to_raft, role::Boot},
    },
    command::ProposalId,
    config::{AutoCompaction, Config},
    published::Identity,
    storage::{
        data_dir::{DataDir, DataDirError},
        disk::{Disk, DiskError},
        founding::{self, FoundingError},
        mvcc::{Member, State},
        recovery::{self, Recovered, RecoveryError, Stage},
        snapshot::SnapshotDir,
        wal::{Wal, WalError, WalMeta, WalOptions},
    },
    types::{ClusterId, MemberId},
};

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its contents cannot.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Its first files cannot be made.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log cannot be written to.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The member has no data, and nobody told it whose it would be.
    #[error("{} holds no member, and its log is gone", .0.display())]
    NoMember(PathBuf),
}

/// What a member without data begins with.
#[derive(Clone, Debug)]
pub struct First {
    /// The cluster.
    pub cluster: ClusterId,
    /// This member.
    pub own: MemberId,
    /// Those who found the cluster together; none for a member that joins one and learns who they are from
    /// the leader's snapshot.
    pub founders: Vec<Member>,
}

/// Whether the data directory holds a member already, or did: then the `initial-` settings are not looked
/// at.
pub fn has_member(disk: &Arc<dyn Disk>, config: &Config) -> Result<bool, BootError> {
    if !config.data_dir.join("member").exists() {
        return Ok(false); // nothing is made before it is known what for
    }
    let data_dir = DataDir::open(&**disk, &config.data_dir, config.wal_dir.as_deref())?;
    Ok(Wal::exists(&**disk, data_dir.wal())?)
}

/// A member's data, opened and read.
pub struct Opened {
    /// Locked as long as this lives.
    pub data_dir: DataDir,
    /// The snapshot folder.
    pub snapshots: SnapshotDir,
    /// What was found.
    pub recovered: Recovered,
    /// The log, ready to be appended to.
    pub wal: Wal,
    /// Who this member is.
    pub identity: Identity,
}

/// Opens the data of the member that `config` describes, and makes it from `first` if there is none.
pub fn open(
    disk: &Arc<dyn Disk>,
    config: &Config,
    first: Option<First>,
) -> Result<Opened, BootError> {
    let data_dir = DataDir::open(&**disk, &config.data_dir, config.wal_dir.as_deref())?;
    for warning in data_dir.warnings() {
        tracing::warn!("{warning}");
    }
    let options =
        WalOptions { segment_bytes: config.wal_segment_bytes, fsync: !config.unsafe_no_fsync };
    if !Wal::exists(&**disk, data_dir.wal())? {
        let First { cluster, own, founders } =
            first.ok_or_else(|| BootError::NoMember(config.data_dir.clone()))?;
        let meta = WalMeta {
            cluster_id: cluster,
            member_id: own,
            voters: founders.iter().map(|member| member.id).collect(),
            learners: Vec::new(),
        };
        tracing::info!(
            data_dir = %config.data_dir.display(),
            member = format!("{own:x}"), cluster = format!("{cluster:x}"),
            founders = founders.len(),
            "starting with empty data"
        );
        let state = match founders.len() {
            0 => State::new(founders),
            _ => State::founded_by(founders),
        };
        founding::found(disk, &data_dir, meta, &state, options)?;
    }
    // An earlier version, or a start that was cut short, did not. On a full disk it must wait.
    if let Err(error) = data_dir.note_founded(&**disk) {
        tracing::warn!(%error, "that there is a log could not be noted; tried again at the next start");
    }
    let snapshots = SnapshotDir::new(Arc::clone(disk), data_dir.snap());
    let mut progress = ProgressLog::default();
    let (mut recovered, mut wal) =
        recovery::recover(disk, data_dir.wal(), &snapshots, options, genesis, |stage| {
            progress.note(stage);
        })?;
    report(&recovered, data_dir.wal());
    if config.force_new_cluster {
        let own = recovered.meta.member_id;
        force_new_cluster::force(&mut recovered, &mut wal, own)?;
    }
    let identity = Identity {
        cluster_id: recovered.meta.cluster_id,
        member_id: recovered.meta.member_id,
        name: config.name.clone(),
    };
    Ok(Opened { data_dir, snapshots, recovered, wal, identity })
}

/// The state before the first entry, should the snapshot with which a member begins be lost: the log
/// knows who founded the cluster, not under which names.
fn genesis(meta: &WalMeta) -> State {
    let member = |&id: &MemberId| Member {
        id,
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    match meta.voters.len() {
        0 => State::new(Vec::new()),
        _ => State::founded_by(meta.voters.iter().map(member).collect()),
    }
}

fn report(recovered: &Recovered, wal_dir: &Path) {
    for invalid in &recovered.invalid {
        tracing::warn!(
            snapshot = invalid.name.file_name(), error = %invalid.error,
            "snapshot does not check; set aside, and started from an older one"
        );
    }
    if let Some(torn) = &recovered.report.torn {
        tracing::warn!(
            file = %torn.path.display(), offset = torn.offset, bytes = torn.len, error = %torn.error,
            "the log ended in a write that was cut short; it was never acknowledged and is cut off"
        );
    }
    tracing::info!(
        wal = %wal_dir.display(),
        snapshot = recovered.snapshot.as_ref().map_or(0, |meta| meta.index.0),
        replayed = recovered.replayed,
        applied = %recovered.state.applied_index,
        term = %recovered.hard_state.term,
        revision = %recovered.state.revision,
        keys = recovered.state.key_count(),
        "data loaded"
    );
}

/// Proposals that are in the log but not committed, beyond which more are refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// What RaftNode's role starts from.
pub fn raft_boot(config: &Config, id: MemberId, recovered: Recovered) -> Boot {
    let catch_up_entries = config.snapshot_catchup_entries;
    let has_peers = recovered.state.members().len() > 1;
    let recent = recovered.recent.last(if has_peers { catch_up_entries as usize } else { 0 });
    let hard = recovered.hard_state;
    let hard_state = eraftpb::HardState {
        term: hard.term.0,
        vote: hard.vote.0,
        commit: hard.commit.0,
        ..eraftpb::HardState::default()
    };
    let election_ticks = config.election_timeout_ms.div_ceil(config.heartbeat_interval_ms.max(1));
    Boot {
        id,
        election_ticks: election_ticks as usize,
        pre_vote: config.pre_vote,
        promote_learners: config.promote_learners,
        proposal_ticks: proposal_ticks(config),
        uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX.max(4 * config.max_request_bytes),
        catch_up_entries,
        seed: rand::random(),
        applied: recovered.state.applied_index,
        before: recent.after,
        hard_state,
        membership: Arc::clone(recovered.state.membership()),
        entries: recent.entries.into_iter().chain(recovered.entries).map(to_raft).collect(),
    }
}

/// etcd's patience: 5 s for a slow disk, and two elections.
fn proposal_ticks(config: &Config) -> u64 {
    let patience = 5000 + 2 * config.election_timeout_ms;
    patience.div_ceil(config.heartbeat_interval_ms.max(1))
}

/// Compares the members' states at `--corrupt-check-time`.
pub fn auditor(config: &Config) -> audit::role::Role {
    const PATIENCE: Duration = Duration::from_secs(60); // a large state is digested at leisure
    let ticks = |time: Duration| time.as_millis() as u64 / config.heartbeat_interval_ms.max(1);
    audit::role::Role::new(ticks(config.corrupt_check_time), ticks(PATIENCE))
}

/// The largest encoded proposal: a request and what the path and the rest of the command add to it.
pub fn proposal_bytes_max(config: &Config) -> usize {
    const OVERHEAD: u64 = 512 << 10; // as etcd's gRPC limit
    (config.max_request_bytes + OVERHEAD) as usize
}

/// Proposal ids of this start: none that an earlier start of this member used, or in the same term.
pub fn first_proposal() -> ProposalId {
    ProposalId::first_of(rand::random())
}

/// The `raft` crate logs through slog; what it says belongs into our log.
pub fn raft_logger() -> slog::Logger {
    slog::Logger::root(tracing_slog::TracingSlogDrain.fuse(), slog::o!())
}

/// In builds that unwind, a panic in an actor or a core thread would end it in silence: end the process.
pub fn stop_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(panic = %info, "a part of this member has failed; the process ends");
        default(info);
        std::process::abort();
    }));
}

/// Says how far a long start is, now and then.
#[derive(Default)]
struct ProgressLog {
    last: Option<Instant>,
}

impl ProgressLog {
    #[allow(clippy::disallowed_methods, reason = "paces log lines")]
    fn note(&mut self, stage: Stage) {
        const EVERY: Duration = Duration::from_secs(2);
        let now = Instant::now();
        let last = *self.last.get_or_insert(now);
        if now.duration_since(last) < EVERY {
            return;
        }
        self.last = Some(now);
        let (what, done, total) = match stage {
            Stage::Snapshot(done, total) => ("snapshot", done, total),
            Stage::Log(done, total) => ("log", done, total),
        };
        let percent = (done * 100).checked_div(total).unwrap_or(0);
        tracing::info!(what, percent, bytes_done = done, bytes_total = total, "loading data");
    }
}

/// What `--auto-compaction-*` comes to.
pub(super) fn retention(setting: AutoCompaction) -> Retention {
    match setting {
        AutoCompaction::Off => Retention::Off,
        AutoCompaction::Revisions(revisions) => Retention::Revisions(revisions),
        AutoCompaction::Period(period) => Retention::Seconds(period.as_secs().max(1)),
    }
}
