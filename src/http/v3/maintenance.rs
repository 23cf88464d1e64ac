//! The Maintenance service. What is asked of a member alone is answered from published state.

use std::{ops::ControlFlow, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc};

use super::{
    Answers, Caller, Services,
    auth::Needs,
    error::{self, RpcError},
    pb::etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
        DowngradeInfo, DowngradeRequest, DowngradeResponse, MoveLeaderRequest, MoveLeaderResponse,
        SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
        alarm_request::AlarmAction, downgrade_request::DowngradeAction,
    },
};
use crate::{
    actors::raft_node::Transfer,
    command::{AlarmKind, Command},
    http::probes::{ETCD_VERSION, alarm_name},
    storage::{
        mvcc::{Applied, State},
        snapshot::SnapshotMeta,
        state_file,
    },
    types::MemberId,
};

impl Services {
    /// Tells which alarms are raised, raises one, or clears one.
    pub async fn alarm(
        &self,
        caller: &Caller,
        request: AlarmRequest,
    ) -> Result<AlarmResponse, RpcError> {
        let (action, alarm) = (
            AlarmAction::try_from(request.action).map_err(|_| error::UNKNOWN_ALARM)?,
            AlarmType::try_from(request.alarm).map_err(|_| error::UNKNOWN_ALARM)?,
        );
        if action == AlarmAction::Get { self.admit_user(caller) } else { self.admit_root(caller) }?;
        let alarms = match (action, kind_of(alarm)) {
            (AlarmAction::Get, kind) => {
                self.read_index().await?;
                let state = self.doors.published.state.load();
                let raised = state.alarms().iter();
                let asked = raised.filter(|(_, raised)| kind.is_none_or(|kind| kind == *raised));
                asked.map(|&(member, kind)| alarm_member(member, kind)).collect()
            }
            (_, None) => Vec::new(),
            (action, Some(kind)) => {
                let (member, raised) =
                    (MemberId(request.member_id), action == AlarmAction::Activate);
                match self.propose(Command::Alarm { member, kind, raised }).await? {
                    Applied::Alarm { told: true } => vec![alarm_member(member, kind)],
                    _ => Vec::new(),
                }
            }
        };
        Ok(AlarmResponse { header: self.header_now(), alarms })
    }

    /// How this member is.
    #[allow(clippy::unused_async, reason = "the table of RPCs calls all alike")]
    pub async fn status(
        &self,
        caller: &Caller,
        _request: StatusRequest,
    ) -> Result<StatusResponse, RpcError> {
        self.admit_user(caller)?;
        let published = &self.doors.published;
        let state = published.state.load();
        let leader = published.raft.leader();
        let no_leader = leader.is_none().then(|| error::NO_LEADER.message.into_owned());
        let alarms = state.alarms().iter().map(|(member, kind)| {
            // As etcd prints its message, with the space at the end.
            format!("memberID:{} alarm:{} ", member.0, alarm_name(*kind))
        });
        let errors = no_leader.into_iter().chain(alarms).collect();
        let own = state.membership().member(published.identity.member_id);
        let bytes = state.size_bytes() as i64;
        let quota = self.doors.settings.quota_backend_bytes;
        Ok(StatusResponse {
            header: self.header(state.revision),
            version: ETCD_VERSION.to_owned(),
            // Nothing is fragmented: what is held is in use.
            db_size: bytes,
            db_size_in_use: bytes,
            leader: leader.map_or(0, |id| id.0),
            raft_index: published.raft.commit().0,
            raft_term: published.raft.term().0,
            raft_applied_index: state.applied_index.0,
            errors,
            is_learner: own.is_some_and(|member| member.learner),
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: quota.map_or(-1, |bytes| bytes as i64),
            downgrade_info: Some(DowngradeInfo::default()),
        })
    }

    /// There is nothing to defragment: memory that is let go is used again.
    pub async fn defragment(
        &self,
        caller: &Caller,
        _request: DefragmentRequest,
    ) -> Result<DefragmentResponse, RpcError> {
        self.admit_root(caller)?;
        std::future::ready(()).await; // an RPC as all others, though it waits for nothing
        Ok(DefragmentResponse { header: None })
    }

    /// Hands the lead to another voter.
    pub async fn move_leader(
        &self,
        caller: &Caller,
        request: MoveLeaderRequest,
    ) -> Result<MoveLeaderResponse, RpcError> {
        /// How often it is looked whether that happened.
        const LOOK: Duration = Duration::from_millis(5);
        self.admit_root(caller)?;
        let published = &self.doors.published;
        if !published.is_leader() {
            return Err(error::NOT_LEADER);
        }
        let target = MemberId(request.target_id);
        if !published.state.load().membership().voters().any(|voter| voter == target) {
            return Err(error::BAD_LEADER_TRANSFEREE);
        }
        if target != published.identity.member_id {
            self.doors.transfer.do_send(Transfer(Some(target)));
        }
        let moved = async {
            while published.raft.leader() != Some(target) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let moved = tokio::time::timeout(self.doors.settings.request_timeout, moved).await;
        moved.map_err(|_| error::TIMEOUT_LEADER_TRANSFER)?;
        Ok(MoveLeaderResponse { header: None })
    }

    /// There is no version of etcd that reads this member's data, so none to downgrade to.
    pub async fn downgrade(
        &self,
        caller: &Caller,
        request: DowngradeRequest,
    ) -> Result<DowngradeResponse, RpcError> {
        self.admit_root(caller)?;
        self.read_index().await?;
        Err(match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Cancel) => error::NO_INFLIGHT_DOWNGRADE,
            Ok(_) if is_version(&request.version) => error::INVALID_DOWNGRADE_TARGET_VERSION,
            Ok(_) => error::WRONG_DOWNGRADE_VERSION_FORMAT,
            Err(_) => error::UNKNOWN_METHOD,
        })
    }

    /// A snapshot as `callboard restore` takes it, bit by bit. It is made on a thread aside, only as fast
    /// as it is fetched.
    pub fn snapshot(
        &self,
        caller: &Caller,
        _request: SnapshotRequest,
    ) -> Result<Answers<SnapshotResponse>, RpcError> {
        /// Each has a thread, and keeps a state alive.
        static STREAMS: Semaphore = Semaphore::const_new(8);
        self.admit_root(caller)?;
        let begun = self.begun(caller, Needs::Root);
        let permit = STREAMS.try_acquire().map_err(|_| error::TOO_MANY_REQUESTS)?;
        let state = self.doors.published.state.load_full();
        let identity = &self.doors.published.identity;
        let meta = state_file::meta_of(&state, identity.cluster_id, identity.member_id);
        // What is written is about what is held.
        let expected = state.size_bytes();
        let (pieces, fetched) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            export(&meta, &state, &pieces);
            drop(permit);
        });
        Ok(Box::pin(stream::unfold(Some((begun, fetched, 0)), move |fetching| async move {
            let (begun, mut fetched, sent) = fetching?;
            if let Err(error) = begun.may_go_on() {
                return Some((Err(error), None));
            }
            let (blob, remaining, more) = match fetched.recv().await {
                Some(Piece::Data(blob)) => {
                    let sent = sent + blob.len() as u64;
                    let remaining = expected.saturating_sub(sent).max(1);
                    (blob, remaining, Some((begun, fetched, sent)))
                }
                Some(Piece::Sum(sum)) => (Bytes::copy_from_slice(&sum), 0, None),
                None => return Some((Err(error::STOPPED), None)),
            };
            let version = ETCD_VERSION.to_owned();
            let answer =
                SnapshotResponse { header: None, remaining_bytes: remaining, blob, version };
            Some((Ok(answer), more))
        })))
    }
}

/// Pieces of a snapshot that wait to be fetched.
const PIECES: usize = 4;
/// The largest of them.
const PIECE_BYTES: usize = 64 << 10;

/// A part of a snapshot on its way to a client.
enum Piece {
    Data(Bytes),
    /// The checksum; the last.
    Sum([u8; 32]),
}

/// Writes a snapshot into a channel, waiting where that is full, until nobody fetches any more.
fn export(meta: &SnapshotMeta, state: &State, pieces: &mpsc::Sender<Piece>) {
    let sum = state_file::export(meta, state, |bytes| {
        let gone = bytes
            .chunks(PIECE_BYTES)
            .any(|piece| pieces.blocking_send(Piece::Data(Bytes::copy_from_slice(piece))).is_err());
        if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(sum) = sum {
        _ = pieces.blocking_send(Piece::Sum(sum)); // or whoever fetched it has gone
    }
}

/// Whether it is `3.5` or `3.5.0`, with whatever semantic versions have behind that.
fn is_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| {
        !part.is_empty() && part.len() < 10 && part.bytes().all(|b| b.is_ascii_digit())
    };
    (2..=3).contains(&parts.len()) && parts.iter().all(is_number)
}

fn kind_of(alarm: AlarmType) -> Option<AlarmKind> {
    match alarm {
        AlarmType::None => None,
        AlarmType::Nospace => Some(AlarmKind::NoSpace),
        AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

fn alarm_member(member: MemberId, kind: AlarmKind) -> AlarmMember {
    let alarm = match kind {
        AlarmKind::NoSpace => AlarmType::Nospace,
        AlarmKind::Corrupt => AlarmType::Corrupt,
    };
    AlarmMember { member_id: member.0, alarm: alarm.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_what_is_none() {
        for (text, expected) in [
            ("3.5.0", true),
            ("3.5", true),
            ("3.5.0-rc.1", true),
            ("3", false),
            ("", false),
            ("3.5.x", false),
            ("v3.5.0", false),
            ("3.5.0.0", false),
            ("3..0", false),
        ] {
            assert_eq!(is_version(text), expected, "{text:?}");
        }
    }
}
