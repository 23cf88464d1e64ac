//! `RaftNode`'s role as a conversation.

use std::sync::Arc;

use callboard::actors::raft_node::role::{Boot, Effect, Input, ReadId, Role};
use callboard::command::{Command, Proposal, ProposalId};
use callboard::storage::mvcc::{Member, Membership};
use callboard::types::{Index, MemberId, Term, UnixNanos};
use raft::eraftpb::{Entry, HardState};

use crate::Player;

#[derive(Default)]
pub struct RaftNodePlayer(Option<Role>);

fn numbers(text: &str) -> Result<Vec<u64>, String> {
    text.split([',', ' ']).map(|n| n.parse().map_err(|_| format!("{n} is no number"))).collect()
}

fn membership(voters: &str) -> Result<Arc<Membership>, String> {
    let member = |id| Member {
        id: MemberId(id),
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    Ok(Arc::new(Membership::new(numbers(voters)?.into_iter().map(member).collect())))
}

/// A proposal that carries `text`.
fn encoded(id: ProposalId, text: String) -> Vec<u8> {
    let command = Command::PublishMember { id: MemberId(7), name: text, client_urls: Vec::new() };
    let proposal = Proposal { id, member: MemberId(7), time: UnixNanos(0), command };
    rmp_serde::to_vec(&proposal).expect("plain data into memory")
}

/// What it carries.
fn text_of(data: &[u8]) -> String {
    match rmp_serde::from_slice::<Proposal>(data).map(|proposal| proposal.command) {
        Ok(Command::PublishMember { name, .. }) => name,
        _ => String::from_utf8_lossy(data).into_owned(),
    }
}

fn start(voters: &str, log: &str) -> Result<Role, String> {
    let log = if log.is_empty() { Vec::new() } else { numbers(log)? };
    // Applied up to the first of these, committed up to the second, the log ends with the third.
    let [applied, commit, last] = log.try_into().unwrap_or([0; 3]);
    let entries = (applied + 1..=last).map(|index| {
        let data = format!("entry {index}").into();
        Entry { index, term: 2, data, ..Entry::default() }
    });
    let term = if last == 0 { 0 } else { 2 };
    let boot = Boot {
        id: MemberId(7),
        election_ticks: 10,
        pre_vote: true,
        promote_learners: false,
        proposal_ticks: 70,
        uncommitted_bytes_max: 1 << 20,
        catch_up_entries: 100,
        seed: 1,
        applied: Index(applied),
        before: (Index(applied), Term(if applied == 0 { 0 } else { 2 })),
        hard_state: HardState { term, commit, ..HardState::default() },
        membership: membership(voters)?,
        entries: entries.collect(),
    };
    Role::new(boot, &slog::Logger::root(slog::Discard, slog::o!())).map_err(|e| e.to_string())
}

fn texts(entries: &[Entry]) -> String {
    let texts = entries.iter().map(|entry| {
        let text = text_of(&entry.data);
        let data = match text.len() {
            0 => "nothing".to_owned(),
            len @ 100.. => format!("{len} bytes"),
            _ => text,
        };
        format!("{}/{} {data}", entry.index, entry.term)
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn ids(ids: &[ReadId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ")
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Send(messages) => {
            let sent = messages
                .iter()
                .map(|m| format!("{:?} of term {} to {}", m.get_msg_type(), m.term, m.to));
            format!("send {}", sent.collect::<Vec<_>>().join(", "))
        }
        Effect::Forward { to, forward } => {
            let ids = forward.proposals.iter().map(|proposal| proposal.id.0.to_string());
            let ids = ids.collect::<Vec<_>>().join(", ");
            format!("forward {ids} to {to} of term {}", forward.term)
        }
        Effect::RefuseForward { to, refusal } => {
            format!("refuse {:?} of {to} in term {}", refusal.ids, refusal.term)
        }
        Effect::Install(snapshot) => format!("install {}/{}", snapshot.index, snapshot.term),
        Effect::WantSnapshot(index) => format!("want a snapshot after {index}"),
        Effect::Membership(membership) => {
            let voters = membership.voters().map(|id| id.to_string()).collect::<Vec<_>>();
            format!("voters {}", voters.join(", "))
        }
        Effect::Promote(id) => format!("promote {id}"),
        Effect::Removed => "removed".to_owned(),
        Effect::Append { number, installed, entries, hard_state, must_sync } => {
            let mut line = format!("append #{number}");
            if let Some(mark) = installed {
                line = format!("{line} after {}/{}", mark.index, mark.term);
            }
            if !entries.is_empty() {
                line.extend([": ", &texts(entries)]);
            }
            if let Some(HardState { term, vote, commit, .. }) = hard_state {
                line = format!("{line}; term {term}, vote {vote}, commit {commit}");
            }
            line + if *must_sync { "; sync" } else { "" }
        }
        Effect::Apply(entries) => format!("apply {}", texts(entries)),
        Effect::Refuse(id, error) => format!("refuse {}: {error}", id.0),
        Effect::ReadReady(reads, index) => format!("read {} is served at {index}", ids(reads)),
        Effect::ReadFailed(reads, error) => format!("read {} fails: {error}", ids(reads)),
    }
}

impl Player for RaftNodePlayer {
    fn run(&mut self, text: &str) -> Result<Vec<String>, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        if verb == "start" {
            let (voters, log) = rest.split_once(' ').unwrap_or((rest, ""));
            self.0 = Some(start(voters, log)?);
            return Ok(Vec::new());
        }
        let role = self.0.as_mut().ok_or("start it first")?;
        let number = |text: &str| numbers(text).map(|numbers| numbers[0]);
        match verb {
            "propose" => {
                let (id, data) = rest.split_once(' ').ok_or("propose ID TEXT")?;
                let text = match data.strip_prefix("bytes=") {
                    Some(count) => "x".repeat(number(count)? as usize),
                    None => data.to_owned(),
                };
                let id = ProposalId(number(id)?);
                let data = encoded(id, text).into();
                role.handle(Input::Propose { id, data, members: false });
            }
            "read" => role.handle(Input::Read { id: ReadId(number(rest)?) }),
            "persisted" => role.handle(Input::Persisted { number: number(rest)? }),
            "applied" => role.handle(Input::Applied { index: Index(number(rest)?) }),
            "turn" | "blocked" => {
                // `blocked`: WalWriter has no room.
                let effects = role.end_turn(verb == "turn");
                let quiet = effects.is_empty().then(|| "nothing".to_owned());
                return Ok(effects.iter().map(line).chain(quiet).collect());
            }
            "tick" => {
                let mut told = Vec::new();
                for tick in 1..=number(rest)? {
                    role.handle(Input::Tick);
                    let effects = role.end_turn(true);
                    told.extend(
                        effects.iter().map(|effect| format!("tick {tick}: {}", line(effect))),
                    );
                }
                let quiet = told.is_empty().then(|| "nothing".to_owned());
                return Ok(told.into_iter().chain(quiet).collect());
            }
            "state" => {
                let leader = role.leader().map_or("nobody".to_owned(), |id| id.0.to_string());
                let (term, commit) = (role.term(), role.commit());
                return Ok(vec![format!("term {term}, commit {commit}, {leader} leads")]);
            }
            _ => return Err("no such command".to_owned()),
        }
        Ok(Vec::new())
    }
}
