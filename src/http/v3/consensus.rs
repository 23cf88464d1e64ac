//! Asking RaftNode on behalf of an RPC: for a change to be applied, or for a moment at which a read is
//! linearizable.

use super::{
    Caller, Services,
    error::{self, RpcError},
};
use crate::{
    actors::raft_node::{Propose, ReadIndex},
    clock::wall_clock,
    command::{Command, V3Command, V3Op},
    http::{
        limits::Class,
        quota,
        v2::{
            consensus::{blame, since},
            error::Blame,
        },
    },
    storage::{
        mvcc::Applied,
        v3::{V3Answer, V3Applied},
    },
    types::{Revision, UnixNanos},
};

impl Services {
    /// Proposes any command, and waits until it is applied.
    pub(super) async fn propose(&self, command: Command) -> Result<Applied, RpcError> {
        let _place = self.doors.limits.enter_proposal(&command)?;
        let started = wall_clock();
        let answering = if Class::of(&command) == Some(Class::Writes) {
            self.doors.propose.ask(Propose(command))?
        } else {
            self.doors.propose.ask_urgently(Propose(command))?
        };
        let answered = tokio::time::timeout(self.doors.settings.request_timeout, answering).await;
        let answered = answered.map_err(|_| error::TIMEOUT);
        let flat = answered.and_then(|answer| Ok(answer??));
        flat.map_err(|error| self.explained(started, error))
    }

    /// Proposes a v3 change; gives the revision for the header, and the answer.
    pub(super) async fn change(
        &self,
        caller: &Caller,
        op: V3Op,
    ) -> Result<(Revision, V3Answer), RpcError> {
        let caller = self.admit(caller, &op)?;
        if let Some(bytes) = quota::v3_cost(&op)
            && !quota::has_room(&self.doors, bytes)
        {
            return Err(error::NO_SPACE);
        }
        let command = Command::V3(V3Command { caller, op });
        match self.propose(command).await? {
            Applied::V3(V3Applied { revision, result }) => Ok((revision, result?)),
            other => unreachable!("a v3 command was applied as {other:?}"),
        }
    }

    /// Waits until what is published is as new as every write that was acknowledged before.
    pub(super) async fn read_index(&self) -> Result<(), RpcError> {
        let _place = self.doors.limits.enter(Class::Reads)?;
        let started = wall_clock();
        let answering = self.doors.read_index.ask(ReadIndex)?;
        let answered = tokio::time::timeout(self.doors.settings.request_timeout, answering).await;
        self.doors.metrics.observe_read_index(since(started));
        let answered = answered.map_err(|_| error::TIMEOUT);
        let flat = answered.and_then(|answer| Ok(answer??));
        flat.map(drop).map_err(|error| self.explained(started, error))
    }

    /// What a request that came to nothing most likely fell into.
    pub(super) fn explained(&self, started: UnixNanos, error: RpcError) -> RpcError {
        if error != error::TIMEOUT {
            return error;
        }
        match blame(&self.doors.published, started, self.doors.settings.election_timeout) {
            Blame::Nothing => error::TIMEOUT,
            Blame::LeaderLost => error::TIMEOUT_LEADER_LOST,
            Blame::ConnectionLost => error::TIMEOUT_CONNECTION_LOST,
        }
    }
}
