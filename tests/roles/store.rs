//! The Store's role as a conversation.

use std::collections::BTreeMap;

use bytes::Bytes;
use callboard::actors::store::{
    SubscriptionId,
    compactor::{Compactor, Retention},
    role::{Committed, Counted, Effect, Input, Role},
};
use callboard::command::{Command, Proposal, ProposalId, V2Command, V2Compare, V2Op, V2Write};
use callboard::storage::mvcc::watch::{SharedEvent, WatchPattern};
use callboard::storage::mvcc::{Applied, State};
use callboard::storage::v2_tree::{V2Event, V2Kind, V2Node};
use callboard::types::{LeaseId, MemberId, Revision, Term, UnixNanos};

use crate::Player;

/// Leases of TTLs are numbered from here; scripts name them by the revision that made them.
const FIRST_LEASE: i64 = 1 << 62;
const OWN: MemberId = MemberId(7);
const SECOND: u64 = 1_000_000_000;

pub struct StorePlayer {
    role: Role,
    retention: Retention,
    now: UnixNanos,
    proposals: u64,
    subscriptions: u64,
    names: BTreeMap<SubscriptionId, String>,
}

impl Default for StorePlayer {
    fn default() -> Self {
        let now = UnixNanos(1_000 * SECOND);
        let retention = Retention::Off;
        let compactor = Compactor::new(retention, 0);
        StorePlayer {
            role: Role::new(OWN, State::new(Vec::new()), compactor, now),
            retention,
            now,
            proposals: 0,
            subscriptions: 0,
            names: BTreeMap::new(),
        }
    }
}

/// The words of a line, and the options among them.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        let (options, plain) = line.split_whitespace().partition::<Vec<_>, _>(|w| w.contains('='));
        let options = options.into_iter().filter_map(|word| word.split_once('=')).collect();
        Words { plain, options }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let number = |text: &&str| text.parse().map_err(|_| format!("{name}= wants a number"));
        self.options.get(name).map(number).transpose()
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn command(line: &str) -> Result<Command, String> {
    let words = Words::of(line);
    let value = |at: usize| {
        let value = words.plain.get(at).copied().unwrap_or_default();
        let ttl = words.number("ttl")?;
        let (dir, refresh) = (words.has("dir"), words.has("refresh"));
        let value = if dir || refresh { "" } else { value };
        Ok::<_, String>(V2Write {
            dir,
            value: Bytes::copy_from_slice(value.as_bytes()),
            ttl,
            refresh,
        })
    };
    let (path, op) = match words.plain[..] {
        ["set", path, ..] => (path, V2Op::Set(value(2)?)),
        ["create", path, ..] => (path, V2Op::Create(value(2)?)),
        ["post", path, ..] => (path, V2Op::CreateInOrder(value(2)?)),
        ["update", path, ..] => (path, V2Op::Update(value(2)?)),
        ["swap", path, before, ..] => {
            let compare = V2Compare { prev_value: before.into(), prev_index: 0 };
            (path, V2Op::CompareAndSwap { compare, write: value(3)? })
        }
        ["delete", path, ..] => {
            let (dir, recursive) = (words.has("dir"), words.has("recursive"));
            (path, V2Op::Delete { dir, recursive })
        }
        ["expire", ref revisions @ ..] => {
            let lease = |text: &&str| Ok(LeaseId(FIRST_LEASE + number(text)? as i64));
            let leases = revisions.iter().map(lease).collect::<Result<_, String>>()?;
            return Ok(Command::Expire { leases });
        }
        ["compact", revision] => {
            return Ok(Command::Compact { revision: Revision(number(revision)?) });
        }
        _ => return Err("no such command".to_owned()),
    };
    Ok(Command::V2(V2Command { path: path.into(), op }))
}

impl StorePlayer {
    fn apply(&mut self, line: &str, member: MemberId) -> Result<Vec<String>, String> {
        let mut entries = Vec::new();
        for line in line.split(';') {
            self.proposals += 1;
            let (id, time) = (ProposalId(self.proposals), self.now);
            let proposal = Proposal { id, member, time, command: command(line)? };
            let data = rmp_serde::to_vec(&proposal).map_err(|error| error.to_string())?.into();
            let applied = self.role.state().applied_index.0;
            let index = callboard::types::Index(applied + 1 + entries.len() as u64);
            entries.push(Committed { index, term: Term(1), data });
        }
        let effects = self.role.handle(Input::Apply(entries));
        Ok(self.print(&effects))
    }

    fn watch(&mut self, line: &str) -> Result<Vec<String>, String> {
        let words = Words::of(line);
        let [name, path, ..] = words.plain[..] else { return Err("watch NAME PATH".to_owned()) };
        let id = SubscriptionId(self.subscriptions);
        self.subscriptions += 1;
        self.names.insert(id, name.to_owned());
        let pattern = WatchPattern {
            path: Bytes::copy_from_slice(path.as_bytes()),
            recursive: words.has("recursive"),
        };
        let now = self.role.state().revision.0;
        let after = Revision(words.number("after")?.unwrap_or(now));
        let once = words.has("once");
        let effects = self.role.handle(Input::Subscribe { id, pattern, after, once });
        Ok(self.print(&effects))
    }

    /// Ticks, and what comes with each. Ticks with which nothing comes are not told.
    fn ticks(&mut self, line: &str) -> Result<Vec<String>, String> {
        let words = Words::of(line);
        let count = number(words.plain.first().ok_or("tick COUNT")?)?;
        let leads = !words.has("follower");
        let mut told = Vec::new();
        for tick in 1..=count {
            self.now.0 += SECOND / 10;
            let effects = self.role.handle(Input::Tick { leads, term: Term(1) });
            told.extend(self.print(&effects).iter().map(|line| format!("tick {tick}: {line}")));
        }
        if told.is_empty() {
            told.push("nothing".to_owned());
        }
        Ok(told)
    }

    fn start_again(&mut self, line: &str) -> Result<Vec<String>, String> {
        let words = Words::of(line);
        if let Some(keep) = words.number("keep")? {
            self.retention = Retention::Revisions(keep);
        }
        if let Some(seconds) = words.number("seconds")? {
            self.retention = Retention::Seconds(seconds);
        }
        self.now.0 += words.number("later")?.unwrap_or(0) * SECOND;
        self.now.0 -= words.number("earlier")?.unwrap_or(0) * SECOND;
        let compactor = Compactor::new(self.retention, words.number("bytes")?.unwrap_or(0));
        self.role = Role::new(OWN, self.role.state().clone(), compactor, self.now);
        Ok(vec![self.state()])
    }

    fn state(&self) -> String {
        let state = self.role.state();
        let freed = if state.must_free() { ", not all freed" } else { "" };
        format!(
            "revision {}, compacted {}{freed}, {} keys, {} leases, {} watchers",
            state.revision,
            state.compacted,
            state.key_count(),
            state.leases().count(),
            self.role.watchers()
        )
    }

    fn print(&self, effects: &[Effect]) -> Vec<String> {
        effects.iter().map(|effect| self.line(effect)).collect()
    }

    fn line(&self, effect: &Effect) -> String {
        let name = |id: &SubscriptionId| self.names[id].as_str();
        match effect {
            Effect::Digest(state) => format!("digest the state after {}", state.applied_index),
            Effect::End(ids) => format!("end {ids:?}"),
            Effect::Publish => "publish".to_owned(),
            Effect::Answer(id, applied) => format!("answer {}: {}", id.0, answer(applied)),
            Effect::Applied(index) => format!("applied {index}"),
            Effect::Subscribed(id, Ok(())) | Effect::RangeSubscribed(id, Ok(())) => {
                format!("{} subscribed", name(id))
            }
            Effect::Subscribed(id, Err(error)) => format!("{} refused: {error}", name(id)),
            Effect::RangeSubscribed(id, Err(error)) => format!("{} refused: {error}", name(id)),
            Effect::Tell(shared, ids) => format!("tell {ids:?} of {}", shared.record.revision),
            Effect::Deliver(event, ids) => {
                let names: Vec<_> = ids.iter().map(name).collect();
                format!("tell {} {}", names.join(", "), shared(event))
            }
            Effect::Propose(Command::Expire { leases }) => {
                let leases: Vec<_> =
                    leases.iter().map(|id| (id.0 - FIRST_LEASE).to_string()).collect();
                format!("propose expire {}", leases.join(" "))
            }
            Effect::Propose(Command::Compact { revision }) => format!("propose compact {revision}"),
            Effect::Propose(command) => format!("propose {command:?}"),
            Effect::Count(Counted::Write(op, worked)) => {
                let op = format!("{op:?}");
                let end = op.find(|c: char| !c.is_alphabetic()).unwrap_or(op.len());
                format!("count {} {}", &op[..end], if *worked { "done" } else { "refused" })
            }
            Effect::Login { user, auth_revision, .. } => {
                format!("{user} has a token as of auth revision {auth_revision}")
            }
            Effect::Count(Counted::Expired(count)) => format!("count {count} expired"),
            Effect::Count(Counted::Lease(counted)) => format!("count a lease {counted:?}"),
        }
    }
}

fn answer(applied: &Applied) -> String {
    match applied {
        Applied::V2(Ok(record)) => {
            let part = record.v2_parts().next().expect("a v2 write is an event");
            happened(&V2Event::of(record, part))
        }
        Applied::V2(Err(error)) => {
            let cause = String::from_utf8_lossy(&error.cause);
            format!("refused {} {cause} at {}", error.code as u16, error.index)
        }
        Applied::Expired(count) => format!("{count} expired"),
        Applied::Compacted(Ok(revision)) => format!("compacted {revision}"),
        Applied::Compacted(Err(error)) => format!("refused: {error}"),
        Applied::Published => "published".to_owned(),
        Applied::Members(Ok(())) => "members changed".to_owned(),
        Applied::Members(Err(error)) => format!("refused: {error}"),
        Applied::Checkpoint => "checkpoint".to_owned(),
        Applied::Alarm { .. } => "alarm".to_owned(),
        Applied::V3(applied) => match &applied.result {
            Ok(_) => format!("v3 done at {}", applied.revision),
            Err(error) => format!("v3 refused: {error}"),
        },
    }
}

fn shared(event: &SharedEvent) -> String {
    happened(&V2Event::of(&event.record, event.part))
}

fn happened(event: &V2Event) -> String {
    let line = format!("{} {}", event.action.name(), node(&event.node, event.time));
    match &event.prev_node {
        Some(prev) => format!("{line}, was {}", node(prev, event.time)),
        None => line,
    }
}

fn node(node: &V2Node, now: UnixNanos) -> String {
    let what = match &node.kind {
        V2Kind::File(record) => format!("={}", String::from_utf8_lossy(record.value())),
        V2Kind::Gone => String::new(),
        V2Kind::Dir(_) => "/".to_owned(),
    };
    let ends = node.expires.map_or(String::new(), |at| {
        format!(" for {} s", (at.0.saturating_sub(now.0)) as f64 / SECOND as f64)
    });
    let key = String::from_utf8_lossy(&node.key);
    format!("{key}{what}{ends} ({}, {})", node.created, node.modified)
}

impl Player for StorePlayer {
    fn run(&mut self, line: &str) -> Result<Vec<String>, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "apply" => self.apply(rest, OWN),
            "others" => self.apply(rest, MemberId(8)),
            "watch" => self.watch(rest),
            "cancel" => {
                let found = self.names.iter().find(|(_, name)| *name == rest);
                let id = *found.ok_or("no such watch")?.0;
                let effects = self.role.handle(Input::Cancel(id));
                Ok(self.print(&effects).into_iter().chain([self.state()]).collect())
            }
            "tick" => self.ticks(rest),
            "start" => self.start_again(rest),
            "state" => Ok(vec![self.state()]),
            _ => Err("no such command".to_owned()),
        }
    }
}
