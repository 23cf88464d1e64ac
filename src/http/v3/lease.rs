//! The lease service. Leases come and go through the log; how long they still live, and whether they are
//! kept alive, only the leader knows, and it is asked for that by way of [`crate::actors::lease_keeper`].

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use rand::Rng as _;

use super::{
    Answers, Caller, Requests, Services,
    error::{
        self, LEASE_EXISTS, LEASE_TTL_TOO_LARGE, NO_LEADER, RpcError, STOPPED, TOO_MANY_REQUESTS,
    },
    pb::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    },
};
use crate::{
    actors::{
        lease_keeper::{InquiryError, LeaseInquiry},
        store::LeasesByEnd,
    },
    clock::wall_clock,
    command::{KeyRange, V3Op, V3Range},
    http::{auth::Identity, limits::Class},
    types::LeaseId,
    wire::{LeaseQuestion, LeaseStanding},
};

/// The longest TTL, in seconds: etcd's.
const TTL_MAX: i64 = 9_000_000_000;
/// Ids that are drawn for a client before giving up: one is taken once in a great many.
const DRAWS_MAX: usize = 8;
/// Requests of one stream that are asked about together, at most.
const TOGETHER_MAX: usize = 256;
/// The pause before the leader is asked again, as in etcd.
const ASK_AGAIN: Duration = Duration::from_millis(50);

impl Services {
    /// A lease begins.
    pub async fn lease_grant(
        &self,
        caller: &Caller,
        request: LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, RpcError> {
        if request.ttl > TTL_MAX {
            return Err(LEASE_TTL_TOO_LARGE);
        }
        let ttl = request.ttl.max(self.ttl_min());
        let mut draws = 0;
        loop {
            let id = if request.id == 0 { random_id() } else { request.id };
            let op = V3Op::LeaseGrant { id: LeaseId(id), ttl: ttl as u64 };
            match self.change(caller, op).await {
                Ok((revision, _)) => {
                    let (header, error) = (self.header(revision), String::new());
                    return Ok(LeaseGrantResponse { header, id, ttl, error });
                }
                Err(error) if error == LEASE_EXISTS && request.id == 0 && draws < DRAWS_MAX => {
                    draws += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A lease ends, and its keys with it.
    pub async fn lease_revoke(
        &self,
        caller: &Caller,
        request: LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, RpcError> {
        let (revision, _) =
            self.change(caller, V3Op::LeaseRevoke { id: LeaseId(request.id) }).await?;
        Ok(LeaseRevokeResponse { header: self.header(revision) })
    }

    /// How long a lease still lives, and what hangs on it.
    pub async fn lease_time_to_live(
        &self,
        caller: &Caller,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, RpcError> {
        self.admit_user(caller)?;
        let id = LeaseId(request.id);
        let mut answer = LeaseTimeToLiveResponse {
            id: request.id,
            ttl: -1,
            header: self.header_now(),
            ..LeaseTimeToLiveResponse::default()
        };
        let standing = self.ask_leader(vec![LeaseQuestion::TimeToLive(id)]).await?;
        let [LeaseStanding::Lives { granted, left }] = standing[..] else { return Ok(answer) };
        if request.keys {
            self.read_index().await?;
            let state = self.doors.published.state.load_full();
            answer.header = self.header(state.revision);
            let Some(lease) = state.lease(id) else { return Ok(answer) }; // it ended meanwhile
            answer.keys = state.keys_that_end_with(lease);
            for key in &answer.keys {
                let keys = KeyRange::one(key.clone());
                self.admit_range(caller, &V3Range { keys, ..V3Range::default() })?;
            }
        }
        (answer.granted_ttl, answer.ttl) = (granted as i64, left as i64);
        Ok(answer)
    }

    /// All leases that v3 made, the first to end first.
    pub async fn lease_leases(
        &self,
        caller: &Caller,
        _request: LeaseLeasesRequest,
    ) -> Result<LeaseLeasesResponse, RpcError> {
        self.admit_lease_list(caller)?;
        self.read_index().await?;
        self.admit_lease_list(caller)?; // rights may have changed meanwhile
        let revision = self.doors.published.state.load().revision;
        let leases = self.doors.leases_by_end.ask(LeasesByEnd)?.await?;
        let leases = leases.into_iter().map(|LeaseId(id)| LeaseStatus { id }).collect();
        Ok(LeaseLeasesResponse { header: self.header(revision), leases })
    }

    /// Keeps leases alive, one with each message.
    pub fn lease_keep_alive(
        &self,
        caller: &Caller,
        requests: Requests<LeaseKeepAliveRequest>,
    ) -> Result<Answers<LeaseKeepAliveResponse>, RpcError> {
        let rights = self.auth_revision();
        self.admit_user(caller)?;
        let answering = KeepAlive {
            user: self.watcher(caller),
            rights,
            services: self.clone(),
            requests: Some(requests),
            answers: VecDeque::new(),
        };
        Ok(Box::pin(stream::unfold(answering, |mut answering| async move {
            let answer = answering.next().await?;
            if answer.is_err() {
                answering.requests = None; // it was the last
            }
            Some((answer, answering))
        })))
    }

    /// Asks the leader about leases, again and again until it answers or time is up.
    async fn ask_leader(
        &self,
        questions: Vec<LeaseQuestion>,
    ) -> Result<Vec<LeaseStanding>, RpcError> {
        let _place = self.doors.limits.enter(Class::Leases)?;
        let started = wall_clock();
        let settings = &self.doors.settings;
        let asking = async {
            loop {
                let answering = self.doors.leases.ask(LeaseInquiry(questions.clone()))?;
                // The question or its answer may be lost on the way, and nobody would say so.
                match tokio::time::timeout(settings.election_timeout, answering).await {
                    Ok(Ok(Ok(answers))) => return Ok(answers),
                    Ok(Ok(Err(InquiryError::TooMany))) => return Err(TOO_MANY_REQUESTS),
                    Ok(Err(_)) => return Err(STOPPED),
                    Ok(Ok(Err(InquiryError::NoLeader))) | Err(_) => {
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            }
        };
        match tokio::time::timeout(settings.request_timeout, asking).await {
            Ok(answered) => answered,
            Err(_) if self.doors.published.raft.leader().is_none() => Err(NO_LEADER),
            Err(_) => Err(self.explained(started, error::TIMEOUT)),
        }
    }

    /// The shortest TTL, in whole seconds: one that outlives an election.
    pub(super) fn ttl_min(&self) -> i64 {
        let election = self.doors.settings.election_timeout;
        (election * 3 / 2).as_millis().div_ceil(1000) as i64
    }
}

/// An id for a lease whose client leaves the choice. Those of v2's leases lie above.
fn random_id() -> i64 {
    rand::rng().random_range(1..1 << 62)
}

/// A stream that keeps leases alive.
struct KeepAlive {
    services: Services,
    /// Who it is; none if nobody had to say.
    user: Option<Identity>,
    /// As of when it is someone.
    rights: u64,
    /// None when nothing follows but the answers that are there already.
    requests: Option<Requests<LeaseKeepAliveRequest>>,
    answers: VecDeque<Result<LeaseKeepAliveResponse, RpcError>>,
}

impl KeepAlive {
    async fn next(&mut self) -> Option<Result<LeaseKeepAliveResponse, RpcError>> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let mut asked: Vec<i64> = Vec::new();
        let mut failed = None;
        let requests = self.requests.as_mut()?;
        let mut request = Some(requests.next().await);
        // What waits already is asked about together with the first.
        while let Some(came) = request {
            match came {
                Some(Ok(LeaseKeepAliveRequest { id })) => asked.push(id),
                Some(Err(error)) => {
                    failed = Some(error);
                    self.requests = None;
                }
                None => self.requests = None,
            }
            request = match &mut self.requests {
                Some(requests) if asked.len() < TOGETHER_MAX => requests.next().now_or_never(),
                _ => None,
            };
        }
        if !asked.is_empty() {
            self.keep_alive(asked).await;
        }
        self.answers.extend(failed.map(Err));
        self.answers.pop_front()
    }

    /// Asks the leader, for one who is still someone.
    async fn ask(&mut self, questions: Vec<LeaseQuestion>) -> Result<Vec<LeaseStanding>, RpcError> {
        let rights = self.services.auth_revision();
        if self.rights != rights {
            self.services.still_is_someone(self.user.as_ref())?;
            self.rights = rights;
        }
        self.services.ask_leader(questions).await
    }

    async fn keep_alive(&mut self, asked: Vec<i64>) {
        let header = self.services.header_now();
        let questions = asked.iter().map(|&id| LeaseQuestion::Renew(LeaseId(id))).collect();
        match self.ask(questions).await {
            Ok(standings) => {
                let answers = asked.iter().zip(standings).map(|(&id, standing)| {
                    let ttl = match standing {
                        LeaseStanding::Gone => 0,
                        LeaseStanding::Lives { granted, .. } => granted as i64,
                    };
                    Ok(LeaseKeepAliveResponse { header, id, ttl })
                });
                self.answers.extend(answers);
            }
            Err(error) => {
                self.requests = None;
                self.answers.push_back(Err(error));
            }
        }
    }
}
