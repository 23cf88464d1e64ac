//! The election service: who leads has the oldest key below the election's name, and its value is what
//! the leader proclaims.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use super::{
    Answers, Caller, Services,
    error::{Code, EMPTY_KEY, RpcError},
    pb::{
        KeyValue,
        v3electionpb::{
            CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
            ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        },
    },
    session::{
        Place, Waiting, below, created_at, first, first_created, found, get, key_of, put, unknown,
    },
};
use crate::{
    command::{KeyRange, V3Txn},
    http::auth::Identity,
    http::limits::Class,
    storage::mvcc::{State, record::KeyRecord},
    types::{LeaseId, Revision},
};

/// Who proclaims does not lead, or who campaigned has lost its lease meanwhile.
const NOT_LEADER: RpcError = RpcError::new(Code::Unknown, "election: not leader");
/// Nobody leads.
const NO_ONE_LEADS: RpcError = RpcError::new(Code::Unknown, "election: no leader");
/// As its text says.
const MISSING_LEADER: RpcError = RpcError::new(Code::Unknown, "\"leader\" field must be provided");
/// The observer cannot go on.
const CLOSED_EARLY: RpcError = RpcError::new(Code::Unknown, "election: observe closed early");

impl Services {
    /// Waits to be elected.
    pub async fn campaign(
        &self,
        caller: &Caller,
        request: CampaignRequest,
    ) -> Result<CampaignResponse, RpcError> {
        let _place = self.doors.limits.enter(Class::Held)?;
        let CampaignRequest { name, lease, value } = request;
        let lease = self.session(caller, lease).await.map_err(unknown)?;
        let key = key_of(&name, lease);
        let txn = V3Txn {
            compare: vec![created_at(&key, Revision(0))],
            success: vec![put(&key, value.clone(), lease)],
            failure: vec![get(&key)],
        };
        let (revision, answer) = self.transact(caller, txn).await.map_err(unknown)?;
        let before = found(answer.responses.first());
        let created = before.map_or(revision, |own| own.create_revision);
        let place = Place { key: key.clone(), created };
        let waiting = Waiting::new(self, caller, place.clone());
        if before.is_some_and(|own| own.value() != value.as_ref()) {
            self.write_as_leader(caller, &place, value, lease).await?;
        }
        let turn = self.wait_for_turn(caller, &name, &place).await.map_err(unknown)?;
        waiting.over();
        let header = self.header(turn.ok_or(NOT_LEADER)?);
        let leader = LeaderKey { name, key, rev: created.0 as i64, lease: lease.0 };
        Ok(CampaignResponse { header, leader: Some(leader) })
    }

    /// The leader says something else.
    pub async fn proclaim(
        &self,
        caller: &Caller,
        request: ProclaimRequest,
    ) -> Result<ProclaimResponse, RpcError> {
        let leader = request.leader.ok_or(MISSING_LEADER)?;
        let lease = self.session(caller, leader.lease).await.map_err(unknown)?;
        let place = place_of(leader)?;
        let revision = self.write_as_leader(caller, &place, request.value, lease).await?;
        Ok(ProclaimResponse { header: self.header(revision) })
    }

    /// Who leads.
    pub async fn leader(
        &self,
        caller: &Caller,
        request: LeaderRequest,
    ) -> Result<LeaderResponse, RpcError> {
        let query = first_created(below(&request.name));
        self.admit_range(caller, &query).map_err(unknown)?;
        self.read_index().await.map_err(unknown)?;
        let state = self.doors.published.state.load_full();
        let leader = first(&state, &query).ok_or(NO_ONE_LEADS)?;
        let kv = Some(KeyValue::Stored(leader));
        Ok(LeaderResponse { header: self.header(state.revision), kv })
    }

    /// The leader, or one who campaigns, gives up; it is no error not to be that.
    pub async fn resign(
        &self,
        caller: &Caller,
        request: ResignRequest,
    ) -> Result<ResignResponse, RpcError> {
        let place = place_of(request.leader.ok_or(MISSING_LEADER)?)?;
        let revision = self.give_up(caller, &place).await.map_err(unknown)?;
        Ok(ResignResponse { header: self.header(revision) })
    }

    /// Tells who leads, and all that the leader proclaims.
    pub fn observe(
        &self,
        caller: &Caller,
        request: LeaderRequest,
    ) -> Result<Answers<LeaderResponse>, RpcError> {
        let keys = below(&request.name);
        let (auth_revision, watcher) = (self.auth_revision(), self.watcher(caller));
        self.admit_range(caller, &first_created(keys.clone())).map_err(unknown)?;
        let observer = Observer {
            services: self.clone(),
            watcher,
            auth_revision,
            changes: self.doors.published.revision.subscribe(),
            rights: self.doors.published.rights.subscribe(),
            view: View { keys, leader: None, seen: None, news: VecDeque::new() },
            is_over: false,
        };
        Ok(Box::pin(stream::unfold(observer, |mut observer| async move {
            if observer.is_over {
                return None;
            }
            let answer = observer.next().await;
            observer.is_over = answer.is_err();
            Some((answer, observer))
        })))
    }

    /// Writes the leader's key, if it is still the one that was made then.
    async fn write_as_leader(
        &self,
        caller: &Caller,
        place: &Place,
        value: Bytes,
        lease: LeaseId,
    ) -> Result<Revision, RpcError> {
        let txn = V3Txn {
            compare: vec![created_at(&place.key, place.created)],
            success: vec![put(&place.key, value, lease)],
            failure: Vec::new(),
        };
        let (revision, answer) = self.transact(caller, txn).await.map_err(unknown)?;
        if answer.succeeded { Ok(revision) } else { Err(NOT_LEADER) }
    }
}

fn place_of(leader: LeaderKey) -> Result<Place, RpcError> {
    if leader.key.is_empty() {
        return Err(unknown(EMPTY_KEY));
    }
    Ok(Place { key: leader.key, created: Revision(leader.rev.max(0) as u64) })
}

/// A stream of what leaders say.
struct Observer {
    services: Services,
    /// Who observes; none if nobody had to say.
    watcher: Option<Identity>,
    /// As of when it may.
    auth_revision: u64,
    changes: watch::Receiver<Revision>,
    rights: watch::Receiver<u64>,
    view: View,
    is_over: bool,
}

impl Observer {
    async fn next(&mut self) -> Result<LeaderResponse, RpcError> {
        if self.view.seen.is_none() {
            self.services.read_index().await.map_err(|_| CLOSED_EARLY)?;
        }
        loop {
            self.changes.mark_unchanged();
            self.rights.mark_unchanged();
            let auth_revision = self.services.auth_revision();
            if self.auth_revision != auth_revision {
                let still = self.services.still_may_watch(self.watcher.as_ref(), &self.view.keys);
                still.map_err(unknown)?;
                self.auth_revision = auth_revision;
            }
            self.view.look(&self.services.doors.published.state.load_full());
            if let Some((revision, leader)) = self.view.news.pop_front() {
                let kv = Some(KeyValue::Stored(leader));
                return Ok(LeaderResponse { header: self.services.header(revision), kv });
            }
            let changed = tokio::select! {
                changed = self.changes.changed() => changed,
                changed = self.rights.changed() => changed,
            };
            changed.map_err(|_| CLOSED_EARLY)?;
        }
    }
}

/// What an observer has seen of an election.
struct View {
    /// Of all who take part.
    keys: KeyRange,
    /// The key of the leader that was told of last, while it is there.
    leader: Option<Bytes>,
    /// All up to this revision was looked at.
    seen: Option<Revision>,
    /// What is to be told, each with the revision for its header.
    news: VecDeque<(Revision, KeyRecord)>,
}

impl View {
    /// Looks at what is new in `state`: what leaders proclaimed, one after the other; and where one has
    /// gone, who leads now.
    fn look(&mut self, state: &State) {
        let seen = self.seen.replace(state.revision);
        // Of what is not known any more, the present is told.
        let Some(seen) = seen.filter(|&seen| seen >= state.compacted) else {
            return self.look_who_leads(state);
        };
        for record in state.history_from(seen.next()) {
            for change in &record.changes {
                match (&self.leader, &change.after) {
                    (Some(leader), after) if leader.as_ref() == change.key() => match after {
                        Some(said) => self.news.push_back((record.revision, said.clone())),
                        None => return self.look_who_leads(state),
                    },
                    (None, Some(first)) if self.keys.contains(first.key()) => {
                        self.leader = Some(Bytes::copy_from_slice(first.key()));
                        self.news.push_back((record.revision, first.clone()));
                    }
                    _ => {}
                }
            }
        }
    }

    fn look_who_leads(&mut self, state: &State) {
        let leader = first(state, &first_created(self.keys.clone()));
        self.leader = leader.as_ref().map(|leader| Bytes::copy_from_slice(leader.key()));
        self.news.extend(leader.map(|leader| (state.revision, leader)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{V3Command, V3DeleteRange, V3Op, V3Put},
        storage::v3,
        types::{Term, UnixNanos},
    };

    fn apply(state: &mut State, op: V3Op) {
        let command = V3Command { caller: None, op };
        v3::apply(state, Term(1), UnixNanos(1), &command).applied.result.unwrap();
    }

    fn write(state: &mut State, key: &'static str, value: &'static str) {
        let (key, value) = (key.into(), value.into());
        apply(state, V3Op::Put(V3Put { key, value, ..V3Put::default() }));
    }

    fn delete(state: &mut State, key: &'static str) {
        apply(state, V3Op::DeleteRange(V3DeleteRange { keys: KeyRange::one(key), prev_kv: false }));
    }

    fn told(view: &mut View, state: &State) -> Vec<(u64, String)> {
        view.look(state);
        let news = view.news.drain(..);
        news.map(|(revision, said)| (revision.0, String::from_utf8_lossy(said.value()).into()))
            .collect()
    }

    fn say(revision: u64, what: &str) -> (u64, String) {
        (revision, what.to_owned())
    }

    #[test]
    fn an_observer_hears_all_that_the_leader_says_and_who_leads_next() {
        let mut state = State::new(Vec::new());
        let mut view = View { keys: below(b"e"), leader: None, seen: None, news: VecDeque::new() };
        assert_eq!(told(&mut view, &state), []);
        write(&mut state, "f/1", "elsewhere");
        write(&mut state, "e/1", "one"); // 3
        write(&mut state, "e/2", "two");
        write(&mut state, "e/1", "one again"); // 5
        assert_eq!(told(&mut view, &state), [say(3, "one"), say(5, "one again")]);
        delete(&mut state, "e/1");
        assert_eq!(told(&mut view, &state), [say(6, "two")]);
        delete(&mut state, "e/2");
        assert_eq!(told(&mut view, &state), []);
        write(&mut state, "e/3", "three"); // 8
        delete(&mut state, "e/3");
        write(&mut state, "e/4", "four"); // 10
        assert_eq!(told(&mut view, &state), [say(8, "three"), say(10, "four")]);
        write(&mut state, "e/4", "five");
        write(&mut state, "e/4", "six"); // 12
        apply(&mut state, V3Op::Compact { revision: 12 });
        assert_eq!(told(&mut view, &state), [say(12, "six")], "history has gone");
    }
}
