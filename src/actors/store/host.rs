//! The actor that hosts Store: owns the mailbox and everyone who waits, carries effects out. Decides
//! nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler, Message, Recipient};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    AskLeases, Cancel, LeasesByEnd, Sink, Subscribe, SubscribeError, SubscriptionId,
    role::{Committed, Counted, Effect, Input, LeaseCounted, Role},
    watch_line::{Mark, RangeRefused, SubscribeRange, WatchLine, tell_all},
};
use crate::{
    actors::{
        audit::digest::Digester,
        mailbox::{Ask, Reply, courier},
        raft_node::{
            ProposeError,
            host::{AppliedUpTo, ProposeOwn},
        },
    },
    command::ProposalId,
    metrics::Metrics,
    published::{Published, Session},
    storage::{
        mvcc::{Applied, State, watch::SharedEvent},
        v2_tree::stats::V2Stats,
    },
    wire::{LeaseQuestion, LeaseStanding},
};

type Waiting = BTreeMap<ProposalId, Reply<Result<Applied, ProposeError>>>;

/// RaftNode's address, known only after both actors have started.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Meet {
    /// Told what is applied.
    pub applied: Recipient<AppliedUpTo>,
    /// Asked for commands by the Store's own clocks.
    pub propose: Recipient<ProposeOwn>,
    /// Digests states for the comparison between members.
    pub digester: Digester,
}

/// Measures batches, and logs those that take long.
pub struct Pace {
    /// Histograms.
    pub metrics: Arc<Metrics>,
    /// `--warning-apply-duration`.
    pub warn_after: Duration,
}

impl Pace {
    /// Counts what made one state of another.
    fn count(&self, before: &State, after: &State) {
        let (mut puts, mut deletes, mut revisions) = (0, 0, 0);
        for record in after.history_from(before.revision.next()) {
            let put = record.changes.iter().filter(|change| change.after.is_some()).count();
            puts += put;
            deletes += record.changes.len() - put;
            revisions += 1;
        }
        let freed = (before.history_len() + revisions).saturating_sub(after.history_len());
        self.metrics.mvcc_puts.inc_by(puts as u64);
        self.metrics.mvcc_deletes.inc_by(deletes as u64);
        self.metrics.compacted_revisions.inc_by(freed as u64);
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the host measures its work; the role sees no clock"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    fn note(&self, started: Instant, entries: usize) {
        let took = Pace::now().saturating_duration_since(started);
        self.metrics.apply_seconds.observe(took.as_secs_f64());
        if took > self.warn_after {
            tracing::warn!(?took, entries, "apply request took too long");
        }
    }
}

/// A watch and the line that it shares with others.
struct OnLine {
    tag: u64,
    line: Arc<WatchLine>,
}

/// See the head of the module.
pub struct Store {
    role: Role,
    published: Arc<Published>,
    stats: Arc<V2Stats>,
    pace: Pace,
    raft_node: Option<Meet>,
    waiting: Waiting,
    subscribing: BTreeMap<SubscriptionId, (Reply<Result<SubscriptionId, SubscribeError>>, Sink)>,
    sinks: BTreeMap<SubscriptionId, Sink>,
    subscribing_ranges:
        BTreeMap<SubscriptionId, (Reply<Result<SubscriptionId, RangeRefused>>, OnLine)>,
    lines: BTreeMap<SubscriptionId, OnLine>,
    next_subscription: u64,
}

impl Store {
    /// An actor that is yet to be started.
    pub fn new(role: Role, published: Arc<Published>, stats: Arc<V2Stats>, pace: Pace) -> Self {
        Store {
            role,
            published,
            stats,
            pace,
            raft_node: None,
            waiting: Waiting::new(),
            subscribing: BTreeMap::new(),
            sinks: BTreeMap::new(),
            subscribing_ranges: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_subscription: 0,
        }
    }

    fn feed(&mut self, input: Input) {
        for effect in self.role.handle(input) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Publish => {
                let started = Pace::now();
                let before = self.published.state.swap(Arc::new(self.role.state().clone()));
                self.published.revision.send_replace(self.role.state().revision);
                let stamp = self.role.state().auth().stamp();
                if before.auth().stamp() != stamp {
                    self.published.rights.send_replace(stamp); // seldom: streams wake up for it
                    self.lines.values().for_each(|on_line| on_line.line.look());
                }
                let took = Pace::now().saturating_duration_since(started);
                self.pace.metrics.backend_commit_seconds.observe(took.as_secs_f64());
                self.pace.count(&before, self.role.state());
            }
            Effect::Answer(id, applied) => {
                if let Some(reply) = self.waiting.remove(&id) {
                    _ = reply.send(Ok(applied)); // or the caller has gone
                }
            }
            Effect::Applied(index) => {
                self.published.raft.applied.store(index.0, Ordering::Release);
                let pending = self.waiting.len() as u64;
                self.published.raft.pending.store(pending, Ordering::Relaxed);
                if let Some(meet) = &self.raft_node {
                    meet.applied.do_send(AppliedUpTo(index));
                }
            }
            Effect::Subscribed(id, result) => {
                let Some((reply, sink)) = self.subscribing.remove(&id) else { return };
                if result.is_ok() {
                    self.sinks.insert(id, sink);
                }
                if reply.send(result.map(|()| id)).is_err() {
                    self.forget(id); // the caller has gone
                }
            }
            Effect::End(ids) => {
                for id in ids {
                    self.sinks.remove(&id); // the owner goes on from history, or learns that it is gone
                    if let Some(OnLine { tag, line }) = self.lines.remove(&id) {
                        line.end(tag);
                    }
                }
                self.count_watchers();
            }
            Effect::Deliver(event, ids) => {
                for id in ids {
                    self.deliver(id, &event);
                }
                self.count_watchers();
            }
            Effect::RangeSubscribed(id, result) => {
                let Some((reply, line)) = self.subscribing_ranges.remove(&id) else { return };
                if result.is_ok() {
                    self.lines.insert(id, line);
                }
                if reply.send(result.map(|()| id)).is_err() {
                    self.forget(id); // the caller has gone
                }
            }
            Effect::Tell(record, ids) => {
                self.pace.metrics.watch_events.inc_by(ids.len() as u64);
                let lines = &self.lines;
                let on_line = |id| lines.get(&id).map(|OnLine { tag, line }| (id, *tag, line));
                for id in tell_all(ids.into_iter().filter_map(on_line), &record) {
                    self.forget(id);
                }
            }
            Effect::Propose(command) => {
                if let Some(meet) = &self.raft_node {
                    meet.propose.do_send(ProposeOwn(command));
                }
            }
            Effect::Digest(state) => {
                if let Some(meet) = &self.raft_node {
                    meet.digester.digest(state);
                }
            }
            Effect::Login { user, token, auth_revision, time } => {
                self.published.sessions.add(token, Session { user, auth_revision }, time);
            }
            Effect::Count(Counted::Write(op, worked)) => self.stats.count_write(&op, worked),
            Effect::Count(Counted::Expired(count)) => {
                self.stats.expires.fetch_add(count as u64, Ordering::Relaxed);
            }
            Effect::Count(Counted::Lease(counted)) => {
                let leases = &self.pace.metrics.leases;
                match counted {
                    LeaseCounted::Granted(ttl) => {
                        leases.granted.inc();
                        leases.ttl_seconds.observe(ttl as f64);
                    }
                    LeaseCounted::Revoked => leases.revoked.inc(),
                    LeaseCounted::Expired(count) => leases.expired.inc_by(count as u64),
                }
            }
        }
    }

    fn deliver(&mut self, id: SubscriptionId, event: &Arc<SharedEvent>) {
        match self.sinks.get(&id) {
            Some(Sink::Once(_)) => {
                if let Some(Sink::Once(sender)) = self.sinks.remove(&id) {
                    _ = sender.send(Arc::clone(event)); // or the watcher has gone
                }
            }
            Some(Sink::Stream(sender)) => match sender.try_send(Arc::clone(event)) {
                Ok(()) => {}
                // Slow: it ends here, and its owner goes on from history. Or its owner has gone.
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.forget(id),
            },
            None => {}
        }
    }

    fn forget(&mut self, id: SubscriptionId) {
        self.sinks.remove(&id);
        self.lines.remove(&id);
        self.feed(Input::Cancel(id));
        self.count_watchers();
    }

    fn count_watchers(&self) {
        self.stats.watchers.store(self.role.watchers() as u64, Ordering::Relaxed);
    }
}

impl Actor for Store {
    type Context = Context<Self>;
}

impl Handler<Meet> for Store {
    type Result = ();

    fn handle(&mut self, meet: Meet, _ctx: &mut Self::Context) {
        self.raft_node = Some(meet);
    }
}

/// From RaftNode: apply these, and answer those.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ApplyBatch {
    /// Committed entries, in order.
    pub entries: Vec<Committed>,
    /// Callers whose proposals are in this batch or a later one.
    pub waiting: Waiting,
}

impl Handler<ApplyBatch> for Store {
    type Result = ();

    fn handle(&mut self, batch: ApplyBatch, _ctx: &mut Self::Context) {
        self.waiting.extend(batch.waiting);
        let (started, entries) = (Pace::now(), batch.entries.len());
        courier::together(|| self.feed(Input::Apply(batch.entries)));
        self.pace.note(started, entries);
    }
}

/// From RaftNode: this proposal is given up.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FailWaiting {
    /// Which.
    pub id: ProposalId,
    /// What its caller is told.
    pub error: ProposeError,
}

impl Handler<FailWaiting> for Store {
    type Result = ();

    fn handle(&mut self, fail: FailWaiting, _ctx: &mut Self::Context) {
        if let Some(reply) = self.waiting.remove(&fail.id) {
            _ = reply.send(Err(fail.error)); // or the caller has gone
        }
    }
}

/// From RaftNode: a peer's snapshot takes the place of the state.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Install(pub State);

impl Handler<Install> for Store {
    type Result = ();

    fn handle(&mut self, Install(state): Install, _ctx: &mut Self::Context) {
        courier::together(|| self.feed(Input::Install(Box::new(state))));
    }
}

impl Handler<Ask<Subscribe>> for Store {
    type Result = ();

    fn handle(&mut self, ask: Ask<Subscribe>, _ctx: &mut Self::Context) {
        let (Subscribe { pattern, after, sink }, reply) = ask.take();
        let id = SubscriptionId(self.next_subscription);
        self.next_subscription += 1;
        let once = matches!(sink, Sink::Once(_));
        self.subscribing.insert(id, (reply, sink));
        self.feed(Input::Subscribe { id, pattern, after, once });
        self.count_watchers();
    }
}

impl Handler<Ask<SubscribeRange>> for Store {
    type Result = ();

    fn handle(&mut self, ask: Ask<SubscribeRange>, _ctx: &mut Self::Context) {
        let (SubscribeRange { keys, after, tag, line }, reply) = ask.take();
        let id = SubscriptionId(self.next_subscription);
        self.next_subscription += 1;
        self.subscribing_ranges.insert(id, (reply, OnLine { tag, line }));
        self.feed(Input::SubscribeRange { id, keys, after });
    }
}

impl Handler<Mark> for Store {
    type Result = ();

    fn handle(&mut self, Mark(line): Mark, _ctx: &mut Self::Context) {
        line.mark(self.role.state().revision);
    }
}

impl Handler<Cancel> for Store {
    type Result = ();

    fn handle(&mut self, Cancel(id): Cancel, _ctx: &mut Self::Context) {
        self.forget(id);
    }
}

impl Handler<Ask<AskLeases>> for Store {
    type Result = ();

    fn handle(&mut self, ask: Ask<AskLeases>, _ctx: &mut Self::Context) {
        let (AskLeases { term, questions }, reply) = ask.take();
        let answers = self.role.ask_leases(term, &questions);
        let renewed = questions.iter().zip(answers.iter().flatten()).filter(|(asked, answer)| {
            matches!(asked, LeaseQuestion::Renew(_)) && answer.standing != LeaseStanding::Gone
        });
        self.pace.metrics.leases.renewed.inc_by(renewed.count() as u64);
        _ = reply.send(answers); // or the asker has gone
    }
}

impl Handler<Ask<LeasesByEnd>> for Store {
    type Result = ();

    fn handle(&mut self, ask: Ask<LeasesByEnd>, _ctx: &mut Self::Context) {
        let (LeasesByEnd, reply) = ask.take();
        _ = reply.send(self.role.leases_by_end()); // or the asker has gone
    }
}

/// A tenth of a second has passed. Sent from outside.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for Store {
    type Result = ();

    fn handle(&mut self, _: Tick, _ctx: &mut Self::Context) {
        let leads = self.published.is_leader();
        let term = self.published.raft.term();
        self.feed(Input::Tick { leads, term });
    }
}
