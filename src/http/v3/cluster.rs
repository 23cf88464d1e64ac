//! The Cluster service: who is in the cluster, and changing that. The rules are those of the v2 door
//! ([`crate::http::membership`]), the words those of etcd's v3.

use super::{
    Caller, Services,
    error::{
        MEMBER_BAD_URLS, MEMBER_EXISTS, MEMBER_NOT_FOUND, MEMBER_NOT_LEARNER, NOT_ENOUGH_STARTED,
        PEER_URL_EXISTS, RpcError, TOO_MANY_LEARNERS, UNHEALTHY,
    },
    pb::etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, ResponseHeader,
    },
};
use crate::{
    command::MemberChange,
    http::membership::{self, Refusal},
    storage::mvcc::{self, MemberError, reconfig::Unsafe},
    types::MemberId,
};

impl Services {
    /// Adds a member, with or without a vote.
    pub async fn member_add(
        &self,
        caller: &Caller,
        request: MemberAddRequest,
    ) -> Result<MemberAddResponse, RpcError> {
        self.admit_root(caller)?;
        let urls = membership::peer_urls(&request.peer_ur_ls).map_err(|_| MEMBER_BAD_URLS)?;
        let change = membership::addition(urls.clone(), request.is_learner);
        let MemberChange::Add { id, .. } = change else { unreachable!("an addition adds") };
        self.change_members(change).await?;
        Ok(MemberAddResponse {
            header: self.header_without_revision(),
            member: Some(Member {
                id: id.0,
                peer_ur_ls: urls,
                is_learner: request.is_learner,
                ..Member::default()
            }),
            members: self.members(),
        })
    }

    /// Removes a member; its id can never return.
    pub async fn member_remove(
        &self,
        caller: &Caller,
        request: MemberRemoveRequest,
    ) -> Result<MemberRemoveResponse, RpcError> {
        self.admit_root(caller)?;
        self.change_members(MemberChange::Remove { id: MemberId(request.id) }).await?;
        let (header, members) = (self.header_without_revision(), self.members());
        Ok(MemberRemoveResponse { header, members })
    }

    /// Tells where a member is found from now on. As with etcd, the URLs are taken as they are.
    pub async fn member_update(
        &self,
        caller: &Caller,
        request: MemberUpdateRequest,
    ) -> Result<MemberUpdateResponse, RpcError> {
        self.admit_root(caller)?;
        let mut peer_urls = request.peer_ur_ls;
        peer_urls.sort_unstable();
        self.change_members(MemberChange::Update { id: MemberId(request.id), peer_urls }).await?;
        let (header, members) = (self.header_without_revision(), self.members());
        Ok(MemberUpdateResponse { header, members })
    }

    /// Who is in the cluster; as this member knows it, if that is enough.
    pub async fn member_list(
        &self,
        caller: &Caller,
        request: MemberListRequest,
    ) -> Result<MemberListResponse, RpcError> {
        self.admit_user(caller)?;
        if request.linearizable {
            self.read_index().await?;
        }
        let (header, members) = (self.header_without_revision(), self.members());
        Ok(MemberListResponse { header, members })
    }

    /// Gives a learner its vote.
    pub async fn member_promote(
        &self,
        caller: &Caller,
        request: MemberPromoteRequest,
    ) -> Result<MemberPromoteResponse, RpcError> {
        self.admit_root(caller)?;
        self.change_members(MemberChange::Promote { id: MemberId(request.id) }).await?;
        let (header, members) = (self.header_without_revision(), self.members());
        Ok(MemberPromoteResponse { header, members })
    }

    async fn change_members(&self, change: MemberChange) -> Result<(), RpcError> {
        let changed = membership::change(
            &self.doors,
            change,
            async || self.read_index().await,
            async |command| self.propose(command).await,
        );
        changed.await.map_err(explained)
    }

    fn members(&self) -> Vec<Member> {
        self.doors.published.state.load().members().iter().map(member).collect()
    }

    /// The header of this service: it has no revision.
    fn header_without_revision(&self) -> Option<ResponseHeader> {
        self.header(crate::types::Revision(0))
    }
}

fn member(member: &mvcc::Member) -> Member {
    Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.learner,
    }
}

fn explained(refusal: Refusal<RpcError>) -> RpcError {
    match refusal {
        Refusal::Invalid(error) => match error {
            MemberError::IdRemoved | MemberError::IdNotFound => MEMBER_NOT_FOUND,
            MemberError::IdExists => MEMBER_EXISTS,
            MemberError::PeerUrlExists => PEER_URL_EXISTS,
            MemberError::NotLearner => MEMBER_NOT_LEARNER,
            MemberError::TooManyLearners => TOO_MANY_LEARNERS,
            MemberError::LastVoter => NOT_ENOUGH_STARTED,
        },
        Refusal::Unsafe(Unsafe::NotEnoughStarted) => NOT_ENOUGH_STARTED,
        Refusal::Unsafe(Unsafe::Unhealthy) => UNHEALTHY,
        Refusal::Log(error) => error,
    }
}
