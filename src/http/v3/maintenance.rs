//! The Maintenance service. What is asked of a member alone is answered from published state.

use super::{
    Answers, Caller, Services,
    error::{self, RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
        DowngradeInfo, DowngradeRequest, DowngradeResponse, MoveLeaderRequest, MoveLeaderResponse,
        SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
        alarm_request::AlarmAction,
    },
};
use crate::{
    command::{AlarmKind, Command},
    http::probes::{ETCD_VERSION, alarm_name},
    storage::mvcc::Applied,
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
        self.admit_voter()?;
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

    pub async fn defragment(
        &self,
        _caller: &Caller,
        _request: DefragmentRequest,
    ) -> Result<DefragmentResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn move_leader(
        &self,
        _caller: &Caller,
        _request: MoveLeaderRequest,
    ) -> Result<MoveLeaderResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn downgrade(
        &self,
        _caller: &Caller,
        _request: DowngradeRequest,
    ) -> Result<DowngradeResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub fn snapshot(
        &self,
        _caller: &Caller,
        _request: SnapshotRequest,
    ) -> Result<Answers<SnapshotResponse>, RpcError> {
        Err(UNIMPLEMENTED)
    }

    /// A learner answers only for itself.
    pub(super) fn admit_voter(&self) -> Result<(), RpcError> {
        let published = &self.doors.published;
        let state = published.state.load();
        let own = state.membership().member(published.identity.member_id);
        if own.is_some_and(|member| member.learner) {
            return Err(error::NOT_SUPPORTED_FOR_LEARNER);
        }
        Ok(())
    }
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
